//! Newtypes for every id, sequence number and epoch, so that no two kinds can be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one. Panics when 2^64 are used up, which no run reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a counter of 64 bits does not run out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// A place in a group's stream of events (R8). The first event has number 1; 0 means "nothing yet".
    Number
}
impl Number {
    /// The number so many places behind this one.
    ///
    /// # Panics
    /// When 2^64 are used up, which no run reaches.
    #[must_use]
    pub fn plus(self, places: u64) -> Self {
        Self(self.0.checked_add(places).expect("a counter of 64 bits does not run out"))
    }

    /// The number before this one.
    ///
    /// # Panics
    /// For number 0, which has none.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.checked_sub(1).expect("nothing stands before number 0"))
    }
}
counter! {
    /// Grows by one at every swap of the arbiter's record (R3).
    Epoch
}
counter! {
    /// The epoch of the last change of active; carried by every frame (R3).
    Term
}
counter! {
    /// A client's numbered series of events. It is the number of the event that opened it, so it is unique.
    SessionId
}
counter! {
    /// One connection to the partner; a new connection has a new id.
    LinkId
}
counter! {
    /// Who asked: an opaque token of the shell that comes back with the answer.
    Origin
}
counter! {
    /// Microseconds. As a time: since the Unix epoch; as a length: a duration.
    Micros
}

impl Micros {
    /// A length in milliseconds, saturating: operators and files may write any number.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }
    /// This time or length plus `length`, saturating.
    #[must_use]
    pub const fn plus(self, length: Micros) -> Self {
        Self(self.0.saturating_add(length.0))
    }
    /// The length from `earlier` to this time; zero when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Micros) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
}

/// The name of a processor, unique in its pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub String);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A group: one application's one partition (R1). Groups are told apart by it in messages (R34).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupName {
    /// The application's name.
    pub application: String,
    /// The partition's index, from 0.
    pub partition: u16,
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.application, self.partition)
    }
}

/// The random id of a store, made with it (R2). Members of the record are stores, not nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u128);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for StoreId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // Only as it is written: no two texts, and so no two directories, are one store.
        let digits = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        id.map(StoreId)
            .ok_or_else(|| format!("`{text}` is not the id of a store: 32 hexadecimal digits were expected"))
    }
}

impl Serialize for StoreId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for StoreId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// SHA-256 of a plugin file's bytes: a version's identity on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PluginHash(pub [u8; 32]);

impl fmt::Display for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for PluginHash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a plugin hash: 64 hexadecimal digits were expected");
        // A number may have a sign; a hash has none.
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(PluginHash(hash))
    }
}

impl Serialize for PluginHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for PluginHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A table's id: a hash of its name, so that both versions of an application agree on it without asking.
/// Two names of one application that collide are refused when its descriptor is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableId(pub u32);

impl TableId {
    /// The rows of a procedure's run that its units hand to each other; never committed.
    pub const SCRATCH: TableId = TableId(0);
    /// The reply that a procedure made, as an operation of the unit that made it; never committed as a row.
    pub const REPLY: TableId = TableId(1);
    /// Timers by key (R34).
    pub const TIMERS: TableId = TableId(2);
    /// The same timers by the time at which they are due.
    pub const DUE: TableId = TableId(3);
    /// Messages to other groups that are not known to be taken, by receiver and number (R34).
    pub const OUTBOX: TableId = TableId(4);
    /// The last number of each channel from here, by receiver.
    pub const SENT: TableId = TableId(5);
    /// The last number taken of each channel to here, by sender.
    pub const TAKEN: TableId = TableId(6);

    /// The id of the table called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        // The lowest ids are the core's own.
        TableId((xxhash_rust::xxh3::xxh3_64(name.as_bytes()) as u32) | 0x100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_only_as_they_are_written() {
        let store = StoreId(0xab);
        assert_eq!(store.to_string().parse(), Ok(store));
        for other in ["ab", "+000000000000000000000000000000ab", "000000000000000000000000000000AB", ""] {
            assert!(other.parse::<StoreId>().is_err(), "{other}");
        }
        let hash = PluginHash([7; 32]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!("+7".repeat(32).parse::<PluginHash>().is_err());
    }

    #[test]
    fn a_length_beyond_all_bounds_is_the_longest() {
        assert_eq!(Micros::from_ms(u64::MAX), Micros(u64::MAX));
    }
}
