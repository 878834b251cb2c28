//! What processors do as processes: with bad input, with plugins that are none, when killed, when swapped.
//!
//! Everything is real: `lockstepd`, `lockstep`, plugin files, TCP. Nothing sleeps to be in step: what is waited for is
//! waited for by name, with a bound.

mod api;
mod applications;
mod backups;
mod bad_configuration;
mod bad_events;
mod bad_plugins;
mod bench;
mod evaluation;
mod faults;
mod figures;
mod hangs;
mod kept;
mod lives;
mod orders;
mod partitions;
mod poison;
mod room;
mod starts;
mod swaps;
mod telling;
mod trails;
mod upgrades;
mod wrong_files;

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rig::Failure;
use rig::artifacts::Artifacts;
use rig::child::{Process, guarded};
use rig::load::{Load, LoadSettings, Pace};
use rig::pair::Pair;
use tempfile::TempDir;

/// Programs and plugins, built once.
fn artifacts() -> &'static Artifacts {
    static ARTIFACTS: OnceLock<Artifacts> = OnceLock::new();
    ARTIFACTS.get_or_init(|| Artifacts::build(|_| {}).unwrap_or_else(|failure| panic!("{failure}")))
}

/// A pair on version 1, in lock step.
fn pair() -> (TempDir, Pair) {
    let directory = tempfile::tempdir().unwrap();
    let pair = Pair::start(artifacts(), directory.path(), artifacts().ledger_v1());
    let pair = pair.unwrap_or_else(|failure| panic!("{failure}"));
    (directory, pair)
}

/// A small load on `pair`, under way.
fn load(pair: &Pair) -> Load {
    let record = pair.directory().join("load.record");
    let mut settings = LoadSettings::new(pair.events(), Pace::Open { rate_per_s: 400.0 }, record);
    settings.clients = 2;
    settings.accounts = 200;
    settings.deadline_ms = 20_000;
    let mut load = Load::start(artifacts().rig(), settings).unwrap_or_else(|failure| panic!("{failure}"));
    load.phase("test").unwrap_or_else(|failure| panic!("{failure}"));
    load.wait_answers(40).unwrap_or_else(|failure| panic!("{failure}"));
    load
}

/// Runs `lockstepd` with this configuration to its end; one that goes on running is a failure.
fn lockstepd(config: &Path) -> Output {
    let mut command = guarded(artifacts().rig(), artifacts().lockstepd());
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn("lockstepd", &mut command).unwrap();
    let status = process.wait(Duration::from_secs(20)).unwrap_or_else(|failure| panic!("{failure}"));
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    let child = process.child();
    std::io::Read::read_to_end(&mut child.stdout.take().unwrap(), &mut output.stdout).unwrap();
    std::io::Read::read_to_end(&mut child.stderr.take().unwrap(), &mut output.stderr).unwrap();
    output
}

/// A configuration with these lines in place of the usual ones.
fn configuration(directory: &Path, http: &str, data: &Path, plugin: &Path) -> std::path::PathBuf {
    let path = directory.join("node.ron");
    let text = format!(
        "(\n    node: \"a\",\n    data: {data:?},\n    listen: (http: {http:?}, events: \"127.0.0.1:0\", \
         link: \"127.0.0.1:0\"),\n    arbiter: Local({:?}),\n    applications: [(name: \"ledger\", plugin: {plugin:?})],\n)\n",
        directory.join("arbiter"),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Asserts that a start failed as a start should: a status, no panic, a code, the words, what to do next.
#[track_caller]
fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it should not have started: {said}");
    assert!(output.status.code().is_some(), "it was ended by a signal: {:?}: {said}", output.status);
    assert!(!said.contains("panicked"), "it panicked: {said}");
    assert!(said.contains("error LS") || said.contains("LS0"), "no code: {said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not said: {said}");
    }
}

/// The failure of something that must fail.
#[track_caller]
fn failure<T>(result: Result<T, Failure>) -> String {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(failure) => failure.to_string(),
    }
}

/// The pair serves: a load runs on it, and everything that it was told is in both databases.
fn assert_serves_and_holds(mut pair: Pair) {
    let stopped = load(&pair).stop().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
}
