//! The active: runs events as they come, and tells the standby step by step (R8, R10 to R16, R18).

use std::sync::Arc;

use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Group;
use super::config::{StandbyStart, StepUps};
use super::feed::Feed;
use super::notes::Caution;
use super::outputs::{Asker, Output, Owed};
use super::requests::REQUESTS_MAX;
use crate::application::{Run, UnitEnd};
use crate::command::{CommandError, Role};
use crate::context::{Surroundings, UnitContext};
use crate::descriptor::{BodyUse, ProcedureIndex, UnitDescriptor};
use crate::effect::{Alarm, Effect};
use crate::encoded_entries::Ran;
use crate::entry::Entry;
use crate::event::{Answer, Event, EventId, Fault, FaultKind, KEY_BYTES_MAX, Outcome, Rejection, Request};
use crate::ids::{Micros, Number, Origin, SessionId};
use crate::message::{Begin, End, PeerMessage, PlainBody, UnitDescription};
use crate::partition::check_key;
use crate::sessions::{Known, Recorded, WINDOW};
use crate::witness::Piece;

/// The most units of a plan.
pub(super) const PLAN_MAX: usize = 256;

/// Beyond so many bytes of shipped rows a procedure is told unit by unit: a frame has a bound.
const TOGETHER_BYTES_MAX: usize = 1 << 20;

/// How a procedure's units ended: well, or with the one of that name.
pub(super) type UnitsEnd = Result<(), (String, UnitEnd)>;

/// A procedure under way on this side.
#[derive(Clone)]
pub(super) struct Running {
    pub number: Number,
    pub time: Micros,
    pub seed: u64,
    pub event: Arc<Event>,
    pub procedure: ProcedureIndex,
    pub reads_only: bool,
    pub run: Box<dyn Run>,
}

impl Group {
    pub(super) fn on_request(&mut self, asker: Asker, request: Request) {
        match (self.role, asker) {
            (Role::Active, _) if self.may_serve(&request) => self.serve(asker, request),
            (Role::Active, _) => self.park(asker, request),
            (_, Asker::Local(origin)) => self.forward(origin, request),
            _ => self.answer(asker, Answer::Retry { reason: "this processor is not the active one".into() }),
        }
    }

    /// Whether a request is served now: nothing is in the way, and nothing came before it that waits.
    fn may_serve(&self, request: &Request) -> bool {
        let free = !self.is_draining() && !self.is_deposed() && !self.notes.awaits_mark();
        free && ((self.parked.is_empty() && !self.is_acting()) || self.passes_acting(request))
    }

    /// Keeps a request until there is an active here or there, or until the stream is free.
    pub(super) fn park(&mut self, asker: Asker, request: Request) {
        if self.parked.len() >= REQUESTS_MAX {
            return self
                .answer(asker, Answer::Retry { reason: "too many requests wait for an active".into() });
        }
        self.parked.push(asker, request);
    }

    fn forward(&mut self, origin: Origin, request: Request) {
        if self.forwards.len() >= REQUESTS_MAX {
            let reason = "too many requests wait for the active".into();
            return self.answer(Asker::Local(origin), Answer::Retry { reason });
        }
        let ticket = self.ticket();
        self.forwards.keep(ticket, origin, request);
        self.send_forwards();
    }

    /// Sends what waits for the active as far as there are credits (R35).
    fn send_forwards(&mut self) {
        while self.partner_serves()
            && let Some((ticket, request)) = self.forwards.send()
        {
            self.send(PeerMessage::Forward { ticket, request: Box::new(request) });
        }
    }

    /// Whether the partner is the active, as far as its stream tells.
    #[must_use]
    pub fn partner_serves(&self) -> bool {
        self.role != Role::Active && self.follow.is_following()
    }

    /// Sends all kept requests to the new active.
    pub(super) fn forward_all(&mut self) {
        self.forwards.lost();
        self.send_forwards();
        for (asker, request) in self.parked.take() {
            match asker {
                Asker::Local(origin) => self.forward(origin, request),
                _ => self.answer(asker, Answer::Retry { reason: "the active has changed".into() }),
            }
        }
    }

    pub(super) fn on_forward_answer(&mut self, ticket: u64, answer: Answer) {
        if let Some(origin) = self.forwards.answered(ticket) {
            self.answer(Asker::Local(origin), answer);
            self.send_forwards();
        }
    }

