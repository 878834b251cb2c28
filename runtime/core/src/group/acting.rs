//! Procedures that act on the world (R19): the one place where the active waits inside a procedure, and the undos.
//!
//! Before such a procedure an *intent* takes a number of its own: event, parameters and the plan's acting units. It stands
//! in the group's own data until the procedure's own entry, or a rollback's, clears it. A unit that acts begins once the
//! intent is held and the standby, if one is recorded or about to be, has answered a frame sent behind the unit's
//! description. Whoever becomes active and finds an intent standing undoes: exactly the units that were described, if it
//! followed the procedure to there; else all of them, as each may have begun. The clearing entry comes after the undos: if
//! it is lost, they run again.
//!
//! While a procedure waits here, nothing else takes a number: events and commands that would are kept, within bounds.
//! Reads go on: they see the rows as they were before the procedure, and rest on numbers that are there. A standby that
//! comes back gets in step and is recorded between two such procedures, so that every recorded one has been waited for.
//!
//! Deliberately absent: a way to keep a process that was stopped just before it acts from acting late. It asks again when
//! the standby's word is older than any promotion could be; between that look and the act only the world itself can
//! refuse.

use super::active::{PLAN_MAX, Running};
use super::outputs::{Asker, Output, Owed};
use super::{Group, Identity, Partner};
use crate::application::UnitEnd;
use crate::command::{CommandError, Role};
use crate::context::{Overlay, Surroundings, UnitContext};
use crate::descriptor::{ProcedureIndex, UnitIndex};
use crate::effect::Alarm;
use crate::entry::{ActingUnit, INTENT_BYTES_MAX, Intent};
use crate::event::{Answer, Event, Request};
use crate::ids::{LinkId, Micros, Number};
use crate::message::{PeerMessage, PlainBody};
use crate::posted::used_up;
use crate::witness::Piece;

/// A procedure that acts on the world, between two steps of the group.
#[derive(Clone)]
pub(super) struct Acting {
    running: Running,
    /// The unit that is next.
    position: usize,
    /// What its units wrote so far; the group's own overlay serves reads meanwhile.
    overlay: Overlay,
    /// The intent's number.
    intent: Number,
    shipped: bool,
    withheld: bool,
    asker: Asker,
    arrived: Micros,
    /// The next unit's description was sent.
    described: bool,
    asked: Option<Asked>,
    /// Positions of the acting units that have begun, in order.
    begun: Vec<usize>,
}

impl Acting {
    /// What a group's identity has of this.
    pub fn add_to(&self, identity: &mut Identity) {
        let asked = self.asked.as_ref().map(|asked| asked.ticket);
        identity.add((self.position, self.intent, self.shipped, self.withheld, self.asker));
        identity.add(self.overlay.ops().collect::<Vec<_>>());
        identity.add((self.described, asked, &self.begun));
    }
}

/// What the standby was asked to answer before the next unit begins.
#[derive(Clone)]
struct Asked {
    link: LinkId,
    ticket: u64,
    at: Micros,
}

impl Group {
    /// The plan's units that act on the world. A plan that is too long runs none of them.
    pub(super) fn acting_units(&self, procedure: ProcedureIndex, plan: &[UnitIndex]) -> Vec<ActingUnit> {
        if plan.len() > PLAN_MAX {
            return Vec::new();
        }
        (0..plan.len()).filter_map(|position| self.acting_unit(procedure, plan, position)).collect()
    }

    fn acting_unit(
        &self,
        procedure: ProcedureIndex,
        plan: &[UnitIndex],
        position: usize,
    ) -> Option<ActingUnit> {
        let unit = self.application.descriptor().procedures[procedure].units.get(*plan.get(position)?)?;
        let undo = unit.undo.clone()?;
        Some(ActingUnit { position: position as u32, unit: unit.name.clone(), undo })
    }

    /// Whether the unit at `position` acts on the world.
    pub(super) fn acts(&self, running: &Running, position: usize) -> bool {
        self.unit(running, position).is_some_and(|unit| unit.undo.is_some())
    }

    /// Whether nothing may take a number now: a procedure that acts on the world has the next one.
    pub(super) fn is_acting(&self) -> bool {
        self.acting.is_some()
    }

    /// Whether a request goes on while such a procedure waits.
    pub(super) fn passes_acting(&self, request: &Request) -> bool {
        let Request::Submit(event) = request else { return false };
        let found = self.application.descriptor().procedure(&event.procedure);
        found.is_some_and(|(_, declared)| declared.reads_only)
    }

    /// Why a procedure that acts on the world can't be taken.
    pub(super) fn refuse_acting(event: &Event) -> Option<String> {
        let length = event.parameters.len();
        (length > INTENT_BYTES_MAX).then(|| {
            format!(
                "{length} bytes; a procedure that acts on the world takes {INTENT_BYTES_MAX} at most (R19)"
            )
        })
    }

