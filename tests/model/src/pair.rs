//! A state of the model: two processors, their disks, the link, the arbiter's record, what is left to happen, and what
//! was answered and named so far.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::campaign::{CampaignPlan, Decide, Gates, OwnChecks, Redundancy};
use lockstep_core::command::{Command, Role};
use lockstep_core::event::Request;
use lockstep_core::group::{Group, GroupConfig, Identity};
use lockstep_core::ids::{Epoch, LinkId, Micros, NodeId, Number, Origin, PluginHash, StoreId, Term};
use lockstep_core::input::Input;
use lockstep_core::message::Frame;
use lockstep_core::record::{Record, SwapOutcome};
use lockstep_sim::disk::SimDisk;

use crate::application::{Edition, Idle};
use crate::bounds::Bounds;

/// Between two steps of a side: longer than each of the core's short waits.
pub const STEP: Micros = Micros::from_ms(110);
/// A side that is silent for so long is given up. Never reached by steps alone.
const SILENCE_MS: u64 = 100_000_000;
/// How often a side says that it lives: never by steps alone, only while all comes to rest.
pub const HEARTBEAT: Micros = Micros::from_ms(SILENCE_MS / 4);

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The next thing on the link arrives.
    Deliver(usize),
    /// The arbiter tells the record, as asked.
    Read(usize),
    /// The arbiter swaps the record, as asked.
    Swap(usize),
    /// It swaps or does not, and nobody hears what it did.
    UnknownSwap {
        /// Who asked.
        side: usize,
        /// Whether it swapped.
        took: bool,
    },
    /// The outcome of a swap arrives.
    Outcome(usize),
    /// Everything appended so far is durable.
    Sync(usize),
    /// A copy is durable.
    CopyDurable(usize),
    /// A plugin is loaded.
    Load {
        /// Where.
        side: usize,
        /// It can't be.
        fails: bool,
    },
    /// Time passes.
    Tick(usize),
    /// A link comes up.
    LinkUp,
    /// It is cut.
    Cut {
        /// What is in flight is lost.
        lost: bool,
    },
    /// A process dies.
    Die {
        /// Whose.
        side: usize,
        /// What was not synced is lost.
        power: bool,
        /// What it sent and has not arrived is lost.
        lost: bool,
    },
    /// A process starts.
    Start {
        /// Whose.
        side: usize,
        /// Its store is found damaged.
        damaged: bool,
    },
    /// A side has not heard of the other for too long.
    Silence(usize),
    /// An event comes in.
    Event(usize),
    /// A switchover is asked for.
    SwitchOver(usize),
    /// An isolation is asked for.
    Isolate(usize),
    /// An integration is asked for.
    Integrate(usize),
    /// A campaign is asked for.
    Campaign(usize),
    /// It is to be aborted.
    Abort(usize),
}

/// On the link.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Frame(Arc<Frame>, u64),
    Down,
}

#[derive(Clone)]
pub(crate) struct Process {
    pub group: Group,
    pub watched: Option<StoreId>,
    pub clock: Micros,
}

#[derive(Clone)]
pub(crate) struct Side {
    /// Shared between states until one changes it. Behind a lock only because groups are not `Sync`.
    process: Option<Arc<Mutex<Process>>>,
    pub disk: Arc<SimDisk>,
    pub starts: u64,
    /// Something was written that no sync was asked for since.
    pub unsynced: bool,
    pub copy_ended: Option<StoreId>,
    pub loading: Option<PluginHash>,
    /// The arbiter is asked for the record.
    pub reads: bool,
    /// It has been answered in this step already, or is to be answered late.
    pub read_at_once: bool,
    /// The arbiter is asked for a swap: the epoch that is expected, the new record.
    pub swap: Option<(Epoch, Record)>,
    pub outcome: Option<SwapOutcome>,
    /// What is on its way to this side.
    pub parcels: VecDeque<Parcel>,
    /// Records that a swap of this process made to promote it.
    pub promotions: u64,
    identity: u64,
    changed: bool,
}

