//! Rows on their way from the redo log into the checkpoint: the last value of each, all in one piece of memory, so that a
//! checkpoint takes no more of it than the redo that it is made of, whatever the rows' number.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use lockstep_core::entry::{Entry, OpRef, Row};
use lockstep_core::ids::TableId;
use lockstep_core::state::State;

use crate::packed::{self, Packed};
use crate::replay::Replayed;

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u64,
    at: usize,
}

/// The rows.
#[derive(Debug)]
pub(crate) struct Changes {
    bytes: Vec<u8>,
    places: HashTable<Place>,
}

impl Changes {
    /// With room for so many bytes of rows.
    pub fn with_room(bytes: usize) -> Self {
        Changes { bytes: Vec::with_capacity(bytes), places: HashTable::new() }
    }

    /// Takes what became of a row.
    pub fn put(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) {
        let (hash, end) = (packed::hash(table, key), self.bytes.len());
        packed::append(&mut self.bytes, table, key, value);
        let (before, new) = self.bytes.split_at_mut(end);
        let is_same = |place: &Place| {
            place.hash == hash && {
                let row = row_at(before, place);
                row.table == table && row.key == key
            }
        };
        match self.places.entry(hash, is_same, |place| place.hash) {
            Slot::Vacant(slot) => drop(slot.insert(Place { hash, at: end })),
            Slot::Occupied(mut slot) => {
                let old = slot.get().at..slot.get().at + row_at(before, slot.get()).as_bytes().len();
                if old.len() == new.len() {
                    before[old].copy_from_slice(new);
                    self.bytes.truncate(end);
                } else {
                    slot.get_mut().at = end;
                }
            }
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The same, in the order of the rows' hashes.
    pub fn into_order(self) -> InOrder {
        let Changes { bytes, places } = self;
        let mut places: Vec<Place> = places.into_iter().collect();
        places.sort_unstable_by(|one, other| {
            let order = |place: &Place| {
                let row = row_at(&bytes, place);
                (row.table, row.key)
            };
            one.hash.cmp(&other.hash).then_with(|| order(one).cmp(&order(other)))
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
    /// The last value of each row, with the row's hash.
    pub fn rows(&self) -> impl Iterator<Item = (u64, Packed<'_>)> {
        self.places.iter().map(|place| (place.hash, row_at(&self.bytes, place)))
    }
}

fn row_at<'a>(bytes: &'a [u8], place: &Place) -> Packed<'a> {
    Packed::first_of(&bytes[place.at..]).expect("it was packed here")
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
        assert_eq!(changes.len(), 3);
        let changes = changes.into_order();
        assert!(changes.rows().is_sorted_by_key(|(hash, _)| hash));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let row = |row: Packed<'_>| (row.table.0, text(row.key), row.value.map_or("none".into(), text));
        let mut rows: Vec<_> = changes.rows().map(|(_, packed)| row(packed)).collect();
        rows.sort_unstable();
        let expected = [(7, "a", "three"), (7, "b", "none"), (8, "a", "another table's")];
        assert_eq!(rows, expected.map(|(table, key, value)| (table, key.into(), value.into())));
    }
}
