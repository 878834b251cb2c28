//! Updates of rows one behind the other in one piece of memory, as a procedure makes them and as its entry carries them.
//!
//! What is digested, logged, applied and taken back is read where it lies: no update is a value of its own on the hot path.
//!
//! Invariant: the bytes are those that `postcard` gives for [`Op`], one after the other, so that an entry takes them over
//! as they are.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entry::{Op, OpRef};
use crate::ids::TableId;

/// What an update takes beside its key and value, at most, in bytes.
const HEAD_BYTES_MAX: usize = 26;

/// Updates in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updates {
    bytes: Vec<u8>,
    count: usize,
}

/// Where the parts of an update lie in the bytes of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub begin: u32,
    pub key_len: u32,
    pub key_end: u32,
    pub value_len: u32,
    pub end: u32,
}

impl Updates {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = OpRef<'_>> {
        let mut rest = Rest(&self.bytes);
        (0..self.count).map(move |_| rest.update())
    }

    /// Makes room for updates of so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Adds one, and says where its parts lie.
    ///
    /// # Panics
    /// When all together have more than 4 GiB: those of a run have a bound.
    #[inline]
    pub(crate) fn place(&mut self, update: OpRef<'_>) -> Place {
        let (begin, key_end) = (self.bytes.len(), self.push(update));
        let end = u32::try_from(self.bytes.len()).expect("updates of a run have a bound");
        Place {
            begin: begin as u32,
            key_len: update.key.len() as u32,
            key_end: key_end as u32,
            value_len: update.value.map_or(0, <[u8]>::len) as u32,
            end,
        }
    }

    /// Adds one; where its key ends.
    #[inline]
    pub fn push(&mut self, update: OpRef<'_>) -> usize {
        let OpRef { table, key, value } = update;
        self.bytes.reserve(HEAD_BYTES_MAX + key.len() + value.map_or(0, <[u8]>::len));
        let (head, len) = varint(table.0);
        match short(key.len()) {
            Some(key_len) => self.put(head | u64::from(key_len) << (8 * len), len + 1),
            None => {
                self.put(head, len);
                self.put_len(key.len());
            }
        }
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        match value {
            None => self.bytes.push(0),
            Some(value) => {
                match short(value.len()) {
                    Some(len) => self.bytes.extend_from_slice(&[1, len]),
                    None => {
                        self.bytes.push(1);
                        self.put_len(value.len());
                    }
                }
                self.bytes.extend_from_slice(value);
            }
        }
        self.count += 1;
        key_end
    }

    /// Appends the first `len` of a number's bytes: in one piece of a known length, and then back to where they end.
    #[inline]
    fn put(&mut self, number: u64, len: usize) {
        let end = self.bytes.len() + len;
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.truncate(end);
    }

    #[cold]
    fn put_len(&mut self, len: usize) {
        let (number, len) = varint(u32::try_from(len).expect("keys and rows have bounds"));
        self.put(number, len);
    }

    /// A copy of `count` of another's updates, all that is in `bytes`.
    pub(crate) fn of_encoded(bytes: &[u8], count: usize) -> Updates {
        Updates { bytes: bytes.to_vec(), count }
    }

    /// Keeps the first `count`, which take so many bytes.
    pub(crate) fn truncate(&mut self, count: usize, bytes: u32) {
        self.bytes.truncate(bytes as usize);
        self.count = count;
    }

    /// Forgets all of them, and keeps room for at most `bytes_kept`.
    pub fn clear(&mut self, bytes_kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept);
        self.count = 0;
    }

    /// Appends what `postcard` gives for a list of them.
    pub fn encode_onto(&self, bytes: &mut Vec<u8>) {
        let (count, len) = varint(u32::try_from(self.count).expect("a run has a bound"));
        bytes.extend_from_slice(&count.to_le_bytes()[..len]);
        bytes.extend_from_slice(&self.bytes);
    }
}

/// As a list of them.
impl Serialize for Updates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Updates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Updates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of updates")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Updates, A::Error> {
                // Their number may come from an enemy: it is no reason to take memory beforehand.
                let mut updates = Updates::default();
                while let Some(update) = list.next_element::<OpRef<'de>>()? {
                    updates.push(update);
                }
                Ok(updates)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

