//! One application's one partition on one side of the pair: role, stream, record, sessions, campaign (R1).
//!
//! The same code runs on both sides and in all roles; files are by subject:
//! `active` runs events, `acting` those that act on the world, `follow` is the standby's side of the stream, `feed`
//! brings a standby back, `rejoin` is the other end of that, `roles` keeps the arbiter's rule, `takeover` deals with what
//! was half-way, `upgrade` drives a
//! campaign, `evaluation` judges the new version, `in_place` is the way of a lone survivor, `commands` answers operators, `disk_failure` goes on without a disk,
//! `firing` and `messages` are timers and what groups tell each other, `migrating` brings rows into a new format.
//!
//! `alone` says what counts as durable under `replicated`.
//!
//! Deliberately absent: clocks (the time is an argument), I/O (effects), randomness (seeded), waiting: the active never
//! waits for the standby inside a procedure (`acting` apart), so lock step by itself cannot deadlock.

mod acting;
mod active;
mod alone;
mod commands;
mod commit;
mod config;
mod deriving;
mod disk_failure;
mod evaluation;
mod feed;
mod firing;
mod follow;
mod gap;
mod identity;
mod in_place;
mod intake;
mod latency;
mod messages;
mod migrating;
mod notes;
mod one_sided;
mod outputs;
mod recent;
mod rejoin;
mod requests;
mod roles;
mod room;
mod siblings;
mod takeover;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use config::{GroupConfig, StandbyStart, StepUps};
pub use evaluation::judge;
pub use identity::Identity;
pub use requests::FORWARD_CREDITS;
pub use siblings::plan_together;
pub use upgrade::{CampaignView, Decision, plan_campaign};

use crate::application::Application;
use crate::command::{Command, CommandResult, Counts, HalfWay, Role};
use crate::context::{Overlay, OwnTable};
use crate::derived::Derived;
use crate::descriptor::ApplicationDescriptor;
use crate::effect::{Alarm, Effect};
use crate::encoded_entries::EncodedEntries;
use crate::event::Event;
use crate::ids::{GroupName, LinkId, Micros, Number, Origin, PluginHash, StoreId, TableId, Term};
use crate::input::Input;
use crate::message::{Frame, Hello, PeerMessage};
use crate::state::{State, Undo};
use crate::witness::{Unwatched, Witness};

use acting::Acting;
use alone::Alone;
use disk_failure::DiskFailure;
use evaluation::Evaluation;
use feed::{Feed, Waiting};
use follow::{Follow, Pending};
use gap::Gap;
use intake::Intake;
use latency::Latencies;
use messages::Messages;
use notes::NoteBook;
use outputs::{Asker, Outputs};
use recent::Recent;
use requests::{Forwards, Parked};
use roles::{ArbiterSeat, HandOver};
use room::Room;
use siblings::Siblings;

/// Latencies are told over this window and the one that is under way.
const LATENCY_WINDOW: Micros = Micros::from_ms(5_000);
/// A standby hears at once of so many entries that are held.
const HELD_TOLD_AFTER: u64 = 256;

/// The partner at the other end of the link.
#[derive(Clone)]
struct Partner {
    link: LinkId,
    heard: Micros,
    hello: Option<Box<Hello>>,
    /// What it runs: from its hello, then from `Versions`.
    application: Option<Box<ApplicationDescriptor>>,
    /// By own procedure: its versions differ, so it is shipped (R16).
    shipped: Vec<bool>,
    /// By own procedure: the partner lacks it (R32).
    lacking: Vec<bool>,
    feed: Feed,
    acked: Number,
    /// What it was last told to be held.
    held_told: Number,
    confirmed: u64,
    /// Acknowledgements count from the answer to this `Confirm` on: older ones are of a feed before this one.
    acks_from: u64,
    /// It was told that it has more than this store, which may lack its tail (R26).
    yielded_to: bool,
    /// A number that it had not acknowledged at some time, and that time (R27).
    unacknowledged: Option<(Number, Micros)>,
    /// A version that it announced before it was in step.
    announced: Option<Box<ApplicationDescriptor>>,
    /// It diverged on this link: nothing that it says counts until it has a fresh copy (R15).
    diverged: bool,
}

