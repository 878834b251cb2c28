//! Model checking: two of the core's own groups with an arbiter, a link and disks, explored exhaustively within small
//! bounds by `stateright`.
//!
//! Every order of messages, swaps, syncs, deaths, starts, cuts and commands within [`Bounds`] is tried, one after the
//! other, on the very code that ships. Where a seed of the simulated world goes deep, this leaves nothing out.
//!
//! Deliberately absent: chances, lengths of time, clients that send again, rows: the simulated world has those. Of times
//! only this is kept that a wait ends: each step of a side comes after all its short waits, and a silence is a step of
//! its own.
#![forbid(unsafe_code)]

mod application;
mod bounds;
mod carry;
mod check;
mod exercises;
mod pair;
mod search;
mod settle;

pub use bounds::Bounds;
pub use exercises::{EXERCISES, Exercise};
pub use pair::{Action, Pair};
pub use search::{Explored, Failure, PROPERTIES, explore};
