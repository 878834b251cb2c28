//! The rows of a shard by the hashes of their keys: each in the first free slot from where its hash points.
//!
//! A look-up waits for one place in memory, where a table that has marks beside its rows waits for two, one after the other:
//! the marks say where the row is. Over tables that are in no cache that is half of what an event waits for.
//!
//! Linear probing, and removal that leaves no marks behind: Knuth, The Art of Computer Programming, volume 3, 6.4,
//! algorithms L and R.

use super::packed_row::PackedRow;
use crate::fetch::fetch;
use crate::hash_seed::HashSeed;

/// A table begins with so many slots.
const SLOTS_MIN: usize = 8;

/// Rows by hash.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    slots: Vec<Option<PackedRow>>,
    len: usize,
}

/// Where a row with that hash would stand if it were alone: by the hash's highest bits (Lemire 2019), so that there may be
/// any number of slots, and a table that grows takes half as much again.
#[inline]
fn home(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> 64) as usize
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Each of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &PackedRow> {
        self.slots.iter().flatten()
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// Where the row under `key` stands, or the slot where it would. There is always a free one.
    #[inline]
    fn find_slot(&self, hash: u64, key: &[u8]) -> Result<usize, usize> {
        let mut at = home(hash, self.slots.len());
        while let Some(row) = self.slots.get(at).and_then(Option::as_ref) {
            if row.key() == key {
                return Ok(at);
            }
            at = self.next(at);
        }
        Err(at)
    }

    /// The row under `key`.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&PackedRow> {
        let at = self.find_slot(hash, key).ok()?;
        self.slots[at].as_ref()
    }

    /// The row under `key`.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut PackedRow> {
        let at = self.find_slot(hash, key).ok()?;
        self.slots[at].as_mut()
    }

    /// Has the place where a row with that hash begins to be looked for brought out of memory, without waiting for it.
    #[inline]
    pub fn fetch(&self, hash: u64) {
        // A slot may begin in one line of the cache and end in the next; there the slot behind it begins, or goes on.
        let at = home(hash, self.slots.len());
        self.slots[at..].iter().take(2).for_each(fetch);
    }

    /// Adds a row whose key is not there. `seed` is what all keys of these rows are hashed with.
    pub fn insert_new(&mut self, seed: HashSeed, hash: u64, row: PackedRow) {
        // A quarter stays free: beyond, rows stand ever further from where they are looked for.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow(seed);
        }
        self.place(hash, row);
        self.len += 1;
    }

    fn place(&mut self, hash: u64, row: PackedRow) {
        let mut at = home(hash, self.slots.len());
        while self.slots[at].is_some() {
            at = self.next(at);
        }
        self.slots[at] = Some(row);
    }

    fn grow(&mut self, seed: HashSeed) {
        let slots = (self.slots.len() + self.slots.len() / 2).max(SLOTS_MIN);
        let free = std::iter::repeat_with(|| None).take(slots).collect();
        for row in std::mem::replace(&mut self.slots, free).into_iter().flatten() {
            self.place(seed.hash(row.key()), row);
        }
    }

    /// Takes out the row under `key`. `seed` is what all keys of these rows are hashed with.
    pub fn remove(&mut self, seed: HashSeed, hash: u64, key: &[u8]) -> Option<PackedRow> {
        let mut hole = self.find_slot(hash, key).ok()?;
        let removed = self.slots[hole].take();
        self.len -= 1;
        // Whoever stands behind the hole, and could not have stood there while it was taken, moves into it.
        let slots = self.slots.len();
        let behind = |from: usize, to: usize| (to + slots - from) % slots;
        let mut at = self.next(hole);
        while let Some(row) = &self.slots[at] {
            let home = home(seed.hash(row.key()), slots);
            if behind(home, at) >= behind(hole, at) {
                self.slots[hole] = self.slots[at].take();
                hole = at;
            }
            at = self.next(at);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ids::StoreId;

    /// Few keys, so that rows stand close, come again, and go around the end.
    #[test]
    fn rows_are_found_whatever_came_and_went() {
        let (mut rows, mut model) = (Rows::default(), BTreeMap::new());
        let (mut random, seed) = (1_u64, HashSeed::default());
        for step in 0..200_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let most = 1 + step / 1_000;
            let key = ((random >> 33) % most).to_le_bytes();
            let hash = seed.hash(&key);
            let expected = model.get(&key);
            assert_eq!(rows.get(hash, &key).map(|row| row.value().to_vec()), expected.cloned());
            match (random >> 60, expected.is_some()) {
                (0..6, true) => {
                    let row = rows.remove(seed, hash, &key).expect("it is there");
                    assert_eq!(Some(row.value().to_vec()), model.remove(&key));
                }
                (0..6, false) => assert!(rows.remove(seed, hash, &key).is_none()),
                (_, true) => {
                    let value = step.to_le_bytes().to_vec();
                    rows.get_mut(hash, &key).expect("it is there").replace(&value);
                    model.insert(key, value);
                }
                (_, false) => {
                    let value = step.to_le_bytes().to_vec();
                    rows.insert_new(seed, hash, PackedRow::new(&key, &value));
                    model.insert(key, value);
                }
            }
            assert_eq!(rows.len(), model.len());
        }
        let mut all: Vec<_> = rows.iter().map(|row| (row.key().to_vec(), row.value().to_vec())).collect();
        all.sort();
        assert_eq!(all, model.into_iter().map(|(key, value)| (key.to_vec(), value)).collect::<Vec<_>>());
        assert!(rows.slots.len() * 2 > rows.len, "and the table is no larger than it has to be");
    }

    /// How far the row that stands furthest from where it is looked for is away from there.
    fn furthest(rows: &Rows, seed: HashSeed) -> usize {
        let slots = rows.slots.len();
        let away = |(at, row): (usize, &Option<PackedRow>)| {
            row.as_ref().map(|row| (at + slots - home(seed.hash(row.key()), slots)) % slots)
        };
        rows.slots.iter().enumerate().filter_map(away).max().unwrap_or_default()
    }

    #[test]
    fn rows_in_the_order_of_another_store_stand_near_where_they_are_looked_for() {
        let [here, there] = [1, 2].map(|store| HashSeed::of(StoreId(store)));
        let put = |rows: &mut Rows, seed: HashSeed, key: &[u8]| {
            rows.insert_new(seed, seed.hash(key), PackedRow::new(key, b""));
        };
        let (mut rows, mut copy) = (Rows::default(), Rows::default());
        (0..3_000_u32).for_each(|key| put(&mut rows, here, &key.to_le_bytes()));
        // Not at the end alone: on the way there the table is small, and the rows are those of one end.
        for row in rows.iter() {
            put(&mut copy, there, row.key());
            let (furthest, len) = (furthest(&copy, there), copy.len());
            assert!(furthest < 100, "{furthest} after {len}");
        }
    }

    #[test]
    fn a_slot_takes_no_more_than_its_row() {
        assert_eq!(size_of::<Option<PackedRow>>(), size_of::<PackedRow>());
    }
}
