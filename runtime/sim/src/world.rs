//! The simulated world: two processors with real groups, a network, an arbiter, disks, a clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_core::campaign::CheckVerdict;
use lockstep_core::channels::GroupMessage;
use lockstep_core::command::{Command, CommandResult, Role};
use lockstep_core::effect::Effect;
use lockstep_core::entry::Entry;
use lockstep_core::event::{Answer, Request};
use lockstep_core::group::{Group, GroupConfig, StandbyStart, StepUps};
use lockstep_core::ids::{
    Epoch, GroupName, LinkId, Micros, NodeId, Number, Origin, SessionId, StoreId, Term,
};
use lockstep_core::input::Input;
use lockstep_core::leg::CampaignWord;
use lockstep_core::message::Frame;
use lockstep_core::record::Record;

use crate::clients::SimClient;
use crate::deeds::Deeds;
use crate::disk::{SimDisk, Sync};
use crate::ledger::{Edition, Ledger};
use crate::random::Random;
use crate::real_disk::NodeDisk;
use crate::world::deaths::Seat;

/// How the world is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a standby starts a unit.
    pub standby: StandbyStart,
    /// How an active tells its step-ups.
    pub step_ups: StepUps,
    /// How many of a hundred swaps have an unknown outcome.
    pub unknown_swaps_percent: u64,
    /// The recent stream's bound in bytes: small ones lead to whole copies.
    pub recent_bytes_max: usize,
    /// How much memory the rows may take, in bytes, by each processor.
    pub rows_bytes_max: [usize; 2],
    /// A version that computes something else takes part.
    pub divergence_expected: bool,
    /// How long a batch collects inputs, at most, in microseconds; 0 ends it with each.
    pub batch_us_max: u64,
    /// How long a sync takes, at most, in microseconds.
    pub sync_us_max: u64,
    /// `durability: replicated`: while two are in sync, what the operating system has counts as durable.
    pub replicated: bool,
    /// When a standby's acknowledgement is too old, in milliseconds.
    pub ack_age_max_ms: u64,
    /// A restart finds what takes back the latest entries.
    pub undos_recovered: bool,
    /// How many rows are translated a batch while derived tables are built.
    pub build_rows_max: usize,
    /// The most rows that a chunk of a migration looks at (R31).
    pub chunk_rows_max: usize,
    /// A version takes part that can't translate every row.
    pub derived_may_break: bool,
    /// Clients set timers and send messages too.
    pub posts: bool,
    /// How many of a hundred words between groups are lost, and how many arrive twice.
    pub words_lost_percent: u64,
    /// Beside each simple disk the real store commits, makes checkpoints and recovers. Restarts then find what takes
    /// entries back as far as the last checkpoint, whatever `undos_recovered` says.
    pub real_store: bool,
    /// Keep a story of what happened.
    pub story: bool,
    /// The partition of the application that this world's pair of groups is, and of how many; see
    /// [`Partitions`](crate::partitions::Partitions).
    pub partition: (u16, u16),
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            standby: StandbyStart::Behind,
            step_ups: StepUps::default(),
            unknown_swaps_percent: 0,
            recent_bytes_max: 1 << 20,
            rows_bytes_max: [usize::MAX; 2],
            divergence_expected: false,
            batch_us_max: 0,
            sync_us_max: 600,
            replicated: false,
            ack_age_max_ms: 5_000,
            undos_recovered: true,
            build_rows_max: 8,
            chunk_rows_max: 3,
            derived_may_break: false,
            posts: false,
            words_lost_percent: 0,
            real_store: false,
            story: false,
            partition: (0, 1),
        }
    }
}

impl Settings {
    /// An empty disk; what the real store loses on it is as `seed` says.
    pub(crate) fn disk(&self, store: StoreId, seed: u64) -> NodeDisk {
        let disk = SimDisk::new(store);
        let disk = if self.replicated { disk.replicated() } else { disk };
        NodeDisk::new(disk, self.real_store.then_some(seed), self.recent_bytes_max)
    }
}

