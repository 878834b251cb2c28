//! What keeps a library from being unloaded, habit by habit: run on a host thread that lives on, and on one that is
//! joined before the unload. Where it can't be unloaded it stays mapped and says which thread holds it; nothing crashes.
//!
//! The witness is the dynamic linker, asked by `is_mapped`. Tests take turns: they count what the process holds.

mod support;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use lockstep_loader::{
    KeptLibrary, LoadedPlugin, PluginFile, Reason, Unload, UnloadReport, is_mapped, kept, load, retry_kept,
};
use lockstep_plugin_api::host::{EntryFailure, HostedPlugin, services};
use lockstep_plugin_api::procedure::Encoding;
use support::{HOST_THREAD, Held, Rows, resident_kib, until};

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn habits() -> LoadedPlugin {
    let file = PluginFile::read(&support::plugin("habits")).expect("the plugin's file is read");
    load(&file).unwrap_or_else(|error| panic!("{error}"))
}

/// A host thread that has run a habit, shut the plugin down, and lives on.
struct Worker {
    thread: JoinHandle<()>,
    end: mpsc::Sender<()>,
    result: Result<(), EntryFailure>,
    shutdown: Result<(), Reason>,
}

impl Worker {
    /// `habit` is a value of the plugin's `Habit`, as JSON.
    fn indulge(plugin: &LoadedPlugin, habit: &str) -> Self {
        let lease = plugin.lease();
        let (end, ended) = mpsc::channel();
        let (done, result) = mpsc::channel();
        let habit = habit.to_owned();
        let work = move || {
            lease.start(&services::<Rows>()).expect("it starts");
            let hosted = HostedPlugin::new(lease.module());
            let mut run =
                hosted.begin(0, Encoding::Json, habit.as_bytes(), 0).unwrap_or_else(|why| panic!("{why}"));
            let result = run.run(0, &mut Rows::default());
            drop(run);
            done.send((result, lease.shutdown())).expect("the test listens");
            // Until the test lets go.
            let _ = ended.recv();
        };
        let thread = std::thread::Builder::new().name(HOST_THREAD.into()).spawn(work).expect("a thread");
        let (result, shutdown) = result.recv().expect("the thread says how it went");
        Worker { thread, end, result, shutdown }
    }

    fn join(self) {
        drop(self.end);
        self.thread.join().expect("the thread ends well");
    }
}

#[track_caller]
fn gone(habit: &str, unload: Unload) -> UnloadReport {
    match unload {
        Unload::Gone(report) => report,
        Unload::Kept(library) => panic!("{habit}: it stays mapped: {:?}", library.reasons),
    }
}

#[track_caller]
fn stays(habit: &str, unload: Unload) -> KeptLibrary {
    match unload {
        Unload::Kept(library) => library,
        Unload::Gone(report) => panic!("{habit}: it should have stayed: {report:?}"),
    }
}

/// Nothing of these holds the library, wherever they run. `CurrentThread` leaves a key whose destructor would bring the
/// host down when its thread ends: the loader deletes it.
const HARMLESS: [&str; 12] = [
    "\"Format\"",
    "\"Map\"",
    "\"Println\"",
    "\"Mutex\"",
    "\"CaughtPanic\"",
    "\"Panic\"",
    "\"Json\"",
    "\"Regex\"",
    "\"StaticRegex\"",
    "\"Tracing\"",
    "\"CurrentThread\"",
    "\"BadEnd\"",
];

/// These leave a destructor with the thread that they run on.
const PINNING: [&str; 6] =
    ["\"ThreadLocal\"", "\"LocalTime\"", "\"TracingDefault\"", "\"Channel\"", "\"Tokio\"", "\"Spawn\""];

/// These leave threads that live for as long as the process does.
const THREADED: [&str; 2] = ["\"StaticTokio\"", "\"GlobalPool\""];

#[test]
fn harmless_habits_hold_no_library_also_where_the_thread_lives_on() {
    let _turn = turn();
    for habit in HARMLESS {
        let held = Held::now();
        let plugin = habits();
        let worker = Worker::indulge(&plugin, habit);
        gone(habit, plugin.unload());
        // A destructor of the library that is gone would be called here.
        worker.join();
        held.assert_again();
    }
}

#[test]
fn every_habit_without_threads_of_its_own_is_gone_once_the_thread_is_joined() {
    let _turn = turn();
    for habit in HARMLESS.iter().chain(&PINNING).chain(&["\"LocalPool\""]) {
        let held = Held::now();
        let plugin = habits();
        Worker::indulge(&plugin, habit).join();
        gone(habit, plugin.unload());
        held.assert_again();
    }
}

#[test]
fn a_thread_that_lives_on_and_holds_a_destructor_is_named_and_the_library_goes_when_it_ends() {
    let _turn = turn();
    for habit in PINNING.iter().chain(&["\"LocalPool\""]) {
        let held = Held::now();
        let plugin = habits();
        let hash = plugin.hash();
        let worker = Worker::indulge(&plugin, habit);
        let library = stays(habit, plugin.unload());
        let named = |reason: &Reason| match reason {
            Reason::PinnedByThread { name, tid } => name == HOST_THREAD && *tid > 0,
            _ => false,
        };
        assert!(library.reasons.iter().all(named), "{habit}: {:?}", library.reasons);
        assert!(library.reasons[0].to_string().starts_with("LS0452: thread \"a-host-thread\""));
        assert!(is_mapped(hash) && kept().contains(&library), "{habit}");
        assert!(retry_kept().is_empty(), "{habit}: it is still held");
        worker.join();
        until("the thread is gone", || retry_kept().contains(&library.id));
        assert!(!kept().iter().any(|other| other.id == library.id), "{habit}");
        held.assert_again();
    }
}

