//! The standby's side of lock step: runs what the active says, compares digests, acknowledges what is durable
//! (R14 to R18).

use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64;

use super::Group;
use super::active::Running;
use super::config::StandbyStart;
use super::rejoin::Copying;
use crate::application::UnitEnd;
use crate::command::Role;
use crate::descriptor::HANG_MS_DEFAULT;
use crate::effect::{Alarm, Effect};
use crate::entry::{ActingUnit, Entry, Op, OpRef};
use crate::event::Outcome;
use crate::ids::Number;
use crate::message::{Begin, Divergence, End, PeerMessage, PlainBody, UnitDescription};
use crate::migration::Chunk;
use crate::posted;
use crate::witness::Piece;

/// Where this side stands in the partner's stream.
#[derive(Clone)]
pub(super) enum Follow {
    /// Nowhere.
    Nothing,
    /// Entries come, to catch up.
    Entries,
    /// A whole copy comes.
    Copying(Box<Copying>),
    /// The copy is being made durable.
    CopyEnding(Box<Copying>),
    /// In lock step.
    InStep,
    /// This side differed: the rest of the stream is not taken (R15).
    Diverged,
}

impl Follow {
    pub(super) fn is_following(&self) -> bool {
        !matches!(self, Follow::Nothing)
    }
}

/// The procedure that has begun and not ended.
#[derive(Clone)]
pub(super) struct Pending {
    pub begin: Begin,
    /// This side's own run of it; none when it is shipped.
    pub running: Option<Running>,
    /// How many step-ups have arrived and were carried out.
    pub step_ups: u32,
    /// `beside`: the unit of the next step-up has run already; here its updates start.
    pub ahead: Option<Result<usize, UnitEnd>>,
    /// What the standby registered in place of work units of its own (\[P\] Fig. 4), for takeover and trace.
    pub registered: Vec<(SmolStr, u32)>,
    /// The units that act on the world and may have begun, in order: what a takeover undoes (R19).
    pub described: Vec<ActingUnit>,
}

impl Pending {
    fn new(begin: Begin) -> Box<Self> {
        Box::new(Pending {
            begin,
            running: None,
            step_ups: 0,
            ahead: None,
            registered: Vec::new(),
            described: Vec::new(),
        })
    }
}

impl Group {
    pub(super) fn on_stream(&mut self, message: PeerMessage) {
        if self.role == Role::Active {
            // Two that think they are active: terms decide, and the record says who is right (R3).
            return self.read_record();
        }
        self.heard_active = self.now;
        match message {
            PeerMessage::Heartbeat { held, .. } => {
                if matches!(self.follow, Follow::InStep | Follow::Entries) {
                    self.raise_held(held.min(self.durable));
                }
            }
            PeerMessage::Confirm { ticket } => {
                self.confirm_seen = ticket;
                self.ack_due = true;
            }
            PeerMessage::Order { attempt, order } => self.on_order(attempt, order),
            PeerMessage::OutOfService { out } => self.on_out_of_service(out),
            PeerMessage::CatchUp { common, runs } => self.on_catch_up(common, runs),
            PeerMessage::CopyBegin { meta } => self.on_copy_begin(*meta),
            PeerMessage::CopyRows(rows) => self.on_copy_rows(rows),
            PeerMessage::CopySessions(sessions) => self.on_copy_sessions(sessions),
            PeerMessage::CopyKeyed(keyed) => self.on_copy_keyed(keyed),
            PeerMessage::CopyEnd { meta } => self.on_copy_end(*meta),
            PeerMessage::Entry(entry) => self.on_entry(*entry),
            PeerMessage::InStep => self.on_in_step(),
            message => {
                if matches!(self.follow, Follow::InStep) {
                    self.on_lock_step(message);
                }
                // Otherwise: the rest of a stream that this side has left (R15).
            }
        }
    }

