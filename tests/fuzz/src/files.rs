//! The small files of a processor beside its databases.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use lockstep_core::record::SwapOutcome;
use lockstep_os::{DirectoryLock, DirectoryLockError};
use lockstep_runtime::arbiter::{LocalArbiter, nodes};
use lockstep_runtime::decoders;
use lockstep_runtime::trail::{TrailEntry, What};

use crate::{Target, samples, scratch};

pub const ARBITER_RECORD: Target = Target {
    name: "arbiter-record",
    reads: "`record.N` in the arbiter's directory, and names of files beside it",
    run: arbiter_record,
    seeds: arbiter_records,
};

pub const NODE_ADDRESSES: Target = Target {
    name: "node-addresses",
    reads: "`nodes/NODE.json` in the arbiter's directory",
    run: node_addresses,
    seeds: || {
        let directory = scratch::directory();
        register(directory.path());
        vec![fs::read(directory.path().join("nodes/a.json")).expect("it was written")]
    },
};

pub const PARTITIONS_FILE: Target = Target {
    name: "partitions-file",
    reads: "`partitions` in an application's directory",
    run: partitions_file,
    seeds: || vec![b"1\n".to_vec(), b"64\n".to_vec()],
};

pub const TRAIL_FILE: Target = Target {
    name: "trail-file",
    reads: "`trail.jsonl` and `trail-partner.jsonl`, the audit trail",
    run: trail_file,
    seeds: trails,
};

pub const LOCK_FILE: Target = Target {
    name: "lock-file",
    reads: "`lock` in a data directory that another process has",
    run: lock_file,
    seeds: || vec![b"4242\n".to_vec(), Vec::new()],
};

const RECORD_CODE: &str = "LS0607";

fn arbiter_records() -> Vec<Vec<u8>> {
    let directory = scratch::directory();
    let arbiter = LocalArbiter::open(directory.path()).expect("a directory can be used");
    let record = samples::record();
    let before = lockstep_core::ids::Epoch(record.epoch.0 - 1);
    let first = lockstep_core::record::Record::first(record.active.clone());
    assert!(matches!(arbiter.swap(lockstep_core::ids::Epoch(0), &first, None), SwapOutcome::Done(_)));
    assert!(matches!(arbiter.swap(before, &record, None), SwapOutcome::Done(_)));
    let written = fs::read(directory.path().join("record.2")).expect("it was written");
    // Epoch 2's place.
    vec![[b"\x02", &*written].concat(), [b"\x80", "record.x".as_bytes()].concat()]
}

/// The first byte is the number of the file's name; from 128 on the rest is a name beside a good record.
fn arbiter_record(bytes: &[u8]) -> bool {
    let Some((number, rest)) = bytes.split_first() else { return false };
    let directory = scratch::directory();
    let arbiter = LocalArbiter::open(directory.path()).expect("a directory can be used");
    if *number >= 128 {
        let first = lockstep_core::record::Record::first(samples::record().active);
        assert!(matches!(arbiter.swap(lockstep_core::ids::Epoch(0), &first, None), SwapOutcome::Done(_)));
        let text = String::from_utf8_lossy(rest);
        let name: String = text.chars().filter(|c| !matches!(c, '/' | '\0')).take(60).collect();
        if fs::File::create_new(directory.path().join(&name)).is_err() {
            return false;
        }
        return match arbiter.read() {
            Ok(record) => {
                assert_eq!(record, Some(first));
                true
            }
            // An empty file under a record's own name is damage, and never passed over.
            Err(error) => {
                assert_eq!(error.code(), RECORD_CODE);
                assert!(
                    name.strip_prefix("record.").is_some_and(|it| it.bytes().all(|b| b.is_ascii_digit()))
                );
                false
            }
        };
    }
    fs::write(directory.path().join(format!("record.{number}")), rest).expect("a file can be written");
    let record = match arbiter.read() {
        Ok(Some(record)) => record,
        // Epoch 0 stands for no record.
        Ok(None) => {
            assert_eq!(*number, 0);
            return false;
        }
        Err(error) => {
            assert_eq!(error.code(), RECORD_CODE);
            return false;
        }
    };
    assert_eq!(record.epoch.0, u64::from(*number));
    // What was read can be gone on from, and is read as it was written.
    let next = record.with_in_sync(BTreeSet::from([record.active.clone()]));
    assert_eq!(arbiter.swap(record.epoch, &next, None), SwapOutcome::Done(next.clone()));
    assert_eq!(arbiter.read().expect("it was written just now"), Some(next));
    true
}

