//! An entry as the redo log and the recent stream hold it: encoded once, where it is made, and shared from there.
//!
//! An entry in its parts is ten pieces of memory, and this is one of a quarter of the size. Whoever keeps many of them keeps
//! them like this.

use std::sync::Arc;

use serde::Serialize;

use crate::entry::{Control, Entry, EntryBody};
use crate::ids::{Number, Term};

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