    /// Puts the intent of `running`, the next procedure but one number, into the stream.
    pub(super) fn intend(&mut self, event: &Event, units: Vec<ActingUnit>) {
        assert!(self.state.meta.intent.is_none(), "one procedure at a time acts on the world (R19)");
        let intent = Intent {
            event: event.id.clone(),
            procedure: event.procedure.as_str().into(),
            encoding: event.encoding,
            parameters: event.parameters.clone(),
            units,
        };
        self.plain(PlainBody::Intent(Box::new(intent)));
    }

    /// Begins a procedure whose intent has the number before it.
    pub(super) fn begin_acting(&mut self, running: Running, asker: Asker, shipped: bool, withheld: bool) {
        assert_eq!(
            running.number,
            self.state.meta.last.next(),
            "an intent is followed by its procedure (R19)"
        );
        self.acting = Some(Acting {
            intent: self.state.meta.last,
            overlay: Overlay::of(&used_up(&running.event.id)),
            running,
            position: 0,
            shipped,
            withheld,
            asker,
            arrived: self.now,
            described: false,
            asked: None,
            begun: Vec::new(),
        });
        self.go_on();
    }

    /// Runs the procedure that waits as far as it may go; after everything that may be what it waits for.
    pub(super) fn go_on(&mut self) {
        // A deposed active does not act any more; it drops the run when it has read the record.
        if self.is_deposed() || self.disk_failure().is_some() {
            return;
        }
        let Some(mut acting) = self.acting.take() else { return };
        assert!(self.overlay.is_empty(), "a read has left its overlay behind");
        self.overlay = std::mem::take(&mut acting.overlay);
        let mut end = Ok(());
        while end.is_ok() && acting.position < acting.running.run.plan().len() {
            let position = acting.position;
            if let Some(unit) =
                self.acting_unit(acting.running.procedure, acting.running.run.plan(), position)
            {
                if !self.may_act(&mut acting, unit) {
                    acting.overlay = std::mem::take(&mut self.overlay);
                    self.acting = Some(acting);
                    return;
                }
                acting.begun.push(position);
            }
            let start = self.overlay.len();
            match self.run_in_time(&mut acting.running, position) {
                Ok(()) if self.in_step() => {
                    self.step_up(&acting.running, position, start, acting.shipped, acting.withheld);
                }
                Ok(()) => {}
                Err(stop) => end = Err((self.unit_name(&acting.running, position), stop)),
            }
            acting.position += 1;
            acting.described = false;
            acting.asked = None;
        }
        self.end_acting(acting, end);
    }

    fn end_acting(&mut self, acting: Acting, end: Result<(), (String, UnitEnd)>) {
        let Acting { running, asker, arrived, begun, .. } = acting;
        if end.is_err() && !begun.is_empty() {
            self.overlay.clear();
            let mut units = self.acting_units(running.procedure, running.run.plan());
            units.retain(|unit| begun.contains(&(unit.position as usize)));
            self.undo(&units);
        }
        let number = running.number;
        let outcome = self.tell_end(&running, end);
        let owed = Owed::Answer(Answer::Ended { number, outcome });
        self.outputs.push(Output { number, confirm: None, asker, owed, arrived });
        // What waited for the stream: a version first, as its standby has been waiting with it (R28).
        if let Some(partner) = &mut self.partner
            && matches!(partner.feed, super::Feed::InStep | super::Feed::Nothing)
            && let Some(announced) = partner.announced.take()
        {
            self.on_versions(announced);
        }
        self.take_commands_behind();
    }

    /// Whether a unit that acts may begin: everything before it is held, its description included (R19).
    fn may_act(&mut self, acting: &mut Acting, unit: ActingUnit) -> bool {
        if !std::mem::replace(&mut acting.described, true) && self.in_step() {
            self.send(PeerMessage::UnitBegins { number: acting.running.number, unit: Box::new(unit) });
        }
        // The one that answers wait for, a recorded one or one about to be, must know of the unit. Alone, nobody does.
        let Some(waiting) = &self.waiting else { return self.held >= acting.intent };
        let store = waiting.store;
        let answers = |partner: &&Partner| partner.hello.as_ref().is_some_and(|hello| hello.store == store);
        let Some(partner) = self.partner.as_ref().filter(|_| self.in_step()).filter(answers) else {
            // It is lost; the record drops it, and then the run goes on.
            return false;
        };
        let (link, confirmed) = (partner.link, partner.confirmed);
        // A word that is older than this may be of a time before another was made active: it is asked for again.
        let fresh = Micros::from_ms(self.config.silence_shrink_ms);
        match &acting.asked {
            Some(asked) if asked.link == link && confirmed < asked.ticket => false,
            Some(asked) if asked.link == link && self.now.since(asked.at) <= fresh => {
                self.held >= acting.intent
            }
            _ => {
                acting.asked = Some(Asked { link, ticket: self.next_confirm(), at: self.now });
                false
            }
        }
    }

