//! The same crash for every candidate: a process that writes with syncs and tells each record that is acknowledged is killed
//! at some moment, and what it acknowledged must be there, in order and whole, whatever it was in the midst of.
//!
//! `SIGKILL` takes nothing from the operating system, so this tests the order in which a library writes, and its recovery; that
//! of our own store under power cuts, at every write, is in its own tests. What damaged files do is in `damage`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::entry::Entry;
use serde::{Deserialize, Serialize};

use crate::Args;
use crate::candidates::{self, Candidate, Failure, Setting};
use crate::child::{self, Job, Worker};
use crate::transfers::{self, mixed};

/// How many transfers a record is of.
pub const TRANSFERS: u64 = 8;
/// Small, so that segments, memtables and removals are met often.
const TURN_BYTES: u64 = 256 << 10;
const RECENT_BYTES: u64 = 1 << 20;
/// A life has at most so many milliseconds where it does not end with a number of commits.
const LIFE_MS_MAX: u64 = 40;

/// What was found in a log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Look {
    /// The log says that it is not what was written.
    pub said: Option<String>,
    /// It does not say so, and yet this is wrong.
    pub wrong: Option<String>,
    /// The last number.
    pub last: u64,
}

/// Opens the log and looks what it holds, in the child.
///
/// # Errors
/// Never: what is wrong is in what it gives.
pub fn look(setting: &Setting) -> Result<Look, Failure> {
    Ok(match candidates::reopen(setting) {
        Ok((log, found)) => {
            // Closing would change the files.
            std::mem::forget(log);
            Look { said: None, wrong: wrong(setting, &found), last: found.last }
        }
        Err(error) => Look { said: Some(error.to_string()), wrong: None, last: 0 },
    })
}

/// What is wrong with the stream that was found: a hole, another content, half a record, too little.
fn wrong(setting: &Setting, found: &candidates::Found) -> Option<String> {
    let (Some(first), Some(last)) = (found.recent.first(), found.recent.last()) else {
        return (found.last > 0).then(|| format!("nothing is there of {} numbers", found.last));
    };
    let (first, last) = (first.number.0, last.number.0);
    if last != found.last || last % TRANSFERS != 0 {
        return Some(format!("the stream ends with {last}, the log with {}", found.last));
    }
    let differs = |(number, entry): &(u64, &Arc<Entry>)| ***entry != *transfers::entry(*number);
    if let Some((number, _)) = (first..).zip(&found.recent).find(differs) {
        return Some(format!("number {number} is not as it was written"));
    }
    let bytes: u64 =
        found.recent.iter().map(|entry| EncodedEntries::from(&**entry).memory_bytes() as u64).sum();
    // Candidates count what they keep in ways of their own.
    if first > 1 && bytes < setting.recent_bytes / 2 {
        return Some(format!("{first} is the first number: only {bytes} bytes are kept"));
    }
    None
}

/// Opens the log, tells what it holds, and writes on, telling each record once it is acknowledged, in the child.
///
/// # Errors
/// When the disk or the library fails.
pub fn write(setting: &Setting) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let (mut log, found) = match candidates::reopen(setting) {
        Ok(opened) => opened,
        Err(error) => {
            let look = Look { said: Some(error.to_string()), wrong: None, last: 0 };
            return Ok(writeln!(out, "{}", serde_json::json!(look))?);
        }
    };
    let look = Look { said: None, wrong: wrong(setting, &found), last: found.last };
    writeln!(out, "{}", serde_json::json!(look))?;
    let mut sequence = found.last / TRANSFERS;
    loop {
        let entries = transfers::record(sequence, TRANSFERS);
        sequence += 1;
        log.commit(&entries)?;
        // Told when it is durable, as an engine is.
        writeln!(out, "{}", sequence * TRANSFERS)?;
    }
}

/// When a writer is killed.
#[derive(Clone, Copy)]
pub enum Until {
    /// So many records were acknowledged.
    Commits(u64),
    /// So much time has passed since its start, whatever it does.
    Time(Duration),
}

/// What is known of a life.
pub struct Life {
    /// What it found, if it came so far.
    pub look: Option<Look>,
    /// The last number that it acknowledged.
    pub acknowledged: Option<u64>,
}

