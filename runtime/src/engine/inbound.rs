//! What reaches an engine from other threads, and the bell that wakes it.
//!
//! Two queues: `control` carries what must never wait behind events (R35): acknowledgements of the store, the
//! arbiter's answers, links, commands. `requests` carries events of HTTP clients; it is bounded and turns away what
//! is too much. Events of binary clients and of the partner are in neither: the engine reads their sockets itself.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use lockstep_core::command::{Command, CommandResult, Role};
use lockstep_core::descriptor::ApplicationDescriptor;
use lockstep_core::event::{Answer, Request};
use lockstep_core::ids::{GroupName, NodeId, Number, PluginHash, StoreId, Term};
use lockstep_core::input::Input;
use lockstep_core::leg::CampaignWord;
use std::sync::RwLock;
use tokio::sync::oneshot;

use super::failpoints::Failpoint;
use crate::admin::protocol::AdminError;
use crate::plugins::Failure;

/// How many control messages may wait.
const CONTROL_MAX: usize = 4_096;
/// How many HTTP requests may wait to be taken.
const REQUESTS_MAX: usize = 1_024;

/// A message to an engine.
pub enum Inbound {
    /// Something happened that the core should know.
    Input(Input),
    /// The store is durable up to here.
    Durable {
        /// How often it had been cut back: a word from before a cut counts no more.
        cuts: u64,
        /// The store.
        store: StoreId,
        /// The number.
        through: Number,
    },
    /// An operator asks something.
    Command {
        /// What.
        command: Command,
        /// Where the result goes.
        reply: oneshot::Sender<CommandResult>,
    },
    /// The engines of the application's groups on this processor, by partition: for partition 0, which asks them (R1).
    Siblings(Vec<EngineHandle>),
    /// Partition 0's engine has a word for this group.
    Word {
        /// What.
        word: Box<CampaignWord>,
        /// Where the report goes.
        from: EngineHandle,
    },
    /// A client connected.
    Client {
        /// The socket.
        stream: TcpStream,
        /// What was read of it already.
        said: Vec<u8>,
    },
    /// A link to the partner is up: `Hello` was exchanged.
    Link {
        /// The socket.
        stream: TcpStream,
        /// Who is there.
        partner: NodeId,
        /// In which process.
        process: u64,
        /// The one with the smaller name dialled.
        by_smaller: bool,
    },
    /// A connection that the partner's death note will come on: `Hello` was exchanged.
    Notes {
        /// The socket.
        stream: TcpStream,
        /// Who is there.
        partner: NodeId,
    },
    /// A plugin file is to be asked for from the partner.
    WantPlugin {
        /// Which.
        hash: PluginHash,
    },
    /// The partner asked for a plugin file; here it is, if it is here.
    PluginFound {
        /// Which.
        hash: PluginHash,
        /// Its bytes.
        bytes: Option<Arc<Vec<u8>>>,
    },
    /// A preflight asks the partner's host to try a plugin file, whose bytes go with the question.
    ProbePartner {
        /// Which.
        hash: PluginHash,
        /// Its bytes.
        content: Arc<Vec<u8>>,
        /// What the upgrade needs on the disk there, in bytes.
        bytes: u64,
        /// The file is kept there for what comes.
        keeps: bool,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), AdminError>>,
    },
    /// What the trial of a file that the partner had sent has found.
    Probed {
        /// Which file.
        hash: PluginHash,
        /// Whether it is taken, and why not.
        found: Result<(), Failure>,
    },
    /// This processor was asked something, which goes to the partner's audit trail.
    TrailGrown,
    /// A test arms a failpoint.
    Arm(Failpoint),
    /// Stop: no client is read any more, what was appended is made durable, then the sender is told.
    Stop {
        /// Told at the end.
        done: oneshot::Sender<()>,
    },
}

/// A request of an HTTP client.
pub struct HttpRequest {
    /// What.
    pub request: Request,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// Wakes an engine that waits for its sockets. Many rings before it wakes cost one system call.
#[derive(Clone)]
pub struct Bell {
    waker: Arc<mio::Waker>,
    rung: Arc<AtomicBool>,
}

impl Bell {
    /// A bell that wakes through `waker`.
    #[must_use]
    pub fn new(waker: mio::Waker) -> Self {
        Bell { waker: Arc::new(waker), rung: Arc::new(AtomicBool::new(false)) }
    }

