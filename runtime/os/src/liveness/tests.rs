//! A holder in another process, killed; released; replaced.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::random_u128;

const CHILD_STORE: &str = "LOCKSTEP_TEST_LIVENESS_STORE";

fn unique_name() -> String {
    format!("test-{:032x}", random_u128().expect("randomness"))
}

/// Not a test of its own: the process that the others kill. It holds the mutex until its input ends.
#[test]
fn child_that_holds() {
    let Ok(name) = std::env::var(CHILD_STORE) else { return };
    let lock = LivenessLock::hold(&name).expect("nobody else holds it");
    println!("\nholding");
    std::io::stdout().flush().expect("the parent listens");
    let _ = std::io::stdin().read_line(&mut String::new());
    drop(lock);
}

/// A process that holds the mutex; killed when dropped. Its output is kept open, for it writes to the end.
struct Holder {
    child: Child,
    _stdout: BufReader<ChildStdout>,
}

impl Holder {
    fn start(name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--exact", "--nocapture", "liveness::tests::child_that_holds"])
            .env(CHILD_STORE, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        let holds = stdout.by_ref().lines().any(|line| line.expect("a line") == "holding");
        assert!(holds, "the child says that it holds");
        Self { child, _stdout: stdout }
    }

    fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    fn finish(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(name: &str) -> (LivenessWatch, Receiver<Died>) {
    let (tx, rx) = channel();
    let watch = LivenessWatch::spawn(name, move |died| {
        let _ = tx.send(died);
    });
    (watch.expect("the watch starts"), rx)
}

#[test]
fn every_watcher_learns_that_a_holder_was_killed_and_the_next_one_can_hold() {
    let name = unique_name();
    let holder = Holder::start(&name);
    let pid = holder.child.id();
    assert!(is_living(&name).expect("it can be asked"));
    let watches: Vec<_> = (0..3).map(|_| watch(&name)).collect();
    holder.kill();
    for (_watch, died) in &watches {
        assert_eq!(died.recv().expect("a word"), Died::OwnerDied { pid });
    }
    assert!(!is_living(&name).expect("it can be asked"));
    let next = LivenessLock::hold(&name).expect("a successor can hold it");
    assert!(is_living(&name).expect("it can be asked"));
    drop(next);
    assert!(!path_exists(&name));
}

#[test]
fn a_watcher_that_wakes_late_tells_a_death_although_a_successor_holds() {
    let name = unique_name();
    let first = Holder::start(&name);
    first.kill();
    // Nobody saw the death; the successor took the page over with the dead one's mark in it.
    let second = Holder::start(&name);
    let pid = second.child.id();
    let (_watch, died) = watch(&name);
    second.kill();
    assert_eq!(died.recv().expect("a word"), Died::OwnerDied { pid });
    let _last = LivenessLock::hold(&name).expect("the page is still good");
}

#[test]
fn an_orderly_end_is_told_from_a_death_and_leaves_no_file() {
    let name = unique_name();
    let holder = Holder::start(&name);
    let (_watch, died) = watch(&name);
    holder.finish();
    assert_eq!(died.recv().expect("a word"), Died::Released);
    assert!(!path_exists(&name));
}

#[test]
fn a_second_holder_is_refused_and_told_who_holds() {
    let name = unique_name();
    let _first = LivenessLock::hold(&name).expect("nobody holds it");
    let error = LivenessLock::hold(&name).expect_err("it is held");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn nobody_there_is_said_at_once() {
    let name = unique_name();
    assert!(!is_living(&name).expect("it can be asked"));
    let (_watch, died) = watch(&name);
    assert_eq!(died.recv().expect("a word"), Died::Absent);
}

#[test]
fn a_dropped_watch_says_nothing_any_more() {
    let name = unique_name();
    let lock = LivenessLock::hold(&name).expect("nobody holds it");
    let (watch, died) = watch(&name);
    drop(watch);
    drop(lock);
    // The callback is gone with its sender, not called.
    assert!(died.recv().is_err());
}

#[test]
fn holding_and_letting_go_in_a_race_ends_with_one_page_at_most() {
    let name = unique_name();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    match LivenessLock::hold(&name) {
                        Ok(_held) => {}
                        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
                    }
                }
            });
        }
    });
    assert!(!path_exists(&name));
}

#[test]
fn names_that_could_lead_elsewhere_are_refused() {
    for name in ["", "../x", "a/b", "a b", &"x".repeat(129)] {
        let error = LivenessLock::hold(name).expect_err("a bad name");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn a_foreign_file_under_the_name_is_an_error_and_not_a_crash() {
    let name = unique_name();
    let path = path_of(&name);
    std::fs::write(&path, b"not a page").expect("a file in shared memory");
    let error = LivenessLock::hold(&name).expect_err("not ours");
    std::fs::remove_file(&path).expect("it was there");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("remove it"), "{error}");
}

fn path_of(name: &str) -> std::path::PathBuf {
    let boot = crate::boot_id().expect("the boot id");
    format!("/dev/shm/lockstep-{boot}-{name}").into()
}

fn path_exists(name: &str) -> bool {
    path_of(name).exists()
}
