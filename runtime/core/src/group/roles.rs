//! The arbiter's rule (R2 to R7): who is active, who is in sync, and how that changes.
//!
//! All role decisions sit here. `reconcile` looks at what is wanted and what is recorded and asks for at most one swap;
//! nothing rests on a swap before its outcome is known, and after an unknown outcome the record is read back (R4).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::feed::{Feed, Waiting};
use super::follow::Follow;
use super::outputs::Asker;
use super::{Group, Identity};
use crate::command::{CommandError, CommandReply, Role};
use crate::effect::{Alarm, Effect};
use crate::ids::{Epoch, Micros, Number, StoreId, Term};
use crate::message::{Hello, PeerMessage};
use crate::record::{Member, Record, SwapOutcome};
use crate::state::TermStart;

/// How long a planned switchover may take before it is given up.
const HAND_OVER_MAX: Micros = Micros::from_ms(2_000);
/// How long a planned switchover serves on while the arbiter prepares its swap; then it goes on without.
const PREPARE_MAX: Micros = Micros::from_ms(200);
/// How often the arbiter is asked again after a failure.
const ARBITER_AGAIN: Micros = Micros::from_ms(20);
/// How often the operating system is asked whether a silent partner lives.
const ASK_LIVING: Micros = Micros::from_ms(50);
/// How often a side that follows nobody reads the record.
const READ_AGAIN: Micros = Micros::from_ms(100);
/// Each removal of a standby doubles the wait before the next grow, from the first to the second (R27).
const GROW_WAIT: (Micros, Micros) = (Micros::from_ms(20), Micros::from_ms(5_000));
/// A standby that stayed so long in sync starts anew.
const GROW_CALM: Micros = Micros::from_ms(10_000);

/// Why a swap was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    First,
    Restart,
    Promote,
    Force,
    Shrink,
    Grow,
    HandOver,
}

/// What this side knows of the arbiter.
#[derive(Clone, Default)]
pub(super) struct ArbiterSeat {
    /// Shared, as it is looked at after every step.
    pub record: Option<Arc<Record>>,
    /// The record was read at least once, so that "none" means none.
    known: bool,
    swap: Option<(Record, Purpose)>,
    /// The outcome of `swap` is unknown: it is being read back.
    unknown: bool,
    /// The record of `swap` was heard of before its outcome, and acted on: the outcome says nothing new.
    told: bool,
    reading: bool,
    again_at: Option<Micros>,
    /// `--force` was given.
    force: bool,
    /// The term that the first read of this process found. A record of a later term that names this side active has
    /// made it so, and nobody has served in that term. Any other is one that the process before this one served under,
    /// also when a swap of its own still grows it: what that process made and lost has the same term and numbers (R7).
    first_term: Option<Term>,
    /// The other recorded member has handed over to this restarted side.
    pub yielded: bool,
}

impl ArbiterSeat {
    pub fn is_busy(&self) -> bool {
        self.swap.is_some() || self.reading || self.again_at.is_some()
    }

    /// A swap that makes this side the active is under way, or its outcome is not known.
    pub fn is_taking_over(&self) -> bool {
        let purpose = self.swap.as_ref().map(|(_, purpose)| *purpose);
        matches!(purpose, Some(Purpose::Promote | Purpose::Restart | Purpose::Force))
    }

    /// What a group's identity has of this.
    pub fn add_to(&self, identity: &mut Identity) {
        let ArbiterSeat { record, known, swap, unknown, told, reading, again_at, force, first_term, yielded } =
            self;
        identity.add((
            record,
            known,
            swap,
            unknown,
            told,
            reading,
            again_at.is_some(),
            force,
            first_term,
            yielded,
        ));
    }
}

/// A planned switchover under way.
#[derive(Clone)]
pub(super) struct HandOver {
    asker: Asker,
    since: Micros,
    stage: Stage,
}

/// How far a planned switchover is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It was asked for.
    Begun,
    /// The arbiter prepares the swap.
    Preparing,
    /// Requests wait. The swap is asked for once everything is held.
    Draining,
}

impl HandOver {
    /// Whether requests wait for it. Until the arbiter is ready they need not.
    pub fn closes_intake(&self) -> bool {
        self.stage == Stage::Draining
    }

    /// Whether it takes too long by `now`, and is given up.
    pub fn is_late(&self, now: Micros) -> bool {
        now.since(self.since) > HAND_OVER_MAX
    }
}

impl Group {
    fn member(&self) -> Member {
        Member { store: self.store, node: self.config.node.clone() }
    }

