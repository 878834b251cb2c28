//! The actor that speaks with the arbiter for one group.
//!
//! Reads and swaps wait for a disk, so it has an actix arbiter (a thread) of its own. One swap is under way at a time;
//! an outcome that is not known says so, and the core reads the record back (R4). A planned switchover's record is
//! written and synced before it is asked for, so that only the name is left to be made while requests wait.

use std::time::Instant;

use actix::prelude::*;
use lockstep_core::ids::Epoch;
use lockstep_core::input::Input;
use lockstep_core::record::{Record, SwapOutcome};

use crate::arbiter::{LocalArbiter, Prepared, UNREACHABLE};
use crate::engine::inbound::{EngineHandle, Inbound};

/// Read the record.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReadRecord;

/// A swap of the record is about to be asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PrepareSwap {
    /// The new record.
    pub next: Record,
}

/// Swap the record.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Swap {
    /// The epoch that must still be the record's; 0 when there must be none.
    pub expected: Epoch,
    /// The new record.
    pub next: Record,
}

/// Speaks with the arbiter for one group.
pub struct ArbiterClient {
    arbiter: LocalArbiter,
    engine: EngineHandle,
    prepared: Option<Prepared>,
}

impl ArbiterClient {
    /// Starts one on a thread of its own.
    #[must_use]
    pub fn launch(arbiter: LocalArbiter, engine: EngineHandle) -> (Addr<Self>, Arbiter) {
        let thread = Arbiter::new();
        let address = ArbiterClient::start_in_arbiter(&thread.handle(), move |_| ArbiterClient {
            arbiter,
            engine,
            prepared: None,
        });
        (address, thread)
    }

    fn tell(&self, input: Input) {
        self.engine.tell_waiting(Inbound::Input(input));
    }
}

impl Actor for ArbiterClient {
    type Context = Context<Self>;
}

impl Handler<ReadRecord> for ArbiterClient {
    type Result = ();

    fn handle(&mut self, _: ReadRecord, _: &mut Self::Context) {
        let read = self.arbiter.read().map_err(|error| error.to_string());
        self.tell(Input::RecordRead(read));
    }
}

impl Handler<PrepareSwap> for ArbiterClient {
    type Result = ();

    fn handle(&mut self, PrepareSwap { next }: PrepareSwap, _: &mut Self::Context) {
        // A failure shows when the swap is asked for.
        self.prepared = self.arbiter.prepare(&next).ok();
        self.tell(Input::SwapPrepared);
    }
}

impl Handler<Swap> for ArbiterClient {
    type Result = ();

    fn handle(&mut self, Swap { expected, next }: Swap, _: &mut Self::Context) {
        let begun = Instant::now();
        let outcome: SwapOutcome = self.arbiter.swap(expected, &next, self.prepared.take());
        tracing::debug!(
            epoch = next.epoch.0,
            us = begun.elapsed().as_micros() as u64,
            "the record was swapped"
        );
        if let SwapOutcome::Unknown(why) = &outcome {
            tracing::warn!(why, code = UNREACHABLE, "the outcome of a swap of the record is not known");
        }
        self.tell(Input::Swapped(outcome));
        self.arbiter.tidy();
    }
}
