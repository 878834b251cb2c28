//! What is asked of a row, and whether it holds.

use rig::bench::{Figures, Shape};
use serde::Serialize;

/// One round of a row, or the median of several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// The row's own.
    pub row: Figures,
    /// `limit` under the same load, before and after.
    pub limit: Option<Figures>,
    /// What the row is compared with.
    pub reference: Option<Figures>,
    /// The load.
    pub shape: Shape,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At least such a part of `limit`'s rate.
    RateOfLimit(f64),
    /// The median latency is at most so many times `limit`'s.
    MedianOfLimit(f64),
    /// At least so many times the other one's rate.
    RateOfOther(f64),
    /// At most so many times the other one's processor time.
    CpuOfOther(f64),
    /// At most so many seconds of both processors' time for 1,000 events.
    CpuPer1000(f64),
    /// At most so many milliseconds at 99.9 %.
    P999Ms(f64),
}

/// A target, and what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Held {
    /// What is asked.
    pub what: &'static str,
    /// What was seen; none when it could not be.
    pub is: Option<f64>,
    /// The bound.
    pub wanted: f64,
    /// Whether it holds.
    pub holds: bool,
}

impl Target {
    /// Whether it holds for what was seen.
    pub fn held(&self, seen: &Seen) -> Held {
        let Seen { row, limit, reference, .. } = seen;
        let (limit, other) = (limit.as_ref(), reference.as_ref());
        let rate = |other: &Figures| row.rate_per_s / other.rate_per_s.max(1e-9);
        let (what, is, wanted, at_least) = match *self {
            Target::RateOfLimit(wanted) => ("events a second, of limit's", limit.map(rate), wanted, true),
            Target::MedianOfLimit(wanted) => {
                let median = |limit: &Figures| row.latency_us.p50 / limit.latency_us.p50.max(1e-9);
                ("median latency, of limit's", limit.map(median), wanted, false)
            }
            Target::RateOfOther(wanted) => ("events a second, of the other's", other.map(rate), wanted, true),
            Target::CpuOfOther(wanted) => {
                let cpu = |other: &Figures| Some(row.cpu_s_per_1000? / other.cpu_s_per_1000?.max(1e-12));
                ("CPU an event, of the other's", other.and_then(cpu), wanted, false)
            }
            Target::CpuPer1000(wanted) => ("CPU seconds for 1,000 events", row.cpu_s_per_1000, wanted, false),
            Target::P999Ms(wanted) => {
                ("99.9 % within, in ms", Some(row.latency_us.p999 / 1e3), wanted, false)
            }
        };
        let holds = is.is_some_and(|is| if at_least { is >= wanted } else { is <= wanted });
        Held { what, is, wanted, holds }
    }
}

impl Seen {
    /// The row's rate, as a part of `limit`'s.
    pub fn rate_of_limit(&self) -> Option<f64> {
        self.limit.as_ref().map(|limit| self.row.rate_per_s / limit.rate_per_s.max(1e-9))
    }

    /// The medians of some rounds, figure by figure.
    ///
    /// # Panics
    /// When there are none.
    pub fn median(rounds: Vec<Seen>) -> Seen {
        let shape = rounds.first().expect("a row is measured at least once").shape;
        let all = |of: fn(&Seen) -> Option<&Figures>| {
            let figures: Vec<Figures> = rounds.iter().filter_map(of).cloned().collect();
            (!figures.is_empty()).then(|| median(figures))
        };
        Seen {
            row: all(|seen| Some(&seen.row)).unwrap_or_default(),
            limit: all(|seen| seen.limit.as_ref()),
            reference: all(|seen| seen.reference.as_ref()),
            shape,
        }
    }
}

/// The median of each figure; of two, the mean.
pub fn median(all: Vec<Figures>) -> Figures {
    let middle = |of: &dyn Fn(&Figures) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = ((values.len().max(1) - 1) / 2, values.len() / 2);
        match (values.get(low), values.get(high)) {
            (Some(low), Some(high)) => (low + high) / 2.0,
            _ => 0.0,
        }
    };
    let count = |of: fn(&Figures) -> u64| middle(&|figures| of(figures) as f64) as u64;
    Figures {
        events: count(|figures| figures.events),
        rate_per_s: middle(&|figures| figures.rate_per_s),
        refused: count(|figures| figures.refused),
        faulted: count(|figures| figures.faulted),
        unanswered: count(|figures| figures.unanswered),
        latency_us: rig::bench::Latencies {
            p50: middle(&|figures| figures.latency_us.p50),
            p99: middle(&|figures| figures.latency_us.p99),
            p999: middle(&|figures| figures.latency_us.p999),
            max: middle(&|figures| figures.latency_us.max),
        },
        longest_gap_ms: middle(&|figures| figures.longest_gap_ms),
        cpu_s_per_1000: all
            .iter()
            .all(|figures| figures.cpu_s_per_1000.is_some())
            .then(|| middle(&|figures| figures.cpu_s_per_1000.unwrap_or(0.0))),
        load_cpu_s: middle(&|figures| figures.load_cpu_s),
        load_average: all.first().and_then(|figures| figures.load_average),
        answers_per_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use rig::bench::{Latencies, What};

    use super::*;

    fn figures(rate_per_s: f64, p50: f64, cpu: f64) -> Figures {
        let latency_us = Latencies { p50, p999: 20_000.0, ..Latencies::default() };
        Figures { rate_per_s, latency_us, cpu_s_per_1000: Some(cpu), ..Figures::default() }
    }

    fn seen() -> Seen {
        let shape = Shape {
            what: What::Transfers,
            accounts: 2,
            connections: 1,
            in_flight: 1,
            rate_per_s: None,
            seconds: 1.0,
            warm_up_seconds: 0.0,
            timeline: false,
        };
        Seen {
            row: figures(60.0, 12.0, 0.006),
            limit: Some(figures(100.0, 10.0, 0.002)),
            reference: Some(figures(120.0, 1.0, 0.004)),
            shape,
        }
    }

    #[test]
    fn each_target_looks_at_its_own_figures() {
        let held = |target: Target| {
            let held = target.held(&seen());
            (held.is.map(|is| (is * 1e4).round() / 1e4), held.holds)
        };
        assert_eq!(held(Target::RateOfLimit(0.6)), (Some(0.6), true));
        assert_eq!(held(Target::RateOfLimit(0.7)), (Some(0.6), false));
        assert_eq!(held(Target::MedianOfLimit(1.15)), (Some(1.2), false));
        assert_eq!(held(Target::RateOfOther(0.5)), (Some(0.5), true));
        assert_eq!(held(Target::CpuOfOther(1.5)), (Some(1.5), true));
        assert_eq!(held(Target::CpuPer1000(0.005)), (Some(0.006), false));
        assert_eq!(held(Target::P999Ms(20.0)), (Some(20.0), true));
        let without = Seen { limit: None, ..seen() };
        assert!(!Target::RateOfLimit(0.0).held(&without).holds, "what could not be seen does not hold");
    }

    #[test]
    fn medians_are_of_each_figure() {
        let rounds = [(1.0, 9.0), (3.0, 1.0), (2.0, 5.0)].map(|(rate, p50)| {
            let row = figures(rate, p50, 0.5);
            Seen { row, ..seen() }
        });
        let median = Seen::median(rounds.into());
        assert_eq!((median.row.rate_per_s, median.row.latency_us.p50), (2.0, 5.0));
        assert_eq!(median.limit.map(|limit| limit.rate_per_s), Some(100.0));
    }
}