/// A state.
#[derive(Clone)]
pub struct Pair {
    pub(crate) left: Bounds,
    pub(crate) sides: [Side; 2],
    pub(crate) record: Option<Record>,
    pub(crate) link: Option<LinkId>,
    pub(crate) links: u64,
    /// Every entry by its name: digests with and without times.
    pub(crate) names: Arc<BTreeMap<(Term, Number), (u64, u64)>>,
    /// What was answered.
    pub(crate) answered: Arc<BTreeMap<Number, Term>>,
    pub(crate) asked_events: u64,
    pub(crate) answered_events: Arc<BTreeSet<Origin>>,
    /// Stores that were found damaged: nobody knows what they had.
    pub(crate) damaged: Arc<BTreeSet<StoreId>>,
    /// What went wrong; nothing happens any more.
    pub(crate) wrong: Option<Arc<str>>,
    /// What happened in the step that led here, to be counted.
    pub(crate) reached: Vec<&'static str>,
    identity: u64,
}

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.identity);
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Process {
    pub fn of(shared: &Mutex<Process>) -> std::sync::MutexGuard<'_, Process> {
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Side {
    fn new(side: usize) -> Self {
        Side {
            process: None,
            disk: Arc::new(SimDisk::new(StoreId(side as u128 + 1))),
            starts: 0,
            unsynced: false,
            copy_ended: None,
            loading: None,
            reads: false,
            read_at_once: false,
            swap: None,
            outcome: None,
            parcels: VecDeque::new(),
            promotions: 0,
            identity: 0,
            changed: true,
        }
    }

    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Whether the arbiter has nothing to do for it.
    pub fn is_quiet(&self) -> bool {
        !self.reads && self.swap.is_none() && self.outcome.is_none()
    }

    /// Looks at the group.
    pub fn with<T>(&self, look: impl FnOnce(&Group) -> T) -> Option<T> {
        self.process.as_deref().map(|process| look(&Process::of(process).group))
    }

    pub fn role(&self) -> Option<Role> {
        self.with(Group::role)
    }

    pub fn process(&mut self) -> &mut Process {
        self.changed = true;
        let shared = self.process.as_mut().expect("the process runs");
        if Arc::get_mut(shared).is_none() {
            let copy = Process::of(shared).clone();
            *shared = Arc::new(Mutex::new(copy));
        }
        let alone = Arc::get_mut(shared).expect("just made");
        alone.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn disk(&mut self) -> &mut SimDisk {
        self.changed = true;
        Arc::make_mut(&mut self.disk)
    }

    fn identify(&mut self) -> u64 {
        if std::mem::take(&mut self.changed) {
            let mut identity = Identity::default();
            self.disk.add_to(&mut identity);
            if let Some(process) = self.process.as_deref() {
                let process = Process::of(process);
                identity.add((process.group.identity(STEP), process.watched));
            }
            self.identity = identity.digest();
        }
        let mut identity = Identity::default();
        identity.add((self.identity, self.starts, self.unsynced, self.copy_ended, self.loading));
        identity.add((self.reads, &self.swap, &self.outcome, self.promotions));
        for parcel in &self.parcels {
            match parcel {
                Parcel::Frame(_, digest) => identity.add(digest),
                Parcel::Down => identity.add("down"),
            }
        }
        identity.digest()
    }
}

pub(crate) fn node(side: usize) -> NodeId {
    NodeId(["a", "b"][side].into())
}

impl Pair {
    /// Two processors that have never run.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Pair {
            left: bounds,
            sides: [Side::new(0), Side::new(1)],
            record: None,
            link: None,
            links: 0,
            names: Arc::default(),
            answered: Arc::default(),
            asked_events: 0,
            answered_events: Arc::default(),
            damaged: Arc::default(),
            wrong: None,
            reached: Vec::new(),
            identity: 0,
        }
    }

    /// Recomputes what tells this state from others.
    pub(crate) fn identify(&mut self) {
        let mut identity = Identity::default();
        let sides = [0, 1].map(|side| self.sides[side].identify());
        identity.add((self.left, sides, &self.record, self.link.is_some(), &self.answered, &self.wrong));
        self.names.iter().for_each(|(name, (_, timeless))| identity.add((name, timeless)));
        identity.add((self.asked_events, &self.answered_events, &self.damaged));
        self.identity = identity.digest();
    }

    /// What tells this state from others.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    pub(crate) fn is(&self, side: usize, role: Role) -> bool {
        self.sides[side].role() == Some(role)
    }

    /// The side that is active by the record too.
    pub(crate) fn active(&self) -> Option<usize> {
        let recorded = self.record.as_ref().map(|record| record.active.node.clone())?;
        (0..2).find(|side| self.is(*side, Role::Active) && node(*side) == recorded)
    }

    /// What may happen here.
    pub(crate) fn actions(&self, actions: &mut Vec<Action>) {
        if self.wrong.is_some() {
            return;
        }
        let left = &self.left;
        for side in 0..2 {
            self.actions_of(side, actions);
        }
        let quiet = self.sides.iter().all(|side| side.parcels.is_empty() && side.runs());
        if self.link.is_none() && quiet {
            actions.push(Action::LinkUp);
        }
        if self.link.is_some() && left.cuts > 0 {
            actions.push(Action::Cut { lost: false });
            if self.sides.iter().any(|side| !side.parcels.is_empty()) {
                actions.push(Action::Cut { lost: true });
            }
        }
    }

    fn actions_of(&self, number: usize, actions: &mut Vec<Action>) {
        let (side, left) = (&self.sides[number], &self.left);
        if !side.runs() {
            actions.push(Action::Start { side: number, damaged: false });
            if left.damages > 0 && self.is(1 - number, Role::Active) && side.starts > 0 {
                actions.push(Action::Start { side: number, damaged: true });
            }
            return;
        }
        if !side.parcels.is_empty() {
            actions.push(Action::Deliver(number));
        }
        if side.reads {
            actions.push(Action::Read(number));
        }
        if side.swap.is_some() {
            actions.push(Action::Swap(number));
        }
        if side.swap.is_some() && left.unknown_swaps > 0 {
            actions.extend([true, false].map(|took| Action::UnknownSwap { side: number, took }));
        }
        if side.outcome.is_some() {
            actions.push(Action::Outcome(number));
        }
        if side.unsynced {
            actions.push(Action::Sync(number));
        }
        if side.copy_ended.is_some() {
            actions.push(Action::CopyDurable(number));
        }
        if side.loading.is_some() {
            actions.push(Action::Load { side: number, fails: false });
            if left.failed_loads > 0 {
                actions.push(Action::Load { side: number, fails: true });
            }
        }
        actions.push(Action::Tick(number));
        if left.deaths > 0 {
            for power in [false, true] {
                for lost in [false, true] {
                    let empty = self.sides[1 - number].parcels.is_empty();
                    let quiet = left.quiet_deaths && (power || lost);
                    if (!power || side.unsynced) && (!lost || !empty) && !quiet {
                        actions.push(Action::Die { side: number, power, lost });
                    }
                }
            }
        }
        if left.silences > 0 {
            actions.push(Action::Silence(number));
        }
        if side.role() == Some(Role::Active) {
            let commands = [
                (left.events, Action::Event(number)),
                (left.switchovers, Action::SwitchOver(number)),
                (left.isolations, Action::Isolate(number)),
                (left.isolations, Action::Integrate(number)),
                (left.campaigns, Action::Campaign(number)),
                (left.aborts, Action::Abort(number)),
            ];
            actions.extend(commands.iter().filter(|(left, _)| *left > 0).map(|(_, action)| *action));
        }
    }

    /// Lets `action` happen.
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Deliver(side) => self.deliver(side),
            Action::Read(side) => self.read(side),
            Action::Swap(side) => self.swap(side),
            Action::UnknownSwap { side, took } => {
                self.left.unknown_swaps -= 1;
                self.unknown_swap(side, took);
            }
            Action::Outcome(side) => {
                let outcome = self.sides[side].outcome.take().expect("there is one");
                self.input(side, Input::Swapped(outcome));
            }
            Action::Sync(side) => self.sync(side),
            Action::CopyDurable(side) => {
                let store = self.sides[side].copy_ended.take().expect("a copy has ended");
                self.input(side, Input::CopyDurable { store });
            }
            Action::Load { side, fails } => {
                self.left.failed_loads -= u8::from(fails);
                self.load(side, fails);
            }
            Action::Tick(side) => self.input(side, Input::Tick),
            Action::LinkUp => self.link_up(),
            Action::Cut { lost } => {
                self.left.cuts -= 1;
                self.cut(lost);
            }
            Action::Die { side, power, lost } => {
                self.left.deaths -= 1;
                self.die(side, power, lost);
            }
            Action::Start { side, damaged } => {
                self.left.damages -= u8::from(damaged);
                self.start(side, damaged);
            }
            Action::Silence(side) => {
                self.left.silences -= 1;
                let process = self.sides[side].process();
                process.clock = process.clock.plus(Micros::from_ms(2 * SILENCE_MS));
                self.input(side, Input::Tick);
            }
            Action::Event(side) => {
                self.left.events -= 1;
                self.asked_events += 1;
                let origin = Origin(self.asked_events);
                self.input(side, Input::Request { origin, request: Request::OpenSession });
            }
            Action::SwitchOver(side) => {
                self.left.switchovers -= 1;
                self.command(side, Command::SwitchOver);
            }
            Action::Isolate(side) => {
                self.left.isolations -= 1;
                self.command(side, Command::Isolate);
            }
            Action::Integrate(side) => {
                self.left.isolations -= 1;
                self.command(side, Command::Integrate);
            }
            Action::Campaign(side) => {
                self.left.campaigns -= 1;
                let plan = Box::new(plan(self.left.isolating_campaign));
                self.command(side, Command::StartCampaign(plan));
            }
            Action::Abort(side) => {
                self.left.aborts -= 1;
                self.command(side, Command::AbortCampaign { partner_gone: false });
            }
        }
        self.check();
    }

    pub(crate) fn command(&mut self, side: usize, command: Command) {
        self.input(side, Input::Command { origin: Origin(0), command });
    }

    pub(crate) fn start(&mut self, number: usize, damaged: bool) {
        let record = self.record.clone();
        let left = self.left;
        let side = &mut self.sides[number];
        if damaged {
            let stores: Vec<_> = side.disk.stores(false).map(|(store, _)| store).collect();
            Arc::make_mut(&mut self.damaged).extend(stores);
            side.disk().ruin();
            self.reached.push("a store is found damaged");
        }
        let recorded = |store| record.as_ref().is_some_and(|record| record.is_recorded(store));
        let recovered = side.disk().recover(recorded, true);
        side.starts += 1;
        let config = GroupConfig {
            heartbeat_ms: HEARTBEAT.0 / 1_000,
            silence_shrink_ms: SILENCE_MS,
            silence_promote_ms: SILENCE_MS + 1,
            ack_age_max_ms: SILENCE_MS,
            recent_bytes_max: if left.copies { 0 } else { 1 << 20 },
            ..GroupConfig::new(node(number), "idle".into(), side.starts * 2 + number as u64)
        };
        let installed = recovered.state.meta.installed.get(&node(number)).map(|i| i.hash);
        let edition = installed.map_or(Edition::One, Edition::of);
        let recent = if left.copies { Vec::new() } else { recovered.recent };
        let mut group = Group::new(
            config,
            recovered.store,
            recovered.trusted,
            recovered.state,
            recent,
            recovered.undos,
            Box::new(Idle::new(edition)),
        );
        let (clock, mut effects) = (Micros(1_000_000), Vec::new());
        group.start(clock, &mut effects);
        side.process = Some(Arc::new(Mutex::new(Process { group, watched: None, clock })));
        side.changed = true;
        self.carry_out(number, effects);
    }

    pub(crate) fn die(&mut self, number: usize, power: bool, lost: bool) {
        let side = &mut self.sides[number];
        let store = side.with(Group::store);
        side.process = None;
        side.changed = true;
        if power {
            side.disk().crash_to_synced();
        } else {
            side.disk().crash_softly();
        }
        (side.unsynced, side.copy_ended, side.loading) = (false, None, None);
        (side.reads, side.swap, side.outcome, side.promotions) = (false, None, None, 0);
        side.parcels.clear();
        let was_up = self.link.take().is_some();
        let other = &mut self.sides[1 - number];
        let told = was_up || !other.parcels.is_empty();
        if lost {
            other.parcels.clear();
        }
        if told && other.runs() {
            other.parcels.push_back(Parcel::Down);
        }
        let watched = other.process.as_deref().and_then(|process| Process::of(process).watched);
        if let Some(store) = store.filter(|store| watched == Some(*store)) {
            self.input(1 - number, Input::PartnerDied { store });
        }
    }
}

/// The campaign that is tried: from the first version to the second, with gates that pass at once.
fn plan(isolating: bool) -> CampaignPlan {
    CampaignPlan {
        from: Edition::One.version(),
        from_hash: Edition::One.hash(),
        to: Edition::Two.version(),
        to_hash: Edition::Two.hash(),
        redundancy: if isolating { Redundancy::Isolate } else { Redundancy::Keep },
        gates: Gates {
            time_min_ms: 0,
            events_min: 0,
            time_max_ms: u64::MAX / 4_000,
            faults_max: 0,
            divergences_max: 0,
            latency_ratio_max_percent: 0,
            latency_floor_us: 0,
        },
        own_checks: OwnChecks::default(),
        decide: Decide::Automatic,
        rollback_after_ms: u64::MAX / 4_000,
        step_time_max_ms: u64::MAX / 4_000,
        enable_features: false,
        notify: String::new(),
        started_by: "model".into(),
        why: String::new(),
        retire: Default::default(),
        only_new: Default::default(),
    }
}
