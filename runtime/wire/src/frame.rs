//! One frame: four bytes of length, four bytes of checksum, the message in `postcard`.
//!
//! ```text
//! 0        4        8
//! | length | check  | payload, `length` bytes |      little-endian; check = low half of XXH3-64 of the payload
//! ```

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 8;
/// The longest payload between the two processors of a pair.
pub const LINK_FRAME_BYTES_MAX: usize = 32 << 20;
/// The longest payload from or to a client.
pub const EVENT_FRAME_BYTES_MAX: usize = 2 << 20;

/// Why a frame was not taken. The connection can't go on after it: frames are no longer found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is over the bound.
    #[error("a frame of {length} bytes is over the bound of {bytes_max}")]
    TooLong {
        /// What the header says.
        length: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The payload is not what was sent.
    #[error("a frame's checksum is wrong")]
    Mangled,
    /// The payload is no message of this protocol.
    #[error("a frame holds no message: {0}")]
    NoMessage(String),
}

/// Appends `message` as one frame.
///
/// # Panics
/// When the message can't be encoded or is longer than 4 GiB, which no type of ours can be.
pub fn encode<T: Serialize>(message: &T, buffer: &mut Vec<u8>) {
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
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    postcard::serialize_with_flavor(message, Tail(buffer)).expect("our own messages can be encoded");
    let payload = start + HEADER_BYTES;
    let length = u32::try_from(buffer.len() - payload).expect("a frame is shorter than 4 GiB");
    let check = xxh3_64(&buffer[payload..]) as u32;
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..payload].copy_from_slice(&check.to_le_bytes());
}

/// The payload of the frame at the start of `bytes` and the length of the whole frame; `None` while it is incomplete.
///
/// # Errors
/// When the length is over `bytes_max` or the checksum is wrong.
pub fn split(bytes: &[u8], bytes_max: usize) -> Result<Option<(&[u8], usize)>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > bytes_max {
        return Err(FrameError::TooLong { length, bytes_max });
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    if xxh3_64(payload) as u32 != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(FrameError::Mangled);
    }
    Ok(Some((payload, HEADER_BYTES + length)))
}

/// The message of a payload; what it borrows are the payload's bytes.
///
/// # Errors
/// When it is not one, or bytes are left over.
pub fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(FrameError::NoMessage(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(FrameError::NoMessage(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_whole_at_every_cut() {
        let mut bytes = Vec::new();
        encode(&"one".to_string(), &mut bytes);
        let first = bytes.len();
        encode(&"two".to_string(), &mut bytes);
        for cut in 0..bytes.len() {
            let found = split(&bytes[..cut], 100).unwrap();
            assert_eq!(found.is_some(), cut >= first, "cut at {cut}");
        }
        let (payload, length) = split(&bytes, 100).unwrap().unwrap();
        assert_eq!((decode::<String>(payload).unwrap().as_str(), length), ("one", first));
        let (payload, _) = split(&bytes[first..], 100).unwrap().unwrap();
        assert_eq!(decode::<String>(payload).unwrap(), "two");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        encode(&"a message".to_string(), &mut bytes);
        for bit in 32..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(split(&bad, 100), Err(FrameError::Mangled), "bit {bit}");
        }
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_its_bytes_come() {
        let header = [0xff; HEADER_BYTES];
        assert!(matches!(split(&header, 100), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn left_over_bytes_are_no_message() {
        assert!(decode::<u8>(&[1, 2]).is_err());
    }
}
