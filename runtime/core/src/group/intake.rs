//! How many events an active takes while a standby that lags catches up (R25). Without a bound a standby whose disk or
//! processor is slower than the traffic would never come back.
//!
//! In windows of 100 ms the lag is compared with the one before. If it does not shrink, the next window takes half of
//! what this one took; while it shrinks, a quarter more. With the lag the bound goes.
//! Deliberately absent: the waiting itself. The shell asks [`Group::is_throttled`](super::Group::is_throttled) before
//! it takes requests, so that clients are slowed by their own connections and nothing queues here.

use crate::ids::Micros;

/// How long a window is.
const WINDOW: Micros = Micros::from_ms(100);
/// So many events are taken in a window, however large the lag.
const TAKEN_MIN: u64 = 16;

/// The bound of the window that is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Intake {
    since: Micros,
    lag: u64,
    taken: u64,
    bound: Option<u64>,
}

impl Intake {
    /// An event was given a number.
    pub fn take(&mut self) {
        self.taken += 1;
    }

    /// Looks at the lag of a standby that catches up; 0 when there is none, or it is close.
    pub fn look(&mut self, now: Micros, lag: u64) {
        if now.since(self.since) < WINDOW {
            return;
        }
        self.bound = match self.bound {
            _ if lag == 0 => None,
            // The first window with a lag has nothing to be compared with.
            None if self.lag == 0 => None,
            bound if lag < self.lag => bound.map(|bound| bound + bound / 4),
            bound => Some((self.taken.min(bound.unwrap_or(u64::MAX)) / 2).max(TAKEN_MIN)),
        };
        (self.since, self.lag, self.taken) = (now, lag, 0);
    }

    /// When the next event may be taken, if not now.
    pub fn closed_until(&self) -> Option<Micros> {
        self.bound.filter(|bound| self.taken >= *bound).map(|_| self.since.plus(WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes up to `wanted` events in a window that ends with `lag`; tells how many it took.
    fn window(intake: &mut Intake, now: &mut Micros, wanted: u64, lag: u64) -> u64 {
        let taken =
            (0..wanted).take_while(|_| intake.closed_until().is_none().then(|| intake.take()).is_some());
        let taken = taken.count() as u64;
        *now = now.plus(WINDOW);
        intake.look(*now, lag);
        taken
    }

    #[test]
    fn a_lag_that_does_not_shrink_halves_the_intake_until_it_does() {
        let (mut intake, mut now) = (Intake::default(), Micros(0));
        assert_eq!(window(&mut intake, &mut now, 1_000, 0), 1_000);
        assert_eq!(window(&mut intake, &mut now, 1_000, 5_000), 1_000, "seen for the first time");
        assert_eq!(window(&mut intake, &mut now, 1_000, 5_000), 1_000);
        assert_eq!(window(&mut intake, &mut now, 1_000, 5_200), 500);
        assert_eq!(window(&mut intake, &mut now, 1_000, 5_100), 250);
        assert_eq!(window(&mut intake, &mut now, 1_000, 4_900), 312, "it shrinks");
        assert_eq!(window(&mut intake, &mut now, 1_000, 0), 390);
        assert_eq!(window(&mut intake, &mut now, 1_000, 0), 1_000, "it is gone");
    }

    #[test]
    fn something_is_taken_however_large_the_lag() {
        let (mut intake, mut now) = (Intake::default(), Micros(0));
        let taken: Vec<_> = (0..20).map(|_| window(&mut intake, &mut now, 1_000, 9_000)).collect();
        assert_eq!(taken.last(), Some(&TAKEN_MIN));
    }
}
