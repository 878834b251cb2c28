//! Inputs by seed: a kept input, changed in a few places. Half of what goes wrong in decoders is a length, so those are set
//! to extremes more often than chance would.
//!
//! Invariant: the same seed over the same inputs gives the same bytes.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// No input is longer, in bytes.
pub const BYTES_MAX: usize = 16 << 10;

/// An input made of `kept` ones.
#[must_use]
pub fn input(kept: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut bytes = kept.choose(&mut random).cloned().unwrap_or_default();
    // One, two or four changes: with more, nearly nothing is taken any more.
    for _ in 0..1 << random.random_range(0..3) {
        change(&mut bytes, kept, &mut random);
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, kept: &[Vec<u8>], random: &mut SmallRng) {
    if bytes.is_empty() {
        return bytes.extend((0..random.random_range(1..32)).map(|_| random.random::<u8>()));
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..10) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = random.random(),
        2 => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].choose(random).expect("there are some"),
        3 => bytes.truncate(at),
        // A length, as a varint or as a word in either order.
        4 => {
            let extreme = *EXTREMES.choose(random).expect("there are some");
            let end = (at + random.random_range(0..=extreme.len())).min(bytes.len());
            bytes.splice(at..end, extreme.iter().copied());
        }
        5 => {
            let other = kept.choose(random).map_or(&[][..], Vec::as_slice);
            let from = random.random_range(0..=other.len());
            let end = if random.random() { bytes.len() } else { at };
            bytes.splice(at..end, other[from..].iter().copied());
        }
        6 => {
            let end = (at + random.random_range(1..32)).min(bytes.len());
            bytes.drain(at..end);
        }
        7 => {
            let end = (at + random.random_range(1..32)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = random.random_range(0..=bytes.len());
            bytes.splice(to..to, piece);
        }
        8 => {
            let step = random.random_range(1..=16);
            bytes[at] =
                if random.random() { bytes[at].wrapping_add(step) } else { bytes[at].wrapping_sub(step) };
        }
        _ => {
            let made: Vec<u8> = (0..random.random_range(1..16)).map(|_| random.random()).collect();
            bytes.splice(at..at, made);
        }
    }
}

const EXTREMES: [&[u8]; 9] = [
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x04],
    &[0xff, 0xff, 0xff, 0xff],
    &[0, 0, 0, 0x40],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff; 8],
    &[0; 8],
    b"18446744073709551615",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_input_and_others_give_others() {
        let kept = vec![b"one input".to_vec(), b"another input".to_vec(), Vec::new()];
        let inputs: Vec<_> = (0..200).map(|seed| input(&kept, seed)).collect();
        assert_eq!(inputs, (0..200).map(|seed| input(&kept, seed)).collect::<Vec<_>>());
        let different: std::collections::BTreeSet<_> = inputs.iter().collect();
        assert!(different.len() > 150, "{}", different.len());
    }
}