    /// Wakes the engine.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            // The engine still wakes at its next deadline.
            tracing::warn!(%error, "the engine's bell does not ring");
        }
    }

    /// The engine is awake and about to look into its queues.
    pub fn silence(&self) {
        // A swap, not a store: it also takes in what was queued before the ring that it overwrites.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// What others may see of an engine without asking it.
pub struct Face {
    role: AtomicU8,
    term: AtomicU64,
    in_sync: AtomicU64,
    descriptor: RwLock<Arc<ApplicationDescriptor>>,
    linked: AtomicBool,
    served: AtomicBool,
    last_change: RwLock<Option<(String, std::time::Instant)>>,
    /// Connections of binary clients that were closed by this side, for tests and metrics.
    pub clients_dropped: AtomicU64,
    /// Connections of binary clients that are open.
    pub clients: AtomicU64,
}

impl Face {
    fn new(descriptor: Arc<ApplicationDescriptor>) -> Self {
        Face {
            role: AtomicU8::new(role_number(Role::Starting)),
            term: AtomicU64::new(0),
            in_sync: AtomicU64::new(0),
            descriptor: RwLock::new(descriptor),
            linked: AtomicBool::new(false),
            served: AtomicBool::new(false),
            last_change: RwLock::new(None),
            clients_dropped: AtomicU64::new(0),
            clients: AtomicU64::new(0),
        }
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        [Role::Starting, Role::Active, Role::Standby, Role::Isolated]
            [usize::from(self.role.load(Ordering::Acquire))]
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.term.load(Ordering::Acquire))
    }

    /// How many members the record has in sync.
    #[must_use]
    pub fn in_sync(&self) -> u64 {
        self.in_sync.load(Ordering::Acquire)
    }

    /// What the running version says of itself.
    #[must_use]
    pub fn descriptor(&self) -> Arc<ApplicationDescriptor> {
        self.descriptor.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Whether there is a link to the partner.
    #[must_use]
    pub fn linked(&self) -> bool {
        self.linked.load(Ordering::Acquire)
    }

    /// Whether there is an active that can be reached: this side, or the partner whose stream it follows.
    #[must_use]
    pub fn served(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    pub(super) fn set_served(&self, served: bool) {
        self.served.store(served, Ordering::Release);
    }

    pub(super) fn set_linked(&self, linked: bool) {
        self.linked.store(linked, Ordering::Release);
    }

    /// The last change of role, in words, and how many milliseconds ago it was.
    #[must_use]
    pub fn last_change(&self) -> Option<(String, u64)> {
        let last = self.last_change.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ago = |since: &std::time::Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        last.as_ref().map(|(what, since)| (what.clone(), ago(since)))
    }

    pub(super) fn set_role(&self, role: Role, term: Term, in_sync: usize) {
        let before = self.role();
        if before != role {
            let mut last = self.last_change.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            *last = Some((format!("{before} to {role}, term {term}"), std::time::Instant::now()));
        }
        self.role.store(role_number(role), Ordering::Release);
        self.term.store(term.0, Ordering::Release);
        self.in_sync.store(in_sync as u64, Ordering::Release);
    }

    pub(super) fn set_descriptor(&self, descriptor: &ApplicationDescriptor) {
        let mut seen = self.descriptor.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if **seen != *descriptor {
            *seen = Arc::new(descriptor.clone());
        }
    }
}

fn role_number(role: Role) -> u8 {
    match role {
        Role::Starting => 0,
        Role::Active => 1,
        Role::Standby => 2,
        Role::Isolated => 3,
    }
}

/// The engine's queue is full, or the engine is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine does not take more at the moment")]
pub struct Busy;

/// The way to an engine, wherever it is. Cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    /// The application.
    pub application: Arc<str>,
    /// The partition of it, from 0 (R1).
    pub partition: u16,
    /// How many partitions the application has.
    pub partitions: u16,
    /// The group in logs: `ledger`, or `ledger.2` where there are several partitions.
    pub label: Arc<str>,
    control: Sender<Inbound>,
    requests: Sender<HttpRequest>,
    bell: Bell,
    face: Arc<Face>,
}

impl EngineHandle {
    /// A handle on the engine of partition `.0` of `.1`, and the ends that the engine reads.
    #[must_use]
    pub fn new(
        application: &str,
        (partition, partitions): (u16, u16),
        bell: Bell,
        descriptor: Arc<ApplicationDescriptor>,
    ) -> (Self, Receiver<Inbound>, Receiver<HttpRequest>) {
        let (control, control_end) = crossbeam_channel::bounded(CONTROL_MAX);
        let (requests, requests_end) = crossbeam_channel::bounded(REQUESTS_MAX);
        let face = Arc::new(Face::new(descriptor));
        let label = if partitions == 1 { application.into() } else { format!("{application}.{partition}") };
        let handle = EngineHandle {
            application: application.into(),
            partition,
            partitions,
            label: label.into(),
            control,
            requests,
            bell,
            face,
        };
        (handle, control_end, requests_end)
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> GroupName {
        GroupName { application: self.application.to_string(), partition: self.partition }
    }

    /// What can be seen of the engine without asking it.
    #[must_use]
    pub fn face(&self) -> &Face {
        &self.face
    }

    /// Wakes the engine.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Tells the engine; waits for room. For threads that do nothing else.
    pub fn tell_waiting(&self, inbound: Inbound) {
        // An error means that the engine is gone, and then nobody needs the word.
        if self.control.send(inbound).is_ok() {
            self.bell.ring();
        }
    }

    /// Tells the engine; for threads that must not wait.
    ///
    /// # Errors
    /// When there is no room.
    pub fn tell(&self, inbound: Inbound) -> Result<(), Busy> {
        self.control.try_send(inbound).map_err(|_| Busy)?;
        self.bell.ring();
        Ok(())
    }

    /// Hands over a client's request.
    ///
    /// # Errors
    /// When there is no room.
    pub fn request(&self, request: Request) -> Result<oneshot::Receiver<Answer>, Busy> {
        let (reply, answer) = oneshot::channel();
        match self.requests.try_send(HttpRequest { request, reply }) {
            Ok(()) => {
                self.bell.ring();
                Ok(answer)
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }

    /// Hands over an operator's command and waits for its result.
    ///
    /// # Errors
    /// When there is no room, or the engine went away.
    pub async fn command(&self, command: Command) -> Result<CommandResult, Busy> {
        let (reply, result) = oneshot::channel();
        self.tell(Inbound::Command { command, reply })?;
        result.await.map_err(|_| Busy)
    }
}