    /// Lets an answer leave. Only for answers that rest on nothing (retry) or on what is held.
    pub(super) fn answer(&mut self, asker: Asker, answer: Answer) {
        match asker {
            Asker::Local(origin) => self.effects.push(Effect::Answer { origin, answer }),
            Asker::Partner { link, ticket } => {
                if self.partner.as_ref().is_some_and(|partner| partner.link == link) {
                    self.send(PeerMessage::ForwardAnswer { ticket, answer: Box::new(answer) });
                }
            }
            Asker::Nobody => {}
        }
    }

    /// Answers once everything up to `number` is held (R10).
    pub(super) fn output(&mut self, number: Number, asker: Asker, answer: Answer) {
        let owed = Owed::Answer(answer);
        self.outputs.push(Output { number, confirm: None, asker, owed, arrived: self.now });
    }

    pub(super) fn release(&mut self) {
        let must_confirm = self.waiting.is_some();
        let confirmed = self.partner.as_ref().map_or(0, |partner| partner.confirmed);
        while let Some(output) = self.outputs.pop(self.held, |ticket| !must_confirm || confirmed >= ticket) {
            match output.owed {
                Owed::Answer(answer) => {
                    let us = self.now.since(output.arrived).0;
                    self.latencies.record(us);
                    self.evaluation.latencies.record(us);
                    self.gap.answered(self.now);
                    self.answer(output.asker, answer);
                }
                Owed::Result(result) => self.command_done(output.asker, *result),
            }
        }
    }

    /// Nothing that waits may leave any more: clients may try again, and operators are told `why`.
    pub(super) fn give_up_outputs(&mut self, reason: &str, why: &CommandError) {
        let waiting: Vec<_> = self.outputs.drain().collect();
        for Output { asker, owed, .. } in waiting {
            match owed {
                Owed::Answer(_) => self.answer(asker, Answer::Retry { reason: reason.into() }),
                Owed::Result(_) => self.command_done(asker, Err(why.clone())),
            }
        }
    }

    /// The ticket of the `Confirm` that ends this batch.
    pub(super) fn next_confirm(&mut self) -> u64 {
        if !self.confirm_due {
            self.confirm_due = true;
            self.confirm_sent += 1;
        }
        self.confirm_sent
    }

    /// Reads that wait for a confirmation ask for one, once a batch (R11).
    pub(super) fn ask_confirmation(&mut self) {
        if self.confirm_due && self.partner.is_some() {
            self.confirm_due = false;
            let ticket = self.confirm_sent;
            self.send(PeerMessage::Confirm { ticket });
        }
    }

    pub(super) fn serve(&mut self, asker: Asker, request: Request) {
        match request {
            Request::OpenSession => {
                if let Some(reason) = self.only_reads() {
                    return self.answer(asker, Answer::Retry { reason });
                }
                let number = self.plain(PlainBody::OpenSession);
                self.output(number, asker, Answer::SessionOpened { session: SessionId(number.0) });
            }
            Request::Submit(event) => self.submit_here(asker, None, event),
            Request::SubmitByKey { key, event } => self.submit_here(asker, Some(&key), event),
        }
    }

    /// The time of the next procedure: it never goes back (R33).
    pub(super) fn stream_time(&self) -> Micros {
        self.now.max(self.state.meta.time)
    }

    /// What the random numbers of the procedure with that number begin with.
    pub(super) fn seed_of(&self, number: Number) -> u64 {
        xxh3_64_with_seed(&number.0.to_le_bytes(), self.config.seed)
    }

    /// An event of the stream without a procedure.
    pub(super) fn plain(&mut self, body: PlainBody) -> Number {
        assert!(!self.is_acting(), "a procedure that acts on the world has the next number (R19)");
        let (number, time) = (self.state.meta.last.next(), self.stream_time());
        if self.in_step() {
            self.send(PeerMessage::Plain { number, time, body: body.clone() });
        }
        self.commit(Entry { number, term: self.own_term(), time, body: body.entry() });
        number
    }

    pub(super) fn in_step(&self) -> bool {
        self.role == Role::Active
            && self
                .partner
                .as_ref()
                .is_some_and(|partner| matches!(partner.feed, Feed::InStep) && !partner.diverged)
    }

    /// Whether the partner's version of a procedure differs (R16).
    fn is_shipped(&self, procedure: ProcedureIndex) -> bool {
        let shipped = self.partner.as_ref().and_then(|partner| partner.shipped.get(procedure).copied());
        shipped.unwrap_or(true)
    }