/// A group on one side of the pair. See the module's page.
#[derive(Clone)]
pub struct Group {
    config: GroupConfig,
    now: Micros,
    effects: Vec<Effect>,

    store: StoreId,
    stores_made: u64,
    needs_copy: bool,
    /// The store may lack its tail: until the other recorded one was heard and has no more, it is not promoted (R26).
    may_lack_tail: bool,
    state: State,
    recent: Recent,
    undos: VecDeque<Undo>,
    durable: Number,
    alone: Alone,
    /// The store is cut back at the end of this batch.
    cut_in_batch: bool,
    disk_failure: Option<DiskFailure>,
    held: Number,
    held_told: Number,

    application: Box<dyn Application>,
    /// What `application` derives from the rows (R17).
    derived: Derived,
    next_application: Option<Box<dyn Application>>,
    /// What `next_application` derives; announced once it is built.
    next_derived: Derived,
    next_announced: bool,
    next_attempt: u32,
    /// Operators were told that `derived` is broken.
    told_broken: bool,
    loading: Option<(PluginHash, u32)>,
    own_tables: Vec<OwnTable>,
    features: u64,
    overlay: Overlay,
    witness: Box<dyn Witness>,
    /// How long the last unit took, by the witness.
    unit_time: Micros,
    notes: NoteBook,

    role: Role,
    term: Term,
    arbiter: ArbiterSeat,
    partner: Option<Partner>,
    partner_died: Option<StoreId>,
    /// It was said to have died while a link to it is up: the word may be of a process before that one.
    perhaps_died: Option<StoreId>,
    /// How often a partner has said hello: what was asked before the last one was asked of another process.
    hellos: u64,
    heard_active: Micros,
    watched: Option<StoreId>,
    ask_living_at: Micros,
    read_again_at: Micros,
    heartbeat_at: Micros,

    // as active
    outputs: Outputs,
    /// A procedure that acts on the world and waits for the standby (R19).
    acting: Option<Acting>,
    /// An event that acts on the world, and is run again as soon as nothing is in the way.
    again: Option<Event>,
    /// Commands that wait for it.
    commands_behind: Vec<(Asker, Command)>,
    waiting: Option<Waiting>,
    confirm_sent: u64,
    confirm_due: bool,
    grow_from: Number,
    grow_after: Micros,
    grow_wait: Micros,
    partner_out: bool,
    hand_over: Option<HandOver>,
    divergences: BTreeMap<PluginHash, u32>,
    /// Stores that diverged: only a copy brings their processor back, also after a restart (R15).
    diverged_stores: BTreeSet<StoreId>,
    evaluation: Evaluation,
    gap: Gap,
    siblings: Siblings,
    order_sent: Option<(PluginHash, Micros)>,
    order_attempt: u32,
    messages: Messages,
    /// Timers fire not before this.
    timers_at: Micros,
    /// The last chunk of a migration that was made here, and when the next one may come (R31).
    chunk_made: Number,
    chunk_at: Micros,

    // as standby
    follow: Follow,
    pending: Option<Box<Pending>>,
    /// This side differs from the active: it asks for a copy, and stays promotable as it is until the record drops it
    /// (R15).
    differs: bool,
    ack_due: bool,
    confirm_seen: u64,
    /// The store in whose place a copy has come that is not recorded yet: a start would find it again (R25).
    replaced: Option<StoreId>,

    parked: Parked,
    intake: Intake,
    room: Room,
    forwards: Forwards,
    forwarded_commands: BTreeMap<u64, Origin>,
    tickets: u64,

    counts: Counts,
    half_way: BTreeMap<HalfWay, u64>,
    latencies: Latencies,
    latencies_before: Latencies,
    latencies_since: Micros,
}

