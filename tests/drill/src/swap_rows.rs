//! How a processor looked after each swap, and what has grown from early swaps to the last ones.
//!
//! Deliberately absent: a look at the traffic or at the rows of the database; those are the audit's.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::outside::Look;

/// Rows are shown one in so many, that there are about a hundred.
const SHOWN: u64 = 100;
/// Memory is judged from so many swaps of a processor on: before, rings, buffers and the allocator fill up.
const JUDGED_FROM: usize = 1_000;
/// How much it may grow from a tenth of the way to the end, in percent.
const GROWTH_PERCENT_MAX: f64 = 5.0;

/// What stands over the rows that are shown.
pub const HEADING: &str =
    "swap   on  version          ms    rss KiB  mappings  threads  keys  descriptors  mapped plugins";

/// One swap, and how the processor looked after it.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Counted from 1.
    pub swap: u64,
    /// The processor.
    pub node: String,
    /// What it runs now.
    pub version: &'static str,
    /// From the command until the standby has the version, in lock step.
    pub swap_ms: f64,
    /// From there until nothing of the old version is left.
    pub gone_ms: f64,
    /// The processor's process.
    pub seen: Look,
}

impl Row {
    /// As a line below [`HEADING`].
    #[must_use]
    pub fn line(&self) -> String {
        let Row { swap, node, version, swap_ms, seen, .. } = self;
        format!(
            "{swap:>5}  {node:<2}  {version:<14} {swap_ms:>6.1} {:>9} {:>9} {:>8} {:>5} {:>12} {:>15}",
            seen.rss_kib,
            seen.mappings,
            seen.threads,
            seen.keys,
            seen.descriptors,
            seen.plugins.len()
        )
    }
}

/// Whether the row of `swap`, of `count`, is one of those that are shown.
#[must_use]
pub fn is_shown(swap: u64, count: u64) -> bool {
    swap.is_multiple_of(count.div_ceil(SHOWN))
}

/// A figure of a processor: its name, how it is read off a look.
type Figure = (&'static str, fn(&Look) -> u64);

const FIGURES: [Figure; 5] = [
    ("rss_kib", |seen| seen.rss_kib),
    ("mappings", |seen| seen.mappings),
    ("threads", |seen| seen.threads),
    ("keys", |seen| seen.keys),
    ("descriptors", |seen| seen.descriptors),
];

/// A figure early and late: medians over a hundredth of the swaps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Growth {
    early: u64,
    late: u64,
    growth_percent: f64,
}

impl Growth {
    fn of(early: u64, late: u64) -> Self {
        let percent = (late as f64 / early.max(1) as f64 - 1.0) * 100.0;
        Growth { early, late, growth_percent: (percent * 10.0).round() / 10.0 }
    }
}

/// All swaps of one processor.
#[derive(Debug, Serialize)]
pub struct OfNode {
    node: String,
    swaps: usize,
    /// The numbers of the swaps that are compared.
    from_swap: u64,
    to_swap: u64,
    #[serde(flatten)]
    grown: BTreeMap<&'static str, Growth>,
    swap_ms: Value,
    gone_ms: Value,
}

impl OfNode {
    /// Of `rows`, which are all of one processor, at least one, in order.
    #[must_use]
    pub fn new(rows: &[&Row]) -> Self {
        let window = (rows.len() / 100).max(1);
        let early_end = (rows.len() / 10).max(1);
        let early = &rows[early_end.saturating_sub(window)..early_end];
        let late = &rows[rows.len() - window..];
        let grown = FIGURES.map(|(name, of)| (name, Growth::of(median(early, of), median(late, of))));
        OfNode {
            node: rows[0].node.clone(),
            swaps: rows.len(),
            from_swap: rows[early_end - 1].swap,
            to_swap: rows[rows.len() - 1].swap,
            grown: grown.into(),
            swap_ms: spread(rows, |row| row.swap_ms),
            gone_ms: spread(rows, |row| row.gone_ms),
        }
    }

