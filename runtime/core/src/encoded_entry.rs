//! An entry as the redo log and the recent stream hold it: encoded once, where it is made, and shared from there.
//!
//! An entry in its parts is ten pieces of memory, and this is one of a quarter of the size. Whoever keeps many of them keeps
//! them like this. Those that are made one after the other lie one behind the other, in a piece of memory that they share:
//! it is taken and given back as a whole, when the last one of them goes.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::entry::{Control, Entry, EntryBody};
use crate::ids::{Number, Term};

/// What an entry costs beside its bytes; for bounds, in bytes.
const OVERHEAD_BYTES: usize = size_of::<EncodedEntry>();

/// How much room for an entry on its way is kept, in bytes.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// How much memory entries share; a longer one has its own. In bytes.
const SHARED_BYTES: usize = 64 << 10;

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
    bytes: Bytes,
}

/// Makes encoded entries.
#[derive(Clone, Debug, Default)]
pub struct EntryEncoder {
    /// The entry on its way: its length is not known before.
    buffer: Vec<u8>,
    /// What the next entries share.
    shared: BytesMut,
}

impl EntryEncoder {
    /// Encodes `entry`.
    #[must_use]
    pub fn encode(&mut self, entry: &Entry) -> EncodedEntry {
        self.buffer.clear();
        encode_onto(entry, &mut self.buffer);
        let bytes = self.share();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        let is_control = matches!(entry.body, EntryBody::Control(_));
        EncodedEntry { number: entry.number, term: entry.term, is_control, bytes }
    }

    fn share(&mut self) -> Bytes {
        if self.buffer.len() > SHARED_BYTES {
            return Bytes::copy_from_slice(&self.buffer);
        }
        if self.buffer.len() > self.shared.capacity() {
            self.shared = BytesMut::with_capacity(SHARED_BYTES);
        }
        self.shared.extend_from_slice(&self.buffer);
        self.shared.split().freeze()
    }
}

impl EncodedEntry {
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
        let (mut bytes, is_control) = (Vec::new(), matches!(entry.body, EntryBody::Control(_)));
        encode_onto(entry, &mut bytes);
        EncodedEntry { number: entry.number, term: entry.term, is_control, bytes: bytes.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Micros;

    #[test]
    fn entries_of_all_lengths_are_what_they_were_made_of() {
        let mut encoder = EntryEncoder::default();
        let body = |len: usize| EntryBody::Control(Control::Disable { feature: "f".repeat(len) });
        let entry = |number: u64, len| Entry {
            number: Number(number),
            term: Term(3),
            time: Micros(9),
            body: body(len),
        };
        let lengths = [0, 1, 300, 20_000, 50_000, SHARED_BYTES, SHARED_BYTES + 1, 5, 200_000, 7];
        let entries: Vec<Entry> = (1..).zip(lengths).map(|(number, len)| entry(number, len)).collect();
        let encoded: Vec<EncodedEntry> = entries.iter().map(|entry| encoder.encode(entry)).collect();
        for (entry, encoded) in entries.iter().zip(&encoded) {
            assert_eq!(encoded.decode(), *entry);
            assert_eq!(*encoded, EncodedEntry::from(entry));
        }
    }
}
