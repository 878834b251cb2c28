//! The actors that an engine asks for what takes long: arbiter, liveness, plugins.
//!
//! Requests go by `try_send` into bounded mailboxes; what does not fit is answered with a failure at once, so that
//! the core, which waits for an answer, always gets one. Answers come back through the engine's control queue.

use std::sync::Arc;

use actix::Addr;
use lockstep_core::application::Application;
use lockstep_core::ids::{Epoch, PluginHash, StoreId};
use lockstep_core::input::Input;
use lockstep_core::record::{Record, SwapOutcome};

use crate::arbiter_client::{ArbiterClient, PrepareSwap, ReadRecord, Swap};
use crate::checks::Site;
use crate::engine::inbound::{EngineHandle, Inbound};
use crate::notifier::Notifier;
use crate::plugins::{Discard, Failure, Find, Got, Load, NotGot, PluginLoader, Probe};
use crate::trail::Trail;
use crate::watcher::{AskLiving, Watch, Watcher};

/// The ways to the actors that serve one group.
#[derive(Clone)]
pub struct Services {
    /// Reads and swaps the record.
    pub arbiter: Addr<ArbiterClient>,
    /// Watches the partner's life.
    pub watcher: Addr<Watcher>,
    /// Loads and unloads plugins.
    pub plugins: Addr<PluginLoader>,
    /// Keeps the audit trail.
    pub trail: Trail,
    /// Runs the operators' own command.
    pub(crate) notifier: Notifier,
    /// What the user's own checks are told of this processor.
    pub site: Arc<Site>,
}

impl Services {
    /// Asks for the record.
    pub fn read_record(&self, engine: &EngineHandle) {
        if self.arbiter.try_send(ReadRecord).is_err() {
            let failed = Input::RecordRead(Err("the arbiter's client is busy".into()));
            let _ = engine.tell(Inbound::Input(failed));
        }
    }

    /// Says that a swap is about to be asked for.
    pub fn prepare_swap(&self, engine: &EngineHandle, next: Record) {
        if self.arbiter.try_send(PrepareSwap { next }).is_err() {
            // The swap takes a little longer.
            let _ = engine.tell(Inbound::Input(Input::SwapPrepared));
        }
    }

    /// Asks for a swap.
    pub fn swap(&self, engine: &EngineHandle, expected: Epoch, next: Record) {
        if self.arbiter.try_send(Swap { expected, next }).is_err() {
            let failed = Input::Swapped(SwapOutcome::Unknown("the arbiter's client is busy".into()));
            let _ = engine.tell(Inbound::Input(failed));
        }
    }

    /// Watches the process that holds `store`.
    pub fn watch(&self, store: StoreId, hellos: u64) {
        if self.watcher.try_send(Watch { store, hellos }).is_err() {
            tracing::warn!(%store, "the watcher is busy; silence and the link tell of the partner's death");
        }
    }

    /// Asks whether the process that holds `store` lives.
    pub fn ask_living(&self, store: StoreId, hellos: u64) {
        // The core asks again.
        let _ = self.watcher.try_send(AskLiving { store, hellos });
    }

    /// Loads a plugin.
    pub fn load_plugin(&self, hash: PluginHash, engine: &EngineHandle) {
        if self.plugins.try_send(Load { hash, engine: engine.clone() }).is_err() {
            let reason = "the plugin loader is busy".to_owned();
            let _ = engine.tell(Inbound::Input(Input::PluginFailed { hash, reason, may_pass: true }));
        }
    }

    /// The partner wants a plugin file.
    pub fn find_plugin(&self, hash: PluginHash, engine: &EngineHandle) {
        if self.plugins.try_send(Find { hash, engine: engine.clone() }).is_err() {
            let _ = engine.tell(Inbound::PluginFound { hash, bytes: None });
        }
    }

    /// A plugin file came from the partner.
    pub fn plugin_got(&self, hash: PluginHash, bytes: Arc<Vec<u8>>, engine: &EngineHandle) {
        if self.plugins.try_send(Got { hash, bytes, engine: engine.clone() }).is_err() {
            let reason = "the plugin loader is busy".to_owned();
            let _ = engine.tell(Inbound::Input(Input::PluginFailed { hash, reason, may_pass: true }));
        }
    }

    /// A plugin file did not come.
    pub fn plugin_not_got(&self, hash: PluginHash, why: &str, engine: &EngineHandle) {
        if self.plugins.try_send(NotGot { hash, why: why.into(), engine: engine.clone() }).is_err() {
            let _ =
                engine.tell(Inbound::Input(Input::PluginFailed { hash, reason: why.into(), may_pass: true }));
        }
    }

    /// Tries a file of the partner's.
    pub fn probe(&self, probe: Probe) {
        let (hash, engine) = (probe.hash, probe.engine.clone());
        if self.plugins.try_send(probe).is_err() {
            let found = Err(Failure::of_thread("the plugin loader is busy"));
            let _ = engine.tell(Inbound::Probed { hash, found });
        }
    }

    /// A version that never ran is not needed.
    pub fn discard(&self, application: Box<dyn Application>) {
        if let Err(error) = self.plugins.try_send(Discard { application }) {
            // It stays mapped; `plugin list` shows it.
            tracing::warn!(%error, code = crate::plugins::NOT_UNLOADED, "a version that never ran can't be unloaded now");
        }
    }
}
