//! How long nobody is answered at a planned switchover: from the last answer that the old active let out to the first one
//! of the new active.
//!
//! The old active says with the hand-over how long ago its last answer was; the new one adds the time until its first. So
//! the two clocks need not agree, and the way of that one message is not in the figure. Deliberately absent: takeovers
//! after a failure; switchovers while there was nothing to answer.

use crate::campaign::CampaignRecord;
use crate::ids::Micros;
use crate::leg::LegReport;

/// An active that had let out no answer for so long had nothing to answer: how long that lasts is the clients' doing.
const AT_REST: Micros = Micros::from_ms(1_000);

/// What is known of it here.
#[derive(Clone, Default)]
pub(super) struct Gap {
    /// When this side, as the active, let out its last answer.
    last_answer: Option<Micros>,
    /// This side was handed over to, and has let out no answer yet: how long the other one's last answer was ago, and when
    /// its word came.
    open: Option<(Micros, Micros)>,
    /// How long it was at the switchover that made this side the active.
    measured: Option<Micros>,
}

impl Gap {
    /// An answer leaves.
    pub fn answered(&mut self, now: Micros) {
        self.last_answer = Some(now);
        if let Some((before, since)) = self.open.take() {
            // Nothing is 0 ms: that stands for "not measured".
            self.measured = Some(Micros((before.0 + now.since(since).0).max(1)));
        }
    }

    /// This side hands over: how long its last answer is ago; none when there was nothing to answer.
    pub fn silent_for(&self, now: Micros) -> Option<Micros> {
        self.last_answer.map(|last| now.since(last)).filter(|silent| *silent <= AT_REST)
    }

    /// This side was handed over to.
    pub fn handed_over(&mut self, silent_for: Option<Micros>, now: Micros) {
        self.open = silent_for.map(|silent| (silent.min(AT_REST), now));
    }

    /// What was measured is of the past.
    pub fn forget(&mut self) {
        (self.open, self.measured) = (None, None);
    }

    pub fn measured(&self) -> Option<Micros> {
        self.measured
    }
}

/// The longest one of a campaign so far, over all groups; 0 when none was measured.
pub(super) fn longest(record: &CampaignRecord, own: &Gap, others: &[Option<&LegReport>]) -> Micros {
    let of_others = others.iter().flatten().filter_map(|other| other.gap);
    let all = of_others.chain(own.measured());
    all.fold(record.longest_gap, Micros::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_shares_make_the_gap_and_only_the_first_answer_ends_it() {
        let ms = Micros::from_ms;
        let (mut old, mut new) = (Gap::default(), Gap::default());
        old.answered(ms(100));
        // Another clock, which is far ahead.
        new.handed_over(old.silent_for(ms(103)), ms(900_000));
        assert_eq!(new.measured(), None);
        new.answered(ms(900_002));
        new.answered(ms(900_050));
        assert_eq!(new.measured(), Some(ms(5)));
        new.forget();
        new.answered(ms(900_060));
        assert_eq!(new.measured(), None);
    }

    #[test]
    fn nothing_is_measured_without_traffic() {
        let ms = Micros::from_ms;
        assert_eq!(Gap::default().silent_for(ms(5)), None);
        let mut old = Gap::default();
        old.answered(ms(100));
        assert_eq!((old.silent_for(ms(1_100)), old.silent_for(ms(1_101))), (Some(ms(1_000)), None));
        let mut new = Gap::default();
        new.handed_over(None, ms(5));
        new.answered(ms(6));
        assert_eq!(new.measured(), None);
    }
}
