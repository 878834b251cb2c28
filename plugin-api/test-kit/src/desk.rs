//! The desk: two real groups in memory, and what stands in for their shell.
//!
//! Inputs wait in one queue; whoever carries out effects puts their answers at its end. When the queue is empty the
//! clock goes on to the next deadline. So a run repeats itself exactly, as far as the application does.
//!
//! Deliberately absent: threads, sockets, files, a real clock; faults but the one that a test asks for; copies of
//! databases, which nobody needs whose sides don't differ and whose history is short.
//!
//! Invariant: after each event both sides hold the same bytes.

mod effects;
mod posted;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lockstep_core::command::{CommandResult, HalfWayEnd, Role};
use lockstep_core::descriptor::Version;
use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::entry::Entry;
use lockstep_core::event::Answer;
use lockstep_core::group::{Group, GroupConfig, StepUps};
use lockstep_core::ids::{GroupName, LinkId, Micros, NodeId, Number, PluginHash, SessionId, StoreId};
use lockstep_core::input::Input;
use lockstep_core::record::Record;
use lockstep_core::state::State;
use lockstep_plugin_api::Application;
use serde::{Deserialize, Serialize};

use crate::answer::Answer as Answered;
use crate::fresh;
use crate::linked::{Linked, UnitsRun, descriptor};
use crate::posted::Message;
use crate::trace::Traced;

/// How long something may take by the desk's clock until it is thought that it never happens.
const LONG: Micros = Micros::from_ms(20_000);
/// A side is silent for longer than the clock ever jumps.
const SILENCE: Micros = Micros::from_ms(600_000);
/// How much of the stream is kept: all of it, for tests.
const RECENT_BYTES_MAX: usize = 256 << 20;

/// How a desk is set up.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Everything is shipped, so that the trace has each unit's updates; the standby runs nothing itself.
    pub observed: bool,
    /// What the clock says at first.
    pub begins: Micros,
    /// Seeds the random numbers of procedures.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { observed: false, begins: Micros(1_750_000_000_000_000), seed: 0x10c5 }
    }
}

impl Settings {
    /// Another time and other random numbers: what differs then depends on them, as it may.
    pub(crate) fn another_day(self) -> Self {
        Settings { begins: self.begins.plus(Micros(98_765_432_101)), seed: !self.seed, ..self }
    }
}

/// One side of the pair.
#[derive(Default)]
struct Side {
    group: Option<Group>,
    appended: Number,
    /// What its store holds.
    entries: Vec<Arc<Entry>>,
    units_run: UnitsRun,
    undos_run: UnitsRun,
}

/// Two groups and all around them.
pub(crate) struct Desk {
    settings: Settings,
    library: Vec<&'static Application>,
    now: Micros,
    sides: [Side; 2],
    queue: VecDeque<(usize, Input)>,
    record: Option<Record>,
    link: Option<LinkId>,
    links: u64,
    origins: u64,
    answers: BTreeMap<u64, Answer>,
    results: Vec<CommandResult>,
    alarms: Vec<String>,
    /// How many further frames of procedures arrive, when that is limited.
    frames_left: Option<usize>,
    /// A frame more was to be sent: from there on nothing of the active's arrives.
    cut_off: bool,
    trace: Vec<Traced>,
    session: SessionId,
    number: u64,
    /// How events of the application's own ended, and what has left for others.
    pub(crate) ended: Vec<Answered>,
    pub(crate) left: Vec<Message>,
    taken_elsewhere: BTreeMap<GroupName, u64>,
}

/// What both stores and the arbiter hold between two events: a pair that was stopped here can be started again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    entries: Vec<Arc<Entry>>,
    record: Option<Record>,
    now: Micros,
    seed: u64,
}

/// The hash that stands for the file of the library's application number `index`.
fn hash(index: usize) -> PluginHash {
    PluginHash([index as u8 + 1; 32])
}

fn store(node: usize) -> StoreId {
    StoreId(0xde5c_0000 + node as u128)
}

fn name(node: usize) -> NodeId {
    NodeId(["a", "b"][node].into())
}