struct Process {
    group: Group,
    incarnation: u64,
    watched: Option<StoreId>,
    paused_until: Micros,
    /// Effects of the batch that is open; they die with the process.
    batch: Option<Vec<Effect>>,
}

struct Node {
    name: NodeId,
    first: Edition,
    /// The file of the version that the database names is no longer there.
    file_lost: bool,
    disk: NodeDisk,
    process: Option<Process>,
    incarnations: u64,
    units_run: Arc<AtomicU64>,
    /// What runs there, as its witness sees it.
    seat: Seat,
}

enum Happening {
    Kill { node: usize, incarnation: u64 },
    LinkLost { link: LinkId },
    Input { node: usize, incarnation: u64, input: Input },
    BatchEnd { node: usize, incarnation: u64 },
    Synced { node: usize, incarnation: u64, sync: Sync },
    Read { node: usize, incarnation: u64 },
    Swap { node: usize, incarnation: u64, expected: Epoch, next: Record },
    LinkUp,
    Clients,
    GivenUp { node: usize, incarnations: u64 },
    Revive { node: usize, incarnations: u64 },
}

/// What was seen, beside what groups count themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By name: faults injected, alarms, roles, campaign steps.
    pub counts: BTreeMap<String, u64>,
}

impl Seen {
    /// Counts one.
    pub fn add(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }
}

/// The simulated world.
pub struct World {
    /// The clock.
    pub now: Micros,
    /// The series that decides everything.
    pub random: Random,
    settings: Settings,
    queue: BTreeMap<(Micros, u64), Happening>,
    happenings: u64,
    nodes: [Node; 2],
    /// How many of a hundred deaths in a unit leave no note.
    pub noteless_percent: u64,
    /// Who died in which event, in order.
    pub deaths: Vec<deaths::Death>,
    record: Option<Record>,
    link: Option<LinkId>,
    links: u64,
    /// The only processor whose machine loses power and whose disk fails; either unless said.
    pub weak: Option<usize>,
    /// While true, no link comes up.
    pub partitioned: bool,
    last_delivery: [Micros; 2],
    frames_until_cut: Option<u64>,
    /// Whoever sends the last frame before that cut dies with it.
    dies_at_cut: bool,
    /// The link loses in silence whatever this processor sends.
    mute: Option<(LinkId, usize)>,
    slow_until: [Micros; 2],
    /// What comes on a line to a processor comes no sooner.
    late_until: [[Micros; 2]; 3],
    /// When each processor has heard of the link that was dialled anew: before that it hears of no end of it, and of no other.
    hears_of_link_at: [Micros; 2],
    sync_fixed: [Option<Micros>; 2],
    /// Stores whose disks were lost, with what they had durably.
    lost: BTreeMap<StoreId, Number>,
    /// The clients.
    pub clients: Vec<SimClient>,
    /// By how much the clocks of the processors are behind the world's.
    pub clock_behind: [Micros; 2],
    answers: Vec<Option<Answer>>,
    entries: HashMap<(Term, Number), Arc<Entry>>,
    /// What the processors did to the world outside of them, and how much of it was looked at.
    pub deeds: Deeds,
    deeds_seen: usize,
    /// The last intent of each event, by term.
    intents: HashMap<(Term, u64), Number>,
    /// The highest number that an answer has left for.
    answered: Number,
    /// Under `replicated`, the highest number that was held while two were recorded: it stays held (R9).
    held_by_two: Number,
    /// An operator gave up what only others have.
    forced: bool,
    /// What was seen.
    pub seen: Seen,
    /// What the user's own checks say during an evaluation; none when they never end.
    pub checks_say: Option<CheckVerdict>,
    /// How often they were run.
    pub checks_run: u64,
    /// So many of the next versions that are loaded on a processor do not start there.
    pub starts_fail: [u64; 2],
    /// Results of commands, in order.
    pub results: Vec<CommandResult>,
    /// Words to groups of other partitions: from which processor, to which partition.
    pub(crate) words_out: Vec<(usize, u16, Box<CampaignWord>)>,
    /// What words of another partition were answered here, by origin.
    pub(crate) words_answered: Vec<(Origin, CommandResult)>,
    /// What was told to groups of other worlds and not taken out yet.
    outward: Vec<(GroupName, GroupMessage)>,
    story: Vec<String>,
    witness: witness::Witness,
}

