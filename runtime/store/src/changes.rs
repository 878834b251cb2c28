//! Rows on their way from the redo log into the checkpoint: the last value of each. A row is changed many times in some hundred
//! megabytes of redo, and each of the checkpoint's pages as often again, so it is made of as much redo as recovery has time for.
//!
//! They are parted by their hashes as they come, and what is more than a few megabytes is [set aside](crate::aside) in a file: so it
//! takes no more memory than one part, whatever the redo's size, and what is put in order at once, and then read in that order, is no
//! more than a processor's own cache holds.

use std::path::Path;

use lockstep_core::entry::{Entry, OpRef, Row};
use lockstep_core::ids::TableId;
use lockstep_core::state::State;

use crate::aside::{Aside, Piece};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::packed::{self, Packed};
use crate::replay::Replayed;

/// So many parts are there, each of those hashes that begin with its number.
const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 8;

/// A part is set aside piece by piece, each of so many bytes or a row more.
const PIECE_BYTES: usize = 16 << 10;
const PIECE_BYTES_MIN: usize = 128;

/// A part with so many bytes is rid of what is not the last value of a row, before more of it is fetched.
const PART_BYTES: usize = 16 << 20;

/// A row's hash stands before it, in so many bytes.
const HASH_BYTES: usize = size_of::<u64>();

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Place {
    hash: u64,
    at: At,
}

/// Where in its part a row stands: places grow as rows come.
type At = u32;

/// The rows with some hashes, as they come.
#[derive(Debug, Default)]
struct Gathered {
    pieces: Vec<Waiting>,
    /// What comes after them.
    rows: Vec<u8>,
}

/// A piece of a part.
#[derive(Debug)]
enum Waiting {
    Aside(Piece),
    /// The disk was full.
    Here(Vec<u8>),
}

/// The rows, as they come.
#[derive(Debug)]
pub(crate) struct Changes<'a> {
    parts: Vec<Gathered>,
    piece_bytes: usize,
    aside: Aside<'a>,
    /// Nothing more can be set aside.
    is_disk_full: bool,
    /// Why something else could not.
    failure: Option<StoreError>,
}

impl<'a> Changes<'a> {
    /// Of some `redo_bytes` of redo at most, in the store whose directory is `dir`.
    pub fn new(disk: &'a dyn Disk, dir: &Path, redo_bytes: u64) -> Self {
        let parts = std::iter::repeat_with(Gathered::default).take(PARTS).collect();
        // With little redo the pieces are small, and set aside as of much.
        let piece_bytes = usize::try_from(redo_bytes).unwrap_or(usize::MAX) / PARTS / 128;
        let piece_bytes = piece_bytes.clamp(PIECE_BYTES_MIN, PIECE_BYTES);
        let aside = Aside::new(disk, dir);
        Changes { parts, piece_bytes, aside, is_disk_full: false, failure: None }
    }

    /// Takes what became of a row.
    pub fn put(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) {
        self.push(packed::hash(table, key), table, key, value);
    }

    fn push(&mut self, hash: u64, table: TableId, key: &[u8], value: Option<&[u8]>) {
        let at = (hash >> (u64::BITS - PART_BITS)) as usize;
        let part = &mut self.parts[at];
        part.rows.extend_from_slice(&hash.to_le_bytes());
        packed::append(&mut part.rows, table, key, value);
        if part.rows.len() >= self.piece_bytes {
            self.set_aside(at);
        }
    }

    /// Sets aside what part `at` has in memory.
    #[cold]
    fn set_aside(&mut self, at: usize) {
        let Changes { parts, piece_bytes, aside, is_disk_full, failure } = self;
        let part = &mut parts[at];
        if failure.is_some() {
            // Nothing will be made of it.
            part.rows.clear();
            return;
        }
        let put = (!*is_disk_full).then(|| aside.put(&part.rows));
        part.pieces.push(match put {
            Some(Ok(piece)) => Waiting::Aside(piece),
            Some(Err(error)) if !error.is_full_disk() => return *failure = Some(error),
            Some(Err(_)) | None => {
                *is_disk_full = true;
                Waiting::Here(std::mem::take(&mut part.rows))
            }
        });
        part.rows.clear();
        // A large row's memory is not kept for small ones.
        part.rows.shrink_to(2 * *piece_bytes);
    }

    /// Whether more can be taken without need of memory for all of it: not when the disk is full.
    ///
    /// # Errors
    /// When something could not be set aside. It is lost, and so are the changes.
    pub fn has_room(&mut self) -> Result<bool, StoreError> {
        self.failure.take().map_or(Ok(!self.is_disk_full), Err)
    }

