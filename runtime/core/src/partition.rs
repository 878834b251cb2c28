//! Which partition of an application an event belongs to (R1): the one place that says so.
//!
//! An application may be split into several *partitions*. Each event then carries a *partition key* of its client's
//! choice, such as an account's name, and everything that has to be seen together has the same key. The partition is
//!
//! ```text
//! xxh3_64(key's bytes, seed 0) mod partitions
//! ```
//!
//! taken as an unsigned number of 64 bits, so that a client in any language can find it. The group checks it: an event
//! that came to the wrong partition is turned away, never run.
//!
//! Deliberately absent: a change of the number of partitions over existing data. Keys would belong elsewhere.

use xxhash_rust::xxh3::xxh3_64;

use crate::event::{KEY_BYTES_MAX, Rejection};

/// The most partitions of an application.
pub const PARTITIONS_MAX: u16 = 64;

/// The partition, from 0, of an event with this key.
///
/// # Panics
/// When there are no partitions.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u16) -> u16 {
    assert!(partitions > 0, "an application has at least one partition");
    u16::try_from(xxh3_64(key) % u64::from(partitions)).expect("a remainder of a u16 is one")
}

/// Whether an event with this key may run in partition `partition` of `partitions`. With one partition no key is
/// needed, and any is right.
///
/// # Errors
/// What its client is told.
pub fn check_key(key: Option<&str>, partition: u16, partitions: u16) -> Result<(), Rejection> {
    match key {
        Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
            Err(Rejection::MalformedParameters(format!("a partition key has 1 to {KEY_BYTES_MAX} bytes")))
        }
        _ if partitions == 1 => Ok(()),
        None => Err(Rejection::KeyMissing { partitions }),
        Some(key) => match partition_of(key.as_bytes(), partitions) {
            right if right == partition => Ok(()),
            right => Err(Rejection::WrongPartition { partition: right, partitions }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        // Written down in docs/events-protocol.md for clients in other languages.
        let keys = ["alice", "bob", "carol", "", "ä"];
        let partitions = |count| keys.map(|key| partition_of(key.as_bytes(), count));
        assert_eq!(partitions(1), [0; 5]);
        assert_eq!(partitions(4), [0, 1, 0, 2, 0]);
        assert_eq!(partitions(64), [48, 37, 36, 2, 52]);
    }

    #[test]
    fn keys_spread_over_all_partitions() {
        let mut counts = [0_u32; 64];
        (0..64_000).for_each(|n| counts[usize::from(partition_of(format!("a{n}").as_bytes(), 64))] += 1);
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_key_is_needed_and_right_only_where_there_are_several_partitions() {
        assert_eq!(check_key(None, 0, 1), Ok(()));
        assert_eq!(check_key(Some("x"), 0, 1), Ok(()));
        assert_eq!(check_key(None, 0, 4), Err(Rejection::KeyMissing { partitions: 4 }));
        let right = partition_of(b"x", 4);
        for partition in 0..4 {
            let checked = check_key(Some("x"), partition, 4);
            if partition == right {
                assert_eq!(checked, Ok(()));
            } else {
                assert_eq!(checked, Err(Rejection::WrongPartition { partition: right, partitions: 4 }));
            }
        }
        for wrong in ["", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert!(matches!(check_key(Some(wrong), 0, 1), Err(Rejection::MalformedParameters(_))));
        }
    }
}
