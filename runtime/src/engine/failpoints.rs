//! Places where a test may make a processor fail. Always compiled in, in one place: the effect executor.
//!
//! Armed through the admin socket. A failpoint fires once; it ends the process the way a crash would, without any
//! farewell, so that what the partner finds is what a crash leaves.

use lockstep_core::campaign::Step;
use lockstep_core::entry::Control;
use lockstep_core::message::{Frame, PeerMessage};

use crate::admin::protocol;

/// A way to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// Killed before the frame with the `count`-th step-up from now on (counted from 1) is handed to the socket;
    /// everything before it has left.
    KillBeforeStepUp {
        /// Which.
        count: u64,
    },
    /// Killed after the frame with the `count`-th step-up from now on has left, and nothing after it.
    KillAfterStepUp {
        /// Which.
        count: u64,
    },
    /// Killed after exactly this many more bytes were written to the link: a frame may be cut in the middle.
    KillAfterLinkBytes {
        /// How many.
        bytes: u64,
    },
    /// Killed after the `count`-th frame of any kind to the partner has left.
    KillAfterFrame {
        /// Which.
        count: u64,
    },
    /// Killed before the `count`-th answer to a client is written; the event is held by then.
    KillBeforeAnswer {
        /// Which.
        count: u64,
    },
    /// An assertion of the runtime fails in the engine's actor.
    PanicInEngine,
    /// Killed at the beginning of a turn.
    KillAtTurn,
    /// The engine's thread stands still for so long, once.
    Stall {
        /// Milliseconds.
        ms: u64,
    },
    /// The disk fails the store's next append; the process then ends as with a real failure (R26).
    FailAppend,
    /// Killed, or stopped, once a campaign's step has been put into the stream here and the turn's frames have left.
    AtStep {
        /// The step.
        step: Step,
        /// Killed; else stopped.
        kill: bool,
    },
    /// Killed, or stopped, at a moment of the standby's swap.
    AtSwap {
        /// The moment.
        moment: Moment,
        /// Killed; else stopped.
        kill: bool,
    },
    /// Nothing fails any more.
    Disarm,
}

/// Moments in which a standby changes its version (R28), in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The standby: the order has come, nothing is loaded.
    Ordered,
    /// The standby: a piece of the file has come, and it was not the last.
    File,
    /// The standby: the version is loaded and started, and not announced.
    Loaded,
    /// The active: the announcement has come, and is not answered.
    Announced,
    /// The active: the answer has left.
    Answered,
    /// The standby: the old version's thread hands over to the new one's.
    HandOver,
}

impl Moment {
    const ALL: [(&'static str, Moment); 6] = [
        ("ordered", Moment::Ordered),
        ("file", Moment::File),
        ("loaded", Moment::Loaded),
        ("announced", Moment::Announced),
        ("answered", Moment::Answered),
        ("hand-over", Moment::HandOver),
    ];
}

/// Points in a standby's swap begin with this; the moment's name follows.
const SWAP: &str = "swap-";

fn moment_of(point: &str) -> Option<Moment> {
    let name = point.strip_prefix(SWAP)?;
    Moment::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, moment)| moment)
}

/// Points in the steps of a campaign begin with this; the step's name follows.
const STEP: &str = "step-";

fn step_of(point: &str) -> Option<Step> {
    let name = point.strip_prefix(STEP)?;
    Step::ALL.into_iter().find(|step| step.name() == name)
}

impl TryFrom<&protocol::Failpoint> for Failpoint {
    type Error = String;

