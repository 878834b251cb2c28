//! An event in a fresh program, where the application's statics are as at a program's start (R20).
//!
//! A test's own program has one set of statics, and other tests have used them. So the test is started once more, by its
//! name, as a child process; the first thing that it does with the kit finds the job there, in place of the test: a pair
//! is started again from what the databases held, as processors are, and runs the event.
//!
//! Deliberately absent: a child where the test's name is not known, as in a program that runs its tests on its main
//! thread; that is said, and no failure.
//!
//! Invariant: a child does its job or nothing: it starts no children of its own.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};

use lockstep_plugin_api::Application;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::desk::{Desk, Snapshot};
use crate::linked::descriptor;
use crate::trace::Traced;

/// Names the directory of the job to a child.
const VARIABLE: &str = "LOCKSTEP_TEST_KIT_JOB";
const JOB: &str = "job";
const RESULT: &str = "result";

/// What a child is to do.
#[derive(Serialize, Deserialize)]
struct Job {
    application: String,
    snapshot: Snapshot,
    call: Call,
}

/// The traces of the event, run twice in a row, or the message of the panic that came of it.
pub(crate) type Ran = Result<[Vec<Traced>; 2], String>;

/// An application's name and version: the same in a test and in its child.
fn identity(application: &'static Application) -> String {
    let descriptor = descriptor(application);
    format!("{} {}", descriptor.name, descriptor.version)
}

/// Runs the event twice, on pairs that are started again from `snapshot`.
#[track_caller]
pub(crate) fn run_twice(
    application: &'static Application,
    snapshot: &Snapshot,
    call: &Call,
) -> [Vec<Traced>; 2] {
    [(), ()].map(|()| {
        let mut desk = Desk::restarted(snapshot, application);
        desk.run(call);
        desk.trace().to_vec()
    })
}

/// As [`run_twice`], in a fresh program. Nothing where there can be none, or this is one.
pub(crate) fn in_a_fresh_program(
    application: &'static Application,
    snapshot: &Snapshot,
    call: &Call,
) -> Option<Ran> {
    if std::env::var_os(VARIABLE).is_some() {
        return None;
    }
    let Some(test) = test_name() else {
        eprintln!("the test kit does not know the name of this test, and runs it in no fresh program");
        return None;
    };
    let job = Job { application: identity(application), snapshot: snapshot.clone(), call: call.clone() };
    match started(&test, &job) {
        Ok(Some(ran)) => Some(ran),
        Ok(None) => {
            eprintln!("a fresh program of test `{test}` did not come to {}", job.application);
            None
        }
        Err(why) => panic!("`{test}` can't be run in a fresh program: {why}"),
    }
}

/// Starts the child and waits for its end; nothing when it did not find its job.
fn started(test: &str, job: &Job) -> Result<Option<Ran>, String> {
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("{what}: {why}");
    let directory = tempfile::tempdir().map_err(|why| failed("a directory", &why))?;
    let bytes = postcard::to_stdvec(job).map_err(|why| failed("the job", &why))?;
    std::fs::write(directory.path().join(JOB), bytes).map_err(|why| failed("the job", &why))?;
    let program = std::env::current_exe().map_err(|why| failed("this program", &why))?;
    Command::new(program)
        .args([test, "--exact", "--include-ignored", "--nocapture"])
        .env(VARIABLE, directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|why| failed("the program", &why))?;
    let Ok(bytes) = std::fs::read(directory.path().join(RESULT)) else { return Ok(None) };
    postcard::from_bytes(&bytes).map(Some).map_err(|why| failed("the result", &why))
}

/// The name of the test that runs: the test harness gives it to the test's thread.
fn test_name() -> Option<String> {
    let thread = std::thread::current();
    if let Some(name) = thread.name().filter(|name| *name != "main") {
        return Some(name.to_owned());
    }
    // The only one may run on the main thread; it was asked for by name.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    match names.as_slice() {
        [name] if arguments.iter().any(|argument| argument == "--exact") => Some((*name).clone()),
        _ => None,
    }
}

/// In a child whose job is about one of these applications: does it, and ends the process.
pub(crate) fn take_over(library: &[&'static Application]) {
    let Some(directory) = std::env::var_os(VARIABLE) else { return };
    if let Some(status) = done(&directory, library) {
        std::process::exit(status);
    }
}

fn done(directory: &OsString, library: &[&'static Application]) -> Option<i32> {
    let directory = Path::new(directory);
    let job: Job = postcard::from_bytes(&std::fs::read(directory.join(JOB)).ok()?).ok()?;
    let application = library.iter().find(|application| identity(application) == job.application)?;
    let ran = catch_unwind(AssertUnwindSafe(|| run_twice(application, &job.snapshot, &job.call)));
    let ran: Ran = ran.map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("a panic without a message").to_owned(),
    });
    let written = postcard::to_stdvec(&ran).map(|bytes| std::fs::write(directory.join(RESULT), bytes));
    Some(i32::from(!matches!(written, Ok(Ok(())))))
}