    fn on_lock_step(&mut self, message: PeerMessage) {
        match message {
            PeerMessage::Begin(begin) => {
                if self.is_next(begin.number) {
                    self.begin(Pending::new(begin));
                }
            }
            PeerMessage::Procedure { begin, digests, units, end } => {
                if self.is_next(begin.number) {
                    self.on_procedure(begin, digests, units, end);
                }
            }
            PeerMessage::StepUp { number, position, digest, unit } => {
                match self.pending.take().filter(|p| p.begin.number == number && p.step_ups == position) {
                    Some(pending) => self.on_step_up(pending, digest, unit.map(|unit| *unit)),
                    None => self.close_link(format!("`StepUp` {position} of {number} was not expected")),
                }
            }
            PeerMessage::UnitBegins { number, unit } => {
                let next = |p: &&mut Box<Pending>| {
                    let last = p.described.last().map(|last| last.position);
                    p.begin.number == number
                        && p.step_ups == unit.position
                        && last.is_none_or(|last| last < unit.position)
                };
                match self.pending.as_mut().filter(next) {
                    Some(pending) => pending.described.push(*unit),
                    None => self.close_link(format!("`UnitBegins` of {number} was not expected")),
                }
            }
            PeerMessage::EndProcedure { number, digest } => {
                match self.pending.take().filter(|pending| pending.begin.number == number) {
                    Some(pending) => self.on_end(pending, digest),
                    None => self.close_link(format!("`EndProcedure` of {number} was not expected")),
                }
            }
            PeerMessage::Abort { number, outcome } => {
                match self.pending.take().filter(|pending| pending.begin.number == number) {
                    Some(pending) => self.on_abort(&pending, *outcome),
                    None => self.close_link(format!("`Abort` of {number} was not expected")),
                }
            }
            PeerMessage::Plain { number, time, body } => {
                if !self.is_next(number) {
                    return;
                }
                if let PlainBody::Migrated(chunk) = &body
                    && let Err(why) = self.check_chunk(chunk)
                {
                    return self.refuse_chunk(number, chunk, &why);
                }
                self.commit(Entry { number, term: self.own_term(), time, body: body.entry() });
            }
            PeerMessage::VersionsFrom { number } => self.on_versions_from(number),
            _ => self.close_link("a message that only a standby sends came from the active"),
        }
    }

    /// Whether what begins with `number` comes in its place; the link is closed when it does not.
    fn is_next(&mut self, number: Number) -> bool {
        let last = self.state.meta.last;
        let is_next = self.pending.is_none() && number == last.next();
        if !is_next {
            self.close_link(format!("{number} begins after {last}"));
        }
        is_next
    }

    /// A procedure that has ended on the active: whatever its frames would have said, one after the other.
    fn on_procedure(
        &mut self,
        begin: Begin,
        digests: Vec<u64>,
        units: Vec<(u32, UnitDescription)>,
        end: End,
    ) {
        self.begin(Pending::new(begin));
        let mut units = units.into_iter().peekable();
        for (position, digest) in digests.into_iter().enumerate() {
            // None when it differs here, or the link is closed.
            let Some(pending) = self.pending.take() else { return };
            let unit = units.next_if(|(at, _)| *at as usize == position);
            self.on_step_up(pending, digest, unit.map(|(_, unit)| unit));
        }
        let Some(pending) = self.pending.take() else { return };
        match end {
            _ if units.next().is_some() => self.close_link("a unit was shipped that is not done"),
            End::Committed(digest) => self.on_end(pending, digest),
            End::Aborted(outcome) => self.on_abort(&pending, *outcome),
        }
    }

    fn begin(&mut self, mut pending: Box<Pending>) {
        self.overlay.clear();
        self.use_up(&pending.begin.event.id);
        if !pending.begin.shipped {
            let found = self.application.descriptor().procedure(&pending.begin.event.procedure);
            let Some((procedure, _)) = found else {
                return self.close_link(format!(
                    "`{}` is not known here, yet not shipped",
                    pending.begin.event.procedure
                ));
            };
            let event = &pending.begin.event;
            match self.begin_run(procedure, event) {
                Ok(run) => {
                    pending.running = Some(Running {
                        number: pending.begin.number,
                        time: pending.begin.time,
                        seed: pending.begin.seed,
                        event: event.clone(),
                        procedure,
                        reads_only: false,
                        run,
                    });
                }
                Err(_) => return self.diverge(&pending, "(begin)", 0),
            }
            if self.config.standby == StandbyStart::Beside {
                self.run_ahead(&mut pending);
            }
        }
        self.pending = Some(pending);
    }

