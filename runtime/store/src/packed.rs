//! Rows in a piece of memory, one behind the other, as they are collected for the checkpoint and stand in it.
//!
//! A row is its table, the lengths of key and value, key, value. No value, for a row that is to go, has a length of its own.
//!
//! Invariant: whatever the bytes are, reading them does not fail but for rows that are not there.

use lockstep_core::ids::TableId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Table and lengths, in bytes.
const HEAD: usize = 12;
/// In place of a value's length: there is none.
const NO_VALUE: u32 = u32::MAX;

/// A row in a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed<'a> {
    pub table: TableId,
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
    /// All of it, as it stands there.
    bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    /// The row at the start of `bytes`; none when there is no whole one.
    pub fn first_of(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD>()?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let key_end = HEAD.checked_add(word(4) as usize)?;
        let key = bytes.get(HEAD..key_end)?;
        let value = match word(8) {
            NO_VALUE => None,
            len => Some(bytes.get(key_end..key_end.checked_add(len as usize)?)?),
        };
        let end = key_end + value.map_or(0, <[u8]>::len);
        Some(Packed { table: TableId(word(0)), key, value, bytes: &bytes[..end] })
    }

    /// The row as it stands.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The hash of a row's table and key: what a row stands under, and what orders rows.
pub(crate) fn hash(table: TableId, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, u64::from(table.0))
}

/// Appends a row.
///
/// # Panics
/// When key or value has 4 GB.
pub(crate) fn append(bytes: &mut Vec<u8>, table: TableId, key: &[u8], value: Option<&[u8]>) {
    let len = |bytes: &[u8]| {
        let len = u32::try_from(bytes.len()).expect("rows are smaller than 4 GB");
        assert_ne!(len, NO_VALUE, "rows are smaller than 4 GB");
        len
    };
    bytes.extend_from_slice(&table.0.to_le_bytes());
    bytes.extend_from_slice(&len(key).to_le_bytes());
    bytes.extend_from_slice(&value.map_or(NO_VALUE, len).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value.unwrap_or_default());
}

/// All rows of `bytes`, in the order in which they stand. The last is none when the bytes do not end with a whole row.
pub(crate) fn rows(bytes: &[u8]) -> impl Iterator<Item = Option<Packed<'_>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let row = Packed::first_of(rest);
        rest = row.map_or(&[][..], |row| &rest[row.bytes.len()..]);
        Some(row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_packed_and_cut_ones_are_none() {
        let mut bytes = Vec::new();
        append(&mut bytes, TableId(7), b"key", Some(b"value"));
        append(&mut bytes, TableId(8), b"", Some(b""));
        append(&mut bytes, TableId(9), b"gone", None);
        let all: Vec<Packed<'_>> = rows(&bytes).map(|row| row.expect("whole rows")).collect();
        let parts: Vec<_> =
            all.iter().map(|row| (row.table.0, row.key.len(), row.value.map(<[u8]>::len))).collect();
        assert_eq!(parts, [(7, 3, Some(5)), (8, 0, Some(0)), (9, 4, None)]);
        assert_eq!((all[0].key, all[0].value), (&b"key"[..], Some(&b"value"[..])));
        let together: Vec<u8> = all.iter().flat_map(|row| row.as_bytes()).copied().collect();
        assert_eq!(together, bytes);
        let ends: Vec<usize> = all
            .iter()
            .scan(0, |at, row| {
                *at += row.bytes.len();
                Some(*at)
            })
            .collect();
        for cut in 1..bytes.len() {
            let whole = rows(&bytes[..cut]).all(|row| row.is_some());
            assert_eq!(whole, ends.contains(&cut), "cut at {cut}");
        }
    }
}
