//! The comparison in its short form: every part runs, our own store loses nothing, and figures are told.
#![forbid(unsafe_code)]

use std::process::Command;

use serde_json::Value;

/// What `stores` says with these arguments.
fn stores(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stores"));
    let output =
        command.args(arguments).args(["--output", "json", "--quiet"]).output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} ended with {}:\n{said}", output.status);
    serde_json::from_slice(&output.stdout).expect("one object")
}

#[test]
fn every_candidate_is_measured_as_a_redo_log() {
    let told =
        stores(&["redo", "--seconds", "0.02", "--rounds", "1", "--transfers", "16", "--recent-mb", "2"]);
    let workloads = told["workloads"].as_array().expect("workloads");
    let rows: Vec<usize> = workloads.iter().map(|of| of["rows"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(rows, [6, 6, 6, 5], "with syncs, without, at a rate, and while a partner catches up");
    for row in workloads.iter().flat_map(|of| of["rows"].as_array().expect("rows")) {
        assert!(row["commits_per_s"].as_f64() > Some(0.0), "{row}");
        let (p50, p999) = (row["p50_us"].as_f64(), row["p999_us"].as_f64());
        assert!(p50 > Some(0.0) && p999 >= p50, "{row}");
    }
}

#[test]
fn our_own_store_loses_nothing_to_kills_and_says_what_is_damaged() {
    let told = stores(&[
        "crash",
        "--kills",
        "5",
        "--commits",
        "100",
        "--places",
        "3",
        "--flips",
        "3",
        "--candidates",
        "own",
    ]);
    assert_eq!(told["holds"], true, "{told}");
    let own = &told["candidates"][0];
    assert_eq!(own["crashes"]["kills"], 5);
    assert!(own["crashes"]["acknowledged"].as_u64() > Some(0), "{own}");
    assert_eq!(own["damages"].as_array().map(Vec::len), Some(3));
}

#[test]
fn the_other_candidates_are_killed_and_damaged_too() {
    let told = stores(&[
        "crash",
        "--kills",
        "2",
        "--commits",
        "60",
        "--places",
        "1",
        "--flips",
        "0",
        "--candidates",
        "fjall-fifo,redb",
    ]);
    for row in told["candidates"].as_array().expect("candidates") {
        assert_eq!(row["crashes"]["kills"], 2, "{row}");
        assert_eq!(row["damages"].as_array().map(Vec::len), Some(3), "{row}");
    }
}

#[test]
fn a_checkpoint_is_written_and_read_in_each_way() {
    let told = stores(&["checkpoint", "--rows", "3000", "--changed", "500", "--rounds", "1"]);
    assert_eq!(told["parts"].as_array().map(Vec::len), Some(9));
}