    pub(super) fn read_record(&mut self) {
        if !self.arbiter.reading {
            self.arbiter.reading = true;
            self.arbiter.again_at = None;
            self.effects.push(Effect::ReadRecord);
        }
    }

    pub(super) fn is_forced(&self) -> bool {
        self.arbiter.force
    }

    pub(super) fn ask_swap(&mut self, next: Record, purpose: Purpose) {
        assert!(!self.arbiter.is_busy(), "one swap at a time");
        let expected = self.arbiter.record.as_ref().map_or(Epoch(0), |record| record.epoch);
        let first = purpose == Purpose::First && expected == Epoch(0);
        assert!(first || next.epoch == expected.next(), "epochs grow by one (R3)");
        self.arbiter.swap = Some((next.clone(), purpose));
        self.effects.push(Effect::Swap { expected, next });
    }

    pub(super) fn on_swapped(&mut self, outcome: SwapOutcome) {
        let Some((next, purpose)) = self.arbiter.swap.take() else { return };
        if std::mem::take(&mut self.arbiter.told) {
            return;
        }
        match outcome {
            SwapOutcome::Done(record) => {
                assert_eq!(record, next, "the arbiter records what was asked for");
                self.adopt(record, Some(purpose));
            }
            SwapOutcome::Lost(record) => {
                if let Some(record) = record {
                    self.adopt(record, None);
                }
            }
            SwapOutcome::Unknown(why) => {
                self.alarm(Alarm::ArbiterUnreachable { why });
                self.arbiter.swap = Some((next, purpose));
                self.arbiter.unknown = true;
                self.arbiter.again_at = Some(self.now.plus(ARBITER_AGAIN));
            }
        }
    }

    pub(super) fn on_record_read(&mut self, read: Result<Option<Record>, String>) {
        self.arbiter.reading = false;
        let record = match read {
            Ok(record) => record,
            Err(why) => {
                self.alarm(Alarm::ArbiterUnreachable { why });
                self.arbiter.again_at = Some(self.now.plus(ARBITER_AGAIN));
                return;
            }
        };
        self.arbiter.known = true;
        let term = record.as_ref().map_or(Term(0), |record| record.term);
        self.arbiter.first_term.get_or_insert(term);
        self.alone.record_read(record.as_ref());
        let mut purpose = None;
        if self.arbiter.unknown {
            self.arbiter.unknown = false;
            let (next, asked_for) = self.arbiter.swap.take().expect("an unknown outcome is of a swap");
            if record.as_ref() == Some(&next) && !std::mem::take(&mut self.arbiter.told) {
                purpose = Some(asked_for);
            }
        }
        if let Some(record) = record {
            self.adopt(record, purpose);
        }
    }

    /// Takes over a record that the arbiter has. `purpose` is what this side asked for, when the record is its swap.
    pub(super) fn adopt(&mut self, record: Record, purpose: Option<Purpose>) {
        let known = self.arbiter.record.as_ref().map_or(Epoch(0), |known| known.epoch);
        if record.epoch < known || (record.epoch == known && purpose.is_none()) {
            return;
        }
        assert!(
            record.epoch > known || self.arbiter.record.as_deref() == Some(&record),
            "one epoch has one record (R6)"
        );
        // The partner may have read the record of a swap before this side hears of its outcome. Acted on twice, it would
        // undo what has come of it meanwhile.
        let own = self.arbiter.swap.as_ref().filter(|(next, _)| *next == record).map(|(_, purpose)| *purpose);
        self.arbiter.told |= purpose.is_none() && own.is_some();
        let purpose = purpose.or(own);
        self.term = self.term.max(record.term);
        let mine = record.active.store == self.store;
        self.arbiter.record = Some(Arc::new(record.clone()));
        // Before anything is answered under it.
        self.settle_what_counts();
        match purpose {
            // The outcome of the swap was not known, and the partner has told of the record first: it serves already.
            Some(Purpose::First | Purpose::Restart | Purpose::Force | Purpose::Promote)
                if self.role == Role::Active => {}
            Some(Purpose::First | Purpose::Restart | Purpose::Force) => self.become_active(false),
            Some(Purpose::Promote) => {
                self.counts.takeovers += 1;
                self.become_active(false);
            }
            Some(Purpose::Shrink) => {
                self.waiting = None;
                self.update_held();
                self.release();
                self.alarm(Alarm::PartnerLost { why: "it left the record".into() });
                self.after_shrink();
            }
            Some(Purpose::Grow) => {
                self.alarm(Alarm::PartnerInSync);
                self.send(PeerMessage::RecordChanged(record));
            }
            Some(Purpose::HandOver) => self.become_standby(record),
            None if mine
                && self.role != Role::Active
                && !self.needs_copy
                && !self.may_lack_tail
                && self.arbiter.first_term.is_some_and(|first| record.term > first) =>
            {
                // Handed over, and the word of it was lost. A store that can't be trusted meanwhile, or lacks its tail,
                // waits until the other recorded one has taken over again.
                self.become_active(true);
            }
            None if !mine && self.role == Role::Active => self.step_down(),
            None => {}
        }
        self.keep_copy();
        self.role_effect();
    }