    /// Takes the requests that waited for the stream, in their order, until one of them makes the rest wait again.
    pub(super) fn serve_parked(&mut self) {
        while self.role == Role::Active
            && !self.is_draining()
            && !self.is_deposed()
            && !self.is_acting()
            && !self.notes.awaits_mark()
        {
            if let Some(event) = self.again.take() {
                self.submit(Asker::Nobody, event, false);
            } else if let Some((asker, request)) = self.parked.pop() {
                self.serve(asker, request);
            } else {
                return;
            }
        }
    }

    /// This side is not the active any more: the run ends here, and is the successor's to undo.
    pub(super) fn drop_acting(&mut self) {
        self.again = None;
        if let Some(acting) = self.acting.take() {
            let reason = "the active has changed".into();
            self.answer(acting.asker, Answer::Retry { reason });
        }
        for (asker, _) in std::mem::take(&mut self.commands_behind) {
            self.command_done(asker, Err(CommandError::NoActive));
        }
    }

    /// The disk failed, and no outcome can be put down any more (R26): what the procedure under way did, or the one whose
    /// outcome was just taken back, is undone. Its intent stands until somebody else takes over.
    pub(super) fn undo_unwritten(&mut self) {
        let acting = self.acting.take();
        let begun = acting.map(|acting| {
            let reason = self.only_reads().unwrap_or_default();
            self.answer(acting.asker, Answer::Retry { reason });
            let mut units = self.acting_units(acting.running.procedure, acting.running.run.plan());
            units.retain(|unit| acting.begun.contains(&(unit.position as usize)));
            units
        });
        self.undo_standing(begun.as_deref());
        self.take_commands_behind();
    }

    /// Undoes what stands of an intent, on becoming active: exactly what is known to have been described, else all that
    /// may have begun. The entry that clears the intent is the caller's.
    pub(super) fn undo_standing(&mut self, described: Option<&[ActingUnit]>) {
        let Some(intent) = &self.state.meta.intent else { return };
        let units = described.unwrap_or(&intent.units).to_vec();
        self.overlay.clear();
        self.undo(&units);
    }

    /// Undoes `units` of the standing intent in reverse order. One that fails does not keep the others from it.
    fn undo(&mut self, units: &[ActingUnit]) {
        let intent = self.state.meta.intent.clone().expect("what acts has an intent (R19)");
        for unit in units.iter().rev() {
            let ActingUnit { unit, undo, .. } = unit;
            let at = format!("{}: `{}.{unit}`", intent.event, intent.procedure);
            match self.undo_one(&intent, undo) {
                Ok(()) => {
                    self.counts.undone += 1;
                    self.alarm(Alarm::Undone { what: format!("{at} was undone by `{undo}`") });
                }
                Err(why) => {
                    self.counts.undo_failures += 1;
                    let what = format!(
                        "{at} may have acted on the world, and its undo `{undo}` failed: {why}. See whether what it \
                         did stands, and take it back by hand"
                    );
                    self.alarm(Alarm::UndoFailed { what });
                }
            }
        }
    }

    fn undo_one(&mut self, intent: &Intent, undo: &str) -> Result<(), String> {
        let descriptor = self.application.descriptor();
        let found = descriptor.procedure(&intent.procedure);
        let (procedure, declared) = found.ok_or("the version that runs here has no such procedure")?;
        if !declared.undos.iter().any(|name| name == undo) {
            return Err("the version that runs here has no such undo".into());
        }
        let (event, unit) = (intent.as_event(), format!("(undo {undo})"));
        let noted = self.state.meta.notes.get(&event.id, descriptor.hash);
        if noted.is_some_and(|noted| noted.note.kind.is_certain() && noted.note.unit == unit) {
            return Err("a processor died of it (R21)".into());
        }
        let (plugin, hang_ms) = (descriptor.hash, declared.hang_after_ms());
        self.witness.begins(&Piece { event: &event, plugin, unit: &unit, hang_ms, timed: false });
        let surroundings = Surroundings {
            number: self.state.meta.last,
            time: self.now.max(self.state.meta.time),
            seed: self.config.seed,
            features: self.features,
            reads_only: true,
        };
        let mut context = UnitContext::new(
            descriptor,
            &self.own_tables,
            &self.state.tables,
            &self.derived,
            &mut self.overlay,
            surroundings,
            &[],
            0,
        )
        .of(crate::context::Piece { event: &event.id, procedure: &declared.name, unit: &unit })
        .seen_by(&*self.witness);
        let end = self.application.undo(procedure, undo, intent.encoding, &intent.parameters, &mut context);
        let breach = context.breach();
        self.witness.ended();
        self.overlay.clear();
        breach.map_or(end, Err)
    }
}
