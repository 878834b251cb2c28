//! Two versions of an application against each other: mixed in both ways with a switchover after every event, and round
//! from the old one to the new one and back. Whatever they are given, they must answer and write as the old one alone.
//!
//! Deliberately absent: the making of random events, which tests leave to a library for that; features, which are off here.

use lockstep_core::event::Outcome;
use lockstep_plugin_api::Application;

use crate::answer::said;
use crate::call::Call;
use crate::crashes::alike;
use crate::desk::Settings;
use crate::pair::{Done, Pair};

/// An old version and a new one.
///
/// ```
/// # use lockstep_test_kit::{Versions, call, example};
/// let versions = Versions::of(example::application(), example::next::application())
///     .given([call("add", &("eggs", 3u64))]);
/// // To be called with many a series of events.
/// let events = [call("add", &("eggs", 4u64)), call("add", &("milk", 0u64)), call("add", &("milk", 1u64))];
/// versions.mixed_both_ways(&events);
/// versions.round(&events);
/// ```
#[derive(Clone, Debug)]
pub struct Versions {
    old: &'static Application,
    new: &'static Application,
    given: Vec<Call>,
}

/// What each event came to.
type Outcomes = Vec<Outcome>;

impl Versions {
    /// An old version and a new one.
    #[must_use]
    pub fn of(old: &'static Application, new: &'static Application) -> Self {
        Versions { old, new, given: Vec::new() }
    }

    /// Events that must commit, before all others.
    #[must_use]
    pub fn given(mut self, calls: impl IntoIterator<Item = Call>) -> Self {
        self.given.extend(calls);
        self
    }

    /// Runs `events` on a pair with the old version active and the new one standing by, and on one the other way
    /// round; after each event the other side becomes active.
    ///
    /// # Panics
    /// When an answer or a row is another than with the old version alone, or the two sides differ. The message names the
    /// event, or table and key.
    #[track_caller]
    pub fn mixed_both_ways(&self, events: &[Call]) {
        let (alone, expected) = self.alone(events);
        for (active, standby) in [(self.old, self.new), (self.new, self.old)] {
            let mut pair = Pair::of_versions(active, standby).given(self.given.clone());
            let mut outcomes = Vec::new();
            for event in events {
                outcomes.push(pair.run(event.clone()).outcome);
                pair.done(Done::SwitchedOver);
            }
            self.compare(&format!("{active:?} beside {standby:?}"), events, &expected, &outcomes);
            pair.same_rows_as(&alone);
        }
    }

    /// Runs `events` on the old version, on both while an upgrade is evaluated, on the new one, and on the old one again
    /// after the way back: a quarter each.
    ///
    /// # Panics
    /// As [`mixed_both_ways`](Self::mixed_both_ways).
    #[track_caller]
    pub fn round(&self, events: &[Call]) {
        let (alone, expected) = self.alone(events);
        let mut pair = Pair::of(self.old).given(self.given.clone());
        let mut outcomes = Vec::new();
        for quarter in 0..4 {
            pair = match quarter {
                0 => pair,
                1 => pair.evaluate(self.new),
                2 => pair.install(self.new),
                _ => pair.back(),
            };
            let part = quarter * events.len() / 4..(quarter + 1) * events.len() / 4;
            outcomes.extend(events[part].iter().map(|event| pair.run(event.clone()).outcome));
        }
        self.compare(
            &format!("round from {:?} to {:?} and back", self.old, self.new),
            events,
            &expected,
            &outcomes,
        );
        pair.same_rows_as(&alone);
    }

    /// The old version alone, and what it answers on two days: what differs between them is drawn.
    #[track_caller]
    fn alone(&self, events: &[Call]) -> (Pair, [Outcomes; 2]) {
        let mut pair = Pair::of(self.old).given(self.given.clone());
        let mut another_day = pair.history.replay(Settings::default().another_day());
        let later = events.iter().map(|event| another_day.run(event).outcome).collect();
        let now = events.iter().map(|event| pair.run(event.clone()).outcome).collect();
        (pair, [now, later])
    }

    #[track_caller]
    fn compare(&self, how: &str, events: &[Call], [now, later]: &[Outcomes; 2], found: &[Outcome]) {
        for (at, event) in events.iter().enumerate() {
            let (expected, found) = (&now[at], &found[at]);
            let drawn = *expected != later[at] && alike(expected, found);
            assert!(
                expected == found || drawn,
                "{how}: event {} (`{}`) was answered: {}\n{:?} alone: {}",
                at + 1,
                event.procedure,
                said(found),
                self.old,
                said(expected)
            );
        }
    }
}
