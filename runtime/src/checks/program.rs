//! One program as a check: a line for the shell, in a process group of its own, which ends with the check.

use std::io::{PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use lockstep_core::campaign::CheckVerdict;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::last_line;

/// The exit status of a program that can't tell, `EX_TEMPFAIL` of `sysexits.h`.
const CANT_TELL: i32 = 75;
/// What the shell says of a program that it can't run, or does not find.
const NOT_RUN: [i32; 2] = [126, 127];
/// Of its output this much is kept, the end of it.
const OUTPUT_BYTES_MAX: usize = 8 << 10;

/// Runs `line` with the shell, `environment` beside this processor's own, until `until` at the latest.
pub(super) fn run(line: &str, environment: &[(&str, String)], until: Instant) -> CheckVerdict {
    let not_run = |why: std::io::Error| CheckVerdict::Inconclusive(format!("`{line}` can't be run: {why}"));
    let mut running = match Running::start(line, environment) {
        Ok(running) => running,
        Err(error) => return not_run(error),
    };
    match running.follow(until) {
        Ok(Some(status)) => verdict(line, status, &String::from_utf8_lossy(&running.output)),
        Ok(None) => CheckVerdict::Inconclusive(format!("`{line}` did not end in time")),
        Err(error) => not_run(error),
    }
}

fn verdict(line: &str, status: ExitStatus, output: &str) -> CheckVerdict {
    let said = last_line(output).map_or_else(String::new, |said| format!(": {said}"));
    match status.code() {
        Some(0) => CheckVerdict::Pass,
        Some(CANT_TELL) => CheckVerdict::Inconclusive(format!("`{line}` can't tell{said}")),
        Some(code) if NOT_RUN.contains(&code) => {
            CheckVerdict::Inconclusive(format!("`{line}` can't be run{said}"))
        }
        Some(code) => CheckVerdict::Fail(format!("`{line}` ended with {code}{said}")),
        None => {
            let signal = status.signal().unwrap_or_default();
            CheckVerdict::Inconclusive(format!("`{line}` was ended by signal {signal}{said}"))
        }
    }
}

/// A program under way; with it, all that it has started is killed.
struct Running {
    child: Child,
    group: Pid,
    reader: PipeReader,
    output: Vec<u8>,
}

impl Running {
    fn start(line: &str, environment: &[(&str, String)]) -> std::io::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", line])
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let child = command.spawn()?;
        // The command keeps ends of the pipe.
        drop(command);
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = id.ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(Running { child, group, reader, output: Vec::new() })
    }

    /// Reads what it says until it ends; none when it does not in time.
    fn follow(&mut self, until: Instant) -> std::io::Result<Option<ExitStatus>> {
        let ended = pidfd_open(self.group, PidfdFlags::empty())?;
        let mut is_open = true;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = Timespec::try_from(left).map_err(std::io::Error::other)?;
            let mut descriptors = [
                PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.reader.as_fd(), PollFlags::IN),
            ];
            let watched = if is_open { &mut descriptors[..] } else { &mut descriptors[..1] };
            match poll(watched, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let has_ended = !descriptors[0].revents().is_empty();
            if is_open && !descriptors[1].revents().is_empty() {
                is_open = self.hear()?;
            } else if has_ended {
                // What it left behind goes with it, before its number is free.
                let _ = kill_process_group(self.group, Signal::KILL);
                return self.child.wait().map(Some);
            }
        }
    }

    /// Takes what is there; false at the end of it.
    fn hear(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; 4 << 10];
        let count = self.reader.read(&mut buffer)?;
        self.output.extend_from_slice(&buffer[..count]);
        let surplus = self.output.len().saturating_sub(OUTPUT_BYTES_MAX);
        self.output.drain(..surplus);
        Ok(count > 0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has been waited for is not there any more, and its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(line: &str) -> CheckVerdict {
        run(line, &[("LOCKSTEP_NEW_VERSION", "2.0.0".into())], Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn the_exit_status_is_the_answer_and_the_last_line_says_why() {
        assert_eq!(check("true"), CheckVerdict::Pass);
        let fail = |why: &str| CheckVerdict::Fail(why.into());
        assert_eq!(check("exit 3"), fail("`exit 3` ended with 3"));
        let line = "echo first; echo \"$LOCKSTEP_NEW_VERSION is wrong\" >&2; exit 1";
        assert_eq!(check(line), fail(&format!("`{line}` ended with 1: 2.0.0 is wrong")));
    }

    #[test]
    fn what_could_not_be_run_is_no_failure() {
        for line in ["exit 75", "/no/such/program", "kill -9 $$"] {
            assert!(matches!(check(line), CheckVerdict::Inconclusive(_)), "{line}: {:?}", check(line));
        }
    }

    #[test]
    fn a_check_that_takes_too_long_is_ended_with_all_that_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let (reader, writer) = (directory.path().join("reader"), directory.path().join("writer"));
        // A grandchild that holds a pipe open: its end of it is closed when it is gone.
        let line = format!(
            "mkfifo {reader}; (exec 3<>{reader}; echo $$ > {writer}; sleep 1000) & sleep 1000",
            reader = reader.display(),
            writer = writer.display()
        );
        let verdict = run(&line, &[], Instant::now() + Duration::from_millis(500));
        assert!(
            matches!(&verdict, CheckVerdict::Inconclusive(why) if why.contains("in time")),
            "{verdict:?}"
        );
        let group: i32 = std::fs::read_to_string(&writer).unwrap().trim().parse().unwrap();
        // The group's members are killed; whoever has to reap them does so in its own time.
        let until = Instant::now() + Duration::from_secs(60);
        while kill_process_group(Pid::from_raw(group).unwrap(), Signal::KILL).is_ok() {
            assert!(Instant::now() < until, "the group of the check lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn much_output_is_read_and_its_end_kept() {
        let verdict = check("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1");
        assert!(matches!(&verdict, CheckVerdict::Fail(why) if why.ends_with("line 19999")), "{verdict:?}");
    }
}
