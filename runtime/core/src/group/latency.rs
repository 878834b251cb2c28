//! A small histogram of latencies: powers of two in eight parts each, so values are known to an eighth.

/// Counts of latencies in microseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u32>,
    total: u64,
}

const PARTS: u32 = 8;
const BUCKETS: usize = 40 * PARTS as usize;

impl Default for Latencies {
    fn default() -> Self {
        Latencies { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Latencies {
    fn bucket(us: u64) -> usize {
        let us = us.max(u64::from(PARTS));
        let power = us.ilog2();
        let part = (us >> (power - PARTS.ilog2())) as u32 - PARTS;
        (((power - PARTS.ilog2()) * PARTS + part) as usize).min(BUCKETS - 1)
    }

    fn upper_bound(bucket: usize) -> u64 {
        let (power, part) = (bucket as u32 / PARTS, bucket as u32 % PARTS);
        u64::from(PARTS + part + 1) << power
    }

    /// Adds one.
    pub fn record(&mut self, us: u64) {
        self.counts[Self::bucket(us)] += 1;
        self.total += 1;
    }

    /// How many were added.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The buckets that are not empty, with their counts.
    #[must_use]
    pub fn buckets(&self) -> Vec<(u16, u32)> {
        let all = (0..).zip(&self.counts);
        all.filter(|(_, count)| **count > 0).map(|(bucket, count)| (bucket, *count)).collect()
    }

    /// Adds what another one counted.
    pub fn add(&mut self, buckets: &[(u16, u32)]) {
        for (bucket, count) in buckets {
            let place = &mut self.counts[usize::from(*bucket).min(BUCKETS - 1)];
            *place = place.saturating_add(*count);
            self.total += u64::from(*count);
        }
    }

    /// The value that `percent` of them do not exceed; 0 when there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> u64 {
        let rank = (self.total as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Self::upper_bound(bucket);
            }
        }
        0
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_an_eighth() {
        let mut latencies = Latencies::default();
        (1..=10_000).for_each(|us| latencies.record(us));
        for (percent, right) in [(50.0, 5_000.0), (99.0, 9_900.0)] {
            let found = latencies.percentile(percent) as f64;
            assert!(found >= right && found <= right * 1.15, "{percent}: {found}");
        }
        let mut sum = Latencies::default();
        sum.record(1 << 20);
        sum.add(&latencies.buckets());
        assert_eq!((sum.total(), sum.percentile(99.0)), (10_001, latencies.percentile(99.0)));
        latencies.clear();
        assert_eq!(latencies.percentile(99.0), 0);
    }
}
