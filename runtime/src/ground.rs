//! What the groups of a processor stand on, and how one of them begins: at the processor's start, and again after its
//! engine hung (R23).
//!
//! A group begins in the same way each time: the store is opened and recovered, what processes and engines before left
//! is read, the plugin that the database names is loaded, and the engine starts on a thread of its own.
//! Deliberately absent: listeners and clients; the processor has them, and they find a group by its handle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use lockstep_core::group::{Group, GroupConfig, StandbyStart};
use lockstep_core::ids::GroupName;
use lockstep_core::input::Input;
use tokio::sync::oneshot;

use crate::arbiter::{self, LocalArbiter};
use crate::arbiter_client::ArbiterClient;
use crate::checks::Site;
use crate::config::{ApplicationConfig, Durability, NodeConfig, StandbyMode};
use crate::dial::PartnerAddress;
use crate::engine::actor::EngineActor;
use crate::engine::inbound::{EngineHandle, Inbound};
use crate::engine::sockets::Sockets;
use crate::engine::store_thread::{self, OpenedStore};
use crate::engine::witness::EngineWitness;
use crate::engine::{EngineLoop, EngineParts, poll_and_bell};
use crate::hung::Remains;
use crate::neighbours::Neighbours;
use crate::notes::watchdog::Watchdog;
use crate::notes::{self, NoteFiles};
use crate::notifier::Notifier;
use crate::offline::group_dir;
use crate::plugins::{self, Failure, Generations, PluginLoader};
use crate::processor::{StartError, cannot_write};
use crate::rows_memory::rows_bytes_max;
use crate::services::Services;
use crate::trail::Trail;
use crate::watcher::Watcher;

/// What serves all groups of a processor.
#[derive(Clone)]
pub(crate) struct Shared {
    plugins: Addr<PluginLoader>,
    /// Keeps the audit trail.
    pub trail: Trail,
    notifier: Notifier,
    site: Arc<Site>,
}

impl Shared {
    /// Starts it, on the processor's own thread.
    ///
    /// # Errors
    /// When there are no threads left.
    pub fn start(
        data: &Path,
        generations: &Generations,
        neighbours: &Neighbours,
        site: Arc<Site>,
    ) -> Result<Self, StartError> {
        let no_thread = |error: std::io::Error| {
            StartError::of_system(format!("a thread can't be had: {error}"), "see the limits on threads")
        };
        Ok(Shared {
            plugins: PluginLoader::new(generations.clone(), neighbours.clone()).start(),
            trail: Trail::open(data, &site.node).map_err(no_thread)?,
            notifier: Notifier::launch().map_err(no_thread)?,
            site,
        })
    }
}

/// What the groups of a processor stand on.
pub(crate) struct Ground {
    /// The configuration.
    pub config: NodeConfig,
    /// Where the local arbiter keeps its records.
    pub arbiter_directory: PathBuf,
    /// What is loaded.
    pub generations: Generations,
    /// What serves all groups.
    pub shared: Shared,
    /// The groups as each other's neighbours.
    pub neighbours: Neighbours,
    /// Where the partner is found.
    pub partner: Vec<PartnerAddress>,
    /// Looks whether work units return.
    pub watchdog: Watchdog,
    /// The processor's own thread, for actors that only hand words on.
    pub main: ArbiterHandle,
    /// The thread on which engines are built anew: it waits for disks.
    pub builder: ArbiterHandle,
    /// The thread of each group's arbiter client.
    pub arbiter_threads: Mutex<BTreeMap<GroupName, Arbiter>>,
    /// All groups of each application, by partition, once they have begun.
    pub applications: Mutex<BTreeMap<String, Vec<EngineHandle>>>,
    /// The processor stops: no engine is built any more.
    pub stops: AtomicBool,
}

/// A group that has begun.
pub(crate) struct Begun {
    /// The way to it, whatever becomes of its engine.
    pub handle: EngineHandle,
    /// Whether its plugin has started.
    pub started: oneshot::Receiver<Result<(), Failure>>,
}

/// How many engines this process has had.
static LIVES: AtomicU64 = AtomicU64::new(0);