    /// Shows the partner the record, as far as it is known here.
    pub(super) fn show_record(&mut self) {
        if let Some(record) = &self.arbiter.record {
            let record = (**record).clone();
            self.send(PeerMessage::RecordChanged(record));
        }
    }

    /// The standby has left the record: isolated, gone, or to be copied anew.
    fn after_shrink(&mut self) {
        self.grow_wait = Micros((self.grow_wait.0 * 2).clamp(GROW_WAIT.0.0, GROW_WAIT.1.0));
        self.grow_after = self.now.plus(self.grow_wait);
        self.show_record();
        if self.partner_out {
            self.send(PeerMessage::OutOfService { out: true });
            if let Some(partner) = &mut self.partner {
                partner.feed = Feed::Nothing;
            }
        }
    }

    /// A standby that diverged and is not recorded any more gets a fresh copy in place of what it has (R15).
    fn copy_diverged(&mut self) {
        if let Some(partner) = &mut self.partner
            && partner.diverged
        {
            partner.diverged = false;
            if let Some(hello) = partner.hello.clone() {
                self.begin_feed(&hello);
            }
        }
    }

    /// Asks for the one swap that is due, if any. After every step.
    pub(super) fn reconcile(&mut self) {
        if self.settle_disk_failure() {
            return;
        }
        if self.arbiter.again_at.is_some_and(|at| at <= self.now) {
            self.read_record();
        }
        if self.arbiter.is_busy() {
            return;
        }
        if !self.arbiter.known {
            return self.read_record();
        }
        let Some(record) = self.arbiter.record.clone() else {
            // The very first record of the group; a store with a history never makes one by itself.
            let fresh = self.state.meta.last.0 == 0 || self.arbiter.force;
            if fresh && !self.needs_copy {
                self.ask_swap(Record::first_behind(self.member(), self.term), Purpose::First);
            }
            return;
        };
        let wanted_alone = self.alone.take_wanted();
        match self.role {
            Role::Active if self.is_deposed() => self.read_record(),
            Role::Active => self.reconcile_active(&record),
            Role::Starting | Role::Standby | Role::Isolated => self.reconcile_other(&record),
        }
        if self.arbiter.is_busy() {
            // What is wanted shows at the next look.
            self.alone.keep_wanted(wanted_alone);
        }
        self.settle_what_counts();
    }

    fn reconcile_active(&mut self, record: &Record) {
        assert_eq!(record.active.store, self.store, "an active whose record names another has stepped down");
        if let Some(other) = record.in_sync.iter().find(|member| member.store != self.store) {
            if !self.partner_is_well(other.store) {
                // Record first, then acknowledge: answers wait until the shrink is recorded.
                let alone = BTreeSet::from([self.member()]);
                return self.ask_swap_alone(record.with_in_sync(alone), Purpose::Shrink);
            }
            if self.now.since(self.grow_after) > GROW_CALM {
                self.grow_wait = Micros(0);
            }
            return self.reconcile_hand_over(record, other.clone());
        }
        if let Some(hand_over) = self.hand_over.take() {
            self.end_hand_over(hand_over.asker, Err(CommandError::NotInSync("it left the record".into())));
        }
        self.copy_diverged();
        if let Some(waiting) = &self.waiting
            && !self.partner_is_well(waiting.store)
        {
            // It was never recorded and no swap is under way, so nothing needs its word (R4).
            self.waiting = None;
            self.update_held();
            self.release();
        }
        let Some(store) = self.partner_is_close().filter(|store| self.partner_is_well(*store)) else {
            return;
        };
        let partner = self.partner.as_ref().expect("a close partner is there");
        let acked = partner.acked;
        let node = partner.hello.as_ref().expect("a close partner has said hello").node.clone();
        if self.waiting.is_none() {
            if self.now < self.grow_after {
                return;
            }
            // Wait first, then record: from here on nothing is held without it.
            self.waiting = Some(Waiting { store, acked });
            self.grow_from = self.state.meta.last;
            if !self.outputs.is_empty() {
                self.next_confirm();
            }
        }
        if acked >= self.grow_from {
            let mut in_sync = record.in_sync.clone();
            in_sync.insert(Member { store, node });
            self.ask_swap(record.with_in_sync(in_sync), Purpose::Grow);
        }
    }

