//! What a load measures.

use hdrhistogram::Histogram;

/// The longest latency that the histogram tells apart, in nanoseconds.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// How an event was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The procedure ran.
    Committed,
    /// The application said no.
    Refused,
    /// It went wrong.
    Faulted,
}

/// Counts over the window of measurement, in nanoseconds of the load's clock. Rates are of answers that came inside of it,
/// latencies of events that were due inside of it, whenever their answers came.
#[derive(Debug)]
pub struct Figures {
    from_ns: u64,
    until_ns: u64,
    /// Latencies, in nanoseconds.
    pub latencies: Histogram<u64>,
    /// By [`Outcome`].
    outcomes: [u64; 3],
    /// The longest time between two answers, in nanoseconds.
    longest_gap_ns: u64,
    last_answer_ns: u64,
    /// Answers by millisecond of the window, where they are wanted.
    timeline: Option<Vec<u32>>,
}

impl Figures {
    /// With a window; nothing was counted yet.
    ///
    /// # Panics
    /// Never: the histogram's bounds are constants that it takes.
    pub fn new(from_ns: u64, until_ns: u64, timeline: bool) -> Self {
        let milliseconds = until_ns.saturating_sub(from_ns).div_ceil(1_000_000) as usize;
        Figures {
            from_ns,
            until_ns,
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("constant bounds are good"),
            outcomes: [0; 3],
            longest_gap_ns: 0,
            last_answer_ns: from_ns,
            timeline: timeline.then(|| vec![0; milliseconds]),
        }
    }

    /// The window ends now.
    pub fn end(&mut self, now_ns: u64) {
        self.until_ns = self.until_ns.min(now_ns);
        if let Some(timeline) = &mut self.timeline {
            timeline.truncate(self.until_ns.saturating_sub(self.from_ns).div_ceil(1_000_000) as usize);
        }
    }

    /// An event that was due at `due_ns` was answered.
    pub fn answered(&mut self, outcome: Outcome, due_ns: u64, now_ns: u64) {
        if (self.from_ns..self.until_ns).contains(&due_ns) {
            self.latencies.saturating_record(now_ns.saturating_sub(due_ns).max(1));
        }
        if (self.from_ns..self.until_ns).contains(&now_ns) {
            self.outcomes[outcome as usize] += 1;
            self.longest_gap_ns = self.longest_gap_ns.max(now_ns - self.last_answer_ns);
            self.last_answer_ns = now_ns;
            let at = ((now_ns - self.from_ns) / 1_000_000) as usize;
            if let Some(count) = self.timeline.as_mut().and_then(|timeline| timeline.get_mut(at)) {
                *count += 1;
            }
        }
    }

    /// How many were answered like this in the window.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// How many were answered in the window.
    pub fn events(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// How long the window is, in seconds.
    pub fn seconds(&self) -> f64 {
        self.until_ns.saturating_sub(self.from_ns) as f64 / 1e9
    }

    /// Answers a second.
    pub fn rate_per_s(&self) -> f64 {
        self.events() as f64 / self.seconds().max(1e-9)
    }

    /// The longest time between two answers, or from the last one to the window's end, in milliseconds.
    pub fn longest_gap_ms(&self) -> f64 {
        let silent = self.until_ns.saturating_sub(self.last_answer_ns);
        self.longest_gap_ns.max(silent) as f64 / 1e6
    }

    /// A latency in microseconds; at most so large is this part of them.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Answers by millisecond.
    pub fn timeline(&self) -> Option<&[u32]> {
        self.timeline.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn rates_are_of_answers_inside_and_latencies_of_events_that_were_due_inside() {
        let mut figures = Figures::new(100 * MS, 200 * MS, true);
        // Due in the warm-up, answered inside: it counts for the rate alone.
        figures.answered(Outcome::Committed, 95 * MS, 110 * MS);
        figures.answered(Outcome::Refused, 120 * MS, 150 * MS);
        // Due inside, answered after the end: its latency is known, and no rate may have it.
        figures.answered(Outcome::Committed, 190 * MS, 450 * MS);
        assert_eq!((figures.events(), figures.latencies.len()), (2, 2));
        assert_eq!((figures.count(Outcome::Committed), figures.count(Outcome::Refused)), (1, 1));
        assert!((figures.rate_per_s() - 20.0).abs() < 1e-6);
        assert!((figures.quantile_us(1.0) - 260_000.0).abs() < 300.0, "{}", figures.quantile_us(1.0));
        assert!((figures.longest_gap_ms() - 50.0).abs() < 1e-6);
        let timeline = figures.timeline().unwrap();
        assert_eq!((timeline.len(), timeline[10], timeline[50]), (100, 1, 1));
    }

    #[test]
    fn an_early_end_shortens_the_window() {
        let mut figures = Figures::new(0, 100 * MS, true);
        figures.answered(Outcome::Committed, 1, 10 * MS);
        figures.end(20 * MS);
        assert!((figures.seconds() - 0.02).abs() < 1e-9);
        assert_eq!(figures.timeline().unwrap().len(), 20);
        figures.answered(Outcome::Committed, 1, 30 * MS);
        assert_eq!(figures.events(), 1);
    }
}
