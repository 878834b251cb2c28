//! What a row gives in derived tables, and the fingerprints of what rows give.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::entry::Row;
use crate::hash_seed::HashSeed;
use crate::ids::TableId;
use crate::row_key::RowKey;

/// What is between one derived row's table, key and row in a fingerprint; any number with bits all over will do.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The derived rows of one row, in one piece of memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    bytes: Vec<u8>,
    /// Table, and where the key and the row end.
    rows: Vec<(TableId, usize, usize)>,
}

impl Given {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn push(&mut self, table: TableId, key: &[u8], row: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(row);
        self.rows.push((table, key_end, self.bytes.len()));
    }

    fn lent(&self) -> impl Iterator<Item = (TableId, &[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.rows.iter().map(|(_, _, end)| *end));
        self.rows.iter().zip(starts).map(|((table, key_end, end), start)| {
            (*table, &self.bytes[start..*key_end], &self.bytes[*key_end..*end])
        })
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.lent().map(|(table, key, row)| Row { table, key: key.into(), value: row.into() })
    }
}

/// Fingerprints by the hash of the row that gives. Rows whose hashes are equal have one between them, the latest one's: what the
/// other gives is then taken for a change, which costs a translation, no more.
#[derive(Clone, Debug, Default)]
pub(super) struct Fingerprints {
    seed: HashSeed,
    table: HashTable<(u64, u64)>,
}

impl Fingerprints {
    pub fn new(seed: HashSeed) -> Self {
        Fingerprints { seed, table: HashTable::new() }
    }

    /// The fingerprint of `given` as what the row under `key` gives: two rows, or two contents of one, have the same but for a
    /// chance of one in 2^64.
    pub fn of(&self, key: &RowKey, given: &Given) -> u64 {
        given.lent().fold(self.seed.hash(key).wrapping_add(STEP), |print, (table, key, row)| {
            let with_key = xxh3_64_with_seed(key, print ^ u64::from(table.0));
            xxh3_64_with_seed(row, with_key.wrapping_add(STEP))
        })
    }

    /// What stood there; the new one, or none, takes its place.
    pub fn put(&mut self, table: TableId, key: &RowKey, fingerprint: Option<u64>) -> Option<u64> {
        let hash = self.seed.for_table(table).hash(key);
        match (self.table.entry(hash, |(other, _)| *other == hash, |(other, _)| *other), fingerprint) {
            (Entry::Occupied(mut entry), Some(fingerprint)) => {
                Some(std::mem::replace(&mut entry.get_mut().1, fingerprint))
            }
            (Entry::Occupied(entry), None) => Some(entry.remove().0.1),
            (Entry::Vacant(entry), Some(fingerprint)) => {
                entry.insert((hash, fingerprint));
                None
            }
            (Entry::Vacant(_), None) => None,
        }
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.table.capacity() * (size_of::<(u64, u64)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(rows: &[(u32, &str, &str)]) -> Given {
        let mut given = Given::default();
        for (table, key, row) in rows {
            given.push(TableId(*table), key.as_bytes(), row.as_bytes());
        }
        given
    }

    #[test]
    fn a_fingerprint_is_of_tables_keys_rows_and_their_order() {
        let all = [
            given(&[]),
            given(&[(1, "a", "b")]),
            given(&[(2, "a", "b")]),
            given(&[(1, "ab", "")]),
            given(&[(1, "", "ab")]),
            given(&[(1, "a", "b"), (1, "c", "d")]),
            given(&[(1, "c", "d"), (1, "a", "b")]),
        ];
        let (key, other) = (RowKey::from(&b"key"[..]), RowKey::from(&b"other"[..]));
        let fingerprints = Fingerprints::default();
        let prints: Vec<u64> = all.iter().map(|given| fingerprints.of(&key, given)).collect();
        for (at, print) in prints.iter().enumerate() {
            assert!(!prints[..at].contains(print), "{at}");
            assert_eq!(fingerprints.of(&key, &all[at].clone()), *print);
            assert_ne!(fingerprints.of(&other, &all[at]), *print);
        }
        let rows: Vec<Row> = all[5].rows().collect();
        assert_eq!((&*rows[1].key, &*rows[1].value, rows.len()), (&b"c"[..], &b"d"[..], 2));
    }

    #[test]
    fn fingerprints_come_change_and_go() {
        let (mut prints, key) = (Fingerprints::default(), RowKey::from(&b"key"[..]));
        assert_eq!(prints.put(TableId(1), &key, None), None);
        assert_eq!(prints.put(TableId(1), &key, Some(7)), None);
        assert_eq!(prints.put(TableId(1), &key, Some(8)), Some(7));
        assert_eq!(prints.put(TableId(2), &key, Some(9)), None);
        assert_eq!(prints.put(TableId(1), &key, None), Some(8));
        assert_eq!(prints.put(TableId(1), &key, None), None);
    }
}