    /// Says that an event has not run and will not, which a side that was deposed and has not noticed cannot know: the
    /// new active may have opened the session, or run the event. So this is read from the stream like anything else.
    pub(super) fn reject(&mut self, asker: Asker, rejection: Rejection) {
        self.output_as_read(asker, Owed::Answer(Answer::Rejected(rejection)));
    }

    /// An answer that rests on the stream as it is now: recorded standbys must answer a frame that is sent after this,
    /// also when the link is down just now (R11).
    pub(super) fn output_as_read(&mut self, asker: Asker, owed: Owed) {
        let number = self.state.meta.last;
        let confirm = self.waiting.is_some().then(|| self.next_confirm());
        self.outputs.push(Output { number, confirm, asker, owed, arrived: self.now });
    }

    /// Runs an event that belongs to this partition (R1).
    fn submit_here(&mut self, asker: Asker, key: Option<&str>, event: Event) {
        match check_key(key, self.config.partition, self.config.partitions) {
            Ok(()) => self.submit(asker, event, false),
            Err(rejection) => self.reject(asker, rejection),
        }
    }

    /// Runs an event, or answers it as before. `marked`: it is under suspicion, and its mark is held (R21).
    pub(super) fn submit(&mut self, asker: Asker, event: Event, marked: bool) {
        let descriptor = self.application.descriptor();
        let Some((procedure, declared)) = descriptor.procedure(&event.procedure) else {
            return self.on_unknown_procedure(asker, &event);
        };
        let (reads_only, withheld) = (declared.reads_only, declared.body == BodyUse::Withheld);
        if reads_only && self.is_not_enabled(procedure) {
            return self.reject(asker, Rejection::NotEnabled);
        }
        if reads_only {
            return match self.caution(&event.id) {
                Caution::Fault(fault) => self.end_noted(asker, event, procedure, fault),
                Caution::Mark | Caution::Clean => self.read(asker, event, procedure),
            };
        }
        if let Some(rejection) = self.check_id(&event) {
            return self.reject(asker, rejection);
        }
        match self.state.sessions.look_up(&event.id) {
            Known::New => {}
            Known::Ended(recorded) if recorded.encoding != event.encoding => {
                return self.reject(asker, Rejection::EncodingConflict);
            }
            Known::Ended(recorded) => {
                let (number, outcome) = (recorded.number, recorded.outcome.clone());
                self.counts.repeated += 1;
                return self.output(number, asker, Answer::Ended { number, outcome });
            }
            Known::AlreadyAnswered => return self.reject(asker, Rejection::AlreadyAnswered),
            Known::UnknownSession => return self.reject(asker, Rejection::UnknownSession),
            Known::WindowFull if self.lacks_window(&event) => {
                return self.reject(asker, Rejection::WindowFull { window: WINDOW });
            }
            // This very event makes room.
            Known::WindowFull => {}
        }
        if let Some(reason) = self.only_reads() {
            return self.answer(asker, Answer::Retry { reason });
        }
        if self.is_not_enabled(procedure) {
            return self.reject(asker, Rejection::NotEnabled);
        }
        match self.caution(&event.id) {
            Caution::Fault(fault) => return self.end_noted(asker, event, procedure, fault),
            Caution::Mark if !marked => return self.mark(asker, event),
            Caution::Mark | Caution::Clean => {}
        }
        if let Some(rejection) = self.lacks_room(&event, procedure) {
            return self.reject(asker, rejection);
        }
        let run = match self.begin_run(procedure, &event) {
            Ok(run) => run,
            Err(reason) => return self.reject(asker, Rejection::MalformedParameters(reason)),
        };
        if let Some(reason) = Self::refuse_acting(&event)
            && !self.acting_units(procedure, run.plan()).is_empty()
        {
            return self.reject(asker, Rejection::MalformedParameters(reason));
        }
        if let Some((number, outcome)) = self.run_new(asker, event, procedure, run, withheld) {
            self.output(number, asker, Answer::Ended { number, outcome });
        }
    }

