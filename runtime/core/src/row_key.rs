//! A row's key: short ones lie in place, so that a table finds a row without following a pointer for each key that it
//! compares, and an update allocates nothing for its key.
//!
//! Invariant: equal bytes are equal keys; a key of at most [`IN_PLACE_MAX`] bytes is always in place.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest key that lies in place, in bytes.
pub const IN_PLACE_MAX: usize = 22;

/// The key of a row.
#[derive(Clone)]
pub struct RowKey(Place);

#[derive(Clone)]
enum Place {
    Here { len: u8, bytes: [u8; IN_PLACE_MAX] },
    There(Box<[u8]>),
}

impl Deref for RowKey {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Here { len, bytes } => &bytes[..usize::from(*len)],
            Place::There(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for RowKey {
    #[inline]
    fn from(key: &[u8]) -> Self {
        if key.len() > IN_PLACE_MAX {
            return RowKey(Place::There(key.into()));
        }
        let mut bytes = [0; IN_PLACE_MAX];
        bytes[..key.len()].copy_from_slice(key);
        RowKey(Place::Here { len: key.len() as u8, bytes })
    }
}

impl From<Vec<u8>> for RowKey {
    fn from(key: Vec<u8>) -> Self {
        if key.len() > IN_PLACE_MAX {
            RowKey(Place::There(key.into_boxed_slice()))
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
        **self == **other
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
        (**self).cmp(&**other)
    }
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
}
