//! What becomes of an engine that hangs in a work unit (R23).
//!
//! It is given up: no word reaches it any more, its connections end, its store is closed with what it had handed over, and
//! its partner finds it as dead as after the death of a process. Its thread is left where it is, with the plugin's
//! library, the rows in memory, and nothing else; it can do nothing, as what the unit calls fails, and its return leads
//! nowhere. Then the group begins anew in this process, as at the process's start.
//!
//! Other groups go on. There is a bound on engines that hang, as each keeps its memory; beyond it, and when the new engine
//! can't be built, the process ends, and whoever looks after processors starts it again.
//! Deliberately absent: roles; the new engine finds its own, by the rules of a restart (R7).

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix::Addr;
use crossbeam_channel::Sender;
use lockstep_core::ids::PluginHash;

use crate::engine::inbound::EngineHandle;
use crate::engine::sockets::Sockets;
use crate::engine::store_thread::{NOT_CLOSED, StoreEnd};
use crate::ground::Ground;
use crate::notes;
use crate::notes::watchdog::HungUnit;
use crate::plugins::Failure;
use crate::processor::{StartError, cannot_write};
use crate::trail::{TrailEntry, What};
use crate::watcher::{Cease, Watcher};

/// A unit did not return.
const HUNG: &str = "LS0643";
/// More engines hang than may.
const TOO_MANY: &str = "LS0645";
/// The engine could not be built anew.
const NOT_BUILT: &str = "LS0646";
/// How long the store of an engine that hangs may take to write what it was handed, and then to close: a checkpoint that
/// gives way to everything else may be under way.
const STORE_TIME_MAX: Duration = Duration::from_secs(120);
/// How long the plugin of the new engine may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// What can be reached of an engine without its thread.
pub(crate) struct Remains {
    /// The way to the group.
    pub group: EngineHandle,
    /// The way to this engine alone.
    pub engine: EngineHandle,
    /// Its number among the engines of this process.
    pub life: u64,
    /// Its connections.
    pub sockets: Sockets,
    /// Closes its store.
    pub store: StoreEnd,
    /// Watches the partner for it.
    pub watcher: Addr<Watcher>,
}

impl Ground {
    /// A work unit does not return: its engine is given up, and built anew. On the watchdog's thread. Should the unit return
    /// meanwhile, its thread waits for the end of the sender.
    pub fn on_hung(ground: &Weak<Self>, remains: (Remains, Sender<Infallible>), unit: HungUnit) {
        let (remains, waits) = remains;
        // A processor that has stopped has nothing that could be built.
        let Some(ground) = ground.upgrade() else { return };
        let HungUnit { left, ms, told, .. } = &unit;
        let procedure = left.as_ref().map_or("?", |left| &left.procedure);
        let name = left.as_ref().map_or("?", |left| &left.unit);
        let (application, node) = (&*remains.group.label, &ground.config.node);
        let memory = ground.generations.memory();
        let (hung, hung_max) = (memory.hung, memory.hung_max);
        let goes_on = hung < hung_max;
        tracing::error!(
            code = HUNG,
            application,
            %node,
            procedure,
            unit = name,
            ms,
            told,
            "a work unit does not return; its engine is given up, and the partner takes over (R23)"
        );
        if !goes_on {
            tracing::error!(
                code = TOO_MANY,
                application,
                %node,
                hung,
                hung_max,
                "no more engines may hang in this process (`hung_engines_max`), so it ends; start it again"
            );
            std::process::abort();
        }
        // What it was told and has not taken goes. A version that was loaded for it is ended below.
        drop(remains.engine.close());
        remains.sockets.end();
        remains.group.face().given_up();
        let why = format!(
            "its engine hangs in work unit `{name}` of `{procedure}` and was given up ({HUNG}); it goes if that returns, \
             or with the process"
        );
        let plugin = left.as_ref().map(|left| PluginHash(left.plugin));
        let face = remains.group.face();
        let what = What::Role { role: face.role(), term: face.term().0, in_sync: face.in_sync() };
        ground.shared.trail.add(TrailEntry::now(Some(&remains.group.label), "", "", what));
        ground.generations.give_up(&remains.group.group(), remains.life, plugin, &why);
        drop(waits);
        let builder = ground.builder.clone();
        builder.spawn_fn(move || {
            actix_rt::spawn(async move { ground.build_anew(remains, unit).await });
        });
    }

    async fn build_anew(self: Arc<Self>, remains: Remains, unit: HungUnit) {
        let begun = Instant::now();
        let group = remains.group.clone();
        let (application, node) = (&*group.label, &self.config.node);
        match self.try_to_build(remains, unit).await {
            Ok(true) => tracing::warn!(
                application,
                %node,
                ms = begun.elapsed().as_millis() as u64,
                "the engine is built anew in this process (R23); correct the work unit"
            ),
            Ok(false) => {}
            Err(StartError { code, message, help }) => {
                tracing::error!(
                    code = NOT_BUILT,
                    application,
                    %node,
                    because = code,
                    message,
                    help,
                    "the engine can't be built anew, so this processor ends, and its partner serves; start it again"
                );
                std::process::abort();
            }
        }
    }

    /// Ends what is left of the engine, and begins the group anew; false when the processor stops.
    async fn try_to_build(self: &Arc<Self>, remains: Remains, unit: HungUnit) -> Result<bool, StartError> {
        let Remains { group, store, watcher, .. } = remains;
        // One whose mailbox is full says nothing that anybody hears.
        let _ = watcher.try_send(Cease);
        let name = group.group();
        let thread = self.arbiter_threads.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        if let Some(thread) = thread {
            // A swap that it is about is carried out first, or not at all: the new engine reads what is recorded.
            thread.stop();
            let _ = thread.join();
        }
        if !store.close(STORE_TIME_MAX) {
            let message = "its store does not close".to_owned();
            return Err(StartError::new(NOT_CLOSED, message, "see the disk"));
        }
        let directory = self.notes_directory(&name);
        notes::set_aside(&directory, &unit.note).map_err(|error| cannot_write(&directory, &error))?;
        if self.stops.load(Ordering::Acquire) {
            return Ok(false);
        }
        let mut applications = self.config.applications.iter();
        let application = applications.find(|each| each.name == name.application);
        let application = application.expect("a group's application is configured");
        let begun = Ground::begin(self, application, name.partition, Some(&group))?;
        match actix_rt::time::timeout(START_TIME_MAX, begun.started).await {
            Ok(Ok(started)) => started?,
            Ok(Err(_)) => return Err(Failure::of_thread("the engine's thread ended at once").into()),
            Err(_) => return Err(Failure::of_thread("its plugin does not start in time").into()),
        }
        if name.partition == 0 {
            self.tell_siblings(&name.application);
        }
        Ok(true)
    }
}
