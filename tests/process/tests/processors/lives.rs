//! A processor's life under a service manager: it says when it serves and that it lives, hands over before it ends, and
//! writes its log as it is told.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lockstep_core::command::Role;
use rig::admin;
use rig::child::{Process, guarded};
use rig::node::Settings;
use rig::pair::Pair;
use serde_json::Value;

use crate::{artifacts, assert_serves_and_holds, configuration, load};

const PATIENCE: Duration = Duration::from_secs(30);

/// The service manager's end of `sd_notify`.
struct NotifySocket(UnixDatagram);

impl NotifySocket {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        NotifySocket(socket)
    }

    /// The next word, if one comes soon.
    fn word(&self) -> Option<String> {
        let mut bytes = [0; 1024];
        let read = self.0.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..read]).trim().to_owned())
    }

    /// Words until each of these beginnings has come once.
    #[track_caller]
    fn hear_all(&self, beginnings: &[&str]) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut missing = beginnings.to_vec();
        let mut heard = Vec::new();
        while Instant::now() < until {
            if let Some(word) = self.word() {
                missing.retain(|beginning| !word.starts_with(beginning));
                heard.push(word);
                if missing.is_empty() {
                    return heard;
                }
            }
        }
        panic!("{missing:?} was not said; heard: {heard:?}");
    }
}

#[test]
fn the_service_manager_hears_that_it_is_ready_that_it_lives_what_it_does_and_that_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify.sock");
    let manager = NotifySocket::at(&path);
    let managed = Settings {
        environment: vec![("NOTIFY_SOCKET".into(), path.clone()), ("WATCHDOG_USEC".into(), "400000".into())],
        ..Settings::default()
    };
    let plugin = artifacts().ledger_v1();
    let pair = Pair::start_with(artifacts(), directory.path(), plugin, [managed, Settings::default()]);
    let mut pair = pair.unwrap_or_else(|failure| panic!("{failure}"));
    // In no order: what it does may change for the last time before it is ready or after.
    let heard = manager.hear_all(&["READY=1", "WATCHDOG=1", "STATUS=a: ledger "]);
    assert!(heard.iter().all(|word| !word.contains("STOPPING")), "{heard:?}");
    // A process that stands still gives no sign of life.
    pair.node_mut(0).process().unwrap().stop();
    while manager.word().is_some() {}
    let silent = Instant::now();
    while silent.elapsed() < Duration::from_secs(1) {
        assert_eq!(manager.word(), None, "it stands still");
    }
    pair.node_mut(0).process().unwrap().go_on();
    manager.hear_all(&["WATCHDOG=1"]);
    pair.wait_in_lock_step(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
    let status = pair.node_mut(0).end().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    let heard = manager.hear_all(&["STOPPING=1"]);
    assert!(!heard.iter().any(|word| word == "READY=1"), "{heard:?}");
    pair.restart(0).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_in_lock_step(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
    assert_serves_and_holds(pair);
}

/// No takeover: the partner is active by the switchover that the end begins with, and no client waits for a time-out.
#[test]
fn sigterm_hands_over_first_and_then_ends() {
    let (_directory, mut pair) = crate::pair();
    let mut load = load(&pair);
    let active = pair.active().unwrap();
    load.phase("end").unwrap();
    let status = pair.node_mut(active).end().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    let group = pair.group(1 - active).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(admin::own_role(&group), Some(Role::Active));
    assert_eq!((group.counts.switchovers, group.counts.takeovers), (1, 0));
    let log = std::fs::read_to_string(pair.node(active).log()).unwrap();
    assert!(log.contains("handed over to the partner"), "{log}");
    load.wait_answers(40).unwrap_or_else(|failure| panic!("{failure}"));
    pair.restart(active).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_in_lock_step(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(stopped.done.failures, [""; 0], "every request was answered");
    // Who ends may close its connections, and nobody else.
    let ended = pair.node(active).ready().events.clone();
    let others: Vec<_> = stopped.done.dropped.iter().filter(|dropped| dropped.address != ended).collect();
    assert!(others.is_empty(), "{others:?}");
    let audit = pair.end_and_audit(&stopped.record, &[], &[]).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
}

#[test]
fn the_log_on_standard_error_is_json_when_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = configuration(directory.path(), "127.0.0.1:0", &data, artifacts().ledger_v1());
    let log = directory.path().join("log");
    let mut command = guarded(artifacts().rig(), artifacts().lockstepd());
    command.arg("--config").arg(&config).args(["--log", "json"]).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(std::fs::File::create(&log).unwrap());
    let mut process = Process::spawn("lockstepd", &mut command).unwrap();
    let until = Instant::now() + PATIENCE;
    let socket = data.join("admin.sock");
    while admin::status(&socket).is_err() {
        assert!(Instant::now() < until, "it does not serve: {}", std::fs::read_to_string(&log).unwrap());
        std::thread::yield_now();
    }
    process.ask_to_end();
    let status = process.wait(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(status.success(), "{status:?}");
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["level"].is_string() && value["timestamp"].is_string(), "{line}");
    }
}
