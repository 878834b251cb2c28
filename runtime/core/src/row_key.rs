//! A row's key: short ones lie in place, so that a table finds a row without following a pointer for each key that it
//! compares, and an update allocates nothing for its key.
//!
//! Invariants: equal bytes are equal keys; a key of at most [`IN_PLACE_MAX`] bytes is always in place, and what follows it
//! there is zero. So two of those compare as three words each, and a search in an ordered table calls nothing.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::in_place::InPlace;

/// The longest key that lies in place, in bytes.
pub const IN_PLACE_MAX: usize = 22;

/// The key of a row.
#[derive(Clone)]
pub struct RowKey(Place);

type Place = InPlace<Box<[u8]>, IN_PLACE_MAX>;

impl Deref for RowKey {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for RowKey {
    #[inline]
    fn from(key: &[u8]) -> Self {
        RowKey(key.into())
    }
}

impl Default for RowKey {
    /// The empty key.
    fn default() -> Self {
        [].into()
    }
}

impl From<Vec<u8>> for RowKey {
    fn from(key: Vec<u8>) -> Self {
        if key.len() > IN_PLACE_MAX {
            RowKey(Place::Elsewhere(key.into_boxed_slice()))
        } else {
            key.as_slice().into()
        }
    }
}

impl<const N: usize> From<[u8; N]> for RowKey {
    fn from(key: [u8; N]) -> Self {
        key.as_slice().into()
    }
}

impl AsRef<[u8]> for RowKey {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for RowKey {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for RowKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Place::Here { len, bytes }, Place::Here { len: other_len, bytes: other }) => {
                len == other_len && words(bytes) == words(other)
            }
            _ => **self == **other,
        }
    }
}

impl Eq for RowKey {}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RowKey {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            // Zeros count least, so one that begins another comes before it, whose further bytes may be zeros too.
            (Place::Here { len, bytes }, Place::Here { len: other_len, bytes: other }) => {
                let (own, other) = (words(bytes), words(other));
                // Nearly always the first word tells.
                if own[0] != other[0] {
                    return own[0].cmp(&other[0]);
                }
                own.cmp(&other).then(len.cmp(other_len))
            }
            _ => (**self).cmp(&**other),
        }
    }
}

/// The bytes as numbers that compare as they do; the last word begins with bytes of the one before, which are equal then.
#[inline]
fn words(bytes: &[u8; IN_PLACE_MAX]) -> [u64; 3] {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_be_bytes(word)
    };
    [word(0), word(8), word(IN_PLACE_MAX - 8)]
}

impl Hash for RowKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As a slice does, since tables are asked for slices.
        (**self).hash(state);
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for RowKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::bytes::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for RowKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::bytes::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_their_bytes_whatever_their_length() {
        let bytes: Vec<u8> = (0..60).collect();
        for len in 0..bytes.len() {
            let key = RowKey::from(&bytes[..len]);
            assert_eq!(*key, bytes[..len]);
            assert_eq!(key, RowKey::from(bytes[..len].to_vec()));
            assert_eq!(key.cmp(&RowKey::from(&bytes[..10])), bytes[..len].cmp(&bytes[..10]));
        }
        assert_eq!(size_of::<RowKey>(), 24);
    }

    #[test]
    fn keys_are_in_the_order_of_their_bytes() {
        let mut keys: Vec<Vec<u8>> =
            vec![Vec::new(), vec![0], vec![0, 0], vec![1], vec![1, 0], vec![255; 30]];
        for len in [7, 8, 9, 15, 16, 17, IN_PLACE_MAX - 1, IN_PLACE_MAX, IN_PLACE_MAX + 1] {
            for last in [0, 1, 255] {
                let mut key = vec![7; len];
                key[len - 1] = last;
                keys.push(key);
            }
        }
        for one in &keys {
            for other in &keys {
                let (a, b) = (RowKey::from(&one[..]), RowKey::from(&other[..]));
                assert_eq!(a.cmp(&b), one.cmp(other), "{one:?} and {other:?}");
                assert_eq!(a == b, one == other, "{one:?} and {other:?}");
            }
        }
    }
}
