//! A row of a hash table: key and value in one piece where they are short, as most are. Finding one is then a look at the
//! table alone, and a table of a million rows has no million pieces of memory beside it.

use crate::row_key::RowKey;
use crate::shared_bytes::{OnHeap, SharedBytes};

/// The longest key and value that lie in place, in bytes, together.
const IN_PLACE_MAX: usize = 37;

/// A key and its value.
#[derive(Clone)]
pub(super) struct PackedRow(Place);

#[derive(Clone)]
enum Place {
    /// The key, and behind it the value.
    Here {
        key_len: u8,
        len: u8,
        bytes: [u8; IN_PLACE_MAX],
    },
    There {
        key: RowKey,
        value: OnHeap,
    },
}

impl PackedRow {
    /// The row with that key and value.
    pub fn new(key: &[u8], value: &[u8]) -> Self {
        let (from, len) = (key.len(), key.len() + value.len());
        if len > IN_PLACE_MAX {
            return PackedRow(Place::There { key: key.into(), value: value.into() });
        }
        let mut bytes = [0; IN_PLACE_MAX];
        bytes[..from].copy_from_slice(key);
        bytes[from..len].copy_from_slice(value);
        PackedRow(Place::Here { key_len: from as u8, len: len as u8, bytes })
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        match &self.0 {
            Place::Here { key_len, bytes, .. } => &bytes[..usize::from(*key_len)],
            Place::There { key, .. } => key,
        }
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        match &self.0 {
            Place::Here { key_len, len, bytes } => &bytes[usize::from(*key_len)..usize::from(*len)],
            Place::There { value, .. } => value,
        }
    }

    /// Its value, shared where it is long.
    pub fn to_value(&self) -> SharedBytes {
        match &self.0 {
            Place::Here { .. } => self.value().into(),
            Place::There { value, .. } => value.clone().into(),
        }
    }

    /// Its key and value, as they go elsewhere.
    pub fn parts(&self) -> (RowKey, SharedBytes) {
        (self.key().into(), self.to_value())
    }

    /// Puts `value` in place of the one before.
    pub fn replace(&mut self, value: &[u8]) {
        let fits = self.key().len() + value.len() <= IN_PLACE_MAX;
        match &mut self.0 {
            Place::Here { key_len, len, bytes } if fits => {
                let from = usize::from(*key_len);
                let to = from + value.len();
                bytes[from..to].copy_from_slice(value);
                *len = to as u8;
            }
            Place::There { value: before, .. } if !fits => *before = value.into(),
            // It goes to the other place.
            _ => *self = PackedRow::new(&RowKey::from(self.key()), value),
        }
    }
}

impl std::fmt::Debug for PackedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PackedRow").field(&self.key()).field(&self.value()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_its_key_and_value_whatever_their_lengths() {
        assert_eq!(size_of::<PackedRow>(), 40);
        let bytes: Vec<u8> = (0..60).collect();
        for (key_len, len) in (0..60).flat_map(|key_len| (0..60).map(move |len| (key_len, len))) {
            let (key, value) = (RowKey::from(&bytes[..key_len]), SharedBytes::from(&bytes[60 - len..]));
            let row = PackedRow::new(&key, &value);
            assert_eq!((row.key(), row.value()), (&*key, &*value));
            assert_eq!(row.parts(), (key.clone(), value.clone()));
            for new_len in [0, 1, 29, 30, 31, 37, 59] {
                let (mut row, new) = (row.clone(), SharedBytes::from(&bytes[..new_len]));
                row.replace(&new);
                assert_eq!((row.key(), row.value()), (&*key, &*new));
                row.replace(&value);
                assert_eq!((row.key(), row.value()), (&*key, &*value));
            }
            assert_eq!(row.to_value(), value);
        }
    }
}
