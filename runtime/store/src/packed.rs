//! Rows in a piece of memory, one behind the other, as they are collected for the checkpoint and stand in it.
//!
//! A row is its table, the length of its key, one more than the length of its value, key, value. No value, for a row that is to
//! go, has 0 in place of its length. Lengths take a byte for seven of their bits, the lowest first; all but the last byte have the
//! eighth set. Rows are short, and there are millions of them.
//!
//! Invariant: whatever the bytes are, reading them does not fail but for rows that are not there.

use lockstep_core::ids::TableId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The most bytes that a length takes.
const LENGTH_BYTES_MAX: usize = 5;

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
        let (table, rest) = bytes.split_first_chunk()?;
        let (key_len, rest) = length(rest)?;
        let (value_len, rest) = length(rest)?;
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (value, rest) = match value_len.checked_sub(1) {
            Some(len) => rest.split_at_checked(len).map(|(value, rest)| (Some(value), rest))?,
            None => (None, rest),
        };
        let table = TableId(u32::from_le_bytes(*table));
        Some(Packed { table, key, value, bytes: &bytes[..bytes.len() - rest.len()] })
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

/// The length at the start of `bytes`, and what follows it; none when there is no whole one.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((length, &bytes[at + 1..]));
        }
    }
    None
}

fn append_length(bytes: &mut Vec<u8>, mut length: usize) {
    assert!(length <= u32::MAX as usize, "rows are smaller than 4 GB");
    while length > 0x7f {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

/// Appends a row.
///
/// # Panics
/// When key or value has 4 GB.
pub(crate) fn append(bytes: &mut Vec<u8>, table: TableId, key: &[u8], value: Option<&[u8]>) {
    bytes.extend_from_slice(&table.0.to_le_bytes());
    append_length(bytes, key.len());
    append_length(bytes, value.map_or(0, |value| value.len() + 1));
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
        append(&mut bytes, TableId(u32::MAX), &[1; 200], Some(&[2; 20_000]));
        let all: Vec<Packed<'_>> = rows(&bytes).map(|row| row.expect("whole rows")).collect();
        let parts: Vec<_> =
            all.iter().map(|row| (row.table.0, row.key.len(), row.value.map(<[u8]>::len))).collect();
        assert_eq!(parts, [(7, 3, Some(5)), (8, 0, Some(0)), (9, 4, None), (u32::MAX, 200, Some(20_000))]);
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
