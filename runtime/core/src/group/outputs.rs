//! Answers that wait until everything they rest on is held (R10, R11).

use std::collections::VecDeque;

use crate::command::CommandResult;
use crate::event::Answer;
use crate::ids::{LinkId, Micros, Number, Origin};

/// Who is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client of this processor.
    Local(Origin),
    /// A client of the partner.
    Partner {
        /// The link that the request came on.
        link: LinkId,
        /// The partner's ticket.
        ticket: u64,
    },
    /// Nobody: the runtime itself ran the event again.
    Nobody,
}

/// What somebody is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
    /// A client.
    Answer(Answer),
    /// An operator, or another group of this application.
    Result(Box<CommandResult>),
}

/// An answer that waits.
#[derive(Clone, Debug)]
pub struct Output {
    /// The number that it was computed at.
    pub number: Number,
    /// A read: the `Confirm` that every in-sync standby must have answered.
    pub confirm: Option<u64>,
    /// Whom to answer.
    pub asker: Asker,
    /// What.
    pub owed: Owed,
    /// When the request came in.
    pub arrived: Micros,
}

/// The answers of an active that wait, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    waiting: VecDeque<Output>,
}

impl Outputs {
    /// Adds an answer.
    ///
    /// # Panics
    /// When its number is lower than that of an answer before it, unless it is a repeat's.
    pub fn push(&mut self, mut output: Output) {
        // A repeat's answer rests on an older number; it keeps its place in the queue, which is never too early.
        if let Some(last) = self.waiting.back() {
            output.number = output.number.max(last.number);
        }
        self.waiting.push_back(output);
    }

    /// The next answer that may leave: everything up to its number is held, and its read is confirmed.
    pub fn pop(&mut self, held: Number, confirmed: impl Fn(u64) -> bool) -> Option<Output> {
        let next = self.waiting.front()?;
        if next.number > held || next.confirm.is_some_and(|ticket| !confirmed(ticket)) {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Takes out everything: this side is no longer the active.
    pub fn drain(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.waiting.drain(..)
    }

    /// Those that wait, the next one first.
    pub fn iter(&self) -> impl Iterator<Item = &Output> {
        self.waiting.iter()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