/// One life of a writer, to its `SIGKILL`.
///
/// # Errors
/// When it can't be started, or ended by itself.
pub fn live(setting: &Setting, until: Until) -> Result<Life, Failure> {
    let mut worker = Worker::start(&Job::Write(setting.clone()))?;
    let mut life = Life { look: None, acknowledged: None };
    let heard = |life: &mut Life, line: &str| -> Result<(), Failure> {
        match life.look {
            None => life.look = Some(serde_json::from_str(line)?),
            Some(_) => life.acknowledged = Some(line.parse()?),
        }
        Ok(())
    };
    match until {
        Until::Time(time) => std::thread::sleep(time),
        Until::Commits(commits) => {
            // The first line is what it found.
            for _ in 0..=commits {
                let Some(line) = worker.line()? else { break };
                heard(&mut life, &line)?;
            }
        }
    }
    worker.kill();
    // What stands in the pipe was acknowledged too.
    while let Some(line) = worker.line()? {
        heard(&mut life, &line)?;
    }
    Ok(life)
}

/// How the log of the crash tests is set up.
#[must_use]
pub fn setting(candidate: Candidate, directory: &Path) -> Setting {
    Setting {
        candidate,
        directory: directory.to_owned(),
        synced: true,
        recent_bytes: RECENT_BYTES,
        turn_bytes: TURN_BYTES,
    }
}

/// What came of a candidate's crashes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Crashes {
    kills: u64,
    /// How many numbers it acknowledged.
    acknowledged: u64,
    /// What was lost, torn or refused.
    problems: Vec<String>,
}

impl Crashes {
    /// Nothing was lost.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problems.is_empty() && self.kills > 0
    }

    /// In a few words.
    #[must_use]
    pub fn in_short(&self) -> String {
        let said =
            if self.holds() { "all there".to_owned() } else { format!("{} problems", self.problems.len()) };
        format!("{said} after {} kills, {} transfers acknowledged", self.kills, self.acknowledged)
    }

    /// What went wrong, each a line.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Kills writers of one log again and again, each after at most `commits_max` commits.
///
/// # Errors
/// When they can't be started.
pub fn kill(
    candidate: Candidate,
    (kills, commits_max): (u64, u64),
    seed: u64,
    args: &Args,
    directory: &Path,
) -> Result<Crashes, Failure> {
    let place = tempfile::Builder::new().prefix("crash-").tempdir_in(directory)?;
    let setting = setting(candidate, &place.path().join("log"));
    let mut crashes = Crashes::default();
    let mut acknowledged = 0;
    for number in 0..kills {
        args.progress(&format!("{}: kill {} of {kills}", candidate.name(), number + 1));
        let chance = mixed(seed ^ number.rotate_left(32));
        let until = match chance % 4 {
            // Also while it opens what the last one left.
            0 => Until::Time(Duration::from_micros(chance / 4 % (LIFE_MS_MAX * 1_000))),
            _ => Until::Commits(chance / 4 % commits_max),
        };
        let life = live(&setting, until)?;
        crashes.kills += 1;
        crashes.judge(life.look.as_ref(), acknowledged, number);
        if life.look.as_ref().is_some_and(|look| look.said.is_some()) {
            // It would say so for ever.
            std::fs::remove_dir_all(&setting.directory)?;
            acknowledged = 0;
        }
        if let Some(last) = life.acknowledged {
            crashes.acknowledged += last.saturating_sub(acknowledged);
            acknowledged = last;
        }
    }
    let look: Look = child::have_done(&Job::Look(setting))?;
    crashes.judge(Some(&look), acknowledged, kills);
    Ok(crashes)
}

impl Crashes {
    fn judge(&mut self, look: Option<&Look>, acknowledged: u64, life: u64) {
        let Some(look) = look else { return };
        let said = look.said.as_ref().map(|said| format!("it can't be opened: {said}"));
        let lost = || {
            let last = look.last;
            (last < acknowledged).then(|| format!("{acknowledged} was acknowledged, {last} is the last"))
        };
        if let Some(problem) = said.or_else(|| look.wrong.clone()).or_else(lost) {
            self.problems.push(format!("life {life}: {problem}"));
        }
    }
}
