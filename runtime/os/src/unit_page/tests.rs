//! Children that die in a piece, and what they leave in the file and on the connection.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::signals::Guard;
use super::{Cause, Left, NOTE_BYTES, Piece, UnitPage, decode};

fn piece(unit: &str) -> Piece<'_> {
    Piece {
        kind: 2,
        session: 7,
        number: 9,
        key: b"",
        plugin: &[5; 32],
        procedure: b"transfer",
        unit: unit.as_bytes(),
        hang_ms: 100,
    }
}

fn left(unit: &str, cause: Cause) -> Left {
    let (procedure, unit) = ("transfer".into(), unit.into());
    Left { kind: 2, session: 7, number: 9, key: String::new(), plugin: [5; 32], procedure, unit, cause }
}

#[expect(unconditional_recursion, reason = "it is to run over its stack")]
fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    overflow(depth + 1).wrapping_add(room[3])
}

/// Not a test of its own: the child of those below. Its standard input is the connection.
#[test]
fn child_that_dies_in_a_piece() {
    let Ok(path) = std::env::var("LOCKSTEP_TEST_UNIT_PAGE") else { return };
    let how = std::env::var("LOCKSTEP_TEST_DEATH").expect("how is said");
    let (page, _) = UnitPage::open(Path::new(&path)).expect("a page");
    let guard = Guard::new(Arc::new(page)).expect("a guard");
    let connection: OwnedFd =
        rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).expect("the connection is there");
    assert!(connection.as_raw_fd() >= 3);
    guard.set_connection(Some(connection));
    guard.enter().expect("an alternate stack");
    guard.page().begin(&piece("check"));
    assert!(guard.page().end());
    if how != "idle" {
        guard.page().begin(&piece("debit"));
    }
    match how.as_str() {
        "abort" | "idle" => std::process::abort(),
        "overflow" => assert_ne!(std::hint::black_box(overflow(0)), 0),
        "kill" => rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .expect("it dies"),
        "segv" => {
            // SAFETY: it is not: that is what the test is for.
            let read = unsafe { std::hint::black_box(16 as *const u64).read_volatile() };
            assert_eq!(read, 0);
        }
        "elsewhere" => {
            // Another thread's death is no fault of the piece.
            let other = std::thread::spawn(|| std::process::abort());
            let _ = other.join();
        }
        other => panic!("{other} is no death"),
    }
}

/// The signal that ended the child, what it left in the file, and what it wrote.
fn die(how: &str) -> (Option<i32>, Option<Left>, Vec<u8>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("unit.page");
    let (mut ours, theirs) = UnixStream::pair().expect("a connection");
    let status = Command::new(std::env::current_exe().expect("the test binary"))
        .args(["--exact", "unit_page::tests::child_that_dies_in_a_piece"])
        .env("LOCKSTEP_TEST_UNIT_PAGE", &path)
        .env("LOCKSTEP_TEST_DEATH", how)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the child runs");
    let mut wrote = Vec::new();
    ours.read_to_end(&mut wrote).expect("the connection ends");
    let (_page, left) = UnitPage::open(&path).expect("the page is there");
    let (_page, again) = UnitPage::open(&path).expect("the page is there");
    assert_eq!(again, None, "what was left is given once");
    (status.signal(), left.map(|bytes| decode(&bytes).expect("it was one")), wrote)
}

#[test]
fn a_fatal_signal_in_a_piece_marks_the_page_and_sends_it() {
    for (how, dies_by, noted) in [
        ("abort", libc::SIGABRT, libc::SIGABRT),
        ("segv", libc::SIGSEGV, libc::SIGSEGV),
        // The standard library's handler says that the stack has run over, and aborts.
        ("overflow", libc::SIGABRT, libc::SIGSEGV),
    ] {
        let (signal, in_file, wrote) = die(how);
        assert_eq!(signal, Some(dies_by), "{how}");
        let expected = left("debit", Cause::Killed { signal: noted as u32 });
        assert_eq!(in_file.as_ref(), Some(&expected), "{how}");
        assert_eq!(wrote.len(), NOTE_BYTES, "{how}: once, and whole");
        assert_eq!(decode(&wrote), Some(expected), "{how}");
    }
}

#[test]
fn what_leaves_no_note_is_still_in_the_file() {
    for how in ["kill", "elsewhere"] {
        let (signal, in_file, wrote) = die(how);
        assert!(signal.is_some());
        assert_eq!(in_file, Some(left("debit", Cause::Unknown)), "{how}");
        assert!(wrote.is_empty(), "{how}");
    }
}

#[test]
fn a_death_outside_of_a_piece_leaves_nothing() {
    let (signal, in_file, wrote) = die("idle");
    assert_eq!((signal, in_file), (Some(libc::SIGABRT), None));
    assert!(wrote.is_empty());
}

#[test]
fn a_piece_that_stands_still_is_given_up_unless_it_has_returned() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("unit.page");
    let (page, _) = UnitPage::open(&path).expect("a page");
    assert_eq!(page.running(), None);
    page.begin(&piece("debit"));
    let (sequence, hang_ms) = page.running().expect("it runs");
    assert_eq!(hang_ms, 100);
    assert!(page.end(), "it has returned");
    assert_eq!(page.give_up(sequence, 120), None, "nothing runs");
    page.begin(&piece("credit"));
    assert_eq!(page.give_up(sequence, 120), None, "another one runs");
    assert!(!page.is_given_up());
    let (sequence, _) = page.running().expect("it runs");
    let note = page.give_up(sequence, 130).expect("it stands still");
    assert_eq!(decode(&note), Some(left("credit", Cause::Hung { ms: 130 })));
    assert!(page.is_given_up() && page.running().is_none(), "once");
    assert!(!page.end(), "its return does not count any more");
    let (_page, left_there) = UnitPage::open(&path).expect("the page is there");
    let left_there = left_there.expect("also for the next process");
    assert_eq!(decode(&left_there), Some(left("credit", Cause::Hung { ms: 130 })));
}

/// What comes of a return and of a watchdog at the same moment: one of the two.
#[test]
fn a_return_and_a_giving_up_at_the_same_moment_never_both_succeed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for round in 0..200 {
        let (page, _) = UnitPage::open(&directory.path().join(format!("{round}.page"))).expect("a page");
        page.begin(&piece("debit"));
        let (sequence, _) = page.running().expect("it runs");
        let at_once = std::sync::Barrier::new(2);
        let (ended, given_up) = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                at_once.wait();
                page.give_up(sequence, 120).is_some()
            });
            at_once.wait();
            let ended = page.end();
            (ended, other.join().expect("it gives up or not"))
        });
        assert!(ended != given_up, "round {round}: returned {ended}, given up {given_up}");
    }
}

#[test]
fn long_names_are_cut_and_foreign_bytes_are_no_note() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("unit.page");
    let (page, _) = UnitPage::open(&path).expect("a page");
    let long = [b'x'; 300];
    page.begin(&Piece { key: &long, procedure: &long, unit: &long, session: 0, ..piece("") });
    let (_, left) = UnitPage::open(&path).expect("the page is there");
    let bytes = left.expect("a piece ran");
    let read = decode(&bytes).expect("it is a note");
    assert_eq!((read.key.len(), read.procedure.len(), read.unit.len()), (128, 64, 64));
    assert_eq!(decode(&bytes[1..]), None);
    assert_eq!(decode(&[0xff; NOTE_BYTES]), None);
    for at in 0..NOTE_BYTES {
        // Whatever is damaged, nothing is read beyond a bound.
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let _ = decode(&damaged);
    }
}
