//! What reaches an engine from other threads, and the bell that wakes it.
//!
//! Two queues: `control` carries what must never wait behind events (R35): acknowledgements of the store, the
//! arbiter's answers, links, commands. `requests` carries events of HTTP clients; it is bounded and turns away what
//! is too much. Events of binary clients and of the partner are in neither: the engine reads their sockets itself.
//!
//! Both, with the bell, are a *door*. A group has one engine at a time, but not for ever: one that hangs is given up, and
//! another one is built (R23). Whoever wants the group has a handle that leads to the door of the engine that is there;
//! whoever serves one engine (its store, its arbiter's client) has a handle on that one's door, so that nothing that was
//! meant for an engine reaches its successor.
//! Invariant: nothing goes into a door once it is closed, and what was in it then is dropped: who waits for an answer
//! hears that none will come.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};
use lockstep_core::command::{Command, CommandResult, Role};
use lockstep_core::descriptor::ApplicationDescriptor;
use lockstep_core::event::{Answer, Request};
use lockstep_core::ids::{GroupName, NodeId, Number, PluginHash, StoreId, Term};
use lockstep_core::input::Input;
use lockstep_core::leg::CampaignWord;
use lockstep_store::Checkpoints;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

use super::failpoints::Failpoint;
use crate::admin::protocol::AdminError;
use crate::plugins::Failure;

/// How many control messages may wait.
const CONTROL_MAX: usize = 4_096;
/// How many HTTP requests may wait to be taken.
const REQUESTS_MAX: usize = 1_024;
/// A word that waits for room looks so often whether the engine is still there.
const ROOM_LOOK: Duration = Duration::from_millis(20);

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
    /// The store's, once it is open.
    checkpoints: Mutex<Option<Checkpoints>>,
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
            checkpoints: Mutex::new(None),
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

    /// The way to pauses of the store's checkpoints, once it is open.
    #[must_use]
    pub fn checkpoints(&self) -> Option<Checkpoints> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_checkpoints(&self, checkpoints: Checkpoints) {
        *self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoints);
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

    /// The engine was given up: nothing is served until there is another one (R23).
    pub(crate) fn given_up(&self) {
        self.set_served(false);
        self.set_linked(false);
        self.set_role(Role::Starting, self.term(), 0);
        self.clients_dropped.fetch_add(self.clients.swap(0, Ordering::Relaxed), Ordering::Relaxed);
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

/// Why an engine does not take what it is handed, or does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Its queue is full.
    #[error("the engine does not take more at the moment")]
    Full,
    /// It has stopped; or it hung, and another one is built.
    #[error("the engine is not there: it has stopped, or it hung and is built anew")]
    Gone,
}

/// The way into one engine.
struct Door {
    control: Sender<Inbound>,
    requests: Sender<HttpRequest>,
    /// The engine's ends, for what is left in the queues when the door is closed.
    ends: (Receiver<Inbound>, Receiver<HttpRequest>),
    bell: Bell,
    /// Whoever puts something in holds it for reading.
    closed: RwLock<bool>,
    /// The same, for those who wait for an answer.
    gone: watch::Sender<bool>,
}

impl Door {
    fn new(bell: Bell) -> Self {
        let (control, control_end) = crossbeam_channel::bounded(CONTROL_MAX);
        let (requests, requests_end) = crossbeam_channel::bounded(REQUESTS_MAX);
        let (ends, closed) = ((control_end, requests_end), RwLock::new(false));
        Door { control, requests, ends, bell, closed, gone: watch::Sender::new(false) }
    }

    /// Runs `put` unless the door is closed.
    fn open<T>(&self, put: impl FnOnce(&Self) -> Result<T, Busy>) -> Result<T, Busy> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        let done = if *closed { Err(Busy::Gone) } else { put(self) };
        drop(closed);
        if done.is_ok() {
            self.bell.ring();
        }
        done
    }

    /// Closes it; gives the control messages that nobody will take.
    fn close(&self) -> Vec<Inbound> {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = true;
        self.gone.send_replace(true);
        while self.ends.1.try_recv().is_ok() {}
        self.ends.0.try_iter().collect()
    }
}