impl Group {
    /// A group over what its store found. `undos` take back the latest entries of `state`, oldest first; `recent`
    /// has the latest entries without holes. A store that is not `trusted` must be copied anew (R26).
    ///
    /// # Panics
    /// When the application is not the one that the settings name, or its descriptor is not sound.
    #[must_use]
    pub fn new(
        config: GroupConfig,
        store: StoreId,
        trusted: bool,
        state: State,
        recent: Vec<EncodedEntries>,
        undos: Vec<Undo>,
        application: Box<dyn Application>,
    ) -> Self {
        assert_eq!(application.descriptor().name, config.application, "the plugin is of another application");
        application.descriptor().check().expect("descriptors are checked before they come here");
        assert!(
            config.silence_shrink_ms < config.silence_promote_ms,
            "a standby is dropped before it promotes (R27)"
        );
        let last = state.meta.last;
        let mut group = Group {
            now: Micros(0),
            effects: Vec::new(),
            store,
            stores_made: 0,
            needs_copy: !trusted,
            may_lack_tail: config.may_lack_tail,
            recent: Recent::new(recent, config.recent_bytes_max),
            undos: undos.into(),
            durable: last,
            alone: Alone::new(last),
            cut_in_batch: false,
            disk_failure: None,
            held: Number(0),
            held_told: Number(0),
            application,
            derived: Derived::default(),
            next_application: None,
            next_derived: Derived::default(),
            next_announced: false,
            next_attempt: 0,
            told_broken: false,
            loading: None,
            own_tables: Vec::new(),
            features: 0,
            overlay: Overlay::default(),
            witness: Box::new(Unwatched),
            unit_time: Micros(0),
            notes: NoteBook::default(),
            role: Role::Starting,
            term: state.meta.terms.last().map_or(Term(0), |start| start.term),
            arbiter: ArbiterSeat::default(),
            partner: None,
            partner_died: None,
            perhaps_died: None,
            hellos: 0,
            heard_active: Micros(0),
            watched: None,
            ask_living_at: Micros(0),
            read_again_at: Micros(0),
            heartbeat_at: Micros(0),
            outputs: Outputs::default(),
            acting: None,
            again: None,
            commands_behind: Vec::new(),
            waiting: None,
            confirm_sent: 0,
            confirm_due: false,
            grow_from: Number(0),
            grow_after: Micros(0),
            grow_wait: Micros(0),
            partner_out: false,
            hand_over: None,
            divergences: BTreeMap::new(),
            diverged_stores: BTreeSet::new(),
            evaluation: Evaluation::default(),
            gap: Gap::default(),
            siblings: Siblings::default(),
            order_sent: None,
            order_attempt: 0,
            messages: Messages::default(),
            timers_at: Micros(0),
            chunk_made: Number(0),
            chunk_at: Micros(0),
            follow: Follow::Nothing,
            pending: None,
            differs: false,
            ack_due: false,
            confirm_seen: 0,
            replaced: None,
            parked: Parked::default(),
            intake: Intake::default(),
            room: Room::default(),
            forwards: Forwards::default(),
            forwarded_commands: BTreeMap::new(),
            tickets: 0,
            counts: Counts::default(),
            half_way: BTreeMap::new(),
            latencies: Latencies::default(),
            latencies_before: Latencies::default(),
            latencies_since: Micros(0),
            state,
            config,
        };
        group.application_changed();
        group.derive_at_once();
        group
    }

    /// Lets `witness` see the application's code run (R21, R23); before the start. Without it nobody does.
    pub fn watch_units(&mut self, witness: Box<dyn Witness>) {
        self.witness = witness;
    }

    /// Begins; once, before the first step.
    pub fn start(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        self.enter(now, effects);
        self.heard_active = now;
        self.latencies_since = now;
        self.read_record();
        self.leave(effects);
    }

