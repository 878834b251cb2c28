//! The simulation's own random numbers: SplitMix64, so that a seed means the same run in every build.

/// A series of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The series of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random(seed ^ 0x5bd1_e995_9d1b_58a3)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `from..to`.
    ///
    /// # Panics
    /// When the range is empty.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        assert!(from < to, "an empty range has no number");
        from + self.draw() % (to - from)
    }

    /// True `percent` times of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.within(0, 100) < percent
    }
}
