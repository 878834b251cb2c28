//! Keys of rows: encoded so that the order of the bytes is the order of the values, and no key is another's prefix.
//!
//! Both matter to range scans: a tuple sorts by its first part, then by its second.

use crate::outcome::Error;

/// A type that rows can be found by.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// // Numbers, texts, and tuples of them are keys.
/// const JOURNAL: Table<(u32, u8), u64> = Table::new("journal").ordered();
///
/// // Bytes are in the order of the values.
/// let bytes = |number: u32| { let mut out = Vec::new(); number.encode(&mut out); out };
/// assert!(bytes(255) < bytes(256));
/// ```
///
/// A type of one's own is a key by way of one that is:
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// struct AccountId(u32);
///
/// impl Key for AccountId {
///     fn encode(&self, out: &mut Vec<u8>) {
///         self.0.encode(out);
///     }
///     fn decode(bytes: &mut &[u8]) -> Result<Self, Error> {
///         u32::decode(bytes).map(AccountId)
///     }
/// }
///
/// const ACCOUNTS: Table<AccountId, u64> = Table::new("accounts");
/// let mut key = Vec::new();
/// AccountId(7).encode(&mut key);
/// assert_eq!(ACCOUNTS.decode_key(&key)?, AccountId(7));
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key of a table",
    label = "no key",
    note = "keys are integers, `bool`, byte arrays, `String` and tuples of them; a type of your own implements `Key`"
)]
pub trait Key: Sized {
    /// Appends the key's bytes. The order of the bytes is that of the values, and no key's bytes begin another's.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes the key from the front of `bytes`.
    ///
    /// # Errors
    /// When the bytes are not such a key.
    fn decode(bytes: &mut &[u8]) -> Result<Self, Error>;
}

/// Decodes a whole key.
///
/// # Errors
/// When the bytes are not exactly such a key.
///
/// ```
/// use lockstep_plugin_api::key::decode_whole;
/// assert_eq!(decode_whole::<u16>(&[1, 0]), Ok(256));
/// assert!(decode_whole::<u16>(&[1, 0, 0]).is_err());
/// ```
pub fn decode_whole<K: Key>(mut bytes: &[u8]) -> Result<K, Error> {
    let key = K::decode(&mut bytes)?;
    if bytes.is_empty() { Ok(key) } else { Err(Error::new("a key has bytes too many")) }
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Error> {
    let (front, rest) = bytes.split_at_checked(len).ok_or_else(|| Error::new("a key is cut short"))?;
    *bytes = rest;
    Ok(front)
}

macro_rules! unsigned {
    ($($int:ty),*) => {$(
        impl Key for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn decode(bytes: &mut &[u8]) -> Result<Self, Error> {
                let mut int = [0; size_of::<$int>()];
                int.copy_from_slice(take(bytes, size_of::<$int>())?);
                Ok(<$int>::from_be_bytes(int))
            }
        }
    )*};
}
unsigned!(u8, u16, u32, u64, u128);

macro_rules! signed {
    ($($int:ty as $raw:ty),*) => {$(
        impl Key for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                // The sign bit turned over puts the negative numbers first.
                ((*self as $raw) ^ (1 << (<$raw>::BITS - 1))).encode(out);
            }
            fn decode(bytes: &mut &[u8]) -> Result<Self, Error> {
                Ok((<$raw>::decode(bytes)? ^ (1 << (<$raw>::BITS - 1))) as $int)
            }
        }
    )*};
}
signed!(i8 as u8, i16 as u16, i32 as u32, i64 as u64, i128 as u128);

impl Key for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, Error> {
        match u8::decode(bytes)? {
            0 => Ok(false),
            1 => Ok(true),
            // Two keys for one value would be two rows.
            _ => Err(Error::new("a truth value in a key is neither 0 nor 1")),
        }
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, Error> {
        let mut array = [0; N];
        array.copy_from_slice(take(bytes, N)?);
        Ok(array)
    }
}

/// What follows a zero byte inside a text, so that it is not taken for the end.
const ESCAPED: u8 = 0xff;
/// What ends a text, after a zero byte; below any escaped byte, so that a prefix sorts first.
const END: u8 = 0x01;

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        if self.as_bytes().contains(&0) {
            for byte in self.bytes() {
                out.push(byte);
                if byte == 0 {
                    out.push(ESCAPED);
                }
            }
        } else {
            out.extend_from_slice(self.as_bytes());
        }
        out.extend_from_slice(&[0, END]);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, Error> {
        let mut text = Vec::new();
        loop {
            let zero = bytes
                .iter()
                .position(|byte| *byte == 0)
                .ok_or_else(|| Error::new("a text in a key has no end"))?;
            text.extend_from_slice(take(bytes, zero)?);
            match take(bytes, 2)?[1] {
                END => break,
                ESCAPED => text.push(0),
                _ => return Err(Error::new("a text in a key has a stray zero byte")),
            }
        }
        String::from_utf8(text).map_err(|_| Error::new("a text in a key is not UTF-8"))
    }
}

macro_rules! tuple {
    ($($part:ident),+) => {
        impl<$($part: Key),+> Key for ($($part,)+) {
            fn encode(&self, out: &mut Vec<u8>) {
                #[expect(non_snake_case, reason = "one name serves type and value")]
                let ($($part,)+) = self;
                $($part.encode(out);)+
            }
            fn decode(bytes: &mut &[u8]) -> Result<Self, Error> {
                Ok(($($part::decode(bytes)?,)+))
            }
        }
    };
}
tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded<K: Key>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    }

    fn ordered<K: Key + Clone + PartialEq + std::fmt::Debug>(keys: &[K]) {
        for pair in keys.windows(2) {
            assert!(encoded(&pair[0]) < encoded(&pair[1]), "{pair:?}");
        }
        for key in keys {
            assert_eq!(&decode_whole::<K>(&encoded(key)).unwrap(), key);
        }
    }

    #[test]
    fn bytes_sort_as_values_do() {
        ordered(&[0u64, 1, 255, 256, u64::MAX]);
        ordered(&[i64::MIN, -256, -1, 0, 1, i64::MAX]);
        ordered(&[
            "".to_owned(),
            "\0".into(),
            "\0a".into(),
            "a".into(),
            "a\0".into(),
            "a\0b".into(),
            "ab".into(),
        ]);
        ordered(&[("a".to_owned(), 7u32), ("a".into(), 8), ("aa".into(), 0), ("b".into(), 0)]);
        ordered(&[[0u8, 1], [1, 0]]);
    }

    #[test]
    fn what_is_not_a_key_is_an_error() {
        assert!(decode_whole::<u64>(&[0; 7]).is_err());
        assert!(decode_whole::<u64>(&[0; 9]).is_err());
        assert!(decode_whole::<bool>(&[2]).is_err());
        assert!(decode_whole::<String>(b"abc").is_err());
        assert!(decode_whole::<String>(b"abc\0").is_err());
        assert!(decode_whole::<String>(b"abc\0\x02").is_err());
        assert!(decode_whole::<String>(b"\xff\0\x01").is_err());
    }
}
