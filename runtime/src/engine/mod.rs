//! The engine: one group's core with its sockets, on one thread.
//!
//! [`EngineLoop`] is plain data that can be sent to another thread, which happens at every change of the plugin's
//! generation (R28): core, tables, sockets and queues move as they are. [`actor`] puts it on an actix arbiter.
//! Files by subject: `turn` is one turn, `effects` carries out what the core asks, `clients` and `link` are the
//! connections, `sockets` how they end when this thread hangs, `inbound` what other threads say, `store_thread` the redo
//! log's thread, `store_writer` what is done to a store by that thread or here.
//!
//! Deliberately absent: decisions. Whatever has to do with roles, numbers and answers is the core's.
//! Invariants: the engine never blocks on anything but its own work, and the sync of one entry on a quick disk
//! (`sync_times`); control never waits behind events (R35); every buffer and queue is bounded, and what reads clients
//! stops before a bound is reached.

pub mod actor;
pub mod answers;
mod changes;
pub mod clients;
mod effects;
mod failing_disk;
pub mod failpoints;
mod fault_log;
pub mod inbound;
mod link;
mod partner_notes;
pub mod sockets;
pub mod store_thread;
mod store_writer;
mod sync_times;
mod trail_link;
mod turn;
pub mod witness;

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use lockstep_core::application::Application;
use lockstep_core::command::CommandResult;
use lockstep_core::effect::Effect;
use lockstep_core::event::Answer;
use lockstep_core::group::Group;
use lockstep_core::ids::{Micros, NodeId, PluginHash, StoreId};
use lockstep_os::unit_page::signals::Guard;
use mio::{Events, Poll, Token};
use tokio::sync::oneshot;

use self::changes::Changes;
use self::clients::{Clients, Serving};
use self::failpoints::Failpoints;
use self::fault_log::FaultLog;
use self::inbound::{Bell, EngineHandle, HttpRequest, Inbound};
use self::link::Link;
use self::partner_notes::PartnerNotes;
use self::sockets::Sockets;
use self::store_thread::{StoreHandle, StoreOp};
use crate::neighbours::Seat;
use crate::notes::NoteFiles;
use crate::plugins::{Failure, Generations};
use crate::services::Services;

/// The bell's token.
const BELL: Token = Token(0);
/// The link's token alternates between these, so that an event of an old socket is not taken for the new one's.
const LINKS: [Token; 2] = [Token(1), Token(2)];
/// An assertion of the runtime failed, or the core found its side wrong: the process ends, the partner takes over.
pub const ASSERTION_FAILED: &str = "LS0699";
/// A thread has no alternate stack.
const UNGUARDED: &str = "LS0644";
/// How many events of the poll are taken at once.
const EVENTS_MAX: usize = 1_024;

/// Why a turn ended.
pub enum TurnEnd {
    /// There is more to do: again, after the mailbox if it is due.
    Again,
    /// Nothing is to be done until a socket, the bell or the deadline.
    Wait,
    /// The engine must move to the thread of the new generation, and this old version goes (R28).
    Retire(Box<dyn Application>),
    /// The engine has stopped in order.
    Stopped,
}

/// What an engine is made of.
pub struct EngineParts {
    /// The core.
    pub group: Group,
    /// This processor.
    pub node: NodeId,
    /// The way to the redo log's thread.
    pub store: StoreHandle,
    /// The actors that do the rest.
    pub services: Services,
    /// What the engine's sockets are registered with.
    pub poll: Poll,
    /// The way to this engine.
    pub handle: EngineHandle,
    /// Its bell.
    pub bell: Bell,
    /// The end of the control queue.
    pub control: Receiver<Inbound>,
    /// The end of the queue of requests.
    pub requests: Receiver<HttpRequest>,
    /// Where its sockets stand for others.
    pub sockets: Sockets,
    /// Its number among the engines of this process: which one it is when it was given up (R23).
    pub life: u64,
    /// Ends when it was given up and all that is known of it elsewhere says so.
    pub given_up: Receiver<Infallible>,
    /// Its place among the groups of this processor.
    pub(crate) seat: Seat,
    /// Guards the thread that runs the plugin's code.
    pub guard: Arc<Guard>,
    /// What processes before this one left.
    pub note_files: NoteFiles,
    /// For so long it looks for more by itself before its thread sleeps.
    pub busy_poll: Duration,
}

/// The poll and bell of an engine that is about to be made.
///
/// # Errors
/// When the operating system has none left.
pub fn poll_and_bell() -> std::io::Result<(Poll, Bell)> {
    let poll = Poll::new()?;
    let waker = mio::Waker::new(poll.registry(), BELL)?;
    Ok((poll, Bell::new(waker)))
}

/// A version of `application` that has nothing in it, for tests of what surrounds an engine.
#[cfg(test)]
pub(crate) fn empty_descriptor(application: &str) -> lockstep_core::descriptor::ApplicationDescriptor {
    lockstep_core::descriptor::ApplicationDescriptor {
        name: application.into(),
        version: Default::default(),
        hash: Default::default(),
        tables: vec![],
        features: vec![],
        procedures: vec![],
        sends: None,
    }
}

