//! Who watches the application's code run: written down before it runs, so that a death in it can be told (R21), and
//! timed (R23).
//!
//! The core has no clock of its own and must not depend on one: time comes from the witness, and only the active
//! makes anything of it.

use crate::event::Event;
use crate::ids::{Micros, PluginHash};

/// A piece of the application's code that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The event it runs for.
    pub event: &'a Event,
    /// The plugin file.
    pub plugin: PluginHash,
    /// The work unit, or what else it is, in parentheses.
    pub unit: &'a str,
    /// After this long it hangs, in milliseconds.
    pub hang_ms: u64,
    /// It has a deadline: how long it takes is asked for.
    pub timed: bool,
}

/// Sees each piece of the application's code begin and end, one at a time.
///
/// A piece that does not return may be given up by a witness of a processor (R23). From then on nothing on its thread
/// counts: what the piece calls of its host, and its return, unwind with [`GivenUp`] to whoever runs the group.
pub trait Witness: Send {
    /// It is about to run.
    fn begins(&mut self, piece: &Piece<'_>);

    /// It has called its host. Unwinds with [`GivenUp`] if it was given up.
    fn calls(&self) {}

    /// It has returned; so long it took, if it was timed. Unwinds with [`GivenUp`] if it was given up.
    fn ended(&mut self) -> Micros;
}

/// What the thread of a piece that was given up unwinds with, without a word: it is no failed assertion.
#[derive(Clone, Copy, Debug)]
pub struct GivenUp;

impl Clone for Box<dyn Witness> {
    /// Whoever watches one group does not watch a copy of it.
    fn clone(&self) -> Self {
        Box::new(Unwatched)
    }
}

/// Nobody watches, and nothing takes any time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Witness for Unwatched {
    fn begins(&mut self, _: &Piece<'_>) {}

    fn ended(&mut self) -> Micros {
        Micros(0)
    }
}