    /// Runs an event under the next number, in step with the standby. None when it acts on the world, and its end comes
    /// later (R19).
    pub(super) fn run_new(
        &mut self,
        asker: Asker,
        event: Event,
        procedure: ProcedureIndex,
        run: Box<dyn Run>,
        withheld: bool,
    ) -> Option<(Number, Outcome)> {
        let acting_units = self.acting_units(procedure, run.plan());
        if !acting_units.is_empty() {
            self.intend(&event, acting_units.clone());
        }
        self.intake.take();
        let (number, time) = (self.state.meta.last.next(), self.stream_time());
        let seed = self.seed_of(number);
        let in_step = self.in_step();
        let ships = self.ships_everything() || self.is_shipped(procedure) || self.kills_partner(&event.id);
        let shipped = in_step && ships;
        let event = Arc::new(event);
        let begin = in_step.then(|| {
            let event = if withheld { Arc::new(event.without_body()) } else { event.clone() };
            Begin { number, time, seed, shipped, event, withheld }
        });
        let running = Running { number, time, seed, event, procedure, reads_only: false, run };
        if !acting_units.is_empty() {
            begin.into_iter().for_each(|begin| self.send(PeerMessage::Begin(begin)));
            self.begin_acting(running, asker, shipped, withheld);
            return None;
        }
        self.use_up(&running.event.id);
        let outcome = match begin {
            None => self.run_all(running, 0),
            Some(begin) => self.run_and_tell(running, begin),
        };
        Some((number, outcome))
    }

    /// Whether a standby is told in one frame of a procedure whose shipped `units` are these (R14).
    fn tells_together(&self, units: &[(u32, UnitDescription)]) -> bool {
        let bytes: usize = units.iter().map(|(_, unit)| unit.updates.as_bytes().len()).sum();
        self.config.step_ups == StepUps::Together
            && self.config.standby == StandbyStart::Behind
            && bytes <= TOGETHER_BYTES_MAX
    }

    fn check_id(&self, event: &Event) -> Option<Rejection> {
        match &event.id {
            EventId::Timer { .. } | EventId::Message { .. } => {
                Some(Rejection::MalformedParameters("timers and messages have no clients".into()))
            }
            EventId::Keyed { key } if key.is_empty() || key.len() > KEY_BYTES_MAX => {
                Some(Rejection::MalformedParameters(format!("a key has 1 to {KEY_BYTES_MAX} bytes")))
            }
            EventId::Numbered { number, .. } if *number == 0 || *number < event.awaited_from => {
                Some(Rejection::AlreadyAnswered)
            }
            EventId::Numbered { .. } | EventId::Keyed { .. } => None,
        }
    }

    /// Whether a session whose window is full still has no room for `event`: a client that has answers in the meantime makes
    /// some with it.
    fn lacks_window(&self, event: &Event) -> bool {
        match event.id {
            EventId::Numbered { session, .. } => {
                !self.state.sessions.has_room_after(session, event.awaited_from)
            }
            _ => false,
        }
    }

    /// Runs all units of `running` and ends it, and tells the standby.
    fn run_and_tell(&mut self, mut running: Running, begin: Begin) -> Outcome {
        let mut digests = Vec::with_capacity(running.run.plan().len().min(PLAN_MAX));
        let mut units = Vec::new();
        let end = self.run_units(&mut running, 0, |group, running, position, start| {
            digests.push(group.overlay.digest_from(start));
            let unit = group.shipped_unit(running, position, start, begin.shipped, begin.withheld);
            units.extend(unit.map(|unit| (position as u32, unit)));
        });
        let outcome = self.outcome_of(end);
        self.tell_whole(begin, digests, units, End::of(&outcome));
        self.conclude(&running, outcome)
    }

    /// Tells the standby of a procedure that has ended.
    fn tell_whole(&mut self, begin: Begin, digests: Vec<u64>, units: Vec<(u32, UnitDescription)>, end: End) {
        if self.tells_together(&units) {
            return self.send(PeerMessage::Procedure { begin, digests, units, end });
        }
        let number = begin.number;
        self.send(PeerMessage::Begin(begin));
        let mut units = units.into_iter().peekable();
        for (position, digest) in (0..).zip(digests) {
            let unit = units.next_if(|(at, _)| *at == position).map(|(_, unit)| Box::new(unit));
            self.send(PeerMessage::StepUp { number, position, digest, unit });
        }
        self.send_end(number, end);
    }

    fn send_end(&mut self, number: Number, end: End) {
        self.send(match end {
            End::Committed(digest) => PeerMessage::EndProcedure { number, digest },
            End::Aborted(outcome) => PeerMessage::Abort { number, outcome },
        });
    }

    /// Runs the units of `running` from position `from` on, and ends it (R22 uses it for completion too).
    pub(super) fn run_all(&mut self, mut running: Running, from: usize) -> Outcome {
        let end = self.run_units(&mut running, from, |_, _, _, _| {});
        self.tell_end(&running, end)
    }

