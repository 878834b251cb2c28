//! The assertion that most targets share: what decodes is encoded again, and that decodes to the same.

use std::fmt::Debug;

use lockstep_wire::frame;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads `postcard`, all of it.
pub fn postcard<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = frame::decode(bytes).ok()?;
    let again = encoded(&value);
    assert!(again.len() <= bytes.len(), "nothing grows by being written again");
    assert_eq!(frame::decode::<T>(&again).as_ref(), Ok(&value));
    Some(value)
}

/// Reads JSON, all of it.
pub fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let again = serde_json::to_vec(&value).expect("what was read as JSON can be written as such");
    let second: T = serde_json::from_slice(&again).expect("what was written can be read");
    assert_eq!(second, value);
    Some(value)
}

/// As `postcard`.
pub fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    ::postcard::to_stdvec(value).expect("our own types can be encoded")
}
