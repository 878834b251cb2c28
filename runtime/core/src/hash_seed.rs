//! What makes the hashes of one store others than those of all the rest.
//!
//! Clients choose keys. Whoever knows how keys are hashed can choose them so that all of them are looked for in one place, and
//! every look-up goes past all the others. And rows that come in the order in which another store keeps them, as in a copy, would
//! fill a growing table from one end, with the same effect. So each store hashes with its own id, which no client is told.
//!
//! Not for what other processors have to agree about: shards, partitions and digests are hashed without a seed.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{StoreId, TableId};

/// Seeds the hashes of keys. The default is for tables that no client fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashSeed(u64);

impl HashSeed {
    /// Of the store with that id.
    #[must_use]
    pub fn of(store: StoreId) -> Self {
        HashSeed((store.0 >> 64) as u64 ^ store.0 as u64)
    }

    /// For the rows of one table: one may be filled in the order of another.
    #[must_use]
    pub fn for_table(self, table: TableId) -> Self {
        HashSeed(self.hash(&table.0.to_le_bytes()))
    }

    /// The hash of `bytes`.
    #[inline]
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self.0)
    }
}
