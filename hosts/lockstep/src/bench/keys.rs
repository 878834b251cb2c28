//! How keys are drawn.

use rand::Rng as _;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};

use super::args::{Bench, Distribution};

/// Keys from 0 on, as many as there are.
pub struct Keys {
    count: u64,
    zipf: Option<Zipf<f64>>,
}

impl Keys {
    /// As the flags say.
    ///
    /// # Errors
    /// When there is no such distribution.
    pub fn new(bench: &Bench) -> Result<Self, String> {
        let zipf = match bench.distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => {
                let zipf = Zipf::new(bench.keys as f64, bench.zipf_exponent);
                Some(zipf.map_err(|error| error.to_string())?)
            }
        };
        Ok(Keys { count: bench.keys, zipf })
    }

    /// The next one.
    pub fn draw(&self, random: &mut SmallRng) -> u64 {
        match &self.zipf {
            None => random.random_range(0..self.count),
            Some(zipf) => (zipf.sample(random) as u64).clamp(1, self.count) - 1,
        }
    }

    /// Another one than `key`; the same where there is only one.
    pub fn draw_other(&self, key: u64, random: &mut SmallRng) -> u64 {
        // All keys may be far less likely than the first one: a few tries, then its neighbour.
        (0..8).map(|_| self.draw(random)).find(|other| *other != key).unwrap_or((key + 1) % self.count)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn counts(keys: &Keys) -> Vec<u32> {
        let mut random = SmallRng::seed_from_u64(3);
        let mut counts = vec![0; keys.count as usize];
        (0..20_000).for_each(|_| counts[keys.draw(&mut random) as usize] += 1);
        counts
    }

    #[test]
    fn uniform_keys_are_alike_and_zipf_keys_fall_off() {
        let uniform = counts(&Keys { count: 10, zipf: None });
        assert!(uniform.iter().all(|count| (1_700..2_300).contains(count)), "{uniform:?}");
        let zipf = counts(&Keys { count: 10, zipf: Some(Zipf::new(10.0, 1.0).unwrap()) });
        // The harmonic number of 10 is 2.93: a third of all draws is the first key, a thirtieth the last.
        assert!((6_300..7_300).contains(&zipf[0]) && (500..900).contains(&zipf[9]), "{zipf:?}");
    }

    #[test]
    fn the_other_key_is_another_one() {
        let mut random = SmallRng::seed_from_u64(3);
        let keys = Keys { count: 2, zipf: Some(Zipf::new(2.0, 20.0).unwrap()) };
        assert!((0..100).all(|_| keys.draw_other(0, &mut random) == 1));
        assert_eq!(Keys { count: 1, zipf: None }.draw_other(0, &mut random), 0);
    }
}
