//! Rows on their way from the redo log into the checkpoint: the last value of each, in pieces of memory, so that a checkpoint takes
//! little more of it than the redo that it is made of, whatever the rows' number. Pieces, because memory for all of it at once
//! would be found elsewhere each time, and leave holes behind that are too large to be filled and too small to be given back.
//!
//! They are parted by their hashes as they come, so that what is put in order at once, and then read in that order, is no more
//! than a processor's own cache holds.

use lockstep_core::entry::{Entry, OpRef, Row};
use lockstep_core::ids::TableId;
use lockstep_core::state::State;

use crate::packed::{self, Packed};
use crate::replay::Replayed;

/// A row takes so many bytes of the redo or more, nearly always.
const ROW_BYTES_MIN: usize = 48;

/// The size of a piece; a row that is larger has one of its own.
const PIECE_BYTES: usize = 1 << PIECE_BITS;
const PIECE_BITS: u32 = 16;

/// So many parts are there, each of those hashes that begin with its number.
const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 6;

/// Where a row stands. There are half a million of them, so they are packed too.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Place {
    hash: u64,
    at: At,
}

/// A piece's number, and where in it: they grow as rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At(u32);

/// Packed rows.
#[derive(Debug, Default)]
struct Pieces(Vec<Vec<u8>>);

impl Pieces {
    fn append(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) -> At {
        let bytes = packed::bytes_max(key, value);
        if self.0.last().is_none_or(|piece| piece.len() + bytes > PIECE_BYTES) {
            self.0.push(Vec::with_capacity(bytes.max(PIECE_BYTES)));
        }
        let (number, piece) = (self.0.len() - 1, self.0.last_mut().expect("one was just made"));
        let number = u32::try_from(number).ok().filter(|number| *number < 1 << (u32::BITS - PIECE_BITS));
        let at = number.expect("a part of a checkpoint's changes is smaller than 4 GB") << PIECE_BITS;
        let at = At(at | piece.len() as u32);
        packed::append(piece, table, key, value);
        at
    }

    fn row_at(&self, at: At) -> Packed<'_> {
        let piece = &self.0[(at.0 >> PIECE_BITS) as usize];
        Packed::first_of(&piece[at.0 as usize % PIECE_BYTES..]).expect("it was packed here")
    }
}

/// The rows with some hashes.
#[derive(Debug, Default)]
struct Part {
    pieces: Pieces,
    places: Vec<Place>,
}

impl Part {
    fn push(&mut self, hash: u64, table: TableId, key: &[u8], value: Option<&[u8]>) {
        let at = self.pieces.append(table, key, value);
        self.places.push(Place { hash, at });
    }

    /// Leaves the last value of each row, and puts them in order.
    fn in_order(mut self) -> InOrder {
        let Part { pieces, places } = &mut self;
        // Not looked up as they come: a look-up of each costs more than to put them all in order.
        places.sort_unstable_by_key(|place| (place.hash, place.at));
        let name = |place: &Place| {
            let row = pieces.row_at(place.at);
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
        InOrder(self)
    }
}

/// The rows, as they come.
#[derive(Debug)]
pub(crate) struct Changes(Vec<Part>);

impl Changes {
    /// With room for the places of so many bytes of redo.
    pub fn with_room(bytes: usize) -> Self {
        let places = bytes / ROW_BYTES_MIN / PARTS;
        let part = || Part { pieces: Pieces::default(), places: Vec::with_capacity(places) };
        Changes(std::iter::repeat_with(part).take(PARTS).collect())
    }

    /// Takes what became of a row.
    pub fn put(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) {
        self.push(packed::hash(table, key), table, key, value);
    }

    fn push(&mut self, hash: u64, table: TableId, key: &[u8], value: Option<&[u8]>) {
        self.0[(hash >> (u64::BITS - PART_BITS)) as usize].push(hash, table, key, value);
    }

    /// The last value of each row: in parts, which come in the order of their rows' hashes. A part's memory goes with it.
    pub fn in_order(self) -> impl Iterator<Item = InOrder> {
        self.0.into_iter().map(Part::in_order)
    }

    fn put_ops(&mut self, ops: &[OpRef<'_>]) {
        ops.iter().for_each(|op| self.put(op.table, op.key, op.value));
    }
}

/// A part of the changes, in the order of their rows' hashes; rows with equal ones in that of table and key.
#[derive(Debug)]
pub(crate) struct InOrder(Part);

impl InOrder {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.places.len()
    }

    /// The last value of each row, with the row's hash.
    pub fn rows(&self) -> impl Iterator<Item = (u64, Packed<'_>)> {
        self.0.places.iter().map(|place| (place.hash, self.0.pieces.row_at(place.at)))
    }
}

impl Replayed for Changes {
    type Op<'a> = OpRef<'a>;

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

    #[test]
    fn the_last_value_of_each_row_stays() {
        let mut changes = Changes::with_room(0);
        for (key, value) in
            [("a", Some("one")), ("b", Some("x")), ("a", Some("two")), ("b", None), ("a", Some("three"))]
        {
            changes.put(TableId(7), key.as_bytes(), value.map(str::as_bytes));
        }
        changes.put(TableId(8), b"a", Some(b"another table's"));
        let parts: Vec<InOrder> = changes.in_order().collect();
        let changes = || parts.iter().flat_map(InOrder::rows);
        assert_eq!(parts.iter().map(InOrder::len).sum::<usize>(), 3);
        assert!(changes().is_sorted_by_key(|(hash, _)| hash));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let row = |row: Packed<'_>| (row.table.0, text(row.key), row.value.map_or("none".into(), text));
        let mut rows: Vec<_> = changes().map(|(_, packed)| row(packed)).collect();
        rows.sort_unstable();
        let expected = [(7, "a", "three"), (7, "b", "none"), (8, "a", "another table's")];
        assert_eq!(rows, expected.map(|(table, key, value)| (table, key.into(), value.into())));
    }

    #[test]
    fn rows_of_all_sizes_are_found_in_their_pieces() {
        let mut changes = Changes::with_room(0);
        let sizes =
            [10, PIECE_BYTES / 2, PIECE_BYTES / 2, PIECE_BYTES, 3 * PIECE_BYTES, 0, PIECE_BYTES - 20, 7];
        for (number, size) in sizes.into_iter().enumerate() {
            // All in one part.
            changes.push(number as u64, TableId(1), &[number as u8], Some(&vec![number as u8; size]));
        }
        changes.push(4, TableId(1), &[4], Some(b"short"));
        let part = changes.in_order().next().expect("the first part");
        assert_eq!(part.len(), sizes.len());
        for (_, row) in part.rows() {
            let (number, value) = (row.key[0], row.value.expect("a value"));
            match number {
                4 => assert_eq!(value, b"short"),
                number => assert!(value == vec![number; sizes[usize::from(number)]], "row {number}"),
            }
        }
    }

    #[test]
    fn rows_whose_hashes_are_equal_are_told_apart() {
        let mut changes = Changes::with_room(0);
        for (table, key, value) in
            [(7, "b", "1"), (7, "a", "2"), (8, "a", "3"), (7, "b", "4"), (7, "a", "5"), (7, "b", "6")]
        {
            changes.push(1 << 40, TableId(table), key.as_bytes(), Some(value.as_bytes()));
        }
        let part = changes.in_order().next().expect("the first part");
        let rows: Vec<_> = part.rows().map(|(_, row)| (row.table.0, row.key, row.value.unwrap())).collect();
        assert_eq!(rows, [(7, &b"a"[..], &b"5"[..]), (7, b"b", b"6"), (8, b"a", b"3")]);
    }
}
