//! The simulated world: two processors with real groups, a network, an arbiter, disks, a clock.

use std::collections::BTreeMap;

use lockstep_core::command::{Command, CommandError, CommandResult, Role};
use lockstep_core::effect::{Alarm, Effect};
use lockstep_core::event::{Outcome, Request};
use lockstep_core::group::{Group, GroupConfig, StandbyStart};
use lockstep_core::ids::{Epoch, LinkId, Micros, NodeId, Number, Origin, PluginHash, StoreId, TableId};
use lockstep_core::input::Input;
use lockstep_core::message::{Frame, PeerMessage};
use lockstep_core::record::{Record, SwapOutcome};

use crate::clients::SimClient;
use crate::disk::{SimDisk, Sync};
use crate::ledger::{self, Edition, Ledger};
use crate::random::Random;

/// How the world is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a standby starts a unit.
    pub standby: StandbyStart,
    /// How many of a hundred swaps have an unknown outcome.
    pub unknown_swaps_percent: u64,
    /// The recent stream's bound in bytes: small ones lead to whole copies.
    pub recent_bytes_max: usize,
    /// A version that computes something else takes part.
    pub divergence_expected: bool,
    /// Keep a story of what happened.
    pub story: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            standby: StandbyStart::Behind,
            unknown_swaps_percent: 0,
            recent_bytes_max: 1 << 20,
            divergence_expected: false,
            story: false,
        }
    }
}

struct Process {
    group: Group,
    incarnation: u64,
    watched: Option<StoreId>,
    paused_until: Micros,
}

struct Node {
    name: NodeId,
    first: Edition,
    disk: SimDisk,
    process: Option<Process>,
    incarnations: u64,
}