/// A group's core with its sockets. See the module's page.
pub struct EngineLoop {
    group: Group,
    node: NodeId,
    started: bool,
    poll: Poll,
    events: Events,
    busy_poll: Duration,
    /// What is in `events` has come while nothing was to be done, and is not looked at yet.
    found: bool,
    bell: Bell,
    handle: EngineHandle,
    control: Receiver<Inbound>,
    requests: Receiver<HttpRequest>,
    seat: Seat,
    sockets: Sockets,
    life: u64,
    given_up: Receiver<Infallible>,
    clients: Clients,
    link: Option<Link>,
    links_made: u64,
    guard: Arc<Guard>,
    note_files: NoteFiles,
    partner_notes: Option<PartnerNotes>,
    notes_wait: bool,
    store: StoreHandle,
    /// Operations for the store that found its queue full.
    store_ops: Vec<StoreOp>,
    store_backlog: VecDeque<Vec<StoreOp>>,
    /// What the store has said in this very turn.
    store_said: Vec<Inbound>,
    /// How often the store was cut back, or was left alone in sync.
    cuts: u64,
    services: Services,
    /// When the clock was looked at last, and how many steps ago, in rounds.
    time: Micros,
    stepped: usize,
    effects: Vec<Effect>,
    /// So many of them were looked at for the end of a generation.
    effects_seen: usize,
    failpoints: Failpoints,
    changes: Changes,
    faults: FaultLog,
    /// HTTP requests under way, by origin.
    http: HashMap<u64, oneshot::Sender<Answer>>,
    /// The engines of the application's groups on this processor, by partition, if this is partition 0's (R1).
    siblings: Vec<EngineHandle>,
    /// Words of partition 0 under way, by origin.
    words: HashMap<u64, EngineHandle>,
    /// Commands under way, by origin.
    commands: HashMap<u64, oneshot::Sender<CommandResult>>,
    origins: u64,
    /// The store of a partner that is said to be dead: told to the core once the link has been read to its end.
    died: Option<StoreId>,
    retired: Option<Box<dyn Application>>,
    /// The last step made a generation change: the batch is ended on the new thread.
    owes_batch_end: bool,
    stopping: Option<oneshot::Sender<()>>,
    busy: bool,
}

impl EngineLoop {
    /// An engine that has not begun.
    #[must_use]
    pub fn new(parts: EngineParts) -> Self {
        let EngineParts {
            group,
            node,
            store,
            services,
            poll,
            handle,
            bell,
            control,
            requests,
            guard,
            note_files,
            sockets,
            life,
            given_up,
            seat,
            busy_poll,
        } = parts;
        let serving = Serving {
            node: node.0.clone(),
            active: false,
            term: group.term().0,
            version: group.descriptor().version.to_string(),
            partitions: handle.partitions,
        };
        let changes = Changes::new(group.state().meta.campaign.as_deref());
        EngineLoop {
            clients: Clients::new(&handle.application, handle.partition, serving, sockets.clone()),
            sockets,
            life,
            given_up,
            group,
            node,
            started: false,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            busy_poll,
            found: false,
            bell,
            handle,
            control,
            requests,
            seat,
            link: None,
            links_made: 0,
            guard,
            note_files,
            partner_notes: None,
            notes_wait: false,
            store,
            store_ops: Vec::new(),
            store_backlog: VecDeque::new(),
            store_said: Vec::new(),
            cuts: 0,
            services,
            time: Micros(0),
            stepped: 0,
            effects: Vec::new(),
            effects_seen: 0,
            failpoints: Failpoints::default(),
            changes,
            faults: FaultLog::default(),
            http: HashMap::new(),
            siblings: Vec::new(),
            words: HashMap::new(),
            commands: HashMap::new(),
            origins: 0,
            died: None,
            retired: None,
            owes_batch_end: false,
            stopping: None,
            busy: false,
        }
    }

    /// When the next turn is due if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Micros> {
        self.group.next_deadline()
    }

    /// From here on this thread runs the plugin's code: a fatal signal in it leaves a note (R21).
    pub fn enter_thread(&self) {
        if let Err(error) = self.guard.enter() {
            tracing::warn!(%error, code = UNGUARDED, "a stack that runs over will leave no death note");
        }
    }

    /// Starts the plugin on this thread, which will run it.
    ///
    /// # Errors
    /// When it refuses to start.
    pub fn start_plugin(&self, generations: &Generations) -> Result<(), Failure> {
        generations.start(&self.handle.group(), self.group.descriptor().hash)
    }

    /// Closes the store and lets everything go, the plugin's objects too; gives who is to be told that it has stopped.
    #[must_use]
    pub fn close(self) -> Option<oneshot::Sender<()>> {
        let EngineLoop { store, stopping, handle, .. } = self;
        drop(handle.close());
        store.close();
        stopping
    }

    /// A descriptor of the poll, to be watched for readiness. It is a duplicate, owned by whoever watches.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn poll_fd(&self) -> std::io::Result<std::os::fd::OwnedFd> {
        use std::os::fd::AsFd;
        self.poll.registry().as_fd().try_clone_to_owned()
    }

    /// The file of the version that runs.
    #[must_use]
    pub fn version_hash(&self) -> PluginHash {
        self.group.descriptor().hash
    }

    /// Drops it after it was given up, as soon as that is known everywhere; gives its number.
    #[must_use]
    pub fn leave(self) -> u64 {
        let EngineLoop { life, given_up, .. } = self;
        // Nothing is ever sent.
        let _ = given_up.recv();
        life
    }

    /// The way to this engine.
    #[must_use]
    pub fn handle(&self) -> &EngineHandle {
        &self.handle
    }
}

/// The time, in microseconds since the Unix epoch.
#[must_use]
pub fn now() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
