//! Reads the headers of a whole redo log and finds where it ends, without changing anything.
//!
//! The rule (R26): the log ends before the first place where no whole record stands. If anything behind that place
//! says that it was synced already, the store is damaged; else those bytes were never acknowledged.

use std::io;
use std::path::{Path, PathBuf};

use lockstep_core::ids::{Number, StoreId};

use crate::disk::Disk;
use crate::error::{DuringExt, StoreError};
use crate::record::{self, Found, Header, Kind, Place, UNIT};
use crate::segment;

/// Records whose entries were cut off later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cuts(Vec<(u64, Number)>);

impl Cuts {
    /// A cut by the record `sequence`.
    pub fn push(&mut self, sequence: u64, to: Number) {
        self.0.push((sequence, to));
    }

    /// Entries of the record `sequence` above this never count.
    pub fn limit(&self, sequence: u64) -> Number {
        let later = self.0.iter().filter(|(cut, _)| *cut > sequence);
        later.map(|(_, to)| *to).min().unwrap_or(Number(u64::MAX))
    }

    /// Forgets cuts that no record before `sequence` is left for.
    pub fn forget_before(&mut self, sequence: u64) {
        self.0.retain(|(cut, _)| *cut >= sequence);
    }
}

/// One segment's records.
#[derive(Debug)]
pub(crate) struct SegmentScan {
    pub number: u64,
    pub path: PathBuf,
    pub records: Vec<(u64, Header)>,
    /// Where its records end.
    pub end: u64,
}

impl SegmentScan {
    /// The number that must be held before the segment may be checkpointed. A copy's records need all of the copy.
    pub fn last(&self, copy_end: Option<Header>) -> Number {
        let of_copy = copy_end
            .filter(|end| self.records.first().is_some_and(|(_, header)| header.sequence <= end.sequence));
        let entries = self.records.iter().map(|(_, header)| header.last);
        entries.chain(of_copy.map(|end| end.last)).max().unwrap_or_default()
    }
}

/// What a whole log holds.
#[derive(Debug)]
pub(crate) struct Scan {
    pub segments: Vec<SegmentScan>,
    pub cuts: Cuts,
    /// The sequence of the next record.
    pub next_sequence: u64,
    /// Bytes that never were acknowledged lie behind the end.
    pub dirty: bool,
    /// Files of no further use: older ones before a gap, later ones behind the end.
    pub surplus: Vec<PathBuf>,
}

impl Scan {
    /// The end of the copy that the store began as, if it is still in the log.
    pub fn copy_end(&self) -> Option<Header> {
        let mut records = self.segments.iter().flat_map(|segment| &segment.records);
        records.find(|(_, header)| header.kind == Kind::CopyEnd).map(|(_, header)| *header)
    }

    /// Everything up to here was known to be held.
    pub fn held(&self) -> Number {
        let records = self.segments.iter().flat_map(|segment| &segment.records);
        records.map(|(_, header)| header.held).max().unwrap_or_default()
    }
}

/// The payload of the record at `place`.
pub(crate) fn payload<'a>(
    bytes: &'a [u8],
    place: Place,
    path: &Path,
) -> Result<(Header, &'a [u8]), StoreError> {
    whole(record::read(bytes, place), place, path)
}

/// The record that was found at `place`.
pub(crate) fn whole<'a>(
    found: Found<'a>,
    place: Place,
    path: &Path,
) -> Result<(Header, &'a [u8]), StoreError> {
    match found {
        Found::Record(header, payload) => Ok((header, payload)),
        _ => Err(StoreError::damaged(path, format!("the record at byte {} is gone", place.offset))),
    }
}

/// Reads all segments in `dir`. `needed` is the first segment that the checkpoint does not cover, with the sequence
/// of its first record; older ones are read for the recent stream alone.
pub(crate) fn scan(
    disk: &dyn Disk,
    dir: &Path,
    store: StoreId,
    needed: (u64, u64),
) -> Result<Scan, StoreError> {
    let names = disk.list(dir).during("list", dir)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    // Covered segments are removed from the oldest on; a crash may have brought back some that stand before a gap.
    let gap =
        (1..numbers.len()).rev().find(|at| numbers[*at] != numbers[*at - 1] + 1 && numbers[*at] <= needed.0);
    let mut surplus: Vec<u64> = numbers.drain(..gap.unwrap_or(0)).collect();
    let missing = |number: u64| StoreError::damaged(&segment::path(dir, number), "it is missing");
    if numbers.first().is_none_or(|first| *first > needed.0)
        || numbers.last().is_none_or(|last| *last < needed.0)
    {
        return Err(missing(needed.0));
    }
    if let Some(at) = (1..numbers.len()).find(|at| numbers[*at] != numbers[*at - 1] + 1) {
        return Err(missing(numbers[at - 1] + 1));
    }
    let mut scan = run(disk, dir, store, &numbers, needed)?;
    if scan.segments.last().is_some_and(|last| last.number < needed.0) {
        // Written without a sync, and the checkpoint was faster: what it covers is not needed.
        let at = numbers.partition_point(|number| *number < needed.0);
        surplus.extend(numbers.drain(..at));
        scan = run(disk, dir, store, &numbers, needed)?;
    }
    scan.surplus.extend(surplus.into_iter().map(|number| segment::path(dir, number)));
    Ok(scan)
}