    fn reconcile_hand_over(&mut self, record: &Record, to: Member) {
        let Some(hand_over) = &mut self.hand_over else { return };
        if hand_over.is_late(self.now) {
            let asker = hand_over.asker;
            self.hand_over = None;
            let why = "the standby did not catch up in time; nothing was changed".into();
            return self.end_hand_over(asker, Err(CommandError::NotNow(why)));
        }
        match hand_over.stage {
            Stage::Begun => {
                hand_over.stage = Stage::Preparing;
                let next = record.with_active(to, record.in_sync.clone());
                return self.effects.push(Effect::PrepareSwap { next });
            }
            Stage::Preparing if self.now.since(hand_over.since) > PREPARE_MAX => {
                hand_over.stage = Stage::Draining;
            }
            Stage::Preparing => return,
            Stage::Draining => {}
        }
        if self.held == self.state.meta.last
            && self.outputs.is_empty()
            && !self.notes.awaits_mark()
            && !self.is_acting()
        {
            // Everything is held by both: both stay recorded (R5).
            self.ask_swap(record.with_active(to, record.in_sync.clone()), Purpose::HandOver);
        }
    }

    /// Begins a planned switchover. Its end is told to `asker`.
    pub(super) fn begin_hand_over(&mut self, asker: Asker) {
        self.hand_over = Some(HandOver { asker, since: self.now, stage: Stage::Begun });
    }

    /// Whether a planned switchover lets requests wait.
    pub(super) fn is_draining(&self) -> bool {
        self.hand_over.as_ref().is_some_and(HandOver::closes_intake)
    }

    pub(super) fn on_swap_prepared(&mut self) {
        if let Some(hand_over) = self.hand_over.as_mut().filter(|it| it.stage == Stage::Preparing) {
            hand_over.stage = Stage::Draining;
        }
    }

    /// Tells who asked for a switchover, and serves what came in meanwhile, here or there.
    fn end_hand_over(&mut self, asker: Asker, result: Result<CommandReply, CommandError>) {
        self.command_done(asker, result);
        self.take_commands_behind();
        self.serve_parked();
    }

    fn reconcile_other(&mut self, record: &Record) {
        if matches!(self.follow, Follow::Nothing) && self.now >= self.read_again_at {
            // Whoever swapped last may have died before it could tell.
            self.read_again_at = self.now.plus(READ_AGAIN);
            return self.read_record();
        }
        if self.needs_copy || !self.can_serve_rows() {
            return;
        }
        self.settle_tail(record);
        if record.active.store == self.store {
            return self.reconcile_restarted(record);
        }
        if record.is_recorded(self.store) && matches!(self.follow, Follow::InStep) {
            self.set_role(Role::Standby);
        }
        if !record.is_recorded(self.store) {
            if self.role == Role::Standby {
                self.set_role(Role::Starting);
            }
            if self.arbiter.force {
                self.ask_swap(self.forced(record), Purpose::Force);
            }
            return;
        }
        let active = record.active.store;
        let restarted = self.partner.as_ref().is_some_and(|partner| {
            partner.hello.as_ref().is_some_and(|hello| hello.store == active && hello.role == Role::Starting)
                && matches!(self.follow, Follow::Nothing)
        });
        let silent = self.now.since(self.heard_active) > Micros::from_ms(self.config.silence_promote_ms);
        let gone = self.partner_died == Some(active) || restarted || silent;
        if (gone && !self.may_lack_tail) || self.arbiter.force {
            let alone = BTreeSet::from([self.member()]);
            return self.ask_swap_alone(record.with_active(self.member(), alone), Purpose::Promote);
        }
        if matches!(self.follow, Follow::Nothing) || self.perhaps_died == Some(active) {
            self.ask_living(active);
        }
    }

