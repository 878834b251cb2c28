//! A group's record as files: `record.<epoch>`, the highest number counts (R6).
//!
//! A swap writes the new record under a temporary name, syncs it, `link`s it to its number, which fails if that
//! exists, and syncs the directory. No lock is held meanwhile, so a stopped process blocks nobody.
//!
//! Invariants:
//! - A record has its name only once its bytes are durable; so a bad one is damage, and never passed over.
//! - A number is taken once. Old records are removed but for the latest few: whoever was stopped for so many swaps
//!   that his number is free again finds the higher ones behind it, and is told that nothing is known.
//! - What [`LocalArbiter::read`] returns is durable: a record seen before its writer's sync is synced by the reader.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_core::ids::Epoch;
use lockstep_core::record::{Record, SwapOutcome};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::ArbiterError;

/// So many of the latest records stay, for people and for those who are reading.
const KEPT: u64 = 16;
/// No record is longer, in bytes.
const RECORD_BYTES_MAX: u64 = 64 << 10;
const PREFIX: &str = "record.";

/// A record's file: JSON that people can read.
#[derive(Serialize, Deserialize)]
struct RecordFile {
    /// Of the record as compact JSON.
    checksum: String,
    record: Record,
}

fn checksum(record: &Record) -> String {
    let text = serde_json::to_vec(record).expect("a record can be written as JSON");
    format!("{:016x}", xxh3_64(&text))
}

/// The local arbiter's record of one group.
#[derive(Debug)]
pub struct LocalArbiter {
    dir: PathBuf,
    /// The epoch up to which the directory was synced.
    synced: AtomicU64,
}

/// The number of the record in the file `name`, only as it is written here: no two names are one number.
fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    // 0 stands for no record, and there is always a number behind the highest.
    (name == format!("{PREFIX}{number}") && (1..u64::MAX).contains(&number)).then_some(number)
}

static TEMPORARIES: AtomicU64 = AtomicU64::new(0);