/// Reads the segments `numbers` up to the end of the log.
fn run(
    disk: &dyn Disk,
    dir: &Path,
    store: StoreId,
    numbers: &[u64],
    needed: (u64, u64),
) -> Result<Scan, StoreError> {
    let mut scan = Scan {
        segments: Vec::new(),
        cuts: Cuts::default(),
        next_sequence: needed.1,
        dirty: false,
        surplus: Vec::new(),
    };
    let mut expected = None;
    let mut numbers = numbers.iter().peekable();
    while let Some(number) = numbers.next() {
        let path = segment::path(dir, *number);
        let bytes = segment::read(disk, dir, store, *number)?;
        if *number == needed.0 {
            if let Some(found) = expected.filter(|found| *found != needed.1) {
                let what =
                    format!("record {found} is missing: the checkpoint goes up to record {}", needed.1);
                return Err(StoreError::damaged(&path, what));
            }
            expected = Some(needed.1);
        }
        let mut segment = SegmentScan { number: *number, path, records: Vec::new(), end: UNIT as u64 };
        while let Found::Record(header, _) = found_at(&bytes, store, &segment)? {
            if let Some(expected) = expected.filter(|expected| *expected != header.sequence) {
                let what = format!("record {} stands where record {expected} was expected", header.sequence);
                return Err(StoreError::damaged(&segment.path, what));
            }
            if header.kind == Kind::Cut {
                scan.cuts.push(header.sequence, header.last);
            }
            expected = Some(header.sequence.saturating_add(1));
            segment.records.push((segment.end, header));
            segment.end += header.record_bytes() as u64;
        }
        scan.next_sequence = expected.unwrap_or(needed.1);
        let mut goes_on = expected.is_none() && numbers.peek().is_some_and(|next| **next <= needed.0);
        for later in numbers.clone() {
            // One without any record may stand between: it was left for a record that is longer than it.
            if let Some(first) = first_sequence(disk, dir, store, *later)? {
                goes_on |= expected.is_none_or(|expected| expected == first);
                break;
            }
        }
        let end = segment.end;
        scan.segments.push(segment);
        if !goes_on {
            let unsaid = Rest { store, expected: scan.next_sequence };
            scan.dirty = unsaid.check(&bytes, *number, end, dir)?;
            break;
        }
    }
    for (at, number) in numbers.enumerate() {
        let path = segment::path(dir, *number);
        let bytes = segment::read(disk, dir, store, *number)?;
        let unsaid = Rest { store, expected: scan.next_sequence };
        let dirty = unsaid.check(&bytes, *number, UNIT as u64, dir)?;
        // The next one is wanted soon, if it is as it was made.
        if dirty || at > 0 {
            scan.surplus.push(path);
        }
        scan.dirty |= dirty;
    }
    Ok(scan)
}

/// The sequence of the first record in a segment, if there is one.
fn first_sequence(
    disk: &dyn Disk,
    dir: &Path,
    store: StoreId,
    number: u64,
) -> Result<Option<u64>, StoreError> {
    let path = segment::path(dir, number);
    let file = disk.open_to_read(&path).during("open", &path)?;
    let mut bytes = vec![0; 2 * UNIT];
    match file.read_at(0, &mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other.during("read", &path)?,
    }
    let place = Place { store, segment: number, offset: UNIT as u64 };
    Ok(record::header_at(&bytes, place).map(|header| header.sequence))
}

fn found_at<'a>(bytes: &'a [u8], store: StoreId, segment: &SegmentScan) -> Result<Found<'a>, StoreError> {
    match record::read(bytes, Place { store, segment: segment.number, offset: segment.end }) {
        Found::Damaged(what) => {
            Err(StoreError::damaged(&segment.path, format!("{what}, at byte {}", segment.end)))
        }
        found => Ok(found),
    }
}

/// What lies behind the end of the log.
struct Rest {
    store: StoreId,
    expected: u64,
}

impl Rest {
    /// Whether there is anything; an error if it says that the log went on, synced.
    fn check(&self, bytes: &[u8], number: u64, from: u64, dir: &Path) -> Result<bool, StoreError> {
        let rest = &bytes[(from as usize).min(bytes.len())..];
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        let mut offset = from;
        while offset < bytes.len() as u64 {
            let place = Place { store: self.store, segment: number, offset };
            if let Some(header) = record::header_at(bytes, place)
                && header.synced > self.expected
            {
                let what = format!(
                    "record {} is gone, though record {} says that it was on the disk",
                    self.expected, header.sequence
                );
                return Err(StoreError::damaged(&segment::path(dir, number), what));
            }
            offset += UNIT as u64;
        }
        Ok(true)
    }
}