/// Where a handle leads.
#[derive(Clone)]
enum Way {
    /// To the engine that the group has, whichever that is.
    Group(Arc<RwLock<Arc<Door>>>),
    /// To one engine.
    Engine(Arc<Door>),
}

/// What an engine was asked. It answers, unless it goes before.
pub struct Asked<T> {
    answer: oneshot::Receiver<T>,
    gone: watch::Receiver<bool>,
}

impl<T> Asked<T> {
    /// The answer. May be dropped and asked for again.
    ///
    /// # Errors
    /// When none will come.
    pub async fn answer(&mut self) -> Result<T, Busy> {
        tokio::select! {
            biased;
            answer = &mut self.answer => answer.map_err(|_| Busy::Gone),
            _ = self.gone.wait_for(|gone| *gone) => Err(Busy::Gone),
        }
    }
}

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
    way: Way,
    face: Arc<Face>,
}

impl EngineHandle {
    /// A handle on the group that is partition `.0` of `.1`, and the ends that its first engine reads.
    #[must_use]
    pub fn new(
        application: &str,
        (partition, partitions): (u16, u16),
        bell: Bell,
        descriptor: Arc<ApplicationDescriptor>,
    ) -> (Self, Receiver<Inbound>, Receiver<HttpRequest>) {
        let door = Door::new(bell);
        let (control_end, requests_end) = door.ends.clone();
        let label = if partitions == 1 { application.into() } else { format!("{application}.{partition}") };
        let handle = EngineHandle {
            application: application.into(),
            partition,
            partitions,
            label: label.into(),
            way: Way::Group(Arc::new(RwLock::new(Arc::new(door)))),
            face: Arc::new(Face::new(descriptor)),
        };
        (handle, control_end, requests_end)
    }

    /// From here on this handle on a group leads to another engine, which reads these ends and wakes to `bell`.
    ///
    /// # Panics
    /// On a handle that leads to one engine alone.
    #[must_use]
    pub fn renew(
        &self,
        bell: Bell,
        descriptor: &ApplicationDescriptor,
    ) -> (Receiver<Inbound>, Receiver<HttpRequest>) {
        let Way::Group(current) = &self.way else { panic!("one engine has no successor") };
        let door = Door::new(bell);
        let ends = door.ends.clone();
        self.face.set_descriptor(descriptor);
        *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(door);
        ends
    }

    /// A handle on the engine that is there now, and on no other.
    #[must_use]
    pub fn of_this_engine(&self) -> Self {
        EngineHandle { way: Way::Engine(self.door()), ..self.clone() }
    }