impl LocalArbiter {
    /// The group's record in the directory `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(dir: &Path) -> Result<Self, ArbiterError> {
        fs::create_dir_all(dir).map_err(|source| ArbiterError::disk("create", dir, source))?;
        for parent in dir.ancestors().skip(1).take(2).filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        Ok(LocalArbiter { dir: dir.into(), synced: AtomicU64::new(0) })
    }

    fn path(&self, epoch: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{epoch}"))
    }

    /// The numbers of all records, sorted.
    fn numbers(&self) -> Result<Vec<u64>, ArbiterError> {
        let failed = |source| ArbiterError::disk("list", &self.dir, source);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            numbers.extend(name.to_str().and_then(number_of));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// When the directory or its highest record can't be read.
    pub fn read(&self) -> Result<Option<Record>, ArbiterError> {
        let Some(record) = self.read_highest()? else { return Ok(None) };
        if self.synced.load(Ordering::Acquire) < record.epoch.0 {
            sync_dir(&self.dir)?;
            self.synced.fetch_max(record.epoch.0, Ordering::AcqRel);
        }
        Ok(Some(record))
    }

    fn read_highest(&self) -> Result<Option<Record>, ArbiterError> {
        let mut highest = self.numbers()?.last().copied();
        while let Some(epoch) = highest {
            match self.read_number(epoch) {
                Ok(record) => return Ok(Some(record)),
                // It was removed since: there are higher ones by now.
                Err(ArbiterError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    let now = self.numbers()?.last().copied();
                    if now.is_none_or(|now| now <= epoch) {
                        let reason = "it was there and is not any more".to_owned();
                        return Err(ArbiterError::Unreadable { path: self.path(epoch), reason });
                    }
                    highest = now;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn read_number(&self, epoch: u64) -> Result<Record, ArbiterError> {
        let path = self.path(epoch);
        let failed = |source| ArbiterError::disk("read", &path, source);
        let unreadable = |reason: String| ArbiterError::Unreadable { path: path.clone(), reason };
        if fs::metadata(&path).map_err(failed)?.len() > RECORD_BYTES_MAX {
            return Err(unreadable("it is far too long".into()));
        }
        let bytes = fs::read(&path).map_err(failed)?;
        let file: RecordFile =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if checksum(&file.record) != file.checksum {
            return Err(unreadable("its checksum is wrong".into()));
        }
        if file.record.epoch.0 != epoch {
            return Err(unreadable(format!("it says that it is number {}", file.record.epoch)));
        }
        if file.record.term.0 > epoch || !file.record.in_sync.contains(&file.record.active) {
            return Err(unreadable(
                "it makes no sense: its term is a later one, or its active is not in sync".into(),
            ));
        }
        Ok(file.record)
    }

    /// Swaps the record of epoch `expected` (0: none) for `next`; with what was prepared, if it is the same record.
    ///
    /// # Panics
    /// When `next` does not have the epoch after `expected`; the first record may have a higher one.
    #[must_use]
    pub fn swap(&self, expected: Epoch, next: &Record, prepared: Option<Prepared>) -> SwapOutcome {
        let first = expected == Epoch(0) && next.epoch > expected;
        assert!(first || next.epoch == expected.next(), "an epoch grows by one at every swap (R3)");
        let outcome = self.try_swap(expected, next, prepared);
        outcome.unwrap_or_else(|error| SwapOutcome::Unknown(error.to_string()))
    }

    /// Does of a swap to `next` what takes long and can be done before: the record in force is read and synced, the new
    /// one written and synced under a temporary name, which goes if the swap is not made.
    ///
    /// # Errors
    /// When the directory can't be read or written.
    pub fn prepare(&self, next: &Record) -> Result<Prepared, ArbiterError> {
        self.read()?;
        Ok(Prepared { temporary: Temporary::write(&self.dir, next)?, record: next.clone() })
    }

    fn try_swap(
        &self,
        expected: Epoch,
        next: &Record,
        prepared: Option<Prepared>,
    ) -> Result<SwapOutcome, ArbiterError> {
        let now = self.read()?;
        if now.as_ref().map_or(Epoch(0), |now| now.epoch) != expected {
            return Ok(SwapOutcome::Lost(now));
        }
        let path = self.path(next.epoch.0);
        let temporary = match prepared.filter(|prepared| prepared.record == *next) {
            Some(prepared) => prepared.temporary,
            None => Temporary::write(&self.dir, next)?,
        };
        match fs::hard_link(&temporary.0, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                drop(temporary);
                return Ok(SwapOutcome::Lost(self.read()?));
            }
            Err(source) => return Err(ArbiterError::disk("link", &path, source)),
        }
        drop(temporary);
        sync_dir(&self.dir)?;
        self.synced.fetch_max(next.epoch.0, Ordering::AcqRel);
        if self.numbers()?.last().is_some_and(|highest| *highest > next.epoch.0) {
            // Either it took and was replaced at once, or it came so late that its number was free again.
            let what = format!("somebody has gone on behind epoch {}", next.epoch);
            return Ok(SwapOutcome::Unknown(what));
        }
        Ok(SwapOutcome::Done(next.clone()))
    }

    /// Removes all but the latest few, after a swap. What can't be removed does no harm.
    pub fn tidy(&self) {
        let numbers = self.numbers().unwrap_or_default();
        let Some(highest) = numbers.last() else { return };
        for number in numbers.iter().take_while(|number| **number + KEPT <= *highest) {
            if let Err(error) = fs::remove_file(self.path(*number)) {
                tracing::debug!(number, %error, "an old record could not be removed");
            }
        }
        // What a crash left of swaps that nobody can be at any more.
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix("next.")?.split('.').next()?.parse().ok());
            if number.is_some_and(|number: u64| number + KEPT <= *highest) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

/// A record that is written and not in force; see [`LocalArbiter::prepare`].
#[derive(Debug)]
pub struct Prepared {
    temporary: Temporary,
    record: Record,
}

/// A record under a temporary name, which goes when this is dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn write(dir: &Path, record: &Record) -> Result<Self, ArbiterError> {
        let (process, count) = (std::process::id(), TEMPORARIES.fetch_add(1, Ordering::Relaxed));
        let path = dir.join(format!("next.{}.{process}-{count}.tmp", record.epoch));
        let file = RecordFile { checksum: checksum(record), record: record.clone() };
        let mut text = serde_json::to_vec_pretty(&file).expect("a record can be written as JSON");
        text.push(b'\n');
        let failed = |source| ArbiterError::disk("write", &path, source);
        // A process of the same number may have left one.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        let temporary = Temporary(path.clone());
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "a temporary file stays; it does no harm");
        }
    }
}