    /// Takes one input. Effects are added to `effects`, to be carried out in order after `end_batch`.
    pub fn step(&mut self, now: Micros, input: Input, effects: &mut Vec<Effect>) {
        if self.has_stopped() {
            return;
        }
        self.enter(now, effects);
        let is_of_an_event = input.is_of_an_event();
        match input {
            Input::Request { origin, request } => self.on_request(Asker::Local(origin), request),
            Input::Command { origin, command } => self.on_command(Asker::Local(origin), command),
            Input::SiblingTold { partition, result } => self.on_sibling(partition, result),
            Input::LinkUp { link } => self.on_link_up(link),
            Input::LinkDown { link } => self.on_link_down(link),
            Input::Peer { link, frame } => self.on_frame(link, frame),
            Input::Durable { store, through } => {
                // While a cut is not carried out, a word may be of what it cuts off (R24); another one follows it.
                if store == self.store && through > self.durable && !self.cut_in_batch {
                    assert!(through <= self.state.meta.last, "only what was appended can be durable");
                    self.durable = through;
                    self.alone.durable(through);
                    self.ack_due = true;
                    self.update_held();
                }
            }
            Input::StoreFailed { reason } => self.on_store_failed(reason),
            Input::CopyDurable { store } => self.on_copy_durable(store),
            Input::RecordRead(read) => self.on_record_read(read),
            Input::SwapPrepared => self.on_swap_prepared(),
            Input::Swapped(outcome) => self.on_swapped(outcome),
            Input::PartnerDied { store } => self.on_partner_died(store),
            Input::Living { store, hellos, living } => self.on_living(store, hellos, living),
            Input::PluginLoaded { application } => self.on_plugin_loaded(application),
            Input::PluginFailed { hash, reason, may_pass } => self.on_plugin_failed(hash, reason, may_pass),
            Input::Checked { run, verdict } => self.on_checked(run, verdict),
            Input::Note { note, own } => self.on_note(note, own),
            Input::Told { from, what } => self.on_told(from, what, false),
            Input::Tick => self.on_tick(),
        }
        // First, so that what waits for the end of a procedure has its turn before the next one.
        self.go_on();
        if !is_of_an_event {
            self.reconcile();
        }
        self.leave(effects);
    }

    /// Ends a batch of steps: acknowledgements, confirmations, catch-up, answers whose time has come.
    pub fn end_batch(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        if self.has_stopped() {
            return;
        }
        self.enter(now, effects);
        self.feed_partner();
        self.build_next();
        if self.role == Role::Active {
            if !self.is_acting() && (!self.parked.is_empty() || self.again.is_some()) {
                // A campaign gets its turn between two procedures that act on the world.
                self.drive_campaign();
                self.serve_parked();
            }
            self.fire_timers();
            self.ask_confirmation();
            self.update_held();
            self.run_marked();
            self.release();
            self.tell_held();
            self.watch_acknowledgements();
            self.watch_lag();
            self.tell_groups();
            self.drive_campaign();
            self.ask_siblings();
            self.migrate();
            self.lead_left_behind();
        } else {
            self.acknowledge();
        }
        self.settle_notes();
        self.reconcile();
        if self.held > self.held_told {
            self.held_told = self.held;
            self.ask_store(Effect::Held { number: self.held });
        }
        self.cut_in_batch = false;
        // Last: what comes after it is the new version's, on its own thread.
        self.change_in_place();
        self.append();
        self.check_invariants();
        self.leave(effects);
    }