    fn try_from(asked: &protocol::Failpoint) -> Result<Self, String> {
        use protocol::FailpointAction::{Fail, Kill, Off, Panic, Stop};
        // "After the place was passed so often": the next time is the one.
        let count = asked.after.saturating_add(1);
        if let (Some(step), Kill | Stop) = (step_of(&asked.point), asked.action) {
            return Ok(Failpoint::AtStep { step, kill: asked.action == Kill });
        }
        if let (Some(moment), Kill | Stop) = (moment_of(&asked.point), asked.action) {
            let kill = asked.action == Kill;
            if kill || moment != Moment::Answered {
                return Ok(Failpoint::AtSwap { moment, kill });
            }
        }
        Ok(match (asked.point.as_str(), asked.action) {
            (_, Off) => Failpoint::Disarm,
            ("before-step-up", Kill) => Failpoint::KillBeforeStepUp { count },
            ("after-step-up", Kill) => Failpoint::KillAfterStepUp { count },
            ("after-frame", Kill) => Failpoint::KillAfterFrame { count },
            ("link-bytes", Kill) => Failpoint::KillAfterLinkBytes { bytes: asked.after.max(1) },
            ("before-answer", Kill) => Failpoint::KillBeforeAnswer { count },
            ("turn", Kill) => Failpoint::KillAtTurn,
            ("turn", Panic) => Failpoint::PanicInEngine,
            ("stall-ms", Fail) => Failpoint::Stall { ms: asked.after },
            ("append", Fail) => Failpoint::FailAppend,
            (point, action) => {
                return Err(format!(
                    "there is no failpoint `{point}` with action {action:?}; there are before-step-up, \
                     after-step-up, after-frame, link-bytes, before-answer, turn (kill), turn (panic), \
                     stall-ms (fail), append (fail), step-NAME of an upgrade, \
                     swap-NAME of a standby's change of version (kill, stop)"
                ));
            }
        })
    }
}

/// What a frame means for the link, as far as failpoints go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// Write what is before it, then die.
    DieBefore,
    /// Write it and what is before it, then die.
    DieAfter,
}

/// What is armed.
#[derive(Debug, Default)]
pub struct Failpoints {
    armed: Option<Failpoint>,
    strikes: bool,
}

impl Failpoints {
    /// Arms `failpoint` in place of what was armed.
    pub fn arm(&mut self, failpoint: Failpoint) {
        self.armed = (failpoint != Failpoint::Disarm).then_some(failpoint);
    }

    /// Fails at once if what is armed asks for that.
    ///
    /// # Panics
    /// When `PanicInEngine` is armed: that is the purpose.
    pub fn at_turn(&mut self) {
        match &self.armed {
            Some(Failpoint::PanicInEngine) => panic!("a failpoint: an assertion of the runtime fails"),
            Some(Failpoint::KillAtTurn) => die(),
            Some(Failpoint::Stall { ms }) => {
                let length = std::time::Duration::from_millis(*ms);
                self.armed = None;
                std::thread::sleep(length);
            }
            _ => {}
        }
    }

    /// What to do with `frame`.
    pub fn at_frame(&mut self, frame: &Frame) -> Verdict {
        let Some(armed) = &mut self.armed else { return Verdict::Send };
        let step_ups = match &frame.message {
            PeerMessage::StepUp { .. } => 1,
            PeerMessage::Procedure { digests, .. } => digests.len() as u64,
            _ => 0,
        };
        let (count, passed, verdict) = match armed {
            Failpoint::KillBeforeStepUp { count } if step_ups > 0 => (count, step_ups, Verdict::DieBefore),
            Failpoint::KillAfterStepUp { count } if step_ups > 0 => (count, step_ups, Verdict::DieAfter),
            Failpoint::KillAfterFrame { count } => (count, 1, Verdict::DieAfter),
            Failpoint::AtSwap { moment: Moment::Answered, .. }
                if matches!(frame.message, PeerMessage::VersionsFrom { .. }) =>
            {
                return Verdict::DieAfter;
            }
            _ => return Verdict::Send,
        };
        *count = count.saturating_sub(passed);
        if *count == 0 { verdict } else { Verdict::Send }
    }

    /// Whether the store's next append is to fail; asked once.
    pub fn take_append_failure(&mut self) -> bool {
        let fail = self.armed == Some(Failpoint::FailAppend);
        if fail {
            self.armed = None;
        }
        fail
    }

    /// Whether to die before this answer is written.
    pub fn at_answer(&mut self) -> bool {
        let Some(Failpoint::KillBeforeAnswer { count }) = &mut self.armed else { return false };
        *count = count.saturating_sub(1);
        *count == 0
    }

    /// `entry` was put into the stream: whether to strike once this turn's frames have left.
    pub fn at_control(&mut self, control: &Control) {
        if let Some(Failpoint::AtStep { step, .. }) = &self.armed
            && let Control::Campaign(Some(record)) = control
            && record.step == *step
        {
            self.strikes = true;
        }
    }

