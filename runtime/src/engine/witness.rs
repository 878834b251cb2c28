//! Sees the application's code run, on the engine's thread (R23).
//!
//! Deliberately absent: what is made of it; the core judges.

use std::time::Instant;

use lockstep_core::ids::Micros;
use lockstep_core::witness::{Piece, Witness};

/// The engine's witness. A piece that has no deadline is not timed: two looks at the clock are as long as a short unit.
#[derive(Debug, Default)]
pub struct EngineWitness {
    since: Option<Instant>,
}

impl Witness for EngineWitness {
    fn begins(&mut self, piece: &Piece<'_>) {
        self.since = piece.timed.then(Instant::now);
    }

    fn ended(&mut self) -> Micros {
        let took = self.since.take().map(|since| since.elapsed().as_micros());
        Micros(took.map_or(0, |us| u64::try_from(us).unwrap_or(u64::MAX)))
    }
}