    /// Runs the units of `running` from position `from` on. `done` is told the position of each that ended well, and where
    /// its updates begin.
    fn run_units(
        &mut self,
        running: &mut Running,
        from: usize,
        mut done: impl FnMut(&mut Self, &Running, usize, usize),
    ) -> UnitsEnd {
        let units = running.run.plan().len();
        if units > PLAN_MAX {
            let message = format!("a plan has at most {PLAN_MAX} units");
            return Err((String::new(), UnitEnd::Faulted { kind: FaultKind::Contract, message }));
        }
        for position in from..units {
            let start = self.overlay.len();
            match self.run_in_time(running, position) {
                Ok(()) => done(self, running, position, start),
                Err(stop) => return Err((self.unit_name(running, position), stop)),
            }
        }
        Ok(())
    }

    fn outcome_of(&self, end: UnitsEnd) -> Outcome {
        match end {
            Ok(()) => Outcome::Committed { reply: self.overlay.reply() },
            Err((_, UnitEnd::Refused(refusal))) => Outcome::Refused(refusal),
            Err((unit, UnitEnd::Faulted { kind, message })) => {
                Outcome::Faulted(Fault { kind, unit, message })
            }
        }
    }

    /// Ends a procedure whose units have run, and tells the standby, which knows the rest.
    pub(super) fn tell_end(&mut self, running: &Running, end: UnitsEnd) -> Outcome {
        let outcome = self.outcome_of(end);
        if self.in_step() {
            self.send_end(running.number, End::of(&outcome));
        }
        self.conclude(running, outcome)
    }

    /// Ends a procedure here.
    fn conclude(&mut self, running: &Running, outcome: Outcome) -> Outcome {
        self.ended(running.number, &running.event.procedure, &outcome);
        self.finish(running.number, running.time, &running.event, outcome.clone());
        outcome
    }

    /// Counts an outcome that this active gave to a number, and tells of a fault.
    pub(super) fn ended(&mut self, number: Number, procedure: &str, outcome: &Outcome) {
        if let Outcome::Faulted(fault) = outcome {
            let (number, procedure) = (Some(number), procedure.into());
            self.alarm(Alarm::Faulted { number, procedure, fault: fault.clone() });
        }
        self.evaluation.events += 1;
        match outcome {
            Outcome::Committed { .. } => self.counts.committed += 1,
            Outcome::Refused(_) => self.counts.refused += 1,
            Outcome::Faulted(_) => {
                self.counts.faulted += 1;
                self.evaluation.faults += 1;
            }
        }
    }

    /// Puts an ended procedure into the database. The overlay holds its updates; it is empty afterwards.
    pub(super) fn finish(&mut self, number: Number, time: Micros, event: &Event, outcome: Outcome) {
        match outcome {
            Outcome::Committed { .. } => self.overlay.keep_committed(),
            // A timer that faults does not fire for ever, and a message that is refused does not block its channel.
            Outcome::Refused(_) | Outcome::Faulted(_) => {
                self.overlay.clear();
                self.use_up(&event.id);
            }
        }
        // A takeover may have put entries of its own before a half-way one; the stream's time does not go back (R33).
        let time = time.max(self.state.meta.time);
        let Event { id: event, awaited_from, procedure, encoding, .. } = event;
        self.own_ended(event, number, procedure, &outcome);
        let ran = Ran { term: self.own_term(), time, event, awaited_from: *awaited_from, procedure };
        self.commit_ran(&ran, Recorded { number, encoding: *encoding, outcome });
    }

    /// The declaration of the unit at `position` of a plan; none when the plan names one that is not declared.
    pub(super) fn unit(&self, running: &Running, position: usize) -> Option<&UnitDescriptor> {
        let declared = &self.application.descriptor().procedures[running.procedure];
        declared.units.get(*running.run.plan().get(position)?)
    }

    pub(super) fn unit_name(&self, running: &Running, position: usize) -> String {
        self.unit(running, position).map_or_else(|| format!("#{position}"), |unit| unit.name.clone())
    }

    /// Runs one unit over the overlay, as the active, which alone judges whether it came late (R23).
    pub(super) fn run_in_time(&mut self, running: &mut Running, position: usize) -> Result<(), UnitEnd> {
        match (self.run_unit(running, position), self.is_late(running)) {
            (Ok(()) | Err(UnitEnd::Refused(_)), Some((kind, message))) => {
                Err(UnitEnd::Faulted { kind, message })
            }
            (end, _) => end,
        }
    }

