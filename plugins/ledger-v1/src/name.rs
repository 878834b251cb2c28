//! An account's name: short, kept in place, checked where it is decoded.
//!
//! A name of another length, or with control characters, is no name: control parameters that hold one can't be
//! decoded. Names are copied, never allocated, because a transfer writes each of its two names three times.

use std::fmt;

use lockstep_plugin_api::Key;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of an account, in bytes.
pub const NAME_BYTES_MAX: usize = 32;

/// The name of an account: 1 to [`NAME_BYTES_MAX`] bytes of text without control characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName {
    // Unused bytes are zero, so that the derived comparisons are those of the text.
    bytes: [u8; NAME_BYTES_MAX],
    len: u8,
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAName;

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an account's name has 1 to {NAME_BYTES_MAX} bytes and no control characters")
    }
}

impl std::error::Error for NotAName {}

impl AccountName {
    /// The name with this text.
    ///
    /// # Errors
    /// When it is too long, empty, or has control characters.
    pub fn new(text: &str) -> Result<Self, NotAName> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(NotAName);
        }
        Ok(Self::checked(text.as_bytes()))
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, NotAName> {
        // Most names have no letters beyond the first 128, and need not be taken apart into characters.
        let plain = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        if plain && (1..=NAME_BYTES_MAX).contains(&bytes.len()) {
            return Ok(Self::checked(bytes));
        }
        Self::new(std::str::from_utf8(bytes).map_err(|_| NotAName)?)
    }

    fn checked(name: &[u8]) -> Self {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name);
        AccountName { bytes, len: name.len() as u8 }
    }

    /// The name of the account with this number in a batch that was opened by `open_accounts`.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        Self::new(&format!("acc{number}")).expect("three letters and a number are a name")
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("names are made of text")
    }

    /// Its text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for AccountName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // In binary, texts are written as their bytes; that they are text was checked when the name was made.
        match serializer.is_human_readable() {
            true => serializer.serialize_str(self.as_str()),
            false => serializer.serialize_bytes(self.as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for AccountName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = AccountName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an account's name")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AccountName, E> {
                AccountName::new(text).map_err(E::custom)
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<AccountName, E> {
                AccountName::of_bytes(bytes).map_err(E::custom)
            }
        }
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_str(Text),
            false => deserializer.deserialize_bytes(Text),
        }
    }
}

impl Key for AccountName {
    /// As the same text would be: rows do not tell how a version holds its names.
    fn encode(&self, out: &mut Vec<u8>) {
        // What ends a text in a key. A name has no zero byte that would have to be escaped.
        out.extend_from_slice(self.as_bytes());
        out.extend_from_slice(&[0, 1]);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, lockstep_plugin_api::Error> {
        let text = String::decode(bytes)?;
        AccountName::new(&text).map_err(lockstep_plugin_api::Error::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_its_text() {
        let (mut name, mut text) = (Vec::new(), Vec::new());
        AccountName::new("alice").unwrap().encode(&mut name);
        "alice".to_owned().encode(&mut text);
        assert_eq!(name, text);
        assert_eq!(AccountName::decode(&mut &*name).unwrap().as_str(), "alice");
    }

    #[test]
    fn in_binary_a_name_is_its_text_and_nothing_else() {
        for text in ["alice", "Zoë", "a"] {
            let name = AccountName::new(text).unwrap();
            let bytes = postcard::to_allocvec(&name).unwrap();
            assert_eq!(bytes, postcard::to_allocvec(text).unwrap());
            assert_eq!(postcard::from_bytes::<AccountName>(&bytes).unwrap(), name);
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for none in [&b""[..], b"a\nb", b"\xff", b"a\x7f", long.as_bytes()] {
            let bytes = postcard::to_allocvec(none).unwrap();
            assert!(postcard::from_bytes::<AccountName>(&bytes).is_err(), "{none:?}");
        }
    }

    #[test]
    fn names_are_bounded_and_compare_as_their_text() {
        let name = |text: &str| AccountName::new(text);
        assert!(name("").is_err() && name("a\nb").is_err());
        assert!(name(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(name(&"x".repeat(NAME_BYTES_MAX + 1)).is_err());
        let sorted = [name("a"), name("ab"), name("b")].map(|name| name.expect("a name"));
        assert!(sorted.is_sorted() && sorted[0] < sorted[1]);
        assert_eq!(AccountName::numbered(42).as_str(), "acc42");
    }
}
