//! The load's own record of what it was told: one entry a transfer, written when its answer comes, read by the audit.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failure;

/// How a transfer ended, as far as its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Committed at this place in the stream, as this entry of the journal.
    Committed {
        /// The place in the stream.
        sequence: u64,
        /// The journal's entry.
        entry: u64,
    },
    /// Refused by the application, or turned away as there was no room: it must not stand in the databases.
    Refused,
    /// Faulted: it must not stand in the databases.
    Faulted,
    /// No answer: it may stand in the databases, once.
    Nothing,
}

/// A transfer and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// From which account, by its number in the load.
    pub from: u32,
    /// To which account.
    pub to: u32,
    /// How much.
    pub cents: u64,
    /// How it ended.
    pub told: Told,
}

/// What the load put into the ledger before the transfers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The number of its first account.
    pub first: u32,
    /// How many accounts it opened, numbered from `first` on.
    pub accounts: u32,
    /// What each began with.
    pub cents_each: u64,
}

/// The record of a whole load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRecord {
    /// What was there at first.
    pub opened: Opened,
    /// All transfers that were begun.
    pub transfers: Vec<Ended>,
}

/// Writes a record.
#[derive(Debug)]
pub struct RecordWriter {
    file: BufWriter<File>,
    scratch: Vec<u8>,
}

impl RecordWriter {
    /// A new record at `path`.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn create(path: &Path, opened: &Opened) -> Result<Self, Failure> {
        let mut writer = RecordWriter {
            file: BufWriter::with_capacity(1 << 20, File::create_new(path)?),
            scratch: Vec::new(),
        };
        writer.write(opened)?;
        Ok(writer)
    }

    /// Adds a transfer.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn add(&mut self, ended: &Ended) -> Result<(), Failure> {
        self.write(ended)
    }

    fn write<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        self.scratch.clear();
        self.scratch = postcard::to_extend(value, std::mem::take(&mut self.scratch))
            .map_err(|error| Failure::new(format!("the record: {error}")))?;
        Ok(self.file.write_all(&self.scratch)?)
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.file.flush()?)
    }
}

impl LoadRecord {
    /// Reads the record at `path`.
    ///
    /// # Errors
    /// When it can't be read or is cut off.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        let bad = |error: postcard::Error| Failure::new(format!("the load's record can't be read: {error}"));
        let (opened, mut rest) = postcard::take_from_bytes::<Opened>(&bytes).map_err(bad)?;
        let mut transfers = Vec::new();
        while !rest.is_empty() {
            let (ended, after) = postcard::take_from_bytes::<Ended>(rest).map_err(bad)?;
            transfers.push(ended);
            rest = after;
        }
        Ok(LoadRecord { opened, transfers })
    }

    /// The record of this load and of `next`, which followed it on the same ledger with the next account numbers.
    ///
    /// # Errors
    /// When its accounts do not follow, or did not begin with as much.
    pub fn followed_by(mut self, next: LoadRecord) -> Result<Self, Failure> {
        if next.opened.first != self.opened.first + self.opened.accounts
            || next.opened.cents_each != self.opened.cents_each
        {
            return Err(Failure::new("the second load's accounts do not follow those of the first"));
        }
        self.opened.accounts += next.opened.accounts;
        self.transfers.extend(next.transfers);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_cut_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let opened = Opened { first: 7, accounts: 3, cents_each: 500 };
        let mut writer = RecordWriter::create(&path, &opened).unwrap();
        let told = [Told::Committed { sequence: 9, entry: 300 }, Told::Refused, Told::Faulted, Told::Nothing];
        let transfers: Vec<_> = told.map(|told| Ended { from: 1, to: 2, cents: 1 << 40, told }).into();
        for ended in &transfers {
            writer.add(ended).unwrap();
        }
        writer.flush().unwrap();
        assert_eq!(LoadRecord::read(&path).unwrap(), LoadRecord { opened, transfers });
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(LoadRecord::read(&path).is_err());
    }
}
