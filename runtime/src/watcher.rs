//! The actor that watches the partner's life for one group (R6).
//!
//! What it says is a hint to act; safety rests on the record, the terms and the output rule. It lives on the
//! processor's main thread; the blocking wait is a thread of the watch's own.

use actix::prelude::*;
use lockstep_core::ids::StoreId;
use lockstep_core::input::Input;
use lockstep_os::{Died, LivenessWatch, is_living};

use crate::engine::inbound::{EngineHandle, Inbound};

/// The partner's life can't be watched; silence and the link tell.
const UNWATCHED: &str = "LS0621";

/// Watch the process that holds this store, in place of the one before.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// The store.
    pub store: StoreId,
    /// Goes into the answer, if nobody holds it.
    pub hellos: u64,
}

/// Say whether the process that holds this store lives.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AskLiving {
    /// The store.
    pub store: StoreId,
    /// Goes into the answer.
    pub hellos: u64,
}

/// Stop: the engine was given up (R23).
#[derive(Message)]
#[rtype(result = "()")]
pub struct Cease;

/// Watches the partner of one group.
pub struct Watcher {
    engine: EngineHandle,
    watch: Option<LivenessWatch>,
}

impl Watcher {
    /// A watcher that tells `engine`.
    #[must_use]
    pub fn new(engine: EngineHandle) -> Self {
        Watcher { engine, watch: None }
    }
}

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<Watch> for Watcher {
    type Result = ();

    fn handle(&mut self, Watch { store, hellos }: Watch, _: &mut Self::Context) {
        let engine = self.engine.clone();
        let died = move |how: Died| {
            let input = match how {
                Died::OwnerDied { pid } => {
                    tracing::debug!(%store, pid, "the partner's process died");
                    Input::PartnerDied { store }
                }
                Died::Released => Input::PartnerDied { store },
                // It may not have been there yet; the core asks again.
                Died::Absent => Input::Living { store, hellos, living: false },
            };
            engine.tell_waiting(Inbound::Input(input));
        };
        self.watch = match LivenessWatch::spawn(&store.to_string(), died) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!(%store, %error, code = UNWATCHED, "the partner's liveness can't be watched; the link and silence tell");
                None
            }
        };
    }
}

impl Handler<AskLiving> for Watcher {
    type Result = ();

    fn handle(&mut self, AskLiving { store, hellos }: AskLiving, _: &mut Self::Context) {
        match is_living(&store.to_string()) {
            Ok(living) => {
                if self.engine.tell(Inbound::Input(Input::Living { store, hellos, living })).is_err() {
                    tracing::debug!(%store, "the engine is busy; it asks again");
                }
            }
            Err(error) => {
                tracing::warn!(%store, %error, code = UNWATCHED, "whether the partner lives can't be said")
            }
        }
    }
}

impl Handler<Cease> for Watcher {
    type Result = ();

    fn handle(&mut self, _: Cease, context: &mut Self::Context) {
        self.watch = None;
        context.stop();
    }
}
