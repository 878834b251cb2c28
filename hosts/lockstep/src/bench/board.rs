//! What all connections of a load share, and what the load asks of a connection, whatever its protocol is.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use lockstep_wire::events::Encoding;
use rustix::event::epoll::EventFlags;

use super::error::Wrong;
use super::events::Event;
use super::figures::{Figures, Outcome};
use super::socket::Clock;

/// How long a connection waits before it dials again, in nanoseconds; doubled each time up to [`DIAL_AFTER_MAX_NS`].
pub const DIAL_AFTER_NS: u64 = 10_000_000;
/// The longest wait before it dials again, in nanoseconds.
pub const DIAL_AFTER_MAX_NS: u64 = 500_000_000;
/// How long it waits before it sends again what it was told to, in nanoseconds.
pub const AGAIN_AFTER_NS: u64 = 5_000_000;

/// What all events of a phase have in common.
#[derive(Debug)]
pub struct What {
    /// The procedure.
    pub procedure: String,
    /// How parameters are encoded.
    pub encoding: Encoding,
    /// Ancillary data.
    pub body: Vec<u8>,
}

/// What all connections share.
pub struct Board {
    /// The load's time.
    pub clock: Clock,
    /// Where sockets are watched.
    pub epoll: OwnedFd,
    /// What all events have in common.
    pub what: Rc<What>,
    /// What is measured.
    pub figures: Figures,
    /// Events under way.
    pub open: u64,
    /// When something was last answered.
    pub last_answer_ns: u64,
    /// Answers since the start.
    pub answered: u64,
    /// Events sent again under their id.
    pub resent: u64,
    /// Connections that worked and were lost.
    pub lost: u64,
    /// Why the load can't go on.
    pub wrong: Option<Wrong>,
    /// What the first refusal, and the first fault, said.
    pub said: [Option<String>; 2],
}

impl Board {
    /// An event was answered; `words` are asked for the first refusal and the first fault alone.
    pub fn answered(&mut self, outcome: Outcome, due_ns: u64, now_ns: u64, words: impl FnOnce() -> String) {
        self.open -= 1;
        self.answered += 1;
        self.last_answer_ns = now_ns;
        let place = match outcome {
            Outcome::Committed => None,
            Outcome::Refused => Some(0),
            Outcome::Faulted => Some(1),
        };
        if let Some(said) = place.map(|place| &mut self.said[place]) {
            said.get_or_insert_with(words);
        }
        self.figures.answered(outcome, due_ns, now_ns);
    }

    /// The load can't go on; the first reason counts.
    pub fn fail(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }
}

/// A connection of a load, to whichever processor of the pair serves.
pub trait Connection {
    /// Whether it takes another event, when it is to have at most so many under way.
    fn has_room(&self, in_flight: usize) -> bool;

    /// The partition that it sends to; none: any.
    fn partition(&self) -> Option<u16>;

    /// Buffers for an event.
    fn blank(&mut self) -> Event;

    /// Takes an event; it leaves with the next [`Self::flush`].
    fn submit(&mut self, event: Event, board: &mut Board);

    /// Something happened to its socket number `line`.
    fn touched(&mut self, line: usize, flags: EventFlags, board: &mut Board);

    /// Sends what waits.
    fn flush(&mut self, board: &mut Board);

    /// Time has passed: dials, and sends again.
    fn look(&mut self, board: &mut Board);
}
