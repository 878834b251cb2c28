//! The rows of a hash table in shards, so that a walk can go over it a shard at a time while it changes.
//!
//! In which shard a key stands is the same on every processor: the place of a walk is a key, and the walk goes on from there on
//! another one. Where in its shard is each store's own matter ([`HashSeed`]).

use xxhash_rust::xxh3::xxh3_64;

use super::packed_row::PackedRow;
use super::rows::Rows;
use crate::hash_seed::HashSeed;

/// A table that is kept in shards has so many.
pub(crate) const SHARDS: usize = 256;

/// The shard of a key with that hash: not by those bits that its rows are told apart by within the shard.
pub(crate) fn shard_of(hash: u64) -> usize {
    (hash >> 24) as usize % SHARDS
}

/// The shard of a row's key.
pub(super) fn shard(key: &[u8]) -> usize {
    shard_of(xxh3_64(key))
}

/// Where a key is looked for in a hash table, as long as the table is that of one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    seed: HashSeed,
    shard: usize,
    hash: u64,
}

/// A hash table's rows.
#[derive(Clone, Debug)]
pub(super) struct Shards {
    seed: HashSeed,
    shards: Vec<Rows>,
}

impl Shards {
    pub fn new(seed: HashSeed) -> Self {
        Shards { seed, shards: vec![Rows::default(); SHARDS] }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(Rows::len).sum()
    }

    /// The shards.
    pub fn iter(&self) -> impl Iterator<Item = &Rows> {
        self.shards.iter()
    }

    /// The shard at that place; none behind the last one.
    pub fn at(&self, shard: usize) -> Option<&Rows> {
        self.shards.get(shard)
    }

    /// Where `key` is looked for.
    #[inline]
    pub fn place(&self, key: &[u8]) -> Place {
        Place { seed: self.seed, shard: shard(key), hash: self.seed.hash(key) }
    }

    /// The row under `key`.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&PackedRow> {
        let Place { shard, hash, .. } = self.place(key);
        self.shards[shard].get(hash, key)
    }

    /// As [`Rows::fetch`].
    #[inline]
    pub fn fetch(&self, place: Place) {
        self.shards[place.shard].fetch(place.hash);
    }

    /// Puts the row of `key`, whose place that is, in or takes it out; `keep` is shown the one that stood there.
    ///
    /// # Panics
    /// When the place is one in another store's table.
    #[inline]
    pub fn set<R>(
        &mut self,
        place: Place,
        key: &[u8],
        value: Option<&[u8]>,
        keep: impl FnOnce(Option<&[u8]>) -> R,
    ) -> R {
        assert_eq!(place.seed, self.seed, "a row's place is one in this very table");
        let (rows, hash) = (&mut self.shards[place.shard], place.hash);
        let Some(value) = value else {
            return keep(rows.remove(self.seed, hash, key).as_ref().map(PackedRow::value));
        };
        match rows.get_mut(hash, key) {
            Some(row) => {
                let kept = keep(Some(row.value()));
                row.replace(value);
                kept
            }
            None => {
                rows.insert_new(self.seed, hash, PackedRow::new(key, value));
                keep(None)
            }
        }
    }
}
