//! What the hosts do under load, as `llvm` keeps it: with it the compiler puts what is run often side by side, and inlines by it
//! (profile-guided optimisation). A transfer runs some 50 KB of code once from end to end, so where it lies matters.
//!
//! The build that counts is one of its own, in a target folder of its own. What no load here runs counts as cold: so there is one
//! for each way that an event takes through a pair, and a beginning from files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rig::artifacts::{Artifacts, target_directory};
use rig::bench::{self, Shape, What, Whom};
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde_json::json;

use crate::{Outcome, say};

/// What runs in a profile.
const PACKAGES: [&str; 5] = ["lockstepd", "lockstep", "rig", "ledger-v1-so", "ledger-v2-so"];
/// How many accounts there are.
const ACCOUNTS: u64 = 100_000;

/// The compiler's tools.
struct Tools {
    /// The machine's name for the compiler.
    host: String,
    /// Makes one file of many.
    llvm_profdata: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, Failure> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc).args(["--print", "target-libdir"]).output();
        let output = output.map_err(|error| Failure::new(format!("rustc can't be run: {error}")))?;
        // …/rustlib/HOST/lib; the tools lie beside it.
        let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let of_host = libraries.parent().unwrap_or(&libraries);
        let host = of_host.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let llvm_profdata = of_host.join("bin").join("llvm-profdata");
        if !llvm_profdata.exists() {
            return Err(Failure::new(format!(
                "there is no {}; `rustup component add llvm-tools` brings it",
                llvm_profdata.display()
            )));
        }
        Ok(Tools { host, llvm_profdata })
    }
}

/// Runs each load for `seconds` and writes what was counted to `into`.
///
/// # Errors
/// When a tool is missing, or something can't be built or run.
pub fn run(directory: &Path, seconds: u64, into: Option<&Path>) -> Result<Outcome, Failure> {
    let tools = Tools::find()?;
    let target = target_directory()?;
    let into = std::path::absolute(into.unwrap_or(&target.join("lockstep.profdata")))?;
    let flags_by_it = flags_with("-Cprofile-use", &into)?;
    let own = target.join("counting");
    // Known when it is built, so the same each time: cargo builds nothing twice.
    let counted = own.join("counted");
    if counted.exists() {
        std::fs::remove_dir_all(&counted)?;
    }
    say("building hosts that count, which takes some minutes the first time");
    let flags = flags_with("-Cprofile-generate", &counted)?;
    // With a target that is named, the flags are not for build scripts.
    let environment: [(&str, OsString); 3] = [
        ("RUSTFLAGS", flags.into()),
        ("CARGO_BUILD_TARGET", tools.host.clone().into()),
        ("CARGO_TARGET_DIR", own.into()),
    ];
    let artifacts = Artifacts::build_some(&PACKAGES, &environment, say)?;
    let events = loads(&artifacts, directory, seconds as f64)?;
    let files = profiles(&counted)?;
    let mut merge = Command::new(&tools.llvm_profdata);
    let output = merge.args(["merge", "-sparse", "-o"]).arg(&into).args(&files).output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("llvm-profdata can't merge what was counted: {}", error.trim())));
    }
    std::fs::remove_dir_all(&counted)?;
    let kilobytes = std::fs::metadata(&into)?.len() / 1_000;
    // With the same target as when it was counted: names of functions depend on it, and it is by names that they are found.
    let with = format!("RUSTFLAGS='{flags_by_it}' cargo build --release --target {}", tools.host);
    let text = format!(
        "{kilobytes} KB from {events} events in {}\nhosts and plugins by it, which land in {}:\n  {with} -p lockstepd -p lockstep -p YOUR-PLUGIN",
        into.display(),
        target.join(&tools.host).join("release").display(),
    );
    let json = json!({"file": into, "kilobytes": kilobytes, "events": events, "build": with});
    Ok(Outcome { ok: events > 0, json, text })
}

/// The flags for the compiler that this was called with, and one more. They are divided by spaces, so a path has none.
fn flags_with(flag: &str, path: &Path) -> Result<String, Failure> {
    let path = path.to_str().filter(|path| !path.contains(char::is_whitespace)).ok_or_else(|| {
        let path = path.display();
        Failure::new(format!(
            "RUSTFLAGS can't name {path}; set `--into` and CARGO_TARGET_DIR to paths without spaces"
        ))
    })?;
    let before = std::env::var("RUSTFLAGS").unwrap_or_default();
    Ok(format!("{before} {flag}={path}").trim().to_owned())
}

/// Runs all loads; how many events were answered.
fn loads(artifacts: &Artifacts, directory: &Path, seconds: f64) -> Result<u64, Failure> {
    let shape = |connections, in_flight| Shape::closed(ACCOUNTS, connections, in_flight, seconds);
    let mut events = 0;
    let mut load = |name: &str, whom: &Whom, shape: &Shape| {
        interrupt::check()?;
        let seen = bench::run(artifacts, whom, shape)?;
        say(&format!("{name:<30} {:>8.0}/s, of code that counts", seen.rate_per_s));
        events += seen.events;
        Ok::<_, Failure>(())
    };
    for durability in ["fsync", "replicated"] {
        let settings = || Settings { durability: Some(durability.into()), ..Settings::default() };
        let directory = directory.join(durability);
        std::fs::create_dir_all(&directory)?;
        let mut pair =
            Pair::start_with(artifacts, &directory, artifacts.ledger_v1(), [settings(), settings()])?;
        for (connections, in_flight) in [(8, 256), (64, 1), (1, 1)] {
            let name = format!("{durability} {connections}x{in_flight}");
            load(&name, &Whom::pair(&pair), &shape(connections, in_flight))?;
        }
        pair.end()?;
        pair.start_again()?;
        if durability == "replicated" {
            let over_http = Shape { what: What::TransfersOverHttp, ..shape(64, 1) };
            load("over HTTP 64x1", &Whom::pair_over_http(&pair), &over_http)?;
            load("balances 8x256", &Whom::pair(&pair), &Shape { what: What::Balances, ..shape(8, 256) })?;
            pair.load_plugin(artifacts.ledger_v2())?;
            pair.wait_standby_on(artifacts.ledger_v2(), Duration::from_secs(30))?;
            load("while versions differ 8x256", &Whom::pair(&pair), &shape(8, 256))?;
        }
        pair.end()?;
    }
    Ok(events)
}

/// The files that processes left when they ended.
fn profiles(counted: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(counted)? {
        files.push(entry?.path());
    }
    if files.is_empty() {
        return Err(Failure::new(format!("no process has left what it counted in {}", counted.display())));
    }
    Ok(files)
}