    /// The last value of each row: in parts, which come in the order of their rows' hashes.
    ///
    /// # Errors
    /// As [`has_room`](Self::has_room).
    pub fn in_order(mut self) -> Result<Parts<'a>, StoreError> {
        self.has_room()?;
        Ok(Parts { rest: self.parts.into_iter(), aside: self.aside, part: Part::default() })
    }

    fn put_ops(&mut self, ops: &[OpRef<'_>]) {
        ops.iter().for_each(|op| self.put(op.table, op.key, op.value));
    }
}

/// The parts of the changes, one after the other.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    rest: std::vec::IntoIter<Gathered>,
    aside: Aside<'a>,
    /// The memory of the one before is the next one's.
    part: Part,
}

impl Parts<'_> {
    /// The next part.
    ///
    /// # Errors
    /// When it can't be fetched, or is not what was set aside.
    pub fn next(&mut self) -> Result<Option<&Part>, StoreError> {
        let Some(Gathered { pieces, rows }) = self.rest.next() else { return Ok(None) };
        let part = &mut self.part;
        part.rows.clear();
        part.places.clear();
        let mut bytes_max = PART_BYTES;
        for piece in pieces {
            match piece {
                Waiting::Aside(piece) => self.aside.fetch(&piece, &mut part.rows)?,
                Waiting::Here(rows) => part.rows.extend_from_slice(&rows),
            }
            if part.rows.len() > bytes_max {
                part.settle();
                part.compact();
                bytes_max = (2 * part.rows.len()).max(PART_BYTES);
            }
        }
        part.rows.extend_from_slice(&rows);
        part.settle();
        Ok(Some(part))
    }
}

/// A part of the changes, in the order of their rows' hashes; rows with equal ones in that of table and key.
#[derive(Debug, Default)]
pub(crate) struct Part {
    rows: Vec<u8>,
    places: Vec<Place>,
}

impl Part {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The last value of each row, with the row's hash.
    pub fn rows(&self) -> impl Iterator<Item = (u64, Packed<'_>)> {
        self.places.iter().map(|place| (place.hash, row_at(&self.rows, place.at)))
    }

    /// Finds the last value of each row, and puts them in order.
    fn settle(&mut self) {
        let Part { rows, places } = self;
        places.clear();
        let mut at = 0;
        while let Some(hash) = rows[at..].first_chunk::<HASH_BYTES>() {
            let hash = u64::from_le_bytes(*hash);
            at += HASH_BYTES;
            places.push(Place {
                hash,
                at: At::try_from(at).expect("a part of a checkpoint's changes is smaller than 4 GB"),
            });
            at += row_at(rows, at as At).as_bytes().len();
        }
        // Not looked up as they come: a look-up of each costs more than to put them all in order.
        places.sort_unstable_by_key(|place| (place.hash, place.at));
        let name = |place: &Place| {
            let row = row_at(rows, place.at);
            (row.table, row.key)
        };
        let (mut kept, mut begin) = (0, 0);
        while let Some(Place { hash, .. }) = places.get(begin).copied() {
            let end = begin + places[begin..].iter().take_while(|place| place.hash == hash).count();
            // Nearly always one row's.
            if places[begin..end].windows(2).any(|two| name(&two[0]) != name(&two[1])) {
                places[begin..end].sort_unstable_by_key(|place| (name(place), place.at));
                for at in begin..end {
                    if at + 1 == end || name(&places[at]) != name(&places[at + 1]) {
                        places[kept] = places[at];
                        kept += 1;
                    }
                }
            } else {
                places[kept] = places[end - 1];
                kept += 1;
            }
            begin = end;
        }
        places.truncate(kept);
    }

    /// Leaves nothing but what was found.
    fn compact(&mut self) {
        let mut rows = Vec::with_capacity(self.rows.len() / 2);
        for (hash, row) in self.rows() {
            rows.extend_from_slice(&hash.to_le_bytes());
            rows.extend_from_slice(row.as_bytes());
        }
        self.rows = rows;
        self.places.clear();
    }
}

fn row_at(rows: &[u8], at: At) -> Packed<'_> {
    Packed::first_of(&rows[at as usize..]).expect("it was packed here")
}