    /// The word may be of a process before the one at the other end of the link: then whoever lives now is asked about.
    /// An active that lives is not to be replaced on old news, as it acts on the world meanwhile (R19).
    pub(super) fn on_partner_died(&mut self, store: StoreId) {
        if self.has_said_hello(store) {
            self.perhaps_died = Some(store);
            self.effects.push(Effect::AskLiving { store, hellos: self.hellos });
        } else {
            self.partner_died = Some(store);
        }
    }

    /// The answer may be late, and of a process before the one that has said hello since the question: asked once more.
    pub(super) fn on_living(&mut self, store: StoreId, hellos: u64, living: bool) {
        if !living && hellos != self.hellos && self.has_said_hello(store) {
            return self.on_partner_died(store);
        }
        let asked = self.perhaps_died.take_if(|perhaps| *perhaps == store).is_some();
        if !living {
            self.partner_died = Some(store);
        } else if asked {
            // The watch was on the process before.
            self.effects.push(Effect::Watch { store, hellos: self.hellos });
        }
    }

    /// Whether the one at the other end of the link has `store`.
    fn has_said_hello(&self, store: StoreId) -> bool {
        self.partner_hello().is_some_and(|hello| hello.store == store)
    }

    /// What the one at the other end of the link has said of itself.
    pub(super) fn partner_hello(&self) -> Option<&Hello> {
        self.partner.as_ref()?.hello.as_deref()
    }

    /// The record names this side, which has just started: it serves again only with a higher term, and never while
    /// another recorded member lives (R7).
    fn reconcile_restarted(&mut self, record: &Record) {
        let other = record.in_sync.iter().find(|member| member.store != self.store);
        match other.map(|member| member.store) {
            Some(other)
                if (self.may_lack_tail
                    || (!self.arbiter.yielded
                        && !self.gives_way(other)
                        && self.partner_died != Some(other)))
                    && !self.arbiter.force =>
            {
                self.ask_living(other);
            }
            _ => {
                let alone = BTreeSet::from([self.member()]);
                self.ask_swap_alone(record.with_active(self.member(), alone), Purpose::Restart);
            }
        }
    }

    /// Whether the partner has said that `store` waits for a copy, or has less: it lives, and will not take over by
    /// itself.
    fn gives_way(&self, store: StoreId) -> bool {
        self.partner_hello().is_some_and(|hello| hello.store == store && (hello.needs_copy || hello.yields))
    }

    /// A store that may lack its tail hears what the other recorded one has (R26): no more, and it lacks nothing that
    /// anybody still has; or more, and that one is to take over.
    fn settle_tail(&mut self, record: &Record) {
        let Some(partner) = self.partner.as_mut().filter(|_| self.may_lack_tail) else { return };
        let Some(hello) = partner.hello.as_ref().filter(|hello| record.is_recorded(hello.store)) else {
            return;
        };
        let tail = |terms: &[TermStart], last: Number| (terms.last().map(|start| start.term), last);
        let meta = &self.state.meta;
        if hello.role == Role::Active {
            // It is followed; what is lacking comes from it.
        } else if tail(&hello.terms, hello.last) <= tail(&meta.terms, meta.last) {
            // One that can't be trusted has nothing. One that differs asks for a copy too, and has what it had before.
            self.tail_is_settled();
        } else if !partner.yielded_to {
            partner.yielded_to = true;
            self.say_hello();
        }
    }

    /// What this store has is all that there is to have: its next start need not ask again.
    pub(super) fn tail_is_settled(&mut self) {
        if std::mem::take(&mut self.may_lack_tail) {
            self.ask_store(Effect::TailSettled);
        }
    }

    fn ask_living(&mut self, store: StoreId) {
        if self.now >= self.ask_living_at {
            self.ask_living_at = self.now.plus(ASK_LIVING);
            self.effects.push(Effect::AskLiving { store, hellos: self.hellos });
        }
    }

    /// The last resort: this store becomes active although the record does not have it. What only the recorded ones
    /// hold is lost.
    fn forced(&self, record: &Record) -> Record {
        let epoch = record.epoch.next();
        let active = self.member();
        Record { epoch, term: Term(epoch.0), in_sync: BTreeSet::from([active.clone()]), active }
    }

    pub(super) fn force(&mut self) {
        self.arbiter.force = true;
        self.needs_copy = false;
    }

    pub(super) fn watch(&mut self, store: StoreId) {
        // A store that is heard lives, whatever was said of the process that held it before.
        if self.watched != Some(store) || self.partner_died == Some(store) {
            self.watched = Some(store);
            self.partner_died = None;
            self.effects.push(Effect::Watch { store, hellos: self.hellos });
        }
    }