/// One request of a test and its answer; see [`World::probe`].
#[derive(Clone, Copy, Debug)]
pub struct Probe(usize);

/// Origins of probes have this bit; those of clients do not.
const PROBES: u64 = 1 << 63;
/// The origin of commands of operators; those of other partitions have others.
const OPERATOR: Origin = Origin(u64::MAX);

mod check;
pub mod deaths;
pub mod disorder;
mod faults;
mod groups;
mod ladder;
mod running;
mod shell;
mod witness;

/// The name of a processor of this world.
#[must_use]
pub fn name(node: usize) -> NodeId {
    NodeId(["a", "b"][node].into())
}

impl World {
    /// A world with two processors, not started, that run `edition` at first.
    #[must_use]
    pub fn new(seed: u64, edition: Edition, settings: Settings) -> Self {
        let node = |index: usize| Node {
            name: name(index),
            first: edition,
            file_lost: false,
            disk: settings.disk(StoreId(0xd15c_0000 + index as u128), seed.wrapping_mul(2) + index as u64),
            process: None,
            incarnations: 0,
            units_run: Arc::default(),
            seat: Seat::default(),
        };
        let nodes = [node(0), node(1)];
        let mut world = World {
            now: Micros(1_000_000),
            random: Random::new(seed),
            settings,
            queue: BTreeMap::new(),
            happenings: 0,
            nodes,
            noteless_percent: 0,
            deaths: Vec::new(),
            record: None,
            link: None,
            links: 0,
            weak: None,
            partitioned: false,
            last_delivery: [Micros(0); 2],
            frames_until_cut: None,
            dies_at_cut: false,
            mute: None,
            slow_until: [Micros(0); 2],
            late_until: [[Micros(0); 2]; 3],
            hears_of_link_at: [Micros(0); 2],
            sync_fixed: [None; 2],
            lost: BTreeMap::new(),
            clients: Vec::new(),
            clock_behind: [Micros(0); 2],
            answers: Vec::new(),
            entries: HashMap::new(),
            deeds: Deeds::default(),
            deeds_seen: 0,
            intents: HashMap::new(),
            answered: Number(0),
            held_by_two: Number(0),
            forced: false,
            seen: Seen::default(),
            checks_say: Some(CheckVerdict::Pass),
            checks_run: 0,
            starts_fail: [0; 2],
            results: Vec::new(),
            words_out: Vec::new(),
            words_answered: Vec::new(),
            outward: Vec::new(),
            story: Vec::new(),
            witness: witness::Witness::default(),
        };
        world.after(Micros(1), Happening::Clients);
        world
    }

    /// A world whose pair is in sync: a active, b standby.
    #[must_use]
    pub fn pair(seed: u64, edition: Edition, settings: Settings) -> Self {
        let mut world = World::new(seed, edition, settings);
        world.start(0);
        world.run_until(|world| world.role(0) == Some(Role::Active));
        world.start(1);
        world.run_until(|world| world.in_sync());
        world
    }

    /// Gives processor `node` another first edition: it is what a start without a record of it loads.
    pub fn set_first_edition(&mut self, node: usize, edition: Edition) {
        self.nodes[node].first = edition;
    }

    /// Adds a client that sends `events` events.
    pub fn add_client(&mut self, events: u64) {
        let mut client = SimClient::new(self.clients.len() as u64);
        client.to_send = events;
        client.posts = self.settings.posts;
        self.clients.push(client);
    }

