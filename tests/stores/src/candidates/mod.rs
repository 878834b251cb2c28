//! What a redo log could be made of, each behind the same few calls.
//!
//! A record is what a batch of the engine leaves: entries with consecutive numbers. It is stored under the number of its
//! first entry. Whoever writes it has it in memory as entries, so encoding it is part of every candidate's work.

mod bare;
mod lsm;
mod own;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use lockstep_core::entry::Entry;
use serde::{Deserialize, Serialize};

/// What went wrong, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Candidate {
    /// The store of Lockstep as a processor uses it: segments of its own, and checkpoints in the background.
    Own,
    /// The same without checkpoints, so nothing is ever removed: what the segments alone cost.
    OwnLog,
    /// `fjall`, whose oldest tables are dropped at a size.
    FjallFifo,
    /// `fjall` with levels; old records are removed one by one.
    FjallLeveled,
    /// `redb`; old records are removed one by one.
    Redb,
    /// Not a candidate, but what the disk allows: bytes over a file that was written ahead, with nothing that could be found
    /// again.
    Bare,
}

impl Candidate {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Candidate::Own => "own",
            Candidate::OwnLog => "own-log",
            Candidate::FjallFifo => "fjall-fifo",
            Candidate::FjallLeveled => "fjall-leveled",
            Candidate::Redb => "redb",
            Candidate::Bare => "bare",
        }
    }

    /// Those that a crash is survived by.
    pub const SURVIVORS: [Candidate; 4] =
        [Candidate::Own, Candidate::FjallFifo, Candidate::FjallLeveled, Candidate::Redb];
}

/// How a log is opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// Which.
    pub candidate: Candidate,
    /// Its own.
    pub directory: PathBuf,
    /// Each commit is synced; otherwise the operating system has it.
    pub synced: bool,
    /// So many bytes of the latest records are kept at least.
    pub recent_bytes: u64,
    /// How much is written before a file or table is left for the next one: segments and memtables.
    pub turn_bytes: u64,
}

/// A log that takes records.
pub trait RedoLog {
    /// Writes one record. When this returns it is as durable as the setting says.
    ///
    /// # Errors
    /// When the disk or the library fails.
    fn commit(&mut self, entries: &[Arc<Entry>]) -> Result<(), Failure>;

    /// What becomes of a record's entries in memory once it is written; no part of the commit.
    fn remember(&mut self, entries: Vec<Arc<Entry>>) {
        drop(entries);
    }

    /// A way to read the recent stream from another thread while this one writes; none where nothing can be read.
    fn reader(&self) -> Option<Box<dyn Reader>>;
}

/// Reads the recent stream, for a partner that returns.
pub trait Reader: Send {
    /// The number of the first entry that is there.
    ///
    /// # Errors
    /// When the disk or the library fails.
    fn first(&mut self) -> Result<u64, Failure>;

    /// Reads some records from the one that begins with the number `from` on. Gives the bytes read and where the next one
    /// begins; no bytes at the end of the stream.
    ///
    /// # Errors
    /// When the disk or the library fails.
    fn read_some(&mut self, from: u64) -> Result<(u64, u64), Failure>;
}

/// What was found when a log was opened again.
pub struct Found {
    /// The stream as it is kept, oldest first, as entries.
    pub recent: Vec<Arc<Entry>>,
    /// The last number that was ever written, as far as the store says; 0 when there is none.
    pub last: u64,
}

/// Opens the log, or makes one.
///
/// # Errors
/// When the disk or the library fails.
pub fn open(setting: &Setting) -> Result<Box<dyn RedoLog>, Failure> {
    Ok(match setting.candidate {
        Candidate::Own | Candidate::OwnLog => Box::new(own::OwnLog::open(setting)?.0),
        Candidate::FjallFifo | Candidate::FjallLeveled => Box::new(lsm::FjallLog::open(setting)?),
        Candidate::Redb => Box::new(tree::RedbLog::open(setting)?),
        Candidate::Bare => Box::new(bare::BareFile::open(setting)?),
    })
}

/// Opens a log that was written and reads all of it, as the start of a processor does. The log takes records afterwards.
///
/// # Errors
/// When the disk or the library fails, or the store says that it can't be relied on.
pub fn reopen(setting: &Setting) -> Result<(Box<dyn RedoLog>, Found), Failure> {
    Ok(match setting.candidate {
        Candidate::Own | Candidate::OwnLog => {
            let (log, found) = own::OwnLog::open(setting)?;
            (Box::new(log), found)
        }
        Candidate::FjallFifo | Candidate::FjallLeveled => {
            let mut log = lsm::FjallLog::open(setting)?;
            let found = log.read_all()?;
            (Box::new(log), found)
        }
        Candidate::Redb => {
            let mut log = tree::RedbLog::open(setting)?;
            let found = log.read_all()?;
            (Box::new(log), found)
        }
        Candidate::Bare => return Err("nothing can be found again in a bare file".into()),
    })
}

/// The file that the latest records went to.
///
/// # Errors
/// When the directory can't be read, or there is none.
pub fn newest_file(candidate: Candidate, directory: &Path) -> Result<PathBuf, Failure> {
    let found = match candidate {
        Candidate::Own | Candidate::OwnLog => own::newest_file(directory)?,
        Candidate::FjallFifo | Candidate::FjallLeveled => lsm::newest_file(directory)?,
        Candidate::Redb | Candidate::Bare => Some(directory.join(tree::FILE)),
    };
    found.ok_or_else(|| format!("{} has no file in {}", candidate.name(), directory.display()).into())
}

/// A record's bytes: the entries in `postcard`, in `buffer`.
fn encode(entries: &[Arc<Entry>], buffer: &mut Vec<u8>) -> Result<(), Failure> {
    let mut taken = std::mem::take(buffer);
    taken.clear();
    *buffer = postcard::to_extend(entries, taken)?;
    Ok(())
}

/// The entries of a record, added to `entries`.
fn decode(bytes: &[u8], entries: &mut Vec<Arc<Entry>>) -> Result<(), Failure> {
    let record: Vec<Arc<Entry>> = postcard::from_bytes(bytes)?;
    entries.extend(record);
    Ok(())
}

/// Which records are older than what is kept, where a library does not know by itself.
#[derive(Default)]
struct Kept {
    records: std::collections::VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Kept {
    /// A record of `bytes` bytes is the latest; gives the keys of those that may go.
    fn add(&mut self, key: u64, bytes: u64, recent_bytes: u64) -> Vec<u64> {
        self.records.push_back((key, bytes));
        self.bytes += bytes;
        let mut gone = Vec::new();
        while let Some((oldest, size)) = self.records.front().copied()
            && self.bytes - size >= recent_bytes
        {
            self.records.pop_front();
            self.bytes -= size;
            gone.push(oldest);
        }
        gone
    }
}