    /// The record names this side: it takes over what it has (R22) and serves.
    fn become_active(&mut self, planned: bool) {
        assert!(!self.needs_copy, "only a whole store is promoted (R5)");
        assert!(self.can_serve_rows(), "a version takes over what it can work on (R31)");
        self.drop_copy();
        let followed = std::mem::replace(&mut self.follow, Follow::Nothing);
        self.differs = false;
        self.role = Role::Active;
        self.tail_is_settled();
        self.arbiter.force = false;
        self.arbiter.yielded = false;
        self.waiting = None;
        self.hand_over = None;
        self.partner_out = false;
        self.heard_active = self.now;
        self.grow_after = self.now;
        self.timers_at = self.now;
        self.loading = None;
        self.campaign_entered_anew();
        self.discard_next();
        self.role_effect();
        // Whoever hears it learns whether it is still recorded.
        self.show_record();
        // Whoever is still recorded is waited for until its shrink is recorded (R4).
        self.waiting =
            self.recorded_partner().map(|member| Waiting { store: member.store, acked: Number(0) });
        let in_step = planned && matches!(followed, Follow::InStep) && self.pending.is_none();
        if in_step && let (Some(partner), Some(waiting)) = (&mut self.partner, &mut self.waiting) {
            self.counts.switchovers += 1;
            // What the old active still put into the stream while the swap was under way is not durable there yet:
            // it acknowledges as soon as it follows.
            partner.feed = Feed::InStep;
            partner.acked = self.held;
            partner.acks_from = 0;
            waiting.acked = self.held;
        }
        self.take_over();
        let descriptor = self.application.descriptor().clone();
        self.install(self.config.node.clone(), &descriptor, false);
        if !in_step && let Some(hello) = self.partner_hello().cloned() {
            self.begin_feed(&hello);
        }
        self.update_held();
        let parked = self.parked.take();
        let forwards = self.forwards.take().map(|(origin, request)| (Asker::Local(origin), request));
        forwards.chain(parked).for_each(|(asker, request)| self.parked.push(asker, request));
        self.serve_parked();
    }

    /// The planned switchover is recorded: the partner is active now, and this side follows it.
    fn become_standby(&mut self, record: Record) {
        assert!(self.outputs.is_empty(), "a planned switchover is made when nothing waits (R5)");
        assert!(!self.is_acting(), "a planned switchover is made between procedures (R19)");
        let asker = self.hand_over.take().map_or(Asker::Nobody, |hand_over| hand_over.asker);
        let silent_for = self.gap.silent_for(self.now);
        self.send(PeerMessage::HandOver { record, silent_for });
        self.forget_messages();
        self.waiting = None;
        self.role = Role::Standby;
        self.heard_active = self.now;
        // The partner may have restarted since the swap was asked for: then it is not the one that was handed over to.
        let in_step = self.partner.as_ref().is_some_and(|partner| matches!(partner.feed, Feed::InStep));
        self.follow = if in_step { Follow::InStep } else { Follow::Nothing };
        self.ack_due = true;
        if let Some(partner) = &mut self.partner {
            partner.feed = Feed::Nothing;
        }
        self.command_done(asker, Ok(CommandReply::Done));
        self.take_commands_behind();
        self.forward_all();
    }

    pub(super) fn on_hand_over(&mut self, record: Record, silent_for: Option<Micros>) {
        if record.active.store != self.store || self.role == Role::Active {
            return self.adopt(record, None);
        }
        if self.pending.is_some() {
            return self.close_link("a switchover came in the middle of a procedure");
        }
        self.adopt(record, None);
        if self.role == Role::Active {
            self.gap.handed_over(silent_for, self.now);
        }
        // This process is younger than the record that names it: it must raise the term (R7), and may, because the
        // other recorded member has just said that it is not the active.
        self.arbiter.yielded = self.role != Role::Active;
    }

    /// Another was made active: nothing that is not held may be answered any more, and the stream is the other's.
    fn step_down(&mut self) {
        self.role = Role::Starting;
        self.forget_messages();
        self.waiting = None;
        self.forget_marked();
        self.drop_acting();
        self.give_up_outputs("the active has changed", &CommandError::NoActive);
        if let Some(hand_over) = self.hand_over.take() {
            self.command_done(hand_over.asker, Err(CommandError::NoActive));
        }
        self.heard_active = self.now;
        self.close_link("this side is no longer the active");
        self.parked.take().into_iter().for_each(|(asker, request)| self.on_request(asker, request));
    }
}
