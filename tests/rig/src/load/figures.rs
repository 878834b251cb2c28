//! What a load measures, by phase: what its clients see, nothing that the runtime says of itself.

use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The figures of a phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseFigures {
    /// The phase.
    pub name: String,
    /// Transfers that were answered, refusals included.
    pub events: u64,
    /// Answers a second.
    pub rate_per_s: f64,
    /// The longest time between two answers, to whichever client.
    pub longest_gap_ms: f64,
    /// When that gap began, in microseconds since 1970, to be found in the processors' logs.
    pub longest_gap_from_us: u64,
    /// The median time from request to answer.
    pub p50_us: u64,
    /// The 99th percentile of that time.
    pub p99_us: u64,
    /// The longest time from request to answer.
    pub max_us: u64,
    /// Requests sent again under their id.
    pub retries: u64,
    /// The application's own "no".
    pub refused: u64,
    /// The runtime's "this went wrong".
    pub faulted: u64,
    /// No answer by the deadline, or none at all.
    pub failed: u64,
    /// How long the phase took.
    pub seconds: f64,
}

/// What the load says of itself as it goes, about the time since it last did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Glance {
    /// Answers a second.
    pub rate_per_s: f64,
    /// The longest gap of the phase so far.
    pub longest_gap_ms: f64,
    /// The 99th percentile of the phase so far.
    pub p99_us: u64,
    /// Requests under way.
    pub under_way: u64,
    /// Answers of the phase so far.
    pub events: u64,
    /// Failed in the phase so far.
    pub failed: u64,
}

/// How an event ended, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has its reply.
    Replied,
    /// The application's own "no".
    Refused,
    /// The runtime's "this went wrong".
    Faulted,
    /// No answer.
    Failed,
}

/// Collects the figures of the phase under way.
#[derive(Debug)]
pub struct Collector {
    figures: PhaseFigures,
    since: Instant,
    last_answer: Instant,
    longest_gap: Duration,
    longest_gap_from: Instant,
    latencies_us: Histogram<u64>,
    /// Retries of all clients when the phase began.
    retries_before: u64,
    glanced: (Instant, u64),
}

/// The longest latency that the histogram tells apart.
const LATENCY_MAX_US: u64 = 60_000_000;

impl Collector {
    /// Begins with a phase called `name`.
    ///
    /// # Panics
    /// Never: the histogram's bounds are constants that it takes.
    #[must_use]
    pub fn new(name: &str, now: Instant) -> Self {
        Collector {
            figures: PhaseFigures { name: name.to_owned(), ..PhaseFigures::default() },
            since: now,
            last_answer: now,
            longest_gap: Duration::ZERO,
            longest_gap_from: now,
            latencies_us: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("constant bounds are good"),
            retries_before: 0,
            glanced: (now, 0),
        }
    }

    /// An event ended. The gap counts from the last answer: something that failed is none.
    pub fn ended(&mut self, end: End, latency: Duration, now: Instant) {
        let counter = match end {
            End::Failed => {
                self.figures.failed += 1;
                return;
            }
            End::Replied => None,
            End::Refused => Some(&mut self.figures.refused),
            End::Faulted => Some(&mut self.figures.faulted),
        };
        if let Some(counter) = counter {
            *counter += 1;
        }
        self.figures.events += 1;
        let gap = now.saturating_duration_since(self.last_answer);
        if gap > self.longest_gap {
            (self.longest_gap, self.longest_gap_from) = (gap, self.last_answer);
        }
        self.last_answer = now;
        self.latencies_us.saturating_record((latency.as_micros() as u64).max(1));
    }

    /// Nothing was asked for until now: the silence was the load's own.
    pub fn begin_asking(&mut self, now: Instant) {
        self.last_answer = now;
    }

    fn fill(&mut self, now: Instant, retries: u64) {
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        let figures = &mut self.figures;
        figures.seconds = rounded(seconds, 3);
        figures.rate_per_s = rounded(figures.events as f64 / seconds.max(1e-9), 1);
        let silent = now.saturating_duration_since(self.last_answer);
        let (gap, from) = if silent > self.longest_gap {
            (silent, self.last_answer)
        } else {
            (self.longest_gap, self.longest_gap_from)
        };
        figures.longest_gap_ms = rounded(gap.as_secs_f64() * 1e3, 2);
        figures.longest_gap_from_us = since_1970_us(from, now);
        figures.p50_us = self.latencies_us.value_at_quantile(0.5);
        figures.p99_us = self.latencies_us.value_at_quantile(0.99);
        figures.max_us = self.latencies_us.max();
        figures.retries = retries.saturating_sub(self.retries_before);
    }

    /// Ends the phase and begins one called `name`. A silence that is under way counts in both: in this one as far as
    /// it has come, in the next one whole.
    pub fn next_phase(&mut self, name: &str, now: Instant, retries: u64) -> PhaseFigures {
        self.fill(now, retries);
        let mut next = Collector::new(name, now);
        next.last_answer = self.last_answer;
        next.retries_before = retries;
        std::mem::replace(self, next).figures
    }

    /// How it goes.
    pub fn glance(&mut self, now: Instant, under_way: u64) -> Glance {
        let (at, events) = std::mem::replace(&mut self.glanced, (now, self.figures.events));
        let seconds = now.saturating_duration_since(at).as_secs_f64();
        let gap = self.longest_gap.max(now.saturating_duration_since(self.last_answer));
        Glance {
            rate_per_s: rounded((self.figures.events - events) as f64 / seconds.max(1e-9), 1),
            longest_gap_ms: rounded(gap.as_secs_f64() * 1e3, 2),
            p99_us: self.latencies_us.value_at_quantile(0.99),
            under_way,
            events: self.figures.events,
            failed: self.figures.failed,
        }
    }
}

/// The wall clock's word for `then`, when it is `now`.
fn since_1970_us(then: Instant, now: Instant) -> u64 {
    let ago = now.saturating_duration_since(then);
    let at = SystemTime::now().checked_sub(ago).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    at.map_or(0, |at| at.as_micros() as u64)
}

fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_silence_across_a_boundary_is_nobodys_secret() {
        let start = Instant::now();
        let mut collector = Collector::new("one", start);
        collector.ended(End::Replied, ms(1), start + ms(10));
        let one = collector.next_phase("two", start + ms(40), 3);
        assert_eq!((one.events, one.longest_gap_ms, one.retries), (1, 30.0, 3));
        collector.ended(End::Replied, ms(1), start + ms(110));
        let two = collector.next_phase("three", start + ms(120), 5);
        assert_eq!((two.events, two.longest_gap_ms, two.retries), (1, 100.0, 2));
    }

    #[test]
    fn what_failed_is_no_answer() {
        let start = Instant::now();
        let mut collector = Collector::new("one", start);
        collector.ended(End::Refused, ms(1), start + ms(1));
        collector.ended(End::Failed, ms(5000), start + ms(50));
        collector.ended(End::Faulted, ms(2), start + ms(99));
        let figures = collector.next_phase("two", start + ms(100), 0);
        assert_eq!((figures.events, figures.failed, figures.refused, figures.faulted), (2, 1, 1, 1));
        assert_eq!(figures.longest_gap_ms, 98.0);
        assert_eq!(figures.rate_per_s, 20.0);
    }
}