impl Ground {
    /// The directory of a group's death notes.
    pub fn notes_directory(&self, group: &GroupName) -> PathBuf {
        self.config.data.join("notes").join(group.to_string())
    }

    /// Tells partition 0 of `application` of the others, if there are any (R1).
    pub fn tell_siblings(&self, application: &str) {
        let all = self.applications.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engines) = all.get(application).filter(|engines| engines.len() > 1) {
            // An engine that has just begun has room.
            let _ = engines[0].tell(Inbound::Siblings(engines.clone()));
        }
    }

    /// Opens the store, loads the plugin and starts the engine of one group; `again` is the way to it, if it has had an
    /// engine before.
    ///
    /// # Errors
    /// What failed, and what to do next.
    pub fn begin(
        this: &Arc<Self>,
        application: &ApplicationConfig,
        partition: u16,
        again: Option<&EngineHandle>,
    ) -> Result<Begun, StartError> {
        let Ground { config, arbiter_directory, generations, .. } = &**this;
        let name = &application.name;
        let recent_bytes_max = usize::try_from(config.recent_mb << 20).unwrap_or(usize::MAX);
        let arbiter = LocalArbiter::open(&arbiter_directory.join(format!("{name}.{partition}")))
            .map_err(|error| cannot_write(arbiter_directory, &error))?;
        let recorded = match arbiter.read() {
            Ok(record) => {
                let members =
                    record.iter().flat_map(|record| record.in_sync.iter().map(|member| member.store));
                Some(members.collect())
            }
            Err(error) => {
                tracing::warn!(%error, code = arbiter::UNREACHABLE, "the arbiter's record can't be read at the start");
                None
            }
        };
        let directory = group_dir(config, name, partition);
        let opened = store_thread::open(&directory, recorded, recent_bytes_max, config.durability)?;
        let version = first_version(config, application, partition, generations, &opened)?;
        let descriptor = Arc::new(version.descriptor().clone());
        let (poll, bell) = poll_and_bell().map_err(|error| {
            StartError::of_system(
                format!("the sockets can't be watched: {error}"),
                "see the limit on open files",
            )
        })?;
        let (group_handle, control, requests) = match again {
            None => EngineHandle::new(name, (partition, application.partitions), bell.clone(), descriptor),
            Some(handle) => {
                let (control, requests) = handle.renew(bell.clone(), &descriptor);
                (handle.clone(), control, requests)
            }
        };
        let handle = group_handle.of_this_engine();
        let seed = random("a seed")?;
        let OpenedStore { store, trusted, may_lack_tail, state, recent, undos, thread } = opened;
        let notes_directory = this.notes_directory(&handle.group());
        let (note_files, guard) = NoteFiles::open(&notes_directory, &config.node)
            .map_err(|error| cannot_write(&notes_directory, &error))?;
        let mut group = Group::new(
            GroupConfig {
                partition,
                partitions: application.partitions,
                standby: match config.standby {
                    StandbyMode::Behind => StandbyStart::Behind,
                    StandbyMode::Beside => StandbyStart::Beside,
                },
                step_ups: config.step_ups,
                heartbeat_ms: config.timeouts.heartbeat_ms,
                silence_shrink_ms: config.timeouts.silence_shrink_ms,
                silence_promote_ms: config.timeouts.silence_promote_ms,
                ack_age_max_ms: config.timeouts.ack_age_max_ms,
                replicated: config.durability == Durability::Replicated,
                may_lack_tail,
                recent_bytes_max,
                rows_bytes_max: rows_bytes_max(config),
                ..GroupConfig::new(config.node.clone(), name.clone(), seed)
            },
            store,
            trusted,
            state,
            recent,
            undos,
            version,
        );
        // Before the partner thinks that this processor is dead.
        let hang_ms_max = config.timeouts.silence_promote_ms / 4 * 3;
        group.watch_units(Box::new(EngineWitness::new(&guard, hang_ms_max)));
        for note in note_files.notes() {
            // Taken in the first turn; there is room for more.
            let _ = handle.tell(Inbound::Input(Input::Note { note: note.clone(), own: true }));
        }
        let (arbiter, arbiter_thread) = ArbiterClient::launch(arbiter, handle.clone());
        this.arbiter_threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle.group(), arbiter_thread);
        let watched_by = handle.clone();
        let watcher = Watcher::start_in_arbiter(&this.main, move |_| Watcher::new(watched_by));
        handle.face().set_checkpoints(thread.checkpoints());
        let (store, store_end) = thread.launch(handle.clone())?;
        let (life, sockets) = (LIVES.fetch_add(1, Ordering::Relaxed) + 1, Sockets::default());
        let remains = Remains {
            group: group_handle.clone(),
            engine: handle.clone(),
            life,
            sockets: sockets.clone(),
            store: store_end,
            watcher: watcher.clone(),
        };
        let weak = Arc::downgrade(this);
        let (waits, given_up) = crossbeam_channel::bounded(0);
        this.watchdog.watch(&guard, move |unit| Ground::on_hung(&weak, (remains, waits), unit));
        let Shared { plugins, trail, notifier, site } = this.shared.clone();
        let services = Services { arbiter, watcher, plugins, trail, notifier, site };
        let node = config.node.clone();
        let seat = this.neighbours.seat(&handle);
        let (keeper, dials) = (handle.clone(), this.partner.clone());
        this.main.spawn(notes::connection::keep(node.clone(), keeper, dials, guard.clone()));
        let engine = EngineLoop::new(EngineParts {
            group,
            node,
            store,
            services,
            poll,
            handle,
            bell,
            control,
            requests,
            sockets,
            life,
            given_up,
            seat,
            guard,
            note_files,
            busy_poll: Duration::from_micros(config.busy_poll_us),
        });
        let started = EngineActor::launch(engine, generations);
        Ok(Begun { handle: group_handle, started })
    }
}

