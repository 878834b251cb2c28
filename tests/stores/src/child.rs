//! Work that is done in a process of its own, so that memory, processor time and bytes written are its alone, and so that it
//! can be killed: this program with a job as its argument.
//!
//! A child says what came of its job in one line of JSON. Then it waits to be killed: nothing is closed in order. It ends by
//! itself when its parent is gone.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::candidates::{Failure, Setting};
use crate::{checkpoint, crash, redo};

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Job {
    /// Write records and measure it.
    Redo(redo::Plan),
    /// Open a log that was written, and read all of it.
    Reopen(Setting),
    /// Open a log, look what it holds, and write on, telling each record that is acknowledged.
    Write(Setting),
    /// Open a log and look what it holds.
    Look(Setting),
    /// Put rows into a checkpoint.
    Rows(checkpoint::Plan),
    /// Read a checkpoint.
    Load(checkpoint::Plan),
}

/// Does a job, in the child.
///
/// # Errors
/// When it can't be done.
pub fn carry_out(job: &Job) -> Result<(), Failure> {
    match job {
        Job::Redo(plan) => say(&redo::write(plan)?),
        Job::Reopen(setting) => say(&redo::reopen(setting)?),
        Job::Write(setting) => return crash::write(setting),
        Job::Look(setting) => say(&crash::look(setting)?),
        Job::Rows(plan) => say(&checkpoint::rows(plan)?),
        Job::Load(plan) => say(&checkpoint::load(plan)?),
    }
    Ok(())
}

fn say(outcome: &impl Serialize) {
    println!("{}", serde_json::json!(outcome));
    // Until the parent has had enough of it.
    let _ = std::io::stdin().read(&mut [0]);
}

/// A child at work; killed when this goes.
pub struct Worker {
    child: Child,
    /// What it says.
    pub says: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(job: &Job) -> Result<Worker, Failure> {
        let mut child = Command::new(program()?)
            .args(["child", &serde_json::to_string(job)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let says = BufReader::new(child.stdout.take().ok_or("its output is not there")?);
        Ok(Worker { child, says })
    }

    /// `SIGKILL`.
    pub fn kill(&mut self) {
        // It fails for one that has ended by itself alone.
        let _ = self.child.kill();
    }

    /// The next line that it says; nothing once it has ended.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = String::new();
        // Half a line was said by one that was killed.
        Ok((self.says.read_line(&mut line)? > 0 && line.ends_with('\n')).then(|| line.trim().to_owned()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| format!("this program's path: {error}").into())
}

/// Has a child do `job`, kills it as soon as it has said what came of it, and gives that.
///
/// # Errors
/// When it says nothing; it has told why on standard error.
pub fn have_done<T: DeserializeOwned>(job: &Job) -> Result<T, Failure> {
    let mut worker = Worker::start(job)?;
    let line = worker.line()?.ok_or_else(|| format!("a child failed with {job:?}"))?;
    Ok(serde_json::from_str(&line)?)
}
