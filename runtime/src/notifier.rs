//! Runs the operators' own command at each change of an upgrade (`notify`), one after the other, on a thread of its own.
//!
//! What it says or returns changes nothing. Deliberately absent: retries; a command that must not miss a change looks at
//! `lockstep upgrade history`.
//! Invariants: who tells of a change never waits; a command that takes too long is ended with all that it has started.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustix::process::{Pid, Signal, kill_process_group};

/// A command that takes longer is ended.
const TIME_MAX: Duration = Duration::from_secs(10);
/// So many changes may wait for the commands before them.
const WAITING_MAX: usize = 64;
/// How often it is looked whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A command could not be run, failed, took too long, or was left out.
const FAILED: &str = "LS0704";

/// A change to tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// A line for the shell.
    pub command: String,
    /// What its environment says of the change.
    pub environment: Vec<(&'static str, String)>,
}

/// The way to the thread that runs commands. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Sender<Notice>);

impl Notifier {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there are no threads left.
    pub fn launch() -> std::io::Result<Self> {
        let (notices, work) = crossbeam_channel::bounded(WAITING_MAX);
        std::thread::Builder::new().name("notifier".into()).spawn(move || run(&work, TIME_MAX))?;
        Ok(Notifier(notices))
    }

    /// Tells of a change, in time.
    pub fn tell(&self, notice: Notice) {
        if let Err(error) = self.0.try_send(notice) {
            let command = error.into_inner().command;
            tracing::warn!(command, code = FAILED, "too many changes wait for `notify`: one is left out");
        }
    }
}

fn run(work: &Receiver<Notice>, time_max: Duration) {
    while let Ok(notice) = work.recv() {
        if let Err(why) = run_one(&notice, time_max) {
            tracing::warn!(command = notice.command, why, code = FAILED, "a `notify` command went wrong");
        }
    }
}

fn run_one(notice: &Notice, time_max: Duration) -> Result<(), String> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&notice.command).envs(notice.environment.iter().map(|(name, value)| (name, value)));
    // A group of its own, so that all of it can be ended.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("it can't be run: {error}"))?;
    let until = Instant::now() + time_max;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
            Ok(None) => {
                end(&mut child);
                return Err(format!("it took longer than {} ms and was ended", time_max.as_millis()));
            }
            Err(error) => {
                end(&mut child);
                return Err(error.to_string());
            }
        }
    }
}

/// Ends a child with its whole group.
fn end(child: &mut Child) {
    // Not waited for yet, so the number is still this child's.
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(command: &str, environment: Vec<(&'static str, String)>) -> Notice {
        Notice { command: command.into(), environment }
    }

    #[test]
    fn the_environment_says_what_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("said");
        let command = format!("echo \"$LOCKSTEP_STEP of $LOCKSTEP_UPGRADE\" > {}", path.display());
        let environment =
            vec![("LOCKSTEP_STEP", "evaluate".to_owned()), ("LOCKSTEP_UPGRADE", "42".to_owned())];
        run_one(&notice(&command, environment), TIME_MAX).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "evaluate of 42\n");
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let command = format!("sleep 600 & echo $! > {}; wait", path.display());
        let why = run_one(&notice(&command, vec![]), Duration::from_secs(2)).unwrap_err();
        assert!(why.contains("took longer than 2000 ms"), "{why}");
        let pid = std::fs::read_to_string(path).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            // It is gone, or waits to be reaped by whoever has adopted it.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
            if matches!(state, None | Some('Z' | 'X')) {
                break;
            }
            assert!(Instant::now() < until, "{stat}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    #[test]
    fn a_failure_is_told_and_hurts_nobody() {
        let why = run_one(&notice("exit 3", vec![]), TIME_MAX).unwrap_err();
        assert!(why.contains('3'), "{why}");
        let (notices, work) = crossbeam_channel::bounded(WAITING_MAX);
        let notifier = Notifier(notices);
        (0..=WAITING_MAX).for_each(|_| notifier.tell(notice("true", vec![])));
        assert_eq!(work.len(), WAITING_MAX, "the last one is left out, and nobody waits");
    }
}