fn register(arbiter: &Path) {
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let addresses = nodes::NodeAddresses { link: at(7103), events: Some(at(7102)), http: None };
    nodes::register(arbiter, &samples::node("a"), addresses).expect("it can be written");
}

fn node_addresses(bytes: &[u8]) -> bool {
    let directory = scratch::directory();
    let (dir, a) = (directory.path(), samples::node("a"));
    fs::create_dir_all(dir.join("nodes")).expect("a directory can be made");
    fs::write(dir.join("nodes/a.json"), bytes).expect("a file can be written");
    let found = nodes::all(dir);
    assert_eq!(
        nodes::partner_of(dir, &samples::node("")).is_some(),
        found.iter().any(|(node, _)| !node.0.is_empty())
    );
    for (node, addresses) in &found {
        nodes::register(dir, node, *addresses).expect("what was read can be written");
        assert_eq!(nodes::addresses(dir, node).as_ref(), Some(addresses));
    }
    found.iter().any(|(node, _)| *node == a)
}

fn partitions_file(bytes: &[u8]) -> bool {
    let directory = scratch::directory();
    let path = directory.path().join("partitions");
    fs::write(&path, bytes).expect("a file can be written");
    let Ok(found) = decoders::partitions(directory.path(), 1) else { return false };
    assert_eq!(fs::read(&path).expect("it is there"), bytes, "it is never changed");
    assert_eq!(decoders::partitions(directory.path(), found).ok(), Some(found));
    true
}

fn trails() -> Vec<Vec<u8>> {
    let upgrade = What::Upgrade {
        id: 42,
        from: samples::version(1),
        to: samples::version(2),
        change: "step".into(),
        step: "evaluate".into(),
        figure: 203,
        reason: String::new(),
    };
    let role = What::Role { role: lockstep_core::command::Role::Active, term: 1, in_sync: 2 };
    let command = What::Command { command: "switchover".into(), result: "done".into() };
    let mut text = Vec::new();
    for (what, number) in [command, upgrade, role].into_iter().zip(1..) {
        let entry = TrailEntry {
            node: "a".into(),
            number,
            at_ms: 1_700_000_000_000,
            ..TrailEntry::now(Some("ledger"), "operator", "", what)
        };
        text.extend(serde_json::to_vec(&entry).expect("an entry can be written"));
        text.push(b'\n');
    }
    // The last line is cut off, as by a crash.
    let torn = text[..text.len() - 20].to_vec();
    vec![text, torn]
}

fn trail_file(bytes: &[u8]) -> bool {
    let directory = scratch::directory();
    fs::write(directory.path().join("trail.jsonl"), bytes).expect("a file can be written");
    let found = decoders::trail(directory.path()).expect("any file becomes a trail");
    for entry in &found {
        assert!(!entry.what.to_string().is_empty());
    }
    let again = decoders::trail(directory.path()).expect("it was written anew");
    assert_eq!(again, found, "what was read is kept");
    !found.is_empty()
}

fn lock_file(bytes: &[u8]) -> bool {
    let directory = scratch::directory();
    let first = DirectoryLock::take(directory.path()).expect("nobody has it");
    fs::write(directory.path().join("lock"), bytes).expect("a file can be written");
    match DirectoryLock::take(directory.path()) {
        Err(error @ DirectoryLockError::Held { .. }) => {
            assert!(error.to_string().starts_with("LS0105: "));
            drop(first);
            assert!(DirectoryLock::take(directory.path()).is_ok(), "whatever stands in it");
            true
        }
        other => panic!("it is taken: {other:?}"),
    }
}
