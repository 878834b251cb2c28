//! An entry as the redo log and the recent stream hold it: encoded once, where it is made, and shared from there.
//!
//! An entry in its parts is ten pieces of memory, and this is one of a quarter of the size. Whoever keeps many of them keeps
//! them like this.

use std::sync::Arc;

use serde::Serialize;

use crate::entry::{Control, Entry, EntryBody};
use crate::ids::{Number, Term};
use crate::updates::Updates;

/// What an entry costs beside its bytes; an estimate for bounds, in bytes.
const OVERHEAD_BYTES: usize = 48;

/// How much room for an entry on its way is kept, in bytes.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// Appends the encoding of `value` to `bytes`.
///
/// # Panics
/// When it can't be encoded, as nothing of what the database is made of.
pub fn encode_onto(value: &(impl Serialize + ?Sized), bytes: &mut Vec<u8>) {
    struct Tail<'a>(&'a mut Vec<u8>);
    impl postcard::ser_flavors::Flavor for Tail<'_> {
        type Output = ();
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            // Most numbers are one byte, for which a copy of any length costs more than the byte.
            match bytes {
                [byte] => self.0.push(*byte),
                bytes => self.0.extend_from_slice(bytes),
            }
            Ok(())
        }
        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    postcard::serialize_with_flavor(value, Tail(bytes)).expect("what the database is made of can be encoded");
}

/// An entry, in postcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEntry {
    /// Its place in the stream.
    pub number: Number,
    /// The term in which it was made.
    pub term: Term,
    is_control: bool,
    bytes: Arc<[u8]>,
}

impl EncodedEntry {
    /// Encodes `entry`, by way of `buffer`, which whoever has more of them keeps.
    #[must_use]
    pub fn of(entry: &Entry, buffer: &mut Vec<u8>) -> Self {
        buffer.clear();
        encode_onto(entry, buffer);
        Self::made(entry, buffer)
    }

    /// As [`of`](Self::of), of a procedure's `entry` that has its `updates` beside it.
    ///
    /// # Panics
    /// When `entry` is of something else, or has updates of its own.
    #[must_use]
    pub fn of_run(entry: &Entry, updates: &Updates, buffer: &mut Vec<u8>) -> Self {
        buffer.clear();
        encode_onto(entry, buffer);
        // What it ends with: how many there are, and they themselves.
        let none = matches!(entry.body, EntryBody::Procedure { .. }).then(|| buffer.pop()).flatten();
        assert_eq!(none, Some(0), "a procedure's entry has its updates in one place");
        updates.encode_onto(buffer);
        Self::made(entry, buffer)
    }

    fn made(entry: &Entry, buffer: &mut Vec<u8>) -> Self {
        let bytes = buffer.as_slice().into();
        buffer.shrink_to(BUFFER_BYTES_KEPT);
        let is_control = matches!(entry.body, EntryBody::Control(_));
        EncodedEntry { number: entry.number, term: entry.term, is_control, bytes }
    }

    /// The entry.
    ///
    /// # Panics
    /// When the bytes are none of an entry's: they are made here alone.
    #[must_use]
    pub fn decode(&self) -> Entry {
        postcard::from_bytes(&self.bytes).expect("our own entries can be decoded")
    }

    /// What the runtime itself put into the stream with it, if it did; others are not decoded for it.
    #[must_use]
    pub fn control(&self) -> Option<Control> {
        match self.is_control.then(|| self.decode().body)? {
            EntryBody::Control(control) => Some(control),
            _ => None,
        }
    }

    /// The encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.bytes.len()
    }
}

impl From<&Entry> for EncodedEntry {
    fn from(entry: &Entry) -> Self {
        EncodedEntry::of(entry, &mut Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Op;
    use crate::event::{Encoding, EventId, Outcome};
    use crate::ids::{Micros, TableId};

    #[test]
    fn updates_beside_an_entry_are_encoded_as_its_own() {
        let op = |at: u32| Op { table: TableId(at << 7), key: vec![1; at as usize].into(), value: None };
        let ops = |count: u32| -> Vec<Op> { (0..count).map(op).collect() };
        let entry = |ops| Entry {
            number: Number(300),
            term: Term(2),
            time: Micros(5),
            body: EntryBody::Procedure {
                event: EventId::Keyed { key: "k".into() },
                awaited_from: 0,
                encoding: Encoding::Postcard,
                procedure: "transfer".into(),
                outcome: Outcome::Committed { reply: [1, 2].into() },
                ops,
            },
        };
        let mut buffer = Vec::new();
        for count in [0, 1, 127, 128, 200] {
            let updates = ops(count).iter().map(Op::lent).collect();
            let of_run = EncodedEntry::of_run(&entry(Vec::new()), &updates, &mut buffer);
            assert_eq!(of_run, EncodedEntry::of(&entry(ops(count)), &mut buffer));
        }
    }
}