    /// When to send `Input::Tick` if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        let busy = self.hand_over.is_some()
            || self.arbiter.is_busy()
            || self.state.meta.campaign.is_some()
            || self.role == Role::Starting;
        if self.is_building() {
            return Some(self.now);
        }
        let soon = self.now.plus(Micros::from_ms(if busy { 5 } else { self.config.heartbeat_ms }));
        let soon = soon.min(self.heartbeat_at.max(self.now));
        let soon = self.intake.closed_until().map_or(soon, |until| soon.min(until.max(self.now)));
        let own = self.next_firing().into_iter().chain(self.next_telling()).chain(self.next_chunk()).min();
        Some(own.map_or(soon, |own| soon.min(own)))
    }

    /// Whether no further requests are to be read: a standby that lags does not get closer (R25), forwarded ones have used
    /// up their credits, or what waits is too large (R35).
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        let lags =
            self.role == Role::Active && self.intake.closed_until().is_some_and(|until| self.now < until);
        lags || self.forwards.lacks_credits() || self.forwards.is_large() || self.parked.is_large()
    }

    /// What must always hold; asserted in release builds too.
    ///
    /// # Panics
    /// When this side finds itself wrong: the process must stop, and the partner takes over.
    pub fn check_invariants(&self) {
        let last = self.state.meta.last;
        assert!(self.durable <= last, "durable {} is beyond the last number {last}", self.durable);
        assert!(self.held <= last, "held {} is beyond the last number {last}", self.held);
        assert!(
            self.undos.back().is_none_or(|undo| undo.number == last),
            "the undo list ends at the last number"
        );
        if self.role == Role::Active {
            let record = self.arbiter.record.as_ref().expect("an active has a record");
            assert!(
                record.term == self.term || self.arbiter.is_busy() || self.term > record.term,
                "terms fall"
            );
            assert!(self.pending.is_none(), "an active follows nobody");
        } else {
            assert!(self.outputs.is_empty(), "only the active answers (R10)");
            assert!(self.acting.is_none(), "only the active acts on the world (R19)");
            assert!(self.waiting.is_none(), "only the active waits for a standby");
            assert!(!self.notes.awaits_mark(), "only the active runs what is suspected (R21)");
            assert!(self.messages.is_empty(), "only the active tells other groups anything (R10)");
        }
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The group's name.
    #[must_use]
    pub fn name(&self) -> GroupName {
        self.config.name()
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The term that it serves in, if it is the active; else the highest that it has heard of.
    #[must_use]
    pub fn served_term(&self) -> Term {
        self.own_term()
    }

    /// How often this process took over after a failure.
    #[must_use]
    pub fn takeovers(&self) -> u64 {
        self.counts.takeovers
    }

    /// The store that counts.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// The database in memory, for tests, exports and reads of the shell.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Everything up to here is held, as far as this side knows.
    #[must_use]
    pub fn held(&self) -> Number {
        self.held
    }

    /// What the application that runs says of itself.
    #[must_use]
    pub fn descriptor(&self) -> &ApplicationDescriptor {
        self.application.descriptor()
    }

    /// Answers that wait to be released, and requests that wait to be run: what back-pressure goes by.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outputs.len() + self.parked.len() + self.forwards.len() + self.messages.owed()
    }

    fn enter(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        // A clock that was set back does not take the group's time back.
        self.now = self.now.max(now);
        self.effects = std::mem::take(effects);
    }

    fn leave(&mut self, effects: &mut Vec<Effect>) {
        *effects = std::mem::take(&mut self.effects);
    }

    fn alarm(&mut self, alarm: Alarm) {
        self.effects.push(Effect::Alarm(alarm));
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn send(&mut self, message: PeerMessage) {
        if let Some(partner) = &self.partner {
            let frame = Frame { term: self.own_term(), message };
            self.effects.push(Effect::Send { link: partner.link, frame });
        }
    }

    /// The term that this side speaks in: an active's is that of its own record, whatever others it has heard of; a
    /// store that was active later must be able to refuse it (R3).
    fn own_term(&self) -> Term {
        match &self.arbiter.record {
            Some(record) if self.role == Role::Active => record.term,
            _ => self.term,
        }
    }

    /// Whether this active has heard of a higher term: another was made active, and its record is being read.
    fn is_deposed(&self) -> bool {
        self.role == Role::Active && self.own_term() < self.term
    }

    /// Ends the link: what follows on it would not make sense.
    fn close_link(&mut self, what: impl Into<String>) {
        if let Some(partner) = &self.partner {
            let link = partner.link;
            self.alarm(Alarm::ProtocolBroken { what: what.into() });
            self.effects.push(Effect::CloseLink { link });
            self.on_link_down(link);
        }
    }

    /// What units ask for at each call is kept at hand.
    fn meta_changed(&mut self) {
        let descriptor = self.application.descriptor();
        self.own_tables = self.state.meta.own_tables(descriptor);
        self.features = self.state.meta.feature_set(descriptor);
    }

    fn application_changed(&mut self) {
        self.meta_changed();
        let descriptor = self.application.descriptor();
        // Rows may come before the entry that declares their tables; they must go into tables of the right kind.
        for table in descriptor.tables.iter().filter(|table| table.derived_from.is_none()) {
            self.state.tables.create(TableId::of(&table.name), table.kind);
        }
    }

    fn own_hash(&self) -> PluginHash {
        self.application.descriptor().hash
    }

    fn command_done(&mut self, asker: Asker, result: CommandResult) {
        match asker {
            Asker::Local(origin) => self.effects.push(Effect::CommandDone { origin, result }),
            Asker::Partner { link, ticket } => {
                if self.partner.as_ref().is_some_and(|partner| partner.link == link) {
                    self.send(PeerMessage::ForwardResult { ticket, result: Box::new(result) });
                }
            }
            Asker::Nobody => {}
        }
    }

    fn on_frame(&mut self, link: LinkId, frame: Frame) {
        let now = self.now;
        let Some(partner) = self.partner.as_mut().filter(|partner| partner.link == link) else { return };
        partner.heard = now;
        let Frame { term, message } = frame;
        if term > self.term {
            // Somebody was made active by a record that this side has not seen (R3).
            self.term = term;
            if self.role == Role::Active {
                self.read_record();
            }
        }
        match message {
            PeerMessage::Hello(hello) => self.on_hello(*hello),
            PeerMessage::RecordChanged(record) => self.adopt(record, None),
            PeerMessage::HandOver { record, silent_for } => self.on_hand_over(record, silent_for),
            PeerMessage::Forward { ticket, request } => {
                self.on_request(Asker::Partner { link, ticket }, *request)
            }
            PeerMessage::ForwardAnswer { ticket, answer } => self.on_forward_answer(ticket, *answer),
            PeerMessage::ForwardCommand { ticket, command } => {
                self.on_forward_command(link, ticket, *command)
            }
            PeerMessage::ForwardResult { ticket, result } => self.on_forward_result(ticket, *result),
            PeerMessage::Told { from, what } => self.on_told(from, *what, true),
            message if term < self.term => self.refuse_old(message),
            PeerMessage::Ack { through, confirmed } => self.on_ack(through, confirmed),
            PeerMessage::Diverged(divergence) => self.on_diverged(&divergence),
            PeerMessage::Versions(descriptor) => self.on_versions(descriptor),
            PeerMessage::OrderFailed { attempt, reason, may_pass } => {
                self.on_order_failed(attempt, reason, may_pass);
            }
            PeerMessage::Note(note) => self.on_note(*note, false),
            message => self.on_stream(message),
        }
    }

    /// A frame of an older term counts for nothing; an old active is shown the record (R3).
    fn refuse_old(&mut self, _message: PeerMessage) {
        if self.role == Role::Active {
            self.show_record();
        }
    }

    fn on_forward_command(&mut self, link: LinkId, ticket: u64, command: Command) {
        self.on_command(Asker::Partner { link, ticket }, command);
    }

    fn on_tick(&mut self) {
        if self.now < self.heartbeat_at {
            return;
        }
        self.heartbeat_at = self.now.plus(Micros::from_ms(self.config.heartbeat_ms));
        self.send_heartbeat();
        let silent = Micros::from_ms(self.config.silence_promote_ms);
        if let Some(partner) = &self.partner
            && self.now.since(partner.heard) > silent.plus(silent)
        {
            // Half an open connection: nothing comes any more, and nobody said so.
            self.close_link("the link has been silent for too long");
        }
        if self.now.since(self.latencies_since) > LATENCY_WINDOW {
            self.latencies_since = self.now;
            std::mem::swap(&mut self.latencies, &mut self.latencies_before);
            self.latencies.clear();
        }
    }

    fn send_heartbeat(&mut self) {
        self.send(PeerMessage::Heartbeat { last: self.state.meta.last, held: self.held });
        if let Some(partner) = &mut self.partner {
            partner.held_told = self.held;
        }
    }

    /// Tells the standby what is held when that is much more than it knows: until it does, it keeps what takes the entries
    /// back.
    fn tell_held(&mut self) {
        let unknown = |partner: &Partner| self.held.0.saturating_sub(partner.held_told.0);
        if self.partner.as_ref().is_some_and(|partner| unknown(partner) >= HELD_TOLD_AFTER) {
            self.send_heartbeat();
        }
    }

    /// Recomputes what is held (R9). Never falls within a term.
    fn update_held(&mut self) {
        if self.role != Role::Active {
            return;
        }
        let partner = self.waiting.as_ref().map_or(Number(u64::MAX), |waiting| waiting.acked);
        self.raise_held(self.durable.min(partner));
    }

    fn raise_held(&mut self, held: Number) {
        let held = held.min(self.state.meta.last);
        if held > self.held {
            self.held = held;
            while self.undos.front().is_some_and(|undo| undo.number <= held) {
                self.undos.pop_front();
            }
        }
    }
}