    /// Adds a client that opens a session and sends only what [`submit_as`](Self::submit_as) gives it.
    pub fn add_scripted_client(&mut self) {
        let mut client = SimClient::new(self.clients.len() as u64);
        client.open();
        self.clients.push(client);
    }

    /// Lets client `client` submit `request`, an event of its session, to processor `node` at this very moment; it
    /// retries it like any of its own.
    pub fn submit_as(&mut self, client: usize, node: usize, request: Request) {
        let now = self.now;
        self.clients[client].answered = self.answered;
        let origin = self.clients[client].adopt(now, node, &request);
        // One that has just died hears nothing.
        if self.nodes[node].process.is_some() {
            self.input(node, Input::Request { origin, request });
        }
    }

    /// Asks processor `node` something on nobody's behalf, as if it had just arrived there; what becomes of it is in
    /// [`answer`](Self::answer).
    pub fn probe(&mut self, node: usize, request: Request) -> Probe {
        self.answers.push(None);
        let probe = self.answers.len() - 1;
        self.input_after(node, Micros(0), Input::Request { origin: Origin(PROBES | probe as u64), request });
        Probe(probe)
    }

    /// Opens a session at processor 0 on nobody's behalf.
    ///
    /// # Panics
    /// When another answer comes, or none.
    pub fn open_session(&mut self) -> SessionId {
        let opened = self.probe(0, Request::OpenSession);
        self.run_until(|world| world.answer(opened).is_some());
        match self.answer(opened) {
            Some(Answer::SessionOpened { session }) => *session,
            other => panic!("a session was to be opened: {other:?}"),
        }
    }

    /// Lets processor `node` hear a frame on the present link that its partner has not sent now.
    ///
    /// # Panics
    /// When there is no link.
    pub fn inject(&mut self, node: usize, frame: Frame) {
        let link = self.link.expect("a link is up");
        self.input(node, Input::Peer { link, frame });
    }

    /// The answer that a probe has got so far.
    #[must_use]
    pub fn answer(&self, probe: Probe) -> Option<&Answer> {
        self.answers[probe.0].as_ref()
    }

    /// How many work units processor `node` has run, whatever became of them.
    #[must_use]
    pub fn units_run(&self, node: usize) -> u64 {
        self.nodes[node].units_run.load(Ordering::Relaxed)
    }

    /// What processor `node`'s own clock says.
    fn clock(&self, node: usize) -> Micros {
        Micros(self.now.0 - self.clock_behind[node].0)
    }

    fn after(&mut self, delay: Micros, happening: Happening) {
        self.happenings += 1;
        self.queue.insert((self.now.plus(delay), self.happenings), happening);
    }

    /// Adds a line to the story: in the column of a processor, or across both.
    fn tell(&mut self, column: Option<usize>, what: impl FnOnce() -> String) {
        if self.settings.story {
            let line = ladder::line(self.now, column, &what());
            self.story.push(line);
        }
    }

    /// How the world is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What happened so far, if a story is kept.
    #[must_use]
    pub fn story(&self) -> &[String] {
        &self.story
    }

    // -- faults and operators

