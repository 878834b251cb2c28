//! Checkpoints that are held still, for tools that read the files of a running database.
//!
//! Invariant: a hold ends by itself, so that a tool that dies holds nothing for long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstep_core::ids::GroupName;
use lockstep_store::Pause;

use super::protocol::{AdminReply, HOLD_MS_MAX};
use super::verbs::{Reply, busy};
use crate::engine::inbound::EngineHandle;

#[derive(Default)]
struct Held {
    /// The latest of all holds.
    latest: u64,
    /// By group: which hold it is, and the pause.
    pauses: BTreeMap<GroupName, (u64, Pause)>,
}

/// All holds of a processor.
#[derive(Clone, Default)]
pub(super) struct Holds(Arc<Mutex<Held>>);

impl Holds {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the checkpoints of the group behind `engine` for `ms` milliseconds from now on, in place of an earlier hold.
    pub async fn hold(&self, engine: &EngineHandle, ms: u64) -> Reply {
        let group = engine.group();
        if ms == 0 {
            self.held().pauses.remove(&group);
            return Ok(AdminReply::Done);
        }
        let checkpoints = engine.face().checkpoints().ok_or_else(|| busy("the store is not open yet"))?;
        // One that is under way may take seconds.
        let pause = tokio::task::spawn_blocking(move || checkpoints.pause()).await;
        let pause = pause.map_err(|joined| busy(joined.to_string()))?;
        let number = {
            let mut held = self.held();
            held.latest += 1;
            let number = held.latest;
            held.pauses.insert(group.clone(), (number, pause));
            number
        };
        let holds = self.clone();
        actix_rt::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms.min(HOLD_MS_MAX))).await;
            let mut held = holds.held();
            if held.pauses.get(&group).is_some_and(|(latest, _)| *latest == number) {
                held.pauses.remove(&group);
            }
        });
        Ok(AdminReply::Done)
    }
}
