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
pub trait Witness: Send {
    /// It is about to run.
    fn begins(&mut self, piece: &Piece<'_>);

    /// It has returned; so long it took, if it was timed.
    fn ended(&mut self) -> Micros;
}

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