    /// Runs one unit over the overlay.
    pub(super) fn run_unit(&mut self, running: &mut Running, position: usize) -> Result<(), UnitEnd> {
        let contract = |message| Err(UnitEnd::Faulted { kind: FaultKind::Contract, message });
        self.unit_time = Micros(0);
        let descriptor = self.application.descriptor();
        let declared = &descriptor.procedures[running.procedure];
        let Some(unit) = running.run.plan().get(position).and_then(|unit| declared.units.get(*unit)) else {
            return contract("the plan names a unit that is not declared".into());
        };
        let (plugin, hang_ms) = (descriptor.hash, declared.hang_after_ms());
        let timed = declared.deadline_ms > 0;
        self.witness.begins(&Piece { event: &running.event, plugin, unit: &unit.name, hang_ms, timed });
        let surroundings = Surroundings {
            number: running.number,
            time: running.time,
            seed: running.seed,
            features: self.features,
            reads_only: running.reads_only,
        };
        let mut context = UnitContext::new(
            descriptor,
            &self.own_tables,
            &self.state.tables,
            &self.derived,
            &mut self.overlay,
            surroundings,
            &running.event.body,
            position,
        )
        .of(crate::context::Piece { event: &running.event.id, procedure: &declared.name, unit: &unit.name })
        .seen_by(&*self.witness);
        let end = running.run.run(position, &mut context);
        let breach = context.breach();
        self.unit_time = self.witness.ended();
        match breach {
            Some(breach) => contract(breach),
            None => end,
        }
    }

    pub(super) fn step_up(
        &mut self,
        running: &Running,
        position: usize,
        start: usize,
        shipped: bool,
        withheld: bool,
    ) {
        let digest = self.overlay.digest_from(start);
        let unit = self.shipped_unit(running, position, start, shipped, withheld).map(Box::new);
        self.send(PeerMessage::StepUp { number: running.number, position: position as u32, digest, unit });
    }

    /// The unit at `position`, whose updates begin at `start`, if the standby does not run it itself.
    fn shipped_unit(
        &self,
        running: &Running,
        position: usize,
        start: usize,
        shipped: bool,
        withheld: bool,
    ) -> Option<UnitDescription> {
        let declared = self.unit(running, position);
        let reads_body = declared.is_some_and(|unit| unit.reads_body);
        (shipped || (withheld && reads_body) || self.acts(running, position)).then(|| UnitDescription {
            name: declared.map_or_else(SmolStr::default, |unit| unit.name.as_str().into()),
            version: self.application.descriptor().procedures[running.procedure].version,
            updates: self.overlay.updates_from(start),
        })
    }

    /// A read-only procedure runs here alone; its answer waits for what it rests on and for a confirmation (R11).
    fn read(&mut self, asker: Asker, event: Event, procedure: ProcedureIndex) {
        let number = self.state.meta.last;
        let run = match self.begin_run(procedure, &event) {
            Ok(run) => run,
            Err(reason) => return self.reject(asker, Rejection::MalformedParameters(reason)),
        };
        let (time, seed) = (self.stream_time(), self.config.seed ^ self.now.0);
        let event = Arc::new(event);
        let mut running = Running { number, time, seed, event, procedure, reads_only: true, run };
        let mut outcome = None;
        for position in 0..running.run.plan().len().min(PLAN_MAX) {
            match self.run_in_time(&mut running, position) {
                Ok(()) => {}
                Err(UnitEnd::Refused(refusal)) => outcome = Some(Outcome::Refused(refusal)),
                Err(UnitEnd::Faulted { kind, message }) => {
                    let unit = self.unit_name(&running, position);
                    self.counts.faulted += 1;
                    self.evaluation.faults += 1;
                    let fault = Fault { kind, unit, message };
                    let procedure = running.event.procedure.as_str().into();
                    self.alarm(Alarm::Faulted { number: None, procedure, fault: fault.clone() });
                    outcome = Some(Outcome::Faulted(fault));
                }
            }
            if outcome.is_some() {
                break;
            }
        }
        let outcome = outcome.unwrap_or_else(|| Outcome::Committed { reply: self.overlay.reply() });
        self.overlay.clear();
        self.counts.reads += 1;
        self.output_as_read(asker, Owed::Answer(Answer::Ended { number, outcome }));
    }
}
