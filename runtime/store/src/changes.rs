//! Rows on their way from the redo log into the checkpoint: the last value of each, all in one piece of memory, so that a
//! checkpoint takes little more of it than the redo that it is made of, whatever the rows' number.

use lockstep_core::entry::{Entry, OpRef, Row};
use lockstep_core::ids::TableId;
use lockstep_core::state::State;

use crate::packed::{self, Packed};
use crate::replay::Replayed;

/// A row takes so many bytes of the redo or more, nearly always.
const ROW_BYTES_MIN: usize = 48;

/// Where a row stands. There are half a million of them, so they are packed too.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Place {
    hash: u64,
    at: u32,
}

/// The rows, as they come.
#[derive(Debug)]
pub(crate) struct Changes {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Changes {
    /// With room for so many bytes of rows.
    pub fn with_room(bytes: usize) -> Self {
        Changes { bytes: Vec::with_capacity(bytes), places: Vec::with_capacity(bytes / ROW_BYTES_MIN) }
    }

    /// Takes what became of a row.
    pub fn put(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) {
        self.push(packed::hash(table, key), table, key, value);
    }

    fn push(&mut self, hash: u64, table: TableId, key: &[u8], value: Option<&[u8]>) {
        let at = u32::try_from(self.bytes.len()).expect("a checkpoint's changes are smaller than 4 GB");
        self.places.push(Place { hash, at });
        packed::append(&mut self.bytes, table, key, value);
    }

    /// The last value of each row.
    pub fn into_order(self) -> InOrder {
        let Changes { bytes, mut places } = self;
        // Not looked up as they come: a look-up of each costs more than to put them all in order.
        places.sort_unstable_by_key(|place| (place.hash, place.at));
        let name = |place: &Place| {
            let row = row_at(&bytes, place);
            (row.table, row.key)
        };
        for alike in places.chunk_by_mut(|one, other| one.hash == other.hash) {
            // Nearly always one row's.
            if alike.len() > 1 && alike.iter().any(|place| name(place) != name(&alike[0])) {
                alike.sort_unstable_by_key(|place| (name(place), place.at));
            }
        }
        places.dedup_by(|later, earlier| {
            let is_same = later.hash == earlier.hash && name(later) == name(earlier);
            if is_same {
                *earlier = *later;
            }
            is_same
        });
        InOrder { bytes, places }
    }

    fn put_ops(&mut self, ops: &[OpRef<'_>]) {
        ops.iter().for_each(|op| self.put(op.table, op.key, op.value));
    }
}

/// Changes in the order of their rows' hashes; rows with equal ones in that of table and key.
#[derive(Debug)]
pub(crate) struct InOrder {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl InOrder {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The last value of each row, with the row's hash.
    pub fn rows(&self) -> impl Iterator<Item = (u64, Packed<'_>)> {
        self.places.iter().map(|place| (place.hash, row_at(&self.bytes, place)))
    }
}

fn row_at<'a>(bytes: &'a [u8], place: &Place) -> Packed<'a> {
    Packed::first_of(&bytes[place.at as usize..]).expect("it was packed here")
}

impl Replayed for Changes {
    type Op<'a> = OpRef<'a>;

    fn entry(&mut self, state: &mut State, entry: Entry<OpRef<'_>>) {
        let (ops, entry) = entry.split();
        self.put_ops(&ops);
        state.apply(entry);
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
        let changes = changes.into_order();
        assert_eq!(changes.len(), 3);
        assert!(changes.rows().is_sorted_by_key(|(hash, _)| hash));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let row = |row: Packed<'_>| (row.table.0, text(row.key), row.value.map_or("none".into(), text));
        let mut rows: Vec<_> = changes.rows().map(|(_, packed)| row(packed)).collect();
        rows.sort_unstable();
        let expected = [(7, "a", "three"), (7, "b", "none"), (8, "a", "another table's")];
        assert_eq!(rows, expected.map(|(table, key, value)| (table, key.into(), value.into())));
    }

    #[test]
    fn rows_whose_hashes_are_equal_are_told_apart() {
        let mut changes = Changes::with_room(0);
        for (table, key, value) in
            [(7, "b", "1"), (7, "a", "2"), (8, "a", "3"), (7, "b", "4"), (7, "a", "5"), (7, "b", "6")]
        {
            changes.push(1 << 40, TableId(table), key.as_bytes(), Some(value.as_bytes()));
        }
        let changes = changes.into_order();
        let rows: Vec<_> =
            changes.rows().map(|(_, row)| (row.table.0, row.key, row.value.unwrap())).collect();
        assert_eq!(rows, [(7, &b"a"[..], &b"5"[..]), (7, b"b", b"6"), (8, b"a", b"3")]);
    }
}