impl<'a> FromIterator<OpRef<'a>> for Updates {
    fn from_iter<I: IntoIterator<Item = OpRef<'a>>>(all: I) -> Self {
        let mut updates = Updates::default();
        for update in all {
            updates.push(update);
        }
        updates
    }
}

impl Op {
    /// It, lent.
    #[must_use]
    pub fn lent(&self) -> OpRef<'_> {
        OpRef { table: self.table, key: &self.key, value: self.value.as_deref() }
    }
}

impl From<OpRef<'_>> for Op {
    fn from(update: OpRef<'_>) -> Self {
        Op { table: update.table, key: update.key.into(), value: update.value.map(Into::into) }
    }
}

/// A length of one byte, as most are.
#[inline]
fn short(len: usize) -> Option<u8> {
    u8::try_from(len).ok().filter(|len| *len < 0x80)
}

/// Seven bits a byte, the lowest first, the last one without the eighth bit: LEB128; and how many bytes. A table's number is
/// a hash and takes five of them, so this has no loop.
#[inline]
fn varint(number: u32) -> (u64, usize) {
    let spread = |at: u32| (u64::from(number) << at) & (0x7f << (8 * at));
    let all = spread(0) | spread(1) | spread(2) | spread(3) | spread(4);
    let len = (38 - (number | 1).leading_zeros()) / 7;
    let more = 0x80_8080_8080 & ((1 << (8 * (len - 1))) - 1);
    (all | more, len as usize)
}

/// Bytes of updates that are not read yet. They were written here alone.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn varint(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.take(1)[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn counted(&mut self) -> &'a [u8] {
        let len = self.varint() as usize;
        self.take(len)
    }

    fn update(&mut self) -> OpRef<'a> {
        let table = TableId(self.varint() as u32);
        let key = self.counted();
        let value = (self.take(1)[0] == 1).then(|| self.counted());
        OpRef { table, key, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of lengths on both sides of what one, two and three bytes of a number hold.
    fn ops() -> Vec<Op> {
        let lens = [0, 1, 22, 23, 127, 128, 300, 16_383, 16_384];
        let tables = [0, 1, 127, 128, 1 << 21, u32::MAX];
        let bytes = |len: usize| (0..len).map(|at| at as u8).collect::<Vec<_>>();
        let values = lens.map(Some).into_iter().chain([None]);
        let of = |len: usize, value: Option<usize>| Op {
            table: TableId(tables[len % tables.len()]),
            key: bytes(len).into(),
            value: value.map(|len| bytes(len).into()),
        };
        values.flat_map(|value| lens.map(|len| of(len, value))).collect()
    }

    /// They are part of what the disk holds, where a list of updates was and is read.
    #[test]
    fn they_are_encoded_as_a_list_and_read_where_they_lie() {
        let all = ops();
        for count in 0..=all.len() {
            let updates: Updates = all[..count].iter().map(Op::lent).collect();
            assert!(updates.iter().map(Op::from).eq(all[..count].iter().cloned()));
            let mut bytes = vec![7];
            updates.encode_onto(&mut bytes);
            assert!(bytes[1..] == postcard::to_allocvec(&all[..count]).unwrap());
            assert!(bytes[1..] == postcard::to_allocvec(&updates).unwrap());
            assert!(postcard::from_bytes::<Updates>(&bytes[1..]).unwrap() == updates);
        }
    }

    #[test]
    fn an_update_lies_where_it_was_put() {
        let mut updates = Updates::default();
        for op in ops() {
            let Place { begin, key_len, key_end, value_len, end } = updates.place(op.lent());
            let bytes = updates.as_bytes();
            let at = |from: u32, to: u32| &bytes[from as usize..to as usize];
            assert!(at(begin, end) == postcard::to_allocvec(&op).unwrap());
            assert!(at(key_end - key_len, key_end) == &*op.key);
            assert!(at(end - value_len, end) == op.value.as_deref().unwrap_or_default());
        }
    }
}
