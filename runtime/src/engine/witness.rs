//! Sees the application's code run, on the engine's thread: writes it down in the unit page (R21) and times it (R23).
//!
//! Invariant: once the watchdog has given the piece up that runs, nothing more is done on this thread: the piece's calls
//! into its host fail, and its return unwinds to the engine's actor, which lets the engine go.
//! Deliberately absent: what is made of it; the core judges, the watchdog looks on.

use std::sync::Arc;
use std::time::Instant;

use lockstep_core::ids::Micros;
use lockstep_core::witness::{GivenUp, Piece, Witness};
use lockstep_os::unit_page::signals::Guard;
use lockstep_os::unit_page::{self, UnitPage};

use crate::notes::in_numbers;

/// The engine's witness. A piece that has no deadline is not timed: two looks at the clock are as long as a short unit.
#[derive(Debug)]
pub struct EngineWitness {
    page: Arc<UnitPage>,
    /// Whatever a procedure declares, a unit that returns after this has hung: the partner is about to take over.
    hang_ms_max: u64,
    since: Option<Instant>,
}

impl EngineWitness {
    /// A witness that writes into the page of `guard`.
    #[must_use]
    pub fn new(guard: &Guard, hang_ms_max: u64) -> Self {
        EngineWitness { page: guard.page().clone(), hang_ms_max, since: None }
    }
}

impl Witness for EngineWitness {
    fn begins(&mut self, piece: &Piece<'_>) {
        let (kind, session, number, key) = in_numbers(&piece.event.id);
        self.page.begin(&unit_page::Piece {
            kind,
            session,
            number,
            key: key.as_bytes(),
            plugin: &piece.plugin.0,
            procedure: piece.event.procedure.as_bytes(),
            unit: piece.unit.as_bytes(),
            hang_ms: piece.hang_ms.min(self.hang_ms_max),
        });
        self.since = piece.timed.then(Instant::now);
    }

    fn calls(&self) {
        if self.page.is_given_up() {
            leave();
        }
    }

    fn ended(&mut self) -> Micros {
        if !self.page.end() {
            leave();
        }
        let took = self.since.take().map(|since| since.elapsed().as_micros());
        Micros(took.map_or(0, |us| u64::try_from(us).unwrap_or(u64::MAX)))
    }
}

/// Leaves everything under way on this thread. No panic: no hook hears of it.
#[cold]
fn leave() -> ! {
    std::panic::resume_unwind(Box::new(GivenUp))
}