    /// What has grown more than it may.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        if self.swaps < JUDGED_FROM {
            return Vec::new();
        }
        let grown = self.grown.iter().filter(|(_, growth)| growth.growth_percent > GROWTH_PERCENT_MAX);
        grown
            .map(|(name, Growth { early, late, growth_percent })| {
                format!("{name} of {} grew by {growth_percent} %, from {early} to {late}", self.node)
            })
            .collect()
    }

    /// As lines for people.
    #[must_use]
    pub fn lines(&self) -> String {
        let OfNode { node, swaps, from_swap, to_swap, grown, swap_ms, gone_ms } = self;
        let mut text = format!(
            "processor {node}: {swaps} swaps, each {} ms (median; 99 of 100 within {} ms), the old library gone after {} \
             ms more\n  {:<12} {:>13} {:>13} {:>9}",
            swap_ms["median"],
            swap_ms["p99"],
            gone_ms["median"],
            "",
            format!("swap {from_swap}"),
            format!("swap {to_swap}"),
            "grown"
        );
        for (name, _) in FIGURES {
            let Growth { early, late, growth_percent } = grown[name];
            text += &format!("\n  {name:<12} {early:>13} {late:>13} {growth_percent:>7.1} %");
        }
        text
    }
}

fn median(rows: &[&Row], of: fn(&Look) -> u64) -> u64 {
    let mut values: Vec<u64> = rows.iter().map(|row| of(&row.seen)).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Median, 99th percentile and most, to a tenth.
fn spread(rows: &[&Row], of: fn(&Row) -> f64) -> Value {
    let mut values: Vec<f64> = rows.iter().map(|row| of(row)).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| (values[((values.len() - 1) as f64 * share) as usize] * 10.0).round() / 10.0;
    json!({"median": at(0.5), "p99": at(0.99), "max": at(1.0)})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u64, rss_kib: impl Fn(u64) -> u64) -> Vec<Row> {
        (1..=count)
            .map(|swap| Row {
                swap,
                node: "b".into(),
                version: "ledger-v1",
                swap_ms: swap as f64,
                gone_ms: 1.0,
                seen: Look { rss_kib: rss_kib(swap), threads: 9, ..Look::default() },
            })
            .collect()
    }

    fn of(rows: &[Row]) -> OfNode {
        OfNode::new(&rows.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_grows_after_the_first_tenth_is_a_problem() {
        let steady = of(&rows(10_000, |swap| if swap < 900 { swap } else { 1_000 }));
        assert_eq!((steady.from_swap, steady.to_swap), (1_000, 10_000));
        assert_eq!(steady.grown["rss_kib"], Growth { early: 1_000, late: 1_000, growth_percent: 0.0 });
        assert_eq!(steady.problems(), [""; 0]);
        let leaks = of(&rows(10_000, |swap| 50_000 + swap));
        assert_eq!(leaks.problems().len(), 1, "{:?}", leaks.problems());
        assert!(leaks.problems()[0].starts_with("rss_kib of b grew by 17.7 %"), "{:?}", leaks.problems());
        assert_eq!(leaks.swap_ms, json!({"median": 5_000.0, "p99": 9_900.0, "max": 10_000.0}));
        assert!(leaks.lines().contains("swap 10000"), "{}", leaks.lines());
    }

    #[test]
    fn a_few_swaps_are_not_judged_by_their_memory() {
        assert_eq!(of(&rows(12, |swap| swap)).problems(), [""; 0]);
        assert_eq!(of(&rows(1, |swap| swap)).swaps, 1);
    }

    #[test]
    fn about_a_hundred_rows_are_shown() {
        assert_eq!((1..=10_000).filter(|swap| is_shown(*swap, 10_000)).count(), 100);
        assert_eq!((1..=20).filter(|swap| is_shown(*swap, 20)).count(), 20);
        assert_eq!((1..=150).filter(|swap| is_shown(*swap, 150)).count(), 75);
    }
}
