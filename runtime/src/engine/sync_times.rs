//! Whether the engine may wait for a sync itself.
//!
//! A sync of a quick disk is shorter than the way to the store's thread and back, which is two threads being woken. So an
//! entry that comes alone is synced by the engine, and one in flight is answered sooner. Whoever waits for a disk does
//! nothing else meanwhile, heartbeats included; so only a disk that has been quick lately is waited for, and one that was slow
//! once must earn it anew.

use std::time::Duration;

/// So long takes a sync at most that the engine may wait for.
const QUICK: Duration = Duration::from_millis(2);
/// After so many quick ones in a row the next is taken to be quick too.
const IN_A_ROW_MIN: u32 = 8;

/// How long the latest syncs took.
#[derive(Debug, Default)]
pub(super) struct SyncTimes {
    quick_in_a_row: u32,
}

impl SyncTimes {
    /// A sync took so long.
    pub fn took(&mut self, time: Duration) {
        self.quick_in_a_row = if time <= QUICK { self.quick_in_a_row.saturating_add(1) } else { 0 };
    }

    /// Whether the next one is likely to be quick.
    #[must_use]
    pub fn are_quick(&self) -> bool {
        self.quick_in_a_row >= IN_A_ROW_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_was_slow_once_must_be_quick_for_a_while() {
        let mut times = SyncTimes::default();
        let quick = |times: &mut SyncTimes, count: u32| (0..count).for_each(|_| times.took(QUICK));
        quick(&mut times, IN_A_ROW_MIN - 1);
        assert!(!times.are_quick());
        quick(&mut times, 1);
        assert!(times.are_quick());
        times.took(QUICK + Duration::from_micros(1));
        assert!(!times.are_quick());
        quick(&mut times, IN_A_ROW_MIN);
        assert!(times.are_quick());
    }
}