    fn door(&self) -> Arc<Door> {
        match &self.way {
            Way::Engine(door) => door.clone(),
            Way::Group(current) => current.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The engine takes nothing any more; gives what it was told and has not taken.
    pub fn close(&self) -> Vec<Inbound> {
        self.door().close()
    }

    /// Waits until the engine takes nothing any more.
    pub async fn gone(&self) {
        let mut gone = self.door().gone.subscribe();
        // The door is held by this handle: its end is no error that can come.
        let _ = gone.wait_for(|gone| *gone).await;
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
        self.door().bell.ring();
    }

    /// Tells the engine; waits for room. For threads that do nothing else.
    pub fn tell_waiting(&self, inbound: Inbound) {
        // Nobody needs the word when the engine is gone.
        drop(self.hand_in(inbound));
    }

    /// As [`Self::tell_waiting`]; gives the word back when the engine is gone.
    pub fn hand_in(&self, inbound: Inbound) -> Option<Box<Inbound>> {
        let door = self.door();
        let mut word = Some(inbound);
        while word.is_some() {
            let put = door.open(|door| {
                let Some(inbound) = word.take() else { return Ok(()) };
                let Err(full) = door.control.try_send(inbound) else { return Ok(()) };
                let waited = door.control.send_timeout(full.into_inner(), ROOM_LOOK);
                word = waited.err().map(|late| late.into_inner());
                Ok(())
            });
            if put.is_err() {
                break;
            }
        }
        word.map(Box::new)
    }

    /// Tells the engine; for threads that must not wait.
    ///
    /// # Errors
    /// When there is no room, or no engine.
    pub fn tell(&self, inbound: Inbound) -> Result<(), Busy> {
        self.door().open(|door| door.control.try_send(inbound).map_err(|_| Busy::Full))
    }

    /// Hands over a client's request.
    ///
    /// # Errors
    /// When there is no room, or no engine.
    pub fn request(&self, request: Request) -> Result<Asked<Answer>, Busy> {
        let door = self.door();
        let (reply, answer) = oneshot::channel();
        door.open(|door| door.requests.try_send(HttpRequest { request, reply }).map_err(|_| Busy::Full))?;
        Ok(Asked { answer, gone: door.gone.subscribe() })
    }

    /// Hands over an operator's command and waits for its result.
    ///
    /// # Errors
    /// When there is no room, or the engine went away.
    pub async fn command(&self, command: Command) -> Result<CommandResult, Busy> {
        let door = self.door();
        let (reply, answer) = oneshot::channel();
        door.open(|door| door.control.try_send(Inbound::Command { command, reply }).map_err(|_| Busy::Full))?;
        let gone = door.gone.subscribe();
        drop(door);
        Asked { answer, gone }.answer().await
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::event::Request;

    use super::*;
    use crate::engine::{empty_descriptor, poll_and_bell};

    /// R23: the word of what served an engine that was given up never reaches the next one; the group's own does.
    #[tokio::test]
    async fn what_is_said_to_an_engine_that_was_given_up_reaches_no_other() {
        let (_poll, bell) = poll_and_bell().unwrap();
        let (group, control, _requests) =
            EngineHandle::new("test", (0, 1), bell.clone(), Arc::new(empty_descriptor("test")));
        let old = group.of_this_engine();
        let mut waits = group.request(Request::OpenSession).unwrap();
        old.tell(Inbound::Input(Input::Tick)).unwrap();
        let left = old.close();
        assert!(matches!(left[..], [Inbound::Input(Input::Tick)]), "what it had not taken is given back");
        assert_eq!(waits.answer().await.unwrap_err(), Busy::Gone, "no answer comes");
        assert_eq!(group.tell(Inbound::Input(Input::Tick)), Err(Busy::Gone), "there is no engine now");
        assert!(group.request(Request::OpenSession).is_err());
        let (next, _next_requests) = group.renew(bell, &empty_descriptor("test"));
        assert_eq!(old.tell(Inbound::Input(Input::SwapPrepared)), Err(Busy::Gone));
        let back = old.hand_in(Inbound::Input(Input::SwapPrepared)).map(|back| *back);
        assert!(matches!(back, Some(Inbound::Input(Input::SwapPrepared))), "it has its word back");
        old.gone().await;
        group.tell(Inbound::Input(Input::Tick)).unwrap();
        assert!(matches!(next.try_recv(), Ok(Inbound::Input(Input::Tick))));
        assert!(next.is_empty() && control.is_empty());
    }

    /// Whoever waits for room in the queue of an engine that hangs is let go when that is given up.
    #[test]
    fn who_waits_for_room_is_let_go_with_the_engine() {
        let (_poll, bell) = poll_and_bell().unwrap();
        let (group, _control, _requests) =
            EngineHandle::new("test", (0, 1), bell, Arc::new(empty_descriptor("test")));
        while group.tell(Inbound::Input(Input::Tick)).is_ok() {}
        let engine = group.of_this_engine();
        let waits = std::thread::spawn(move || engine.hand_in(Inbound::Input(Input::SwapPrepared)));
        group.close();
        assert!(waits.join().unwrap().is_some());
    }
}