impl Desk {
    /// A pair in sync: side a is active and runs the library's application number `runs[0]`, b stands by with
    /// `runs[1]`.
    #[track_caller]
    pub(crate) fn new(settings: Settings, library: &[&'static Application], runs: [usize; 2]) -> Self {
        fresh::take_over(library);
        let mut desk = Desk::empty(settings, library);
        // Rows are written for the first version that was there: the older one.
        let versions = runs.map(|index| descriptor(desk.library[index]).version);
        let first = usize::from(versions[1] < versions[0]);
        desk.start(first, runs[first]);
        desk.run_until("one side is active", |desk| desk.active() == Some(first));
        desk.start(1 - first, runs[1 - first]);
        desk.run_until("both sides are in step", Desk::is_in_sync);
        if first == 1 {
            desk.switch_over();
        }
        desk.open_session();
        desk
    }

    /// What a pair has to be started from again.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            entries: self.sides[self.the_active()].entries.clone(),
            record: self.record.clone(),
            now: self.now,
            seed: self.settings.seed,
        }
    }

    /// A pair of processors that were stopped at `snapshot` and started again, both with `application`: nothing of what
    /// the databases hold is run again. Everything is shipped, so that the trace has each unit's updates.
    #[track_caller]
    pub(crate) fn restarted(snapshot: &Snapshot, application: &'static Application) -> Self {
        let settings = Settings { observed: true, begins: snapshot.now, seed: snapshot.seed };
        let mut desk = Desk::empty(settings, &[application]);
        desk.record.clone_from(&snapshot.record);
        for side in &mut desk.sides {
            side.entries.clone_from(&snapshot.entries);
            side.appended = snapshot.entries.last().map_or(Number(0), |entry| entry.number);
        }
        let was_active =
            |node: &usize| snapshot.record.as_ref().is_some_and(|record| record.active.store == store(*node));
        let first = (0..2).find(was_active).unwrap_or(0);
        desk.start(first, 0);
        desk.start(1 - first, 0);
        desk.run_until("both sides are in step again", Desk::is_in_sync);
        desk.open_session();
        desk.trace.clear();
        desk
    }

    fn empty(settings: Settings, library: &[&'static Application]) -> Self {
        Desk {
            settings,
            library: library.to_vec(),
            now: settings.begins,
            sides: [Side::default(), Side::default()],
            queue: VecDeque::new(),
            record: None,
            link: None,
            links: 0,
            origins: 0,
            answers: BTreeMap::new(),
            results: Vec::new(),
            alarms: Vec::new(),
            frames_left: None,
            cut_off: false,
            trace: Vec::new(),
            session: SessionId(0),
            number: 0,
            ended: Vec::new(),
            left: Vec::new(),
            taken_elsewhere: BTreeMap::new(),
        }
    }

    fn linked(&self, node: usize, index: usize) -> Linked {
        let Side { units_run, undos_run, .. } = &self.sides[node];
        let linked = Linked::start(self.library[index], hash(index), units_run.clone(), undos_run.clone());
        if self.settings.observed && node == 1 { linked.unlike_any() } else { linked }
    }

    fn start(&mut self, node: usize, index: usize) {
        let application = self.linked(node, index);
        let config = GroupConfig {
            heartbeat_ms: 20,
            // Deaths are told at once here; the clock may jump.
            silence_shrink_ms: SILENCE.0 / 1_000 + 1_000,
            silence_promote_ms: SILENCE.0 / 500,
            recent_bytes_max: RECENT_BYTES_MAX,
            // Each is a place where a test may cut the stream, and what it looks at.
            step_ups: StepUps::Apart,
            // The same seed on both sides: an event that runs again under its number draws the same random numbers.
            ..GroupConfig::new(name(node), application.name().into(), self.settings.seed)
        };
        let entries = &self.sides[node].entries;
        let mut state = State::new(store(node));
        // What its store holds is acknowledged: nothing of it is taken back.
        entries.iter().for_each(|entry| drop(state.apply((**entry).clone())));
        let recent = entries.iter().map(|entry| EncodedEntries::from(&**entry)).collect();
        let mut group =
            Group::new(config, store(node), true, state, recent, Vec::new(), Box::new(application));
        let mut effects = Vec::new();
        group.start(self.now, &mut effects);
        self.sides[node].group = Some(group);
        self.carry_out(node, effects);
    }

    /// Lets a further application be loaded.
    pub(crate) fn add_to_library(&mut self, application: &'static Application) {
        fresh::take_over(&[application]);
        self.library.push(application);
    }

    /// The lowest version that may still have to read the rows.
    pub(crate) fn floor(&self) -> Version {
        self.group(self.the_active()).state().meta.floor
    }

    /// What was sent about procedures so far.
    pub(crate) fn trace(&self) -> &[Traced] {
        &self.trace
    }

    /// The side that the record names active, if it is.
    pub(crate) fn active(&self) -> Option<usize> {
        let record = self.record.as_ref()?;
        (0..2).find(|node| self.role(*node) == Some(Role::Active) && record.active.store == store(*node))
    }

    /// The active side, which there is between events.
    pub(crate) fn the_active(&self) -> usize {
        self.active().expect("between events one side is active")
    }

    fn role(&self, node: usize) -> Option<Role> {
        self.sides[node].group.as_ref().map(Group::role)
    }

    /// A living side's group.
    pub(crate) fn group(&self, node: usize) -> &Group {
        self.sides[node].group.as_ref().expect("this side lives")
    }

    /// The number in the library of what a living side runs.
    pub(crate) fn runs(&self, node: usize) -> usize {
        let runs = self.group(node).descriptor().hash;
        (0..self.library.len()).find(|index| hash(*index) == runs).expect("what runs is of the library")
    }

    /// The names of the units that a side has run since this was asked last.
    pub(crate) fn units_run(&self, node: usize) -> Vec<String> {
        self.sides[node].units_run.take()
    }

    /// The names of the undos that a side has run since this was asked last.
    pub(crate) fn undos_run(&self, node: usize) -> Vec<String> {
        self.sides[node].undos_run.take()
    }

    fn is_in_sync(&self) -> bool {
        self.active().is_some_and(|active| self.role(1 - active) == Some(Role::Standby))
            && self.record.as_ref().is_some_and(|record| record.in_sync.len() == 2)
    }

    /// What the active did with a procedure that its takeover found half-way, if it found one.
    pub(crate) fn half_way(&self) -> Option<HalfWayEnd> {
        let status = self.group(self.the_active()).status(self.now);
        status.half_way.last().map(|(half_way, _)| half_way.end)
    }

    /// The first database difference between the two sides, in words.
    pub(crate) fn difference(&self) -> Option<String> {
        let active = self.the_active();
        let rows = |node: usize| crate::rows::all_rows(self.group(node).state());
        crate::rows::first_difference(("active", &rows(active)), ("standby", &rows(1 - active)))
    }
}
