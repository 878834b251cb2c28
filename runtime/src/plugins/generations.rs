//! The generations of plugins in this process: what is mapped, what is gone, what was kept and why.
//!
//! Each group loads a copy of its own, so that no static is shared by two threads, a group changes its version when it is
//! ready, and its copy goes with its thread whatever the others do.
//! The one that an engine hangs in is given up (R23): it stays mapped, and its thread where it is, until the work unit
//! returns after all.
//! Shared by the engines' threads, the loader's and the admin's; the lock is held for moments only.
//! Invariant: a library is unloaded after the thread that ran it was joined, and never while an object of it lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Arbiter;
use lockstep_core::application::Application;
use lockstep_core::descriptor::Version;
use lockstep_core::ids::{GroupName, PluginHash};
use lockstep_loader::{KeptLibrary, LoadedPlugin, PluginLease, Unload};

use super::keep::Keep;
use super::loading::{Failure, end_on_this_thread, start_on_this_thread, warn_kept, words};
use crate::admin::protocol::{PluginMemory, PluginState, PluginStatus};

/// So many generations that are gone are remembered, for `lockstep plugin list`; a process swaps versions for ever.
const UNLOADED_MAX: usize = 32;

/// One load of one file.
struct Generation {
    status: PluginStatus,
    /// Where its application object is in memory: how it is told from other loads of the same file.
    identity: usize,
    started: bool,
    /// The thread that it was started on, until its engine takes that over.
    thread: Option<Arbiter>,
    plugin: Option<LoadedPlugin>,
    /// Once it was kept: the loader's number of its library.
    kept: Option<u64>,
    /// Its engine hangs in it: which one that was.
    hung: Option<u64>,
}

#[derive(Default)]
struct All {
    /// Oldest first.
    generations: Vec<Generation>,
    /// How many there have been.
    counted: u64,
    /// The thread of each group's engine.
    threads: BTreeMap<GroupName, Arbiter>,
}

impl All {
    /// Forgets the oldest of those that are gone.
    fn forget_old(&mut self) {
        let is_gone = |each: &Generation| each.status.state == PluginState::Unloaded;
        let mut too_many =
            self.generations.iter().filter(|each| is_gone(each)).count().saturating_sub(UNLOADED_MAX);
        self.generations.retain(|each| {
            let forgotten = too_many > 0 && is_gone(each);
            too_many -= usize::from(forgotten);
            !forgotten
        });
    }
}

impl Drop for All {
    fn drop(&mut self) {
        // A start that failed, or a load that a stop overtook: it goes with the process, and nobody gave it up.
        self.generations.iter_mut().filter_map(|each| each.plugin.take()).for_each(std::mem::forget);
    }
}

/// The generations of a processor. Cheap to clone.
#[derive(Clone)]
pub struct Generations {
    keep: Keep,
    all: Arc<Mutex<All>>,
    /// The most that libraries may take that can't be unloaded.
    kept_bytes_max: u64,
    /// The most engines that may hang.
    hung_max: u64,
}

fn is_of(status: &PluginStatus, group: &GroupName) -> bool {
    status.application == group.application && status.partition == group.partition
}

/// Ends a thread and waits for that.
fn join(thread: Arbiter) -> impl FnOnce() -> Result<(), &'static str> + Send + 'static {
    move || {
        thread.stop();
        thread.join().map_err(|_| "its thread ended with a panic")
    }
}

/// Where an application object is in memory.
fn identity(application: &dyn Application) -> usize {
    std::ptr::from_ref(application).cast::<()>().addr()
}

impl Generations {
    /// None yet. Libraries that can't be unloaded may take `kept_bytes_max` of the process, and `hung_max` engines may hang
    /// in theirs.
    #[must_use]
    pub fn new(keep: Keep, kept_bytes_max: u64, hung_max: u64) -> Self {
        Generations { keep, all: Arc::default(), kept_bytes_max, hung_max }
    }