impl Replayed for Changes<'_> {
    fn entry(&mut self, state: &mut State, entry: Entry<OpRef<'_>>) {
        self.put_ops(entry.body.ops());
        state.apply_without_rows(entry);
    }
    fn entry_of_copy(&mut self, _: &mut State, entry: Entry<OpRef<'_>>) {
        self.put_ops(entry.body.ops());
    }
    fn row(&mut self, _: &mut State, row: Row) {
        self.put(row.table, &row.key, Some(&row.value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_disk::SimDisk;

    const DIR: &str = "/d";

    fn disk() -> SimDisk {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new(DIR)).unwrap();
        disk
    }

    fn changes(disk: &SimDisk) -> Changes<'_> {
        Changes::new(disk, Path::new(DIR), 0)
    }

    type Row = (u32, Vec<u8>, Option<Vec<u8>>);

    /// All rows, in the order of their hashes.
    fn rows_of(changes: Changes<'_>) -> Vec<Row> {
        let (mut parts, mut rows, mut hashes) = (changes.in_order().unwrap(), Vec::new(), Vec::new());
        while let Some(part) = parts.next().unwrap() {
            assert_eq!(part.rows().count(), part.len());
            for (hash, row) in part.rows() {
                hashes.push(hash);
                rows.push((row.table.0, row.key.to_vec(), row.value.map(<[u8]>::to_vec)));
            }
        }
        assert!(hashes.is_sorted());
        rows
    }

    fn row(table: u32, key: &str, value: &str) -> Row {
        (table, key.into(), Some(value.into()))
    }

    #[test]
    fn the_last_value_of_each_row_stays() {
        let disk = disk();
        let before = disk.changes();
        let mut changes = changes(&disk);
        for (key, value) in
            [("a", Some("one")), ("b", Some("x")), ("a", Some("two")), ("b", None), ("a", Some("three"))]
        {
            changes.put(TableId(7), key.as_bytes(), value.map(str::as_bytes));
        }
        changes.put(TableId(8), b"a", Some(b"another table's"));
        let mut rows = rows_of(changes);
        rows.sort_unstable();
        assert_eq!(rows, [row(7, "a", "three"), (7, "b".into(), None), row(8, "a", "another table's")]);
        assert_eq!(disk.changes(), before, "nothing was set aside");
    }

    /// Puts rows of all sizes, many of them more than once, and says what has to come back.
    fn put_many(changes: &mut Changes<'_>) -> Vec<Row> {
        let mut expected = std::collections::BTreeMap::new();
        for number in 0..4_000_u32 {
            let (key, size) = (number.wrapping_mul(2_654_435_761) % 700, number as usize * 7 % 300);
            let size = if number % 1_000 == 3 { 3 * PIECE_BYTES } else { size };
            let value = vec![number as u8; size];
            changes.put(TableId(1), &key.to_le_bytes(), Some(&value));
            expected.insert(packed::hash(TableId(1), &key.to_le_bytes()), (key, value));
        }
        expected.into_values().map(|(key, value)| (1, key.to_le_bytes().to_vec(), Some(value))).collect()
    }

    #[test]
    fn what_was_set_aside_comes_back() {
        let disk = disk();
        let mut changes = changes(&disk);
        let expected = put_many(&mut changes);
        assert!(disk.changes() > 1_000 && changes.has_room().unwrap());
        assert!(rows_of(changes) == expected);
    }

    #[test]
    fn on_a_full_disk_rows_stay_in_memory_and_no_more_are_wanted() {
        for space in [0, 1_000, 50_000] {
            let disk = disk();
            disk.limit_space(Some(space));
            let mut changes = changes(&disk);
            let expected = put_many(&mut changes);
            assert!(!changes.has_room().unwrap());
            assert!(rows_of(changes) == expected);
        }
    }

    #[test]
    fn a_disk_that_fails_is_told() {
        let disk = disk();
        disk.cut_after(100);
        let mut changes = changes(&disk);
        put_many(&mut changes);
        let error = changes.has_room().unwrap_err();
        assert!(matches!(error, StoreError::Disk { .. }), "{error}");
    }

    #[test]
    fn one_row_that_is_changed_all_the_time_takes_little_memory() {
        let disk = disk();
        let mut changes = changes(&disk);
        let value = |number: u32| vec![number as u8; 60_000];
        for number in 0..900 {
            changes.push(7, TableId(1), b"often", Some(&value(number)));
        }
        changes.push(6, TableId(1), b"once", Some(b"x"));
        let mut parts = changes.in_order().unwrap();
        let part = parts.next().unwrap().expect("the first part");
        let rows: Vec<_> = part.rows().map(|(hash, row)| (hash, row.value.unwrap())).collect();
        assert!(rows == [(6, &b"x"[..]), (7, &value(899))]);
        assert!(part.rows.capacity() < 2 * PART_BYTES, "{}", part.rows.capacity());
    }

    #[test]
    fn rows_whose_hashes_are_equal_are_told_apart() {
        let disk = disk();
        let mut changes = changes(&disk);
        for (table, key, value) in
            [(7, "b", "1"), (7, "a", "2"), (8, "a", "3"), (7, "b", "4"), (7, "a", "5"), (7, "b", "6")]
        {
            changes.push(1 << 40, TableId(table), key.as_bytes(), Some(value.as_bytes()));
        }
        assert_eq!(rows_of(changes), [row(7, "a", "5"), row(7, "b", "6"), row(8, "a", "3")]);
    }
}
