//! What the admin socket sees of a processor.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use lockstep_core::ids::NodeId;
use tokio::sync::mpsc;

use crate::engine::inbound::EngineHandle;
use crate::plugins::Generations;

/// A processor as its admin socket sees it.
pub struct View {
    pub(super) node: NodeId,
    pub(super) engines: BTreeMap<String, EngineHandle>,
    pub(super) generations: Generations,
    /// Where a wish to stop goes.
    pub(super) stop: mpsc::Sender<()>,
    pub(super) started: Instant,
    rates: RefCell<BTreeMap<String, Rate>>,
}

/// How many events an engine had answered at some time, and how many a second before that.
#[derive(Clone, Copy)]
struct Rate {
    at: Instant,
    answered: u64,
    events_per_s: u64,
}

impl View {
    /// The view of a processor that starts now.
    #[must_use]
    pub fn new(
        node: NodeId,
        engines: BTreeMap<String, EngineHandle>,
        generations: Generations,
        stop: mpsc::Sender<()>,
    ) -> Self {
        View { node, engines, generations, stop, started: Instant::now(), rates: RefCell::default() }
    }

    /// Looks at the engines' counts. Called about once a second.
    pub(super) fn sample(&self) {
        let now = Instant::now();
        let mut rates = self.rates.borrow_mut();
        for (name, engine) in &self.engines {
            let answered = engine.face().answered();
            let before =
                rates.get(name).copied().unwrap_or(Rate { at: self.started, answered: 0, events_per_s: 0 });
            let ms = now.duration_since(before.at).as_millis().max(1) as u64;
            let events_per_s = answered.saturating_sub(before.answered) * 1_000 / ms;
            rates.insert(name.clone(), Rate { at: now, answered, events_per_s });
        }
    }

    /// How many events an engine answered a second, lately.
    pub(super) fn rate(&self, application: &str) -> u64 {
        self.rates.borrow().get(application).map_or(0, |rate| rate.events_per_s)
    }
}