    /// `beside`: runs the next unit before its step-up, if this side runs it at all.
    fn run_ahead(&mut self, pending: &mut Pending) {
        let Some(running) = &mut pending.running else { return };
        let position = pending.step_ups as usize;
        let Some(unit) = self.unit(running, position) else { return };
        if (pending.begin.withheld && unit.reads_body) || unit.undo.is_some() {
            return;
        }
        let start = self.overlay.len();
        pending.ahead = Some(self.run_unit(running, position).map(|()| start));
    }

    fn on_step_up(&mut self, mut pending: Box<Pending>, digest: u64, unit: Option<UnitDescription>) {
        let position = pending.step_ups as usize;
        let start = match (unit, pending.ahead.take()) {
            (Some(_), Some(_)) => return self.close_link("a unit was shipped that had run here"),
            (Some(unit), None) => {
                let start = self.overlay.len();
                if self.overlay.lacks_room(unit.updates.iter().map(|op| op.bytes()).sum()) {
                    return self.close_link("a procedure was shipped with more rows than one may write");
                }
                let event = &pending.begin.event;
                let plugin = self.own_hash();
                let (unit_name, hang_ms) = ("(shipped rows)", HANG_MS_DEFAULT);
                self.witness.begins(&Piece { event, plugin, unit: unit_name, hang_ms, timed: false });
                let unreadable = unit.updates.iter().find_map(|op| self.check_row(op).err());
                self.witness.ended();
                unit.updates.iter().for_each(|op| self.overlay.put(op, &self.state.tables));
                if let Some(why) = unreadable {
                    let what =
                        format!("a shipped row can't be read by the version that runs here (R17): {why}");
                    self.alarm(Alarm::ProtocolBroken { what });
                    return self.diverge(&pending, &unit.name, start);
                }
                pending.registered.push((unit.name, unit.version));
                start
            }
            (None, Some(Ok(start))) => start,
            (None, Some(Err(_))) => return self.diverge_here(&pending, self.overlay.len()),
            (None, None) => {
                let start = self.overlay.len();
                let Some(running) = &mut pending.running else {
                    return self.close_link("a step-up without a unit came for a shipped procedure");
                };
                if self.acts(running, position) {
                    return self.close_link("a unit that acts on the world was not shipped (R19)");
                }
                if self.run_unit(running, position).is_err() {
                    return self.diverge_here(&pending, start);
                }
                start
            }
        };
        if self.overlay.digest_from(start) != digest {
            return self.diverge_here(&pending, start);
        }
        pending.step_ups += 1;
        if self.config.standby == StandbyStart::Beside {
            self.run_ahead(&mut pending);
        }
        self.pending = Some(pending);
    }

    /// Whether this version can read a shipped row (R17): a row starts with its format number, and the application
    /// decodes the rest. Rows of tables that this version does not have are only kept.
    pub(super) fn check_row(&self, op: OpRef<'_>) -> Result<(), String> {
        posted::check(op)?;
        let Some(value) = op.value else { return Ok(()) };
        let Some(table) = self.own_tables.iter().position(|table| table.id == op.table) else {
            return Ok(());
        };
        let declared = &self.application.descriptor().tables[table];
        if declared.derived_from.is_some() {
            return Err(format!("table `{}`: it is derived here", declared.name));
        }
        match value.first() {
            Some(format) if (declared.reads_from..=declared.format).contains(&u16::from(*format)) => {
                self.application.check_row(table, op.key, value)
            }
            Some(format) => Err(format!("table `{}`: format {format} is not known here", declared.name)),
            None => Err(format!("table `{}`: a row is empty", declared.name)),
        }
    }

    fn on_end(&mut self, pending: Box<Pending>, digest: u64) {
        let reply = self.overlay.reply();
        let units = pending.running.as_ref().map(|running| running.run.plan().len() as u32);
        if units.is_some_and(|units| units != pending.step_ups) || xxh3_64(&reply) != digest {
            return self.diverge(&pending, "(end)", self.overlay.len());
        }
        if pending.begin.shipped {
            self.counts.shipped += 1;
        } else {
            self.counts.in_lock_step += 1;
        }
        self.finish(
            pending.begin.number,
            pending.begin.time,
            &pending.begin.event,
            Outcome::Committed { reply },
        );
    }