fn sync_dir(dir: &Path) -> Result<(), ArbiterError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| ArbiterError::disk("sync", dir, source))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;

    use lockstep_core::ids::{NodeId, StoreId, Term};
    use lockstep_core::record::Member;

    use super::*;

    fn member(number: u128) -> Member {
        Member { store: StoreId(number), node: NodeId(format!("node {number}")) }
    }

    fn arbiter(dir: &tempfile::TempDir) -> LocalArbiter {
        LocalArbiter::open(&dir.path().join("ledger.0")).unwrap()
    }

    /// A swap that nobody has prepared, and what follows one.
    fn swap(arbiter: &LocalArbiter, expected: Epoch, next: &Record) -> SwapOutcome {
        let outcome = arbiter.swap(expected, next, None);
        arbiter.tidy();
        outcome
    }

    fn done(outcome: SwapOutcome) -> Record {
        match outcome {
            SwapOutcome::Done(record) => record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_comes_back_and_the_loser_is_told_of_the_winner() {
        let dir = tempfile::tempdir().unwrap();
        let arbiter = arbiter(&dir);
        assert_eq!(arbiter.read().unwrap(), None);
        let first = Record::first(member(1));
        assert_eq!(done(swap(&arbiter, Epoch(0), &first)), first);
        assert_eq!(
            swap(&arbiter, Epoch(0), &Record::first(member(2))),
            SwapOutcome::Lost(Some(first.clone()))
        );
        let second = first.with_in_sync(BTreeSet::from([member(1), member(2)]));
        assert_eq!(done(swap(&arbiter, Epoch(1), &second)), second);
        let again = LocalArbiter::open(&dir.path().join("ledger.0")).unwrap();
        assert_eq!(again.read().unwrap(), Some(second));
    }

    #[test]
    fn a_record_that_was_lost_goes_on_behind_the_history_of_the_stores() {
        let dir = tempfile::tempdir().unwrap();
        let arbiter = arbiter(&dir);
        let first = Record::first_behind(member(1), Term(7));
        assert_eq!((first.epoch, first.term), (Epoch(8), Term(8)));
        assert_eq!(done(swap(&arbiter, Epoch(0), &first)), first);
        assert_eq!(swap(&arbiter, Epoch(0), &Record::first(member(2))), SwapOutcome::Lost(Some(first)));
    }

    #[test]
    fn of_two_that_swap_at_once_exactly_one_wins_each_epoch() {
        const EPOCHS: u64 = 60;
        let dir = tempfile::tempdir().unwrap();
        drop(arbiter(&dir));
        let barrier = Barrier::new(2);
        let race = |own: u128| {
            let arbiter = arbiter(&dir);
            let mut won = BTreeSet::new();
            for epoch in 0..EPOCHS {
                barrier.wait();
                let next = match arbiter.read().unwrap() {
                    Some(record) => {
                        assert_eq!(record.epoch.0, epoch);
                        let both = BTreeSet::from([member(1), member(2)]);
                        Record { in_sync: both.clone(), ..record }.with_active(member(own), both)
                    }
                    None => Record::first(member(own)),
                };
                barrier.wait();
                match swap(&arbiter, Epoch(epoch), &next) {
                    SwapOutcome::Done(record) => {
                        assert_eq!(record, next);
                        assert!(won.insert(epoch));
                    }
                    SwapOutcome::Lost(Some(record)) => {
                        assert_eq!(record.epoch, next.epoch);
                        assert_ne!(record.active, member(own));
                    }
                    other => panic!("{other:?}"),
                }
            }
            won
        };
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| race(1));
            (race(2), one.join().unwrap())
        });
        assert_eq!(one.intersection(&two).count(), 0);
        assert_eq!(one.len() + two.len(), EPOCHS as usize);
        let left = fs::read_dir(dir.path().join("ledger.0")).unwrap().count() as u64;
        assert_eq!(left, KEPT, "old records and temporary files are gone");
    }

    #[test]
    fn leftovers_of_a_crash_are_passed_over_and_damage_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let arbiter = arbiter(&dir);
        let first = done(swap(&arbiter, Epoch(0), &Record::first(member(1))));
        fs::write(arbiter.dir.join("next.2.99-0.tmp"), "{\"half").unwrap();
        for name in ["record.x", "record.007", "record.+7", "record.18446744073709551615"] {
            fs::write(arbiter.dir.join(name), "").unwrap();
        }
        assert_eq!(arbiter.read().unwrap(), Some(first.clone()));
        let second =
            done(swap(&arbiter, Epoch(1), &first.with_in_sync(BTreeSet::from([member(1), member(2)]))));
        let whole = fs::read_to_string(arbiter.path(2)).unwrap();
        let bad = [
            String::new(),
            whole[..whole.len() / 2].to_owned(),
            whole.replace("node 2", "node 3"),
            fs::read_to_string(arbiter.path(1)).unwrap(),
        ];
        for bad in bad {
            fs::write(arbiter.path(2), bad).unwrap();
            assert_eq!(arbiter.read().unwrap_err().code(), "LS0607", "never the older one instead");
            let next = second.with_in_sync(BTreeSet::from([member(1)]));
            assert!(matches!(swap(&arbiter, Epoch(2), &next), SwapOutcome::Unknown(_)));
            assert!(!arbiter.path(3).exists());
        }
        fs::write(arbiter.path(2), whole).unwrap();
        assert_eq!(arbiter.read().unwrap(), Some(second.clone()));
        let mut record = second;
        for _ in 0..KEPT {
            record = done(swap(&arbiter, record.epoch, &record.with_in_sync(BTreeSet::from([member(1)]))));
        }
        assert!(!arbiter.dir.join("next.2.99-0.tmp").exists(), "leftovers go in the end");
    }

    #[test]
    fn who_comes_so_late_that_his_number_is_free_again_does_not_win() {
        let dir = tempfile::tempdir().unwrap();
        let arbiter = arbiter(&dir);
        let mut record = done(swap(&arbiter, Epoch(0), &Record::first(member(1))));
        let stale = record.with_in_sync(BTreeSet::from([member(1)]));
        for _ in 0..2 * KEPT {
            record = done(swap(&arbiter, record.epoch, &record.with_in_sync(BTreeSet::from([member(1)]))));
        }
        assert!(!arbiter.path(2).exists());
        assert_eq!(swap(&arbiter, Epoch(1), &stale), SwapOutcome::Lost(Some(record.clone())));
        // The same, stopped between its look and its link.
        let temporary = Temporary::write(&arbiter.dir, &stale).unwrap();
        fs::hard_link(&temporary.0, arbiter.path(2)).unwrap();
        assert_eq!(arbiter.read().unwrap(), Some(record));
    }

    #[test]
    #[should_panic(expected = "(R3)")]
    fn an_epoch_is_never_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let _ = swap(&arbiter(&dir), Epoch(4), &Record::first(member(1)));
    }

    #[test]
    fn what_was_prepared_is_used_for_its_own_record_alone_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let arbiter = arbiter(&dir);
        let first = done(swap(&arbiter, Epoch(0), &Record::first(member(1))));
        let temporaries = || {
            let names = fs::read_dir(&arbiter.dir).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_str().is_some_and(|name| name.starts_with("next."))).count()
        };
        let wanted = first.with_in_sync(BTreeSet::from([member(1), member(2)]));
        let prepared = arbiter.prepare(&wanted).unwrap();
        assert_eq!(
            (arbiter.read().unwrap(), temporaries()),
            (Some(first.clone()), 1),
            "nothing is in force yet"
        );
        assert_eq!(done(arbiter.swap(Epoch(1), &wanted, Some(prepared))), wanted);
        assert_eq!(temporaries(), 0);
        // Another record came in between.
        let both = wanted.in_sync.clone();
        let handed_over = wanted.with_active(member(2), both);
        let prepared = arbiter.prepare(&handed_over).unwrap();
        let alone = wanted.with_in_sync(BTreeSet::from([member(1)]));
        assert_eq!(done(arbiter.swap(Epoch(2), &alone, Some(prepared))), alone);
        assert_eq!((arbiter.read().unwrap(), temporaries()), (Some(alone), 0));
    }
}