    /// The files.
    #[must_use]
    pub fn keep(&self) -> &Keep {
        &self.keep
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, oldest first, but for those that have been gone for long.
    #[must_use]
    pub fn list(&self) -> Vec<PluginStatus> {
        self.all().generations.iter().map(|generation| generation.status.clone()).collect()
    }

    /// What plugins take of this process beyond those in use.
    #[must_use]
    pub fn memory(&self) -> PluginMemory {
        let (kept, kept_bytes) = lockstep_loader::kept_total();
        let all = self.all();
        let hung = all.generations.iter().filter(|each| each.hung.is_some());
        let hung: Vec<_> = hung.filter_map(|each| each.plugin.as_ref()).collect();
        PluginMemory {
            kept: (kept + hung.len()) as u64,
            kept_bytes: kept_bytes + hung.iter().map(|plugin| plugin.range().len() as u64).sum::<u64>(),
            kept_bytes_max: self.kept_bytes_max,
            hung: hung.len() as u64,
            hung_max: self.hung_max,
            keys: lockstep_os::interpose::key_count() as u64,
        }
    }

    /// Whether another library may be loaded: those that can't be unloaded may not fill the process.
    ///
    /// # Errors
    /// When they take more than the operator allows.
    pub(super) fn room_for_another(&self) -> Result<(), Failure> {
        let PluginMemory { kept, kept_bytes, kept_bytes_max, .. } = self.memory();
        if kept_bytes <= kept_bytes_max {
            Ok(())
        } else {
            Err(Failure::full(kept, kept_bytes, kept_bytes_max))
        }
    }

    /// Tries again to unload what was kept for reasons that may have passed: a thread that has ended since.
    pub fn retry_kept(&self) {
        if lockstep_loader::kept_total().0 == 0 {
            return;
        }
        // Whatever runs while a library is closed goes with its thread.
        let tried =
            std::thread::Builder::new().name("plugin-unload".into()).spawn(lockstep_loader::retry_kept);
        let gone = tried.ok().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let of_loader = lockstep_loader::kept();
        let mut all = self.all();
        for generation in &mut all.generations {
            let Some(id) = generation.kept else { continue };
            if gone.contains(&id) {
                let number = generation.status.generation;
                tracing::info!(generation = number, "a library that was kept could be unloaded");
                generation.kept = None;
                generation.status.state = PluginState::Unloaded;
                generation.status.reasons.clear();
            } else if let Some(library) = of_loader.iter().find(|library| library.id == id) {
                generation.status.reasons = words(&library.reasons);
            }
        }
        all.forget_old();
    }

    /// Notes a generation that was loaded, with the object that runs it.
    pub(super) fn add(
        &self,
        application: &dyn Application,
        partition: u16,
        plugin: LoadedPlugin,
        hash: PluginHash,
        version: Version,
        bytes: u64,
    ) -> u64 {
        let mut all = self.all();
        all.counted += 1;
        let generation = all.counted;
        let status = PluginStatus {
            application: application.descriptor().name.clone(),
            partition,
            generation,
            hash,
            version,
            state: PluginState::Mapped,
            reasons: Vec::new(),
            bytes,
        };
        let identity = identity(application);
        let plugin = Some(plugin);
        all.generations.push(Generation {
            status,
            identity,
            started: false,
            thread: None,
            plugin,
            kept: None,
            hung: None,
        });
        generation
    }

    /// Starts the generation of the file `hash` that `group` is to run on this thread, unless that was done.
    ///
    /// # Errors
    /// When it refuses to start.
    pub fn start(&self, group: &GroupName, hash: PluginHash) -> Result<(), Failure> {
        let lease = {
            let mut all = self.all();
            let next = all
                .generations
                .iter_mut()
                .find(|each| !each.started && each.status.hash == hash && is_of(&each.status, group));
            let Some(generation) = next else { return Ok(()) };
            generation.started = true;
            generation.plugin.as_ref().map(LoadedPlugin::lease)
        };
        lease.map_or(Ok(()), |lease| start_on_this_thread(&lease))
    }

    /// Ends a generation that nobody has heard of any more, unless it was ended already.
    pub(super) fn discard_unheard(&self, application: Box<dyn Application>) {
        if self.lease(&*application).is_some() {
            self.discard(application);
        }
    }

    /// A right to use what `application` is made of.
    pub(super) fn lease(&self, application: &dyn Application) -> Option<PluginLease> {
        let identity = identity(application);
        let all = self.all();
        let found = all.generations.iter().find(|each| each.identity == identity && each.plugin.is_some())?;
        found.plugin.as_ref().map(LoadedPlugin::lease)
    }

    /// `application` was started on `thread`, which its engine moves to when its time comes.
    pub(super) fn is_started(&self, application: &dyn Application, thread: Arbiter) {
        let identity = identity(application);
        let mut all = self.all();
        let found =
            all.generations.iter_mut().find(|each| each.identity == identity && each.plugin.is_some());
        if let Some(generation) = found {
            generation.started = true;
            generation.thread = Some(thread);
        }
    }

    /// The thread on which the version of the file `hash` that `group` is about to run was started.
    pub fn take_started_thread(&self, group: &GroupName, hash: PluginHash) -> Option<Arbiter> {
        let mut all = self.all();
        let of_group = all.generations.iter_mut().rev().filter(|each| is_of(&each.status, group));
        let mut free = of_group.filter(|each| each.status.hash == hash && each.hung.is_none());
        free.find_map(|each| each.thread.take())
    }

    /// The engine of `group` runs on `thread` from here on.
    pub fn set_thread(&self, group: GroupName, thread: Arbiter) {
        self.all().threads.insert(group, thread);
    }

    /// The thread that the engine of `group` is about to leave.
    pub fn take_thread(&self, group: &GroupName) -> Option<Arbiter> {
        self.all().threads.remove(group)
    }

    /// Ends a generation that never ran, on `thread`, where it was started.
    pub(super) fn end_on(&self, application: Box<dyn Application>, thread: Arbiter) {
        let (this, handle) = (self.clone(), thread.handle());
        let end = move || this.retire(application, Some(thread));
        if !handle.spawn_fn(end) {
            tracing::warn!(
                code = super::NOT_UNLOADED,
                "the thread of a version that never ran is gone; it stays mapped"
            );
        }
    }

    /// Gives up a generation whose start does not return: the thread in it and its library stay.
    pub(super) fn abandon(&self, application: Box<dyn Application>, thread: Arbiter) {
        let taken = self.take_plugin(&*application);
        // Nothing of the plugin is called any more, its own destructors neither.
        std::mem::forget(application);
        std::mem::forget(thread);
        if let Some((generation, plugin)) = taken {
            let library = plugin.abandon();
            let why = "its start has not returned, and was given up";
            self.kept(generation, Some(library.id), vec![why.into()]);
        }
    }

    /// Gives up the generation that the engine `life` of `group` hangs in, of the file `hash` if that is known: `why`. It
    /// stays mapped and its thread where it is. What was loaded for the engine and has not run yet goes.
    pub fn give_up(&self, group: &GroupName, life: u64, hash: Option<PluginHash>, why: &str) {
        let mut never_ran = Vec::new();
        let thread = self.take_thread(group);
        let mut all = self.all();
        let of_group = all.generations.iter_mut().filter(|each| is_of(&each.status, group));
        let in_memory = of_group.filter(|each| each.plugin.is_some() && each.hung.is_none());
        let mut hangs = thread;
        for each in in_memory {
            if let Some(thread) = each.thread.take() {
                never_ran.extend(each.plugin.take().map(|plugin| (each.status.generation, plugin, thread)));
            } else if each.started && hash.is_none_or(|hash| each.status.hash == hash) {
                each.hung = Some(life);
                each.thread = hangs.take();
                each.status.state = PluginState::Kept;
                each.status.reasons = vec![why.to_owned()];
                warn_kept(&format!("generation {}", each.status.generation), &each.status.reasons);
            }
        }
        drop(all);
        if let Some(thread) = hangs {
            // Its version was not known; whoever hangs is never joined.
            std::mem::forget(thread);
        }
        never_ran.into_iter().for_each(|each| self.end_where_it_was_started(each));
    }

    /// The unit in which the engine `life` hung has come to an end, and the engine was dropped. Called on its thread, which
    /// stops right afterwards.
    pub fn came_back(&self, life: u64) {
        let taken = {
            let mut all = self.all();
            let found = all.generations.iter_mut().find(|each| each.hung == Some(life));
            found.and_then(|each| {
                each.hung = None;
                Some((each.status.generation, each.plugin.take()?, each.thread.take()))
            })
        };
        tracing::warn!(
            code = super::CAME_BACK,
            generation = taken.as_ref().map(|(generation, ..)| generation),
            "a work unit that was given up has come to an end; nothing of what it did counts, and its thread ends"
        );
        let Some((generation, plugin, thread)) = taken else { return };
        end_on_this_thread(&plugin);
        match thread {
            Some(thread) => self.unload_after(generation, plugin, join(thread)),
            None => self.unload_after(generation, plugin, || Err("its thread is not known")),
        }
    }

    fn take_plugin(&self, application: &dyn Application) -> Option<(u64, LoadedPlugin)> {
        let identity = identity(application);
        let mut all = self.all();
        let generation =
            all.generations.iter_mut().find(|each| each.identity == identity && each.plugin.is_some())?;
        Some((generation.status.generation, generation.plugin.take()?))
    }

    /// Ends a generation. Called on the thread that ran it, which stops right afterwards and is `thread`.
    pub fn retire(&self, application: Box<dyn Application>, thread: Option<Arbiter>) {
        let Some((generation, plugin)) = self.take_plugin(&*application) else {
            tracing::error!(code = "LS0444", "a retired version is not known; its library stays mapped");
            return;
        };
        drop(application);
        end_on_this_thread(&plugin);
        match thread {
            Some(thread) => self.unload_after(generation, plugin, join(thread)),
            None => self.unload_after(generation, plugin, || Ok(())),
        }
    }

    /// Ends all generations of `group`, whose engine has stopped and dropped their objects. Called on the thread
    /// that ran the last of them, which stops right afterwards and is `thread`. Calls `done` when they are gone; a
    /// library that stays mapped goes with the process, which is about to end.
    pub fn end(&self, group: &GroupName, thread: Option<Arbiter>, done: impl FnOnce() + Send + 'static) {
        let mut waiting = Vec::new();
        let mut plugins: Vec<(u64, LoadedPlugin)> = Vec::new();
        let mut all = self.all();
        let here =
            all.generations.iter_mut().filter(|each| is_of(&each.status, group) && each.hung.is_none());
        for each in here {
            let Some(plugin) = each.plugin.take() else { continue };
            match each.thread.take() {
                Some(thread) => waiting.push((each.status.generation, plugin, thread)),
                None => plugins.push((each.status.generation, plugin)),
            }
        }
        drop(all);
        plugins.iter().for_each(|(_, plugin)| end_on_this_thread(plugin));
        waiting.into_iter().for_each(|each| self.end_where_it_was_started(each));
        let this = self.clone();
        let unload = move || {
            let joined = thread.is_none_or(|thread| {
                thread.stop();
                thread.join().is_ok()
            });
            for (generation, plugin) in plugins {
                // What can't be unloaded goes with the process.
                let kept = if joined { unload(plugin) } else { Some(plugin.abandon()) };
                tracing::debug!(generation, ?kept, "a plugin was unloaded at the stop");
                this.ended(generation, kept);
            }
            done();
        };
        if let Err(error) = std::thread::Builder::new().name("plugin-unload".into()).spawn(unload) {
            tracing::debug!(%error, "no thread to unload plugins at the stop");
        }
    }

    /// Ends a generation that never ran, whose object is gone, on the thread on which it was started.
    fn end_where_it_was_started(&self, (generation, plugin, thread): (u64, LoadedPlugin, Arbiter)) {
        let (this, handle) = (self.clone(), thread.handle());
        handle.spawn_fn(move || {
            end_on_this_thread(&plugin);
            this.unload_after(generation, plugin, join(thread));
        });
    }

    /// Ends a generation that never ran.
    pub fn discard(&self, application: Box<dyn Application>) {
        let identity = identity(&*application);
        let thread = {
            let mut all = self.all();
            let found = all.generations.iter_mut().rev().find(|each| each.identity == identity);
            found.and_then(|generation| generation.thread.take())
        };
        if let Some(thread) = thread {
            return self.end_on(application, thread);
        }
        let Some((generation, plugin)) = self.take_plugin(&*application) else {
            tracing::error!(code = "LS0444", "a discarded version is not known; its library stays mapped");
            return;
        };
        let plugin = Arc::new(plugin);
        let on_thread = plugin.clone();
        let ended = std::thread::Builder::new().name("plugin-end".into()).spawn(move || {
            drop(application);
            end_on_this_thread(&on_thread);
        });
        let this = self.clone();
        let waiter = std::thread::Builder::new().name("plugin-unload".into()).spawn(move || {
            let joined = ended.map_err(|_| ()).and_then(|thread| thread.join().map_err(|_| ()));
            // Where the last share of it is dropped, the loader keeps it and counts it.
            match (joined, Arc::try_unwrap(plugin)) {
                (Ok(()), Ok(plugin)) => this.unload(generation, plugin),
                _ => this.kept(generation, None, vec!["the thread that ended it failed".into()]),
            }
        });
        if waiter.is_err() {
            self.kept(generation, None, vec!["there was no thread to unload it".into()]);
        }
    }

    fn unload_after(
        &self,
        generation: u64,
        plugin: LoadedPlugin,
        join: impl FnOnce() -> Result<(), &'static str> + Send + 'static,
    ) {
        let this = self.clone();
        let started = std::thread::Builder::new().name("plugin-unload".into()).spawn(move || match join() {
            Ok(()) => this.unload(generation, plugin),
            Err(why) => {
                // What ran on that thread is not known to be gone: the library stays where it is.
                let library = plugin.abandon();
                this.kept(generation, Some(library.id), vec![why.into()]);
            }
        });
        if started.is_err() {
            self.kept(generation, None, vec!["there was no thread to unload it".into()]);
        }
    }

    fn unload(&self, generation: u64, plugin: LoadedPlugin) {
        match unload(plugin) {
            None => {
                tracing::info!(generation, "a plugin's library is unmapped");
                self.ended(generation, None);
            }
            Some(library) => self.kept(generation, Some(library.id), words(&library.reasons)),
        }
        // Perhaps what held an earlier one is gone by now.
        self.retry_kept();
    }

    fn kept(&self, generation: u64, library: Option<u64>, reasons: Vec<String>) {
        warn_kept(&format!("generation {generation}"), &reasons);
        self.set_state(generation, PluginState::Kept, library, reasons);
        let memory = self.memory();
        tracing::warn!(
            libraries = memory.kept,
            bytes = memory.kept_bytes,
            bytes_max = memory.kept_bytes_max,
            "libraries that can't be unloaded"
        );
    }

    fn ended(&self, generation: u64, kept: Option<KeptLibrary>) {
        match kept {
            None => self.set_state(generation, PluginState::Unloaded, None, Vec::new()),
            Some(library) => {
                self.set_state(generation, PluginState::Kept, Some(library.id), words(&library.reasons));
            }
        }
    }

    fn set_state(&self, generation: u64, state: PluginState, kept: Option<u64>, reasons: Vec<String>) {
        let mut all = self.all();
        if let Some(found) = all.generations.iter_mut().find(|each| each.status.generation == generation) {
            found.status.state = state;
            found.status.reasons = reasons;
            found.kept = kept;
        }
        all.forget_old();
    }
}

/// Unloads a plugin; what is left of it when it stays mapped.
fn unload(plugin: LoadedPlugin) -> Option<KeptLibrary> {
    match plugin.unload() {
        Unload::Gone(report) => {
            tracing::debug!(?report, "unloaded");
            None
        }
        Unload::Kept(library) => Some(library),
    }
}