/// The version to begin with: what the database says runs here, if its file is kept, else what the configuration
/// names (R29).
fn first_version(
    config: &NodeConfig,
    application: &ApplicationConfig,
    partition: u16,
    generations: &Generations,
    opened: &OpenedStore,
) -> Result<Box<dyn lockstep_core::application::Application>, StartError> {
    let installed = opened.state.meta.installed.get(&config.node).map(|installed| installed.hash);
    let kept = installed.map(|hash| generations.keep().get(hash));
    let (file, from) = match kept {
        Some(Ok(Some(file))) => (file, "the keep"),
        Some(Err(error)) => return Err(cannot_write(&config.data, &error)),
        Some(Ok(None)) | None => {
            let checked = plugins::check_file(&application.plugin)?;
            if checked.descriptor.name != application.name {
                let message = format!(
                    "{} is application `{}`, and the configuration calls it `{}`",
                    application.plugin.display(),
                    checked.descriptor.name,
                    application.name
                );
                return Err(StartError::new("LS0120", message, "correct `name` or `plugin`"));
            }
            (checked.file, "the configuration")
        }
    };
    let group = GroupName { application: application.name.clone(), partition };
    let generations = generations.clone();
    let load = std::thread::Builder::new()
        .name("plugin-load".into())
        .spawn(move || plugins::load(&generations, &group, &file))
        .map_err(|error| StartError::of_system(error.to_string(), "see the limits on threads"))?;
    let loaded =
        load.join().map_err(|_| Failure::of_thread("the thread that loaded the plugin failed"))??;
    let version = loaded.descriptor().version;
    tracing::info!(
        application = application.name,
        %version,
        hash = %loaded.descriptor().hash,
        from,
        "a plugin is loaded"
    );
    let floor = opened.state.meta.floor;
    if version < floor {
        tracing::warn!(
            application = application.name,
            %version,
            %floor,
            "this version may not read the rows here (R31): nothing is served until the partner tells what to load; if \
             it can't, name a file of {floor} or above as `plugin`"
        );
    }
    Ok(loaded)
}

fn random(what: &str) -> Result<u64, StartError> {
    let random = lockstep_os::random_u128();
    random.map(|random| random as u64).map_err(|error| {
        StartError::of_system(
            format!("{what} can't be had from the operating system: {error}"),
            "start it again",
        )
    })
}