enum Happening {
    Input { node: usize, incarnation: u64, input: Input },
    Synced { node: usize, incarnation: u64, sync: Sync },
    Read { node: usize, incarnation: u64 },
    Swap { node: usize, incarnation: u64, expected: Epoch, next: Record },
    LinkUp,
    Clients,
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
    record: Option<Record>,
    link: Option<LinkId>,
    links: u64,
    /// While true, no link comes up.
    pub partitioned: bool,
    last_delivery: [Micros; 2],
    frames_until_cut: Option<u64>,
    /// The clients.
    pub clients: Vec<SimClient>,
    /// What was seen.
    pub seen: Seen,
    /// Results of commands, in order.
    pub results: Vec<CommandResult>,
    story: Vec<String>,
}

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
            disk: SimDisk::new(StoreId(0xd15c_0000 + index as u128)),
            process: None,
            incarnations: 0,
        };
        let mut world = World {
            now: Micros(1_000_000),
            random: Random::new(seed),
            settings,
            queue: BTreeMap::new(),
            happenings: 0,
            nodes: [node(0), node(1)],
            record: None,
            link: None,
            links: 0,
            partitioned: false,
            last_delivery: [Micros(0); 2],
            frames_until_cut: None,
            clients: Vec::new(),
            seen: Seen::default(),
            results: Vec::new(),
            story: Vec::new(),
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
        let origin = self.clients[client].adopt(now, node, &request);
        self.input(node, Input::Request { origin, request });
    }

    fn after(&mut self, delay: Micros, happening: Happening) {
        self.happenings += 1;
        self.queue.insert((self.now.plus(delay), self.happenings), happening);
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.settings.story {
            self.story.push(format!("{:>12.3} ms  {}", self.now.0 as f64 / 1_000.0, what()));
        }
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
        let recovered = self.nodes[node].disk.recover();
        let side = &mut self.nodes[node];
        side.incarnations += 1;
        let installed = recovered.state.meta.installed.get(&side.name).and_then(|i| Edition::of(i.hash));
        let edition = installed.unwrap_or(side.first);
        let config = GroupConfig {
            node: side.name.clone(),
            application: "ledger".into(),
            standby: self.settings.standby,
            heartbeat_ms: 20,
            silence_shrink_ms: 200,
            silence_promote_ms: 600,
            seed: self.random.draw(),
            recent_bytes_max: self.settings.recent_bytes_max,
        };
        let group = Group::new(
            config,
            recovered.store,
            true,
            recovered.state,
            recovered.recent,
            recovered.undos,
            Box::new(Ledger::new(edition)),
        );
        let incarnation = side.incarnations;
        side.process = Some(Process { group, incarnation, watched: None, paused_until: Micros(0) });
        self.tell(|| format!("{} starts with {edition:?}", ["a", "b"][node]));
        let mut effects = Vec::new();
        let now = self.now;
        self.process(node).group.start(now, &mut effects);
        self.carry_out(node, effects);
        self.after(Micros(500), Happening::LinkUp);
        self.tick(node);
    }

    /// Kills a processor's process; with `power`, what was not synced may be lost.
    pub fn kill(&mut self, node: usize, power: bool) {
        let Some(process) = self.nodes[node].process.take() else { return };
        self.tell(|| format!("{} is killed ({:?}, power {power})", ["a", "b"][node], process.group.role()));
        self.seen.add(format!("kill of {}", process.group.role()));
        let store = process.group.store();
        self.nodes[node].disk.crash(power, &mut self.random);
        let other = 1 - node;
        if self.nodes[other].process.as_ref().is_some_and(|process| process.watched == Some(store)) {
            let delay = Micros(self.random.within(300, 3_000));
            self.input_after(other, delay, Input::PartnerDied { store });
        }
        self.drop_link();
    }

    /// Kills a processor's process so that what it has sent arrives: only the process is gone.
    pub fn kill_quietly(&mut self, node: usize) {
        self.cut_here();
        self.kill(node, false);
    }

    /// Stops a process for a while, as `SIGSTOP` does.
    pub fn pause(&mut self, node: usize, length: Micros) {
        let until = self.now.plus(length);
        if let Some(process) = &mut self.nodes[node].process {
            process.paused_until = until;
            self.seen.add("pause");
            self.tell(|| format!("{} is paused", ["a", "b"][node]));
        }
    }

    /// Cuts the link now.
    pub fn cut(&mut self) {
        self.tell(|| "the link is cut".into());
        self.seen.add("cut");
        self.drop_link();
    }

    /// Cuts the link after so many further frames.
    pub fn cut_after_frames(&mut self, frames: u64) {
        self.frames_until_cut = Some(frames);
    }

    fn drop_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        self.frames_until_cut = None;
        // What is in flight may still arrive: a random part of it, in order.
        for node in 0..2 {
            let until = self.now.plus(Micros(self.random.within(0, 300)));
            let lost: Vec<_> = self
                .queue
                .iter()
                .filter(|((at, _), happening)| {
                    *at > until
                        && matches!(happening, Happening::Input { node: to, input: Input::Peer { link: on, .. }, .. }
                            if *to == node && *on == link)
                })
                .map(|(key, _)| *key)
                .collect();
            lost.iter().for_each(|key| drop(self.queue.remove(key)));
            let delay = until.since(self.now).plus(Micros(1));
            self.input_after(node, delay, Input::LinkDown { link });
        }
        let again = Micros(self.random.within(500, 20_000));
        self.after(again, Happening::LinkUp);
    }

    /// Gives a command to a processor.
    pub fn command(&mut self, node: usize, command: Command) {
        if self.nodes[node].process.is_some() {
            let origin = Origin(u64::MAX);
            self.input(node, Input::Command { origin, command });
        }
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

    // -- running

    /// Runs until `done`, or for a minute of the world's time.
    ///
    /// # Panics
    /// When it is not done by then: something that should live does not.
    pub fn run_until(&mut self, done: impl Fn(&World) -> bool) {
        let end = self.now.plus(Micros::from_ms(60_000));
        while !done(self) {
            assert!(self.now < end, "nothing came of it in a minute: {}", self.describe());
            self.run_one();
        }
    }

    /// Runs for a length of time.
    pub fn run_for(&mut self, length: Micros) {
        let end = self.now.plus(length);
        while self.queue.keys().next().is_some_and(|(at, _)| *at <= end) {
            self.run_one();
        }
        self.now = end;
    }

    /// A line about how things stand.
    #[must_use]
    pub fn describe(&self) -> String {
        let side = |node: usize| match &self.nodes[node].process {
            Some(process) => format!(
                "{} {:?} term {} last {} held {} campaign {:?}",
                name(node),
                process.group.role(),
                process.group.term(),
                process.group.state().meta.last,
                process.group.held(),
                process.group.state().meta.campaign.as_ref().map(|c| (c.step, c.reason.clone())),
            ),
            None => format!("{} is dead", name(node)),
        };
        let under_way: usize = self.clients.iter().map(SimClient::under_way).sum();
        format!(
            "{}; {}; record {:?}; link {:?}; {under_way} under way",
            side(0),
            side(1),
            self.record,
            self.link
        )
    }

    fn run_one(&mut self) {
        let ((at, _), happening) = self.queue.pop_first().expect("clients and ticks never end");
        self.now = self.now.max(at);
        match happening {
            Happening::Input { node, incarnation, input } => {
                if let Some(until) = self.paused(node, incarnation) {
                    return self.after(until, Happening::Input { node, incarnation, input });
                }
                if self.runs(node, incarnation) {
                    let tick = matches!(input, Input::Tick);
                    self.input(node, input);
                    if tick && self.runs(node, incarnation) {
                        self.tick(node);
                    }
                }
            }
            Happening::Synced { node, incarnation, sync } => {
                if let Some(until) = self.paused(node, incarnation) {
                    return self.after(until, Happening::Synced { node, incarnation, sync });
                }
                if self.runs(node, incarnation)
                    && let Some((store, through)) = self.nodes[node].disk.sync_end(sync)
                {
                    self.input(node, Input::Durable { store, through });
                }
            }
            Happening::Read { node, incarnation } => {
                let record = self.record.clone();
                if self.runs(node, incarnation) {
                    self.input_after(node, Micros(1), Input::RecordRead(Ok(record)));
                }
            }
            Happening::Swap { node, incarnation, expected, next } => {
                self.swap(node, incarnation, expected, next)
            }
            Happening::LinkUp => self.link_up(),
            Happening::Clients => {
                self.after(Micros::from_ms(2), Happening::Clients);
                for client in 0..self.clients.len() {
                    let now = self.now;
                    for (node, origin, request) in self.clients[client].send(now, &mut self.random) {
                        self.ask(node, origin, request);
                    }
                }
            }
        }
    }

    fn ask(&mut self, node: usize, origin: Origin, request: Request) {
        let delay = Micros(self.random.within(20, 200));
        self.input_after(node, delay, Input::Request { origin, request });
    }

    fn paused(&self, node: usize, incarnation: u64) -> Option<Micros> {
        let process =
            self.nodes[node].process.as_ref().filter(|process| process.incarnation == incarnation)?;
        (process.paused_until > self.now).then(|| process.paused_until.since(self.now))
    }

    fn runs(&self, node: usize, incarnation: u64) -> bool {
        self.nodes[node].process.as_ref().is_some_and(|process| process.incarnation == incarnation)
    }

    fn input_after(&mut self, node: usize, delay: Micros, input: Input) {
        if let Some(process) = &self.nodes[node].process {
            let incarnation = process.incarnation;
            self.after(delay, Happening::Input { node, incarnation, input });
        }
    }

    fn tick(&mut self, node: usize) {
        let now = self.now;
        let at = self.process(node).group.next_deadline().unwrap_or(now).since(now);
        self.input_after(node, at.max(Micros(1_000)), Input::Tick);
    }

    fn link_up(&mut self) {
        let paused =
            |node: &Node| node.process.as_ref().is_none_or(|process| process.paused_until > self.now);
        if self.link.is_some() || self.nodes.iter().any(|node| node.process.is_none()) {
            return;
        }
        if self.partitioned || self.nodes.iter().any(paused) {
            return self.after(Micros::from_ms(5), Happening::LinkUp);
        }
        self.links += 1;
        let link = LinkId(self.links);
        self.link = Some(link);
        self.last_delivery = [self.now; 2];
        (0..2).for_each(|node| self.input_after(node, Micros(10), Input::LinkUp { link }));
        self.last_delivery = [self.now.plus(Micros(11)); 2];
    }

    fn swap(&mut self, node: usize, incarnation: u64, expected: Epoch, next: Record) {
        let epoch = self.record.as_ref().map_or(Epoch(0), |record| record.epoch);
        let takes = epoch == expected;
        let unknown = self.random.percent(self.settings.unknown_swaps_percent);
        let lost_on_the_way = unknown && self.random.percent(50);
        if takes && !lost_on_the_way {
            assert_eq!(next.epoch, expected.next(), "epochs grow by one (R3)");
            if let Some(record) = &self.record
                && record.active != next.active
            {
                assert!(record.is_recorded(next.active.store), "only a recorded member is promoted (R5)");
            }
            self.tell(|| format!("record: {next:?}"));
            self.record = Some(next.clone());
        }
        let outcome = if unknown {
            self.seen.add("unknown swap");
            SwapOutcome::Unknown("simulated".into())
        } else if takes {
            SwapOutcome::Done(next)
        } else {
            SwapOutcome::Lost(self.record.clone())
        };
        if self.runs(node, incarnation) {
            self.input_after(node, Micros(1), Input::Swapped(outcome));
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        let now = self.now;
        let mut effects = Vec::new();
        let group = &mut self.process(node).group;
        group.step(now, input, &mut effects);
        group.end_batch(now, &mut effects);
        self.carry_out(node, effects);
    }

    fn living(&self, store: StoreId) -> bool {
        self.nodes
            .iter()
            .filter_map(|node| node.process.as_ref())
            .any(|process| process.group.store() == store)
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let incarnation = self.process(node).incarnation;
        let mut sync = false;
        for effect in effects {
            match effect {
                Effect::Answer { origin, answer } => {
                    let (now, client) = (self.now, SimClient::of(origin));
                    self.clients[client].on_answer(now, origin, answer);
                }
                Effect::CommandDone { result, .. } => self.results.push(result),
                Effect::Send { link, frame } => self.carry(node, link, frame),
                Effect::CloseLink { link } => {
                    if self.link == Some(link) {
                        self.drop_link();
                    }
                }
                Effect::Append(entry) => {
                    self.nodes[node].disk.append(entry);
                    sync = true;
                }
                Effect::CutBack { to } => self.nodes[node].disk.cut_back(to),
                Effect::Held { .. } => {}
                Effect::CopyBegin { store, meta } => {
                    self.seen.add("copy");
                    self.nodes[node].disk.copy_begin(store, *meta);
                }
                Effect::CopyRows(rows) => self.nodes[node].disk.copy_rows(&rows),
                Effect::CopyEnd { sessions, keyed, meta } => {
                    let disk = &mut self.nodes[node].disk;
                    disk.copy_end(sessions, keyed, *meta);
                    let store = disk.target_id();
                    let delay = Micros(self.random.within(500, 3_000));
                    self.input_after(node, delay, Input::CopyDurable { store });
                }
                Effect::CopyKept => self.nodes[node].disk.copy_kept(),
                Effect::CopyDropped => self.nodes[node].disk.copy_dropped(),
                Effect::ReadRecord => {
                    let delay = Micros(self.random.within(50, 500));
                    self.after(delay, Happening::Read { node, incarnation });
                }
                Effect::Swap { expected, next } => {
                    let delay = Micros(self.random.within(200, 3_000));
                    self.after(delay, Happening::Swap { node, incarnation, expected, next });
                }
                Effect::Watch { store } => {
                    self.process(node).watched = Some(store);
                    if !self.living(store) {
                        self.input_after(node, Micros(300), Input::PartnerDied { store });
                    }
                }
                Effect::AskLiving { store } => {
                    let living = self.living(store);
                    self.input_after(node, Micros(100), Input::Living { store, living });
                }
                Effect::LoadPlugin { hash } => self.load(node, hash),
                Effect::Retire { .. } => self.seen.add("retired"),
                Effect::Discard { .. } => self.seen.add("discarded"),
                Effect::RoleChanged { role, .. } => self.seen.add(format!("role {role}")),
                Effect::Alarm(alarm) => self.on_alarm(node, &alarm),
                Effect::Stop { reason } => panic!("processor {node} stops: {reason}"),
            }
        }
        if sync {
            let sync = self.nodes[node].disk.sync_begin();
            let delay = Micros(self.random.within(50, 600));
            self.after(delay, Happening::Synced { node, incarnation, sync });
        }
    }

    fn on_alarm(&mut self, node: usize, alarm: &Alarm) {
        if let Alarm::Diverged { report } = alarm {
            assert!(self.settings.divergence_expected, "sound versions diverged: {report}");
        }
        self.tell(|| format!("{}: {alarm:?}", ["a", "b"][node]));
        self.seen.add(match alarm {
            Alarm::Diverged { .. } => "diverged".to_string(),
            Alarm::PartnerLost { .. } => "partner lost".into(),
            Alarm::PartnerInSync => "partner in sync".into(),
            Alarm::TookOver { half_way } => {
                format!("half-way: {}", half_way.split(", number").next().unwrap_or(""))
            }
            Alarm::ArbiterUnreachable { .. } => "arbiter unreachable".into(),
            Alarm::Campaign { what } => {
                format!(
                    "campaign {}",
                    what.split([':', ' ']).find(|word| word.starts_with(char::is_uppercase)).unwrap_or("")
                )
            }
            Alarm::ProtocolBroken { what } => {
                format!("link closed: {}", what.split(char::is_numeric).next().unwrap_or(""))
            }
        });
    }

    fn load(&mut self, node: usize, hash: PluginHash) {
        let delay = Micros(self.random.within(1_000, 20_000));
        let input = match Edition::of(hash) {
            Some(edition) => Input::PluginLoaded { application: Box::new(Ledger::new(edition)) },
            None => Input::PluginFailed { hash, reason: "there is no such file".into() },
        };
        self.input_after(node, delay, input);
    }

    fn carry(&mut self, from: usize, link: LinkId, frame: Frame) {
        if self.link != Some(link) {
            return;
        }
        self.tell(|| format!("{} -> {}  {}", ["a", "b"][from], ["b", "a"][from], brief(&frame.message)));
        let to = 1 - from;
        let at = self.now.plus(Micros(self.random.within(20, 120))).max(self.last_delivery[to]);
        self.last_delivery[to] = at;
        let delay = at.since(self.now);
        self.input_after(to, delay, Input::Peer { link, frame });
        if let Some(frames) = &mut self.frames_until_cut {
            if *frames == 0 {
                self.cut_here();
            } else {
                *frames -= 1;
            }
        }
    }

    /// Cuts behind the frame just sent: it arrives, nothing after it does.
    fn cut_here(&mut self) {
        let Some(link) = self.link.take() else { return };
        self.frames_until_cut = None;
        self.seen.add("cut");
        for node in 0..2 {
            let delay = self.last_delivery[node].since(self.now).plus(Micros(1));
            self.input_after(node, delay, Input::LinkDown { link });
        }
        self.after(Micros::from_ms(5), Happening::LinkUp);
    }

    // -- checks

    /// Ends all faults, lets everything come to rest, and checks the promise.
    ///
    /// # Panics
    /// When an acknowledged event is lost or doubled, the two databases differ, or something does not come to rest.
    pub fn settle_and_check(&mut self) {
        self.partitioned = false;
        self.settings.unknown_swaps_percent = 0;
        for node in 0..2 {
            if self.nodes[node].process.is_none() {
                self.start(node);
            }
        }
        self.after(Micros(1), Happening::LinkUp);
        self.run_until(|world| world.active().is_some());
        // What an operator isolated, an operator brings back; a campaign brings back its own.
        let active = self.active().expect("there is an active");
        self.command(active, Command::Integrate);
        self.run_until(|world| {
            world.clients.iter().all(SimClient::is_idle) && world.in_sync() && world.at_rest()
        });
        self.check();
    }

    fn at_rest(&self) -> bool {
        let (a, b) = (self.group(0), self.group(1));
        let over =
            |group: &Group| group.held() == group.state().meta.last && group.state().meta.campaign.is_none();
        a.state().meta.last == b.state().meta.last && over(a) && over(b)
    }

    /// The promise, at rest: both databases are equal, every acknowledged event is in them exactly once, no other more
    /// than once, and money is conserved.
    ///
    /// # Panics
    /// When it is broken.
    pub fn check(&self) {
        let (a, b) = (self.group(0).state(), self.group(1).state());
        assert_eq!(a.digest(), b.digest(), "the two databases differ");
        assert_eq!(a.sessions, b.sessions, "the two reply tables differ");
        assert_eq!(a.meta, b.meta, "the groups' own data differ");
        let mut ran = BTreeMap::new();
        a.tables.scan(TableId::of(ledger::RAN), &[], None, &mut |key, row| {
            let id = u64::from_le_bytes(key.try_into().expect("ids have eight bytes"));
            ran.insert(id, ledger::number_in(row));
            true
        });
        for (id, times) in &ran {
            assert_eq!(*times, 1, "event {id} is doubled");
        }
        let mut numbers = BTreeMap::new();
        for (id, acknowledged) in self.clients.iter().flat_map(|client| &client.acknowledged) {
            if acknowledged.procedure == "balance" {
                continue;
            }
            let committed = matches!(acknowledged.outcome, Outcome::Committed { .. });
            assert_eq!(
                committed,
                ran.contains_key(id),
                "event {id}: {acknowledged:?}, and ran: {:?}",
                ran.get(id)
            );
            assert!(numbers.insert(acknowledged.number, id).is_none(), "a number has two outcomes (R8)");
            assert!(
                acknowledged.number <= a.meta.last && acknowledged.number > Number(0),
                "{acknowledged:?}"
            );
        }
        let mut money = 0;
        a.tables.scan(TableId::of(ledger::ACCOUNTS), &[], Some(&[254]), &mut |_, row| {
            money += ledger::number_in(row);
            true
        });
        let fees =
            a.tables.get(TableId::of(ledger::ACCOUNTS), &[255]).map_or(0, |row| ledger::number_in(row));
        // A version that computes something else makes money, if it gets to be active.
        assert!(
            self.settings.divergence_expected || money + fees == 0,
            "money is made or lost: {money} {fees}"
        );
    }

    /// The last command's result.
    ///
    /// # Panics
    /// When no command has ended.
    pub fn last_result(&self) -> &Result<lockstep_core::command::CommandReply, CommandError> {
        self.results.last().expect("a command has ended")
    }
}

fn brief(message: &PeerMessage) -> String {
    let text = format!("{message:?}");
    text.chars().take(110).collect()
}