    /// The turn's frames have left: dies or stands still, if that is due.
    pub fn at_turns_end(&mut self) {
        if !std::mem::take(&mut self.strikes) {
            return;
        }
        match self.armed.take() {
            Some(Failpoint::AtStep { kill: false, .. }) => lockstep_os::stand_still(),
            _ => die(),
        }
    }

    /// A standby's swap is at this moment: dies or stands still at once, if that is due.
    pub fn at_swap(&mut self, now: Moment) {
        if !matches!(&self.armed, Some(Failpoint::AtSwap { moment, .. }) if *moment == now) {
            return;
        }
        match self.armed.take() {
            Some(Failpoint::AtSwap { kill: false, .. }) => lockstep_os::stand_still(),
            _ => die(),
        }
    }

    /// How many bytes may still be written to the link, if that is bounded.
    #[must_use]
    pub fn link_bytes_left(&self) -> Option<u64> {
        match self.armed {
            Some(Failpoint::KillAfterLinkBytes { bytes }) => Some(bytes),
            _ => None,
        }
    }

    /// So many bytes were written to the link.
    pub fn wrote_link_bytes(&mut self, written: usize) {
        if let Some(Failpoint::KillAfterLinkBytes { bytes }) = &mut self.armed {
            *bytes = bytes.saturating_sub(written as u64);
            if *bytes == 0 {
                die();
            }
        }
    }
}

/// Ends the process at once, as a crash would.
pub fn die() -> ! {
    let own = rustix::process::getpid();
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use lockstep_core::event::{Encoding, Event, EventId};
    use lockstep_core::ids::{Micros, Number, SessionId, Term};
    use lockstep_core::message::{Begin, End};

    fn step_up(position: u32) -> Frame {
        Frame {
            term: Term(1),
            message: PeerMessage::StepUp { number: Number(1), position, digest: 0, unit: None },
        }
    }

    #[test]
    fn step_ups_are_counted_and_other_frames_are_not() {
        let mut points = Failpoints::default();
        points.arm(Failpoint::KillBeforeStepUp { count: 2 });
        let heartbeat =
            Frame { term: Term(1), message: PeerMessage::Heartbeat { last: Number(0), held: Number(0) } };
        assert_eq!(points.at_frame(&step_up(0)), Verdict::Send);
        assert_eq!(points.at_frame(&heartbeat), Verdict::Send);
        assert_eq!(points.at_frame(&step_up(1)), Verdict::DieBefore);
    }

    #[test]
    fn a_whole_procedure_has_all_of_its_step_ups() {
        let mut points = Failpoints::default();
        points.arm(Failpoint::KillAfterStepUp { count: 3 });
        let event = Event {
            id: EventId::Numbered { session: SessionId(1), number: 1 },
            awaited_from: 1,
            procedure: "pay".into(),
            encoding: Encoding::Postcard,
            parameters: vec![],
            body: vec![],
        };
        let begin = Begin {
            number: Number(1),
            time: Micros(1),
            seed: 1,
            shipped: false,
            event: Arc::new(event),
            withheld: false,
        };
        let message =
            PeerMessage::Procedure { begin, digests: vec![7, 8], units: vec![], end: End::Committed(9) };
        let frame = Frame { term: Term(1), message };
        assert_eq!(points.at_frame(&frame), Verdict::Send, "the first and the second");
        assert_eq!(points.at_frame(&frame), Verdict::DieAfter, "the third is in it");
    }

    #[test]
    fn points_of_a_swap_are_known_by_name() {
        use protocol::FailpointAction::{Kill, Stop};
        let asked = |point: &str, action| {
            Failpoint::try_from(&protocol::Failpoint { point: point.into(), action, after: 0 })
        };
        let armed = Failpoint::AtSwap { moment: Moment::HandOver, kill: false };
        assert_eq!(asked("swap-hand-over", Stop), Ok(armed));
        assert!(asked("swap-answered", Kill).is_ok());
        // A frame that stays in a stopped process has not left.
        assert!(asked("swap-answered", Stop).is_err() && asked("swap-nowhere", Kill).is_err());
    }

    #[test]
    fn nothing_fails_when_nothing_is_armed() {
        let mut points = Failpoints::default();
        points.arm(Failpoint::KillAfterStepUp { count: 1 });
        points.arm(Failpoint::Disarm);
        assert_eq!(points.at_frame(&step_up(0)), Verdict::Send);
        assert!(!points.at_answer());
    }
}