    /// Starts a processor's process.
    pub fn start(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "it runs already");
        let record = self.record.clone();
        let recorded = |store| record.as_ref().is_some_and(|record| record.is_recorded(store));
        // Whoever starts it has made room.
        self.make_room(node);
        let recovered = self.nodes[node].disk.recover(recorded, self.settings.undos_recovered);
        let trusted = recovered.trusted;
        let told = self.nodes[node].disk.take_told();
        if told.lost {
            self.seen.add("disk lost what was not synced");
        }
        if told.checkpoints > 0 {
            *self.seen.counts.entry("checkpoint".into()).or_default() += told.checkpoints;
        }
        let side = &mut self.nodes[node];
        side.incarnations += 1;
        let installed = recovered.state.meta.installed.get(&side.name).and_then(|i| Edition::of(i.hash));
        let kept = installed.filter(|_| !std::mem::take(&mut side.file_lost));
        let edition = kept.unwrap_or(side.first);
        let config = GroupConfig {
            standby: self.settings.standby,
            step_ups: self.settings.step_ups,
            heartbeat_ms: 20,
            silence_shrink_ms: 200,
            silence_promote_ms: 600,
            ack_age_max_ms: self.settings.ack_age_max_ms,
            replicated: self.settings.replicated,
            may_lack_tail: recovered.may_lack_tail,
            recent_bytes_max: self.settings.recent_bytes_max,
            rows_bytes_max: self.settings.rows_bytes_max[node],
            build_rows_max: self.settings.build_rows_max,
            chunk_rows_max: self.settings.chunk_rows_max,
            partition: self.settings.partition.0,
            partitions: self.settings.partition.1,
            ..GroupConfig::new(side.name.clone(), "ledger".into(), self.random.draw())
        };
        let took_us = side.seat.took_us.clone();
        let mut group = Group::new(
            config,
            recovered.store,
            trusted,
            recovered.state,
            recovered.recent,
            recovered.undos,
            Box::new(
                Ledger::new(edition)
                    .counting(side.units_run.clone())
                    .timed(took_us)
                    .acting_on(self.deeds.clone()),
            ),
        );
        group.watch_units(Box::new(side.seat.clone()));
        let incarnation = side.incarnations;
        side.process =
            Some(Process { group, incarnation, watched: None, paused_until: Micros(0), batch: None });
        self.tell(Some(node), || format!("STARTS with {edition:?}, trusted {trusted}"));
        self.seen.add("start");
        let mut effects = Vec::new();
        let now = self.clock(node);
        self.process(node).group.start(now, &mut effects);
        self.carry_out(node, effects);
        self.after(Micros(500), Happening::LinkUp);
        self.tick(node);
        self.find_own_note(node);
    }

    /// Gives a command to a processor.
    pub fn command(&mut self, node: usize, command: Command) {
        if self.nodes[node].process.is_some() {
            self.tell(Some(node), || format!("IS TOLD {command:?}"));
            self.forced |= matches!(command, Command::Force);
            self.input(node, Input::Command { origin: OPERATOR, command });
        }
    }

    /// As [`command`](Self::command), and goes on until it is answered.
    pub fn carried_out(&mut self, node: usize, command: Command) -> &CommandResult {
        let before = self.results.len();
        self.command(node, command);
        self.run_until(|world| world.results.len() > before);
        self.last_result()
    }

    /// The arbiter's record.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// A processor's role; none while its process is dead.
    #[must_use]
    pub fn role(&self, node: usize) -> Option<Role> {
        self.nodes[node].process.as_ref().map(|process| process.group.role())
    }

    /// A processor's group.
    ///
    /// # Panics
    /// While its process is dead.
    #[must_use]
    pub fn group(&self, node: usize) -> &Group {
        &self.nodes[node].process.as_ref().expect("the process runs").group
    }

    fn process(&mut self, node: usize) -> &mut Process {
        self.nodes[node].process.as_mut().expect("the process runs")
    }

    /// The active processor, if the record's active runs as such.
    #[must_use]
    pub fn active(&self) -> Option<usize> {
        (0..2).find(|node| {
            self.role(*node) == Some(Role::Active)
                && self.record.as_ref().is_some_and(|record| record.active.node == name(*node))
        })
    }

    /// Whether one is active, and the other in sync and equal to it.
    #[must_use]
    pub fn in_sync(&self) -> bool {
        self.active().is_some_and(|active| self.role(1 - active) == Some(Role::Standby))
            && self.record.as_ref().is_some_and(|record| record.in_sync.len() == 2)
    }

    /// Whether a link is up.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// The last command's result.
    ///
    /// # Panics
    /// When no command has ended.
    pub fn last_result(&self) -> &CommandResult {
        self.results.last().expect("a command has ended")
    }
}
