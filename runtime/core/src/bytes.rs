//! Byte strings for serde, written in one piece instead of byte by byte. The encoding of `postcard` and of JSON is
//! the same as without it; only the time differs, by an order of magnitude for rows of a hundred bytes.
//!
//! Used as `#[serde(with = "crate::bytes")]`, and `crate::bytes::optional` for an optional byte string.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserializer, Serializer};
use smallvec::SmallVec;

/// Writes a byte string.
///
/// # Errors
/// What the serializer says.
pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes.as_ref())
}

/// Reads a byte string.
///
/// # Errors
/// What the deserializer says.
pub fn deserialize<'de, D: Deserializer<'de>, B: From<Vec<u8>> + for<'a> From<&'a [u8]>>(
    deserializer: D,
) -> Result<B, D::Error> {
    deserializer.deserialize_bytes(Bytes(PhantomData))
}

struct Bytes<B>(PhantomData<B>);

impl<'de, B: From<Vec<u8>> + for<'a> From<&'a [u8]>> Visitor<'de> for Bytes<B> {
    type Value = B;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<B, E> {
        Ok(B::from(bytes))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<B, E> {
        Ok(B::from(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<B, A::Error> {
        // The length may come from an enemy: it is no reason to take memory beforehand.
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element()? {
            bytes.push(byte);
        }
        Ok(B::from(bytes))
    }
}

/// The same for an optional byte string.
pub mod optional {
    use super::*;

    struct Borrowed<'a, B>(&'a B);

    impl<B: AsRef<[u8]>> serde::Serialize for Borrowed<'_, B> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0.as_ref())
        }
    }

    /// Writes a byte string or its absence.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer, B: AsRef<[u8]>>(
        bytes: &Option<B>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_some(&Borrowed(bytes)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a byte string or its absence.
    ///
    /// # Errors
    /// What the deserializer says.
    pub fn deserialize<'de, D: Deserializer<'de>, B: From<Vec<u8>> + for<'a> From<&'a [u8]>>(
        deserializer: D,
    ) -> Result<Option<B>, D::Error> {
        struct Optional<B>(PhantomData<B>);

        impl<'de, B: From<Vec<u8>> + for<'a> From<&'a [u8]>> Visitor<'de> for Optional<B> {
            type Value = Option<B>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string or nothing")
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<Option<B>, E> {
                Ok(None)
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Option<B>, E> {
                Ok(None)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<B>, D::Error> {
                super::deserialize(deserializer).map(Some)
            }
        }
        deserializer.deserialize_option(Optional(PhantomData))
    }
}

/// The same for numbers whose bytes are as good as random, one behind the other.
pub mod words {
    use serde::de::Error;

    use super::*;

    /// Writes numbers.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer>(words: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = SmallVec::<[u8; 64]>::new();
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        serializer.serialize_bytes(&bytes)
    }

    /// Reads numbers.
    ///
    /// # Errors
    /// What the deserializer says, and when the bytes are not eight a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let bytes: SmallVec<[u8; 64]> = super::deserialize(deserializer)?;
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(D::Error::invalid_length(bytes.len(), &"eight bytes a number"));
        }
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }
}

/// The same for a number whose bytes are as good as random: in one piece, where its digits would be written one by one.
pub mod word {
    use serde::de::Error;

    use super::*;

    /// Writes a number.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer>(word: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&word.to_le_bytes())
    }

    /// Reads a number.
    ///
    /// # Errors
    /// What the deserializer says, and when there are not eight bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct Word;

        impl<'de> Visitor<'de> for Word {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("eight bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<u64, E> {
                let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(u64::from_le_bytes(bytes))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<u64, A::Error> {
                let mut word = [0; 8];
                for (at, place) in word.iter_mut().enumerate() {
                    *place = sequence.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
                }
                Ok(u64::from_le_bytes(word))
            }
        }
        deserializer.deserialize_bytes(Word)
    }
}