#[test]
fn threads_in_statics_are_named_and_the_library_stays() {
    let _turn = turn();
    for habit in THREADED {
        let plugin = habits();
        Worker::indulge(&plugin, habit).join();
        let library = stays(habit, plugin.unload());
        // Its threads, and what they hold themselves.
        let is_thread = |reason: &Reason| matches!(reason, Reason::ThreadAlive { tid, .. } if *tid > 0);
        assert!(is_thread(&library.reasons[0]), "{habit}: {:?}", library.reasons);
        assert!(library.reasons[0].to_string().starts_with("LS0451: its thread"), "{:?}", library.reasons);
        assert!(library.bytes > 0);
    }
}

#[test]
fn a_detached_thread_is_named_and_the_library_goes_when_it_ends() {
    let _turn = turn();
    let held = Held::now();
    for lives_on in [false, true] {
        let (pipe, mut writer) = std::io::pipe().expect("a pipe");
        let plugin = habits();
        let habit = format!("{{\"Detached\":{}}}", pipe.as_raw_fd());
        let worker = Worker::indulge(&plugin, &habit);
        assert_eq!(worker.result, Ok(()));
        let worker = if lives_on {
            Some(worker)
        } else {
            worker.join();
            None
        };
        let library = stays(&habit, plugin.unload());
        let named =
            |reason: &Reason| matches!(reason, Reason::ThreadAlive { name, .. } if name == "detached");
        assert!(library.reasons.iter().any(named), "{:?}", library.reasons);
        // Its code is there, and it ends in peace.
        writer.write_all(b"x").expect("the thread reads");
        drop((pipe, writer));
        if let Some(worker) = worker {
            worker.join();
        }
        until("the thread is gone", || retry_kept().contains(&library.id));
    }
    held.assert_again();
}

#[test]
fn what_statics_hold_is_given_back() {
    let _turn = turn();
    let mut purged = Vec::new();
    let (mut early_kib, rounds) = (0, 40);
    for round in 0..rounds {
        let plugin = habits();
        Worker::indulge(&plugin, "\"StaticRegex\"").join();
        purged.push(gone("StaticRegex", plugin.unload()).purged_bytes);
        if round == rounds / 4 {
            early_kib = resident_kib();
        }
    }
    // The expression alone, some of it made at its first use.
    assert!(purged.iter().all(|bytes| *bytes > 10_000), "{purged:?}");
    let grown_kib = resident_kib().saturating_sub(early_kib);
    let lost_kib = purged.iter().skip(rounds / 4).sum::<usize>() as u64 / 1024;
    assert!(grown_kib < lost_kib / 2, "{grown_kib} KiB more after {lost_kib} KiB were held by statics");
}

#[test]
fn panics_keep_no_backtraces() {
    const CHILD: &str = "LOCKSTEP_TEST_BACKTRACES";
    if std::env::var_os(CHILD).is_none() {
        // The variable is read by each library's own standard library, at its first panic.
        let _turn = turn();
        let status = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "panics_keep_no_backtraces", "--nocapture"])
            .envs([("RUST_BACKTRACE", "1"), (CHILD, "1")])
            .status()
            .expect("it runs");
        assert!(status.success(), "{status}");
        return;
    }
    let mut early_kib = 0;
    for round in 0..12 {
        let plugin = habits();
        let worker = Worker::indulge(&plugin, "\"Panic\"");
        let Err(EntryFailure::Panicked(what)) = &worker.result else { panic!("{:?}", worker.result) };
        assert!(what.starts_with("a habit of panicking at ") && what.contains("lib.rs:"), "{what}");
        worker.join();
        gone("Panic", plugin.unload());
        if round == 2 {
            early_kib = resident_kib();
        }
    }
    // One generation's symbols, resolved for a backtrace, take tens of megabytes.
    let grown_kib = resident_kib().saturating_sub(early_kib);
    assert!(grown_kib < 8_000, "{grown_kib} KiB more after nine generations that panicked");
}

#[test]
fn a_shutdown_that_panics_is_told_and_the_library_goes_all_the_same() {
    let _turn = turn();
    let plugin = habits();
    let worker = Worker::indulge(&plugin, "\"BadEnd\"");
    let Err(reason) = &worker.shutdown else { panic!("it should have panicked") };
    assert_eq!(reason.code(), "LS0457");
    assert!(reason.to_string().contains("a bad end at "), "{reason}");
    worker.join();
    gone("BadEnd", plugin.unload());
}

#[test]
fn a_plugin_that_was_started_and_not_shut_down_stays() {
    let _turn = turn();
    let plugin = habits();
    let lease = plugin.lease();
    std::thread::spawn(move || lease.start(&services::<Rows>())).join().expect("it ends").expect("it starts");
    let library = stays("no shutdown", plugin.unload());
    assert_eq!(library.reasons, [Reason::NotShutDown]);
}

#[test]
fn one_that_is_given_up_or_dropped_stays_and_is_counted() {
    let _turn = turn();
    let given_up = habits().abandon();
    assert_eq!(given_up.reasons, [Reason::Abandoned]);
    let before = kept().len();
    drop(habits());
    assert_eq!(kept().len(), before + 1);
    assert!(retry_kept().is_empty(), "nobody knows whether these are used");
}