    fn on_abort(&mut self, pending: &Pending, outcome: Outcome) {
        self.overlay.clear();
        self.finish(pending.begin.number, pending.begin.time, &pending.begin.event, outcome);
    }

    /// What the active made of rows can't be read here: like a shipped procedure's rows (R17).
    fn refuse_chunk(&mut self, number: Number, chunk: &Chunk, why: &str) {
        let what =
            format!("a chunk of a migration can't be taken by the version that runs here (R31): {why}");
        self.alarm(Alarm::ProtocolBroken { what });
        self.tell_divergence(Divergence {
            number,
            procedure: "(migration)".into(),
            unit: "(chunk)".into(),
            position: 0,
            offset: 0,
            updates: chunk.ops.clone(),
        });
    }

    fn diverge_here(&mut self, pending: &Pending, start: usize) {
        let position = pending.step_ups as usize;
        let unit =
            pending.running.as_ref().map_or_else(String::new, |running| self.unit_name(running, position));
        self.diverge(pending, &unit, start);
    }

    /// This side drops the number and everything after it, and says so. It stays promotable as it was before (R15).
    fn diverge(&mut self, pending: &Pending, unit: &str, start: usize) {
        let divergence = Divergence {
            number: pending.begin.number,
            procedure: pending.begin.event.procedure.as_str().into(),
            unit: unit.into(),
            position: pending.step_ups,
            offset: self.overlay.committed_before(start) as u32,
            updates: self.overlay.ops_from(start).map(Op::from).collect(),
        };
        self.tell_divergence(divergence);
    }

    fn tell_divergence(&mut self, divergence: Divergence) {
        self.overlay.clear();
        self.counts.divergences += 1;
        let report = format!("number {}: {}.{}", divergence.number, divergence.procedure, divergence.unit);
        self.alarm(Alarm::Diverged { report });
        self.send(PeerMessage::Diverged(Box::new(divergence)));
        self.follow = Follow::Diverged;
        self.differs = true;
    }

    /// Acknowledges, once a batch, what is durable (R9) and the last confirmation asked for (R11).
    pub(super) fn acknowledge(&mut self) {
        // A word of this side lets the active act on the world: none while this side may be the active itself by now, and
        // undo what that one has done (R19). Should the swap fail, the word goes out then.
        if !self.ack_due || !self.follow.is_following() || self.arbiter.is_taking_over() {
            return;
        }
        self.ack_due = false;
        let through = match self.follow {
            // What is in a store that a start does not find is worth nothing (R25); nor is what a half copy has.
            Follow::Entries | Follow::InStep | Follow::Diverged if self.replaced.is_some() => Number(0),
            Follow::Entries | Follow::InStep | Follow::Diverged => self.durable,
            Follow::Copying(_) | Follow::CopyEnding(_) | Follow::Nothing => Number(0),
        };
        let confirmed = self.confirm_seen;
        self.send(PeerMessage::Ack { through, confirmed });
    }

    fn on_out_of_service(&mut self, out: bool) {
        if out {
            self.drop_copy();
            self.follow = Follow::Nothing;
            self.pending = None;
            self.set_role(Role::Isolated);
        } else {
            self.set_role(Role::Starting);
            self.say_hello();
        }
    }

    fn on_in_step(&mut self) {
        match self.follow {
            Follow::Entries => {
                self.follow = Follow::InStep;
                self.tail_is_settled();
                self.forward_all();
            }
            // The rest of a stream that this side could not take; it has said hello meanwhile.
            Follow::Nothing | Follow::Diverged | Follow::Copying(_) | Follow::CopyEnding(_) => {}
            Follow::InStep => self.close_link("`InStep` came to one that is in step already"),
        }
    }

    /// Whether nothing that the stream has begun is open.
    pub(super) fn at_boundary(&self) -> bool {
        self.pending.is_none()
    }

    pub(super) fn role_effect(&mut self) {
        let (role, term) = (self.role, self.term);
        let in_sync = self.arbiter.record.as_ref().map_or(0, |record| record.in_sync.len());
        self.effects.push(Effect::RoleChanged { role, term, in_sync });
    }

    pub(super) fn set_role(&mut self, role: Role) {
        if self.role != role {
            self.role = role;
            self.role_effect();
        }
    }
}
