//! Faults of work units in the processor's log: each once, at most so many a second, with a count of those left out.
//!
//! Deliberately absent: faults of repeats, which are answers that are given again, and those that the partner's
//! active runs: they stand in its log.

use std::time::{Duration, Instant};

use lockstep_core::event::Fault;
use lockstep_core::ids::Number;

use super::answers::{FAULTED, fault_word};

/// A procedure that a timer or a message started refused.
const OWN_REFUSED: &str = "LS0641";
/// So many are logged in a window.
const LOGGED_MAX: u64 = 10;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(1);

/// How many faults were logged and left out lately.
#[derive(Debug, Default)]
pub(super) struct FaultLog {
    since: Option<Instant>,
    logged: u64,
    left_out: u64,
}

impl FaultLog {
    /// Logs a fault, unless there were too many in the last second.
    pub(super) fn log(&mut self, application: &str, number: Option<Number>, procedure: &str, fault: &Fault) {
        self.end_window(application);
        if !self.admit(Instant::now()) {
            return;
        }
        let Fault { kind, unit, message } = fault;
        let (kind, number) = (fault_word(*kind), number.map(|number| number.0));
        // A read has no number.
        tracing::warn!(
            code = FAULTED,
            application,
            procedure,
            unit,
            number,
            kind,
            message,
            "a work unit faulted"
        );
    }

    /// Logs that what a timer or message started refused; counted with the faults.
    pub(super) fn log_refusal(&mut self, application: &str, number: Number, procedure: &str, what: &str) {
        self.end_window(application);
        if self.admit(Instant::now()) {
            let number = number.0;
            tracing::warn!(
                code = OWN_REFUSED,
                application,
                procedure,
                number,
                what,
                "nobody is told of a refusal"
            );
        }
    }

    /// Tells how many were left out, once the window is over.
    pub(super) fn end_window(&mut self, application: &str) {
        if self.left_out > 0
            && let Some(left_out) = self.take_left_out(Instant::now())
        {
            tracing::warn!(
                code = FAULTED,
                application,
                left_out,
                "further faults were not logged one by one"
            );
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.duration_since(since) >= WINDOW)
    }

    fn admit(&mut self, now: Instant) -> bool {
        if self.is_over(now) {
            (self.since, self.logged) = (Some(now), 0);
        }
        let admitted = self.logged < LOGGED_MAX;
        if admitted {
            self.logged += 1;
        } else {
            self.left_out += 1;
        }
        admitted
    }

    fn take_left_out(&mut self, now: Instant) -> Option<u64> {
        self.is_over(now).then(|| std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_second_are_admitted_and_the_others_counted() {
        let mut log = FaultLog::default();
        let begun = Instant::now();
        assert_eq!((0..25).filter(|_| log.admit(begun)).count(), 10);
        assert_eq!(log.take_left_out(begun), None, "the window is not over");
        let later = begun + WINDOW;
        assert_eq!(log.take_left_out(later), Some(15));
        assert!(log.admit(later));
        assert_eq!(log.take_left_out(later + WINDOW), Some(0));
    }
}
