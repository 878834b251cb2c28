//! Carries out what the core asks: the one place where a processor acts, and where tests make it fail.
//!
//! Order within a turn: frames to the partner are written first, once; then the redo goes to its thread; then each
//! client is written once. So frames leave before the local sync, and both disks work at the same time (R9).

use lockstep_core::campaign::CampaignRecord;
use lockstep_core::command::Role;
use lockstep_core::effect::{Alarm, Effect};
use lockstep_core::input::Input;

use super::clients::ORIGIN_OTHERS;
use super::failpoints::{Moment, die};
use super::inbound::Inbound;
use super::store_thread::StoreOp;
use super::{ASSERTION_FAILED, EngineLoop};
use crate::arbiter::UNREACHABLE;
use crate::checks;
use crate::link_message::PROTOCOL_BROKEN;

/// A processor left a death note.
const DIED: &str = "LS0640";
/// A campaign entered a step or falls back.
const CAMPAIGN: &str = "LS0701";

impl EngineLoop {
    /// Looks whether the last step ended a generation, and takes its old version out of the effects.
    pub(super) fn note_generation_change(&mut self) {
        let found = self.effects[self.effects_seen..]
            .iter()
            .position(|effect| matches!(effect, Effect::Retire { .. }));
        let at = self.effects_seen + found.unwrap_or(0);
        self.effects_seen = self.effects.len();
        if found.is_none() {
            return;
        }
        if let Effect::Retire { application } = self.effects.remove(at) {
            self.effects_seen -= 1;
            self.retired = Some(application);
            // What the new version runs, it runs on its own thread: the batch is ended there.
            self.owes_batch_end = true;
        }
    }

    /// Carries out everything that the batch asked for, and what follows from what is durable at once.
    pub(super) fn carry_out(&mut self) {
        self.carry_out_batch();
        // After the end of a generation everything is for the next one's thread.
        if self.retired.is_none() && !self.store_said.is_empty() {
            self.hear_store();
            if self.retired.is_none() {
                self.group.end_batch(self.time, &mut self.effects);
                self.note_generation_change();
            }
            self.carry_out_batch();
        }
        self.busy |= !self.store_said.is_empty();
        self.clients.flush();
        self.failpoints.at_turns_end();
        let face = self.handle.face();
        face.set_served(self.group.role() == Role::Active || self.group.partner_serves());
        let dropped = std::mem::take(&mut self.clients.dropped);
        if dropped > 0 {
            face.clients_dropped.fetch_add(dropped, std::sync::atomic::Ordering::Relaxed);
        }
        face.clients.store(self.clients.connections() as u64, std::sync::atomic::Ordering::Relaxed);
    }

    fn carry_out_batch(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        let mut close = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { link, frame } => {
                    if let Some(open) = self.link.as_mut().filter(|open| open.id == link) {
                        open.send(frame, &mut self.failpoints);
                    }
                }
                Effect::CloseLink { link } => close = Some(link),
                effect => self.carry_out_one(effect),
            }
        }
        self.effects = effects;
        self.effects_seen = 0;
        if let Some(link) = &mut self.link {
            link.flush(&mut self.failpoints);
        }
        if let Some(link) = close
            && self.link.as_ref().is_some_and(|open| open.id == link)
        {
            self.link_down("the core closed it");
        }
        self.busy |= !self.effects.is_empty();
        self.feed_store();
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Answer { origin, answer } => {
                if self.failpoints.at_answer() {
                    die();
                }
                if origin.0 & ORIGIN_OTHERS == 0 {
                    self.clients.answer(origin, answer);
                } else if let Some(reply) = self.http.remove(&origin.0) {
                    // The client may have gone meanwhile.
                    let _ = reply.send(answer);
                }
            }
            Effect::CommandDone { origin, result } => {
                if let Some(reply) = self.commands.remove(&origin.0) {
                    let _ = reply.send(result);
                } else if let Some(from) = self.words.remove(&origin.0) {
                    // It asks again: nothing is lost when it has no room.
                    let partition = self.handle.partition;
                    let _ = from.tell(Inbound::Input(Input::SiblingTold { partition, result }));
                }
            }
            Effect::AskSibling { partition, word } => {
                if let Some(engine) = self.siblings.get(usize::from(partition)) {
                    // As above.
                    let _ = engine.tell(Inbound::Word { word, from: self.handle.clone() });
                }
            }
            Effect::Append(entries) => {
                for (number, control) in entries.controls() {
                    self.failpoints.at_control(&control);
                    self.note_control(number, control);
                }
                match self.store_ops.last_mut() {
                    Some(StoreOp::Append(all)) => all.push(entries),
                    _ => self.store_ops.push(StoreOp::Append(vec![entries])),
                }
            }
            Effect::CutBack { to } => {
                self.cuts += 1;
                self.note_cut(to);
                self.store_ops.push(StoreOp::CutBack { to });
            }
            Effect::RestOnSyncs { on } => {
                tracing::info!(on, "whether only what is synced is durable (R9)");
                self.cuts += u64::from(on);
                self.store_ops.push(StoreOp::RestOnSyncs { on });
            }
            Effect::TailSettled => {
                tracing::info!("the end of the store lacks nothing any more (R26)");
                self.store_ops.push(StoreOp::TailSettled);
            }
            Effect::Held { number } => {
                self.store_ops.push(StoreOp::Held { number });
                self.tell_changes(number);
            }
            Effect::CopyBegin { store, meta } => self.store_ops.push(StoreOp::CopyBegin { store, meta }),
            Effect::CopyRows(rows) => self.store_ops.push(StoreOp::CopyRows(rows)),
            Effect::CopyEnd { sessions, keyed, meta } => {
                self.store_ops.push(StoreOp::CopyEnd { sessions, keyed, meta });
            }
            Effect::CopyKept => self.store_ops.push(StoreOp::CopyKept),
            Effect::CopyDropped => self.store_ops.push(StoreOp::CopyDropped),
            Effect::ReadRecord => self.services.read_record(&self.handle),
            Effect::PrepareSwap { next } => self.services.prepare_swap(&self.handle, next),
            Effect::Swap { expected, next } => self.services.swap(&self.handle, expected, next),
            Effect::Watch { store, hellos } => self.services.watch(store, hellos),
            Effect::AskLiving { store, hellos } => self.services.ask_living(store, hellos),
            Effect::LoadPlugin { hash } => {
                self.failpoints.at_swap(Moment::Ordered);
                self.services.load_plugin(hash, &self.handle);
            }
            Effect::RunChecks { run, campaign } => self.run_checks(run, *campaign),
            Effect::Discard { application } => self.services.discard(application),
            Effect::RoleChanged { role, term, in_sync } => {
                tracing::info!(%role, term = term.0, in_sync, "the role, term or record changed");
                if self.handle.face().role() != role {
                    self.note_role(role, term, in_sync);
                }
                let face = self.handle.face();
                face.set_role(role, term, in_sync);
                face.set_descriptor(self.group.descriptor());
                self.tell_serving();
            }
            Effect::NoteRecorded { note } => {
                tracing::info!(procedure = note.procedure, unit = note.unit, "a death note is held");
                self.note_files.recorded(&note);
            }
            Effect::Tell { to, what, .. } => self.seat.tell(to, what),
            Effect::Alarm(alarm) => self.alarm(&alarm),
            Effect::Stop { reason } => {
                tracing::error!(code = ASSERTION_FAILED, reason, "this side stops; the partner takes over");
                std::process::abort();
            }
            Effect::Send { .. } | Effect::CloseLink { .. } | Effect::Retire { .. } => {
                unreachable!("taken out before")
            }
        }
    }

    /// Has the user's own checks run on a thread of their own (R30).
    fn run_checks(&self, run: u64, campaign: CampaignRecord) {
        let engines =
            if self.siblings.is_empty() { vec![self.handle.clone()] } else { self.siblings.clone() };
        checks::launch(run, campaign, engines, self.services.site.clone());
    }

    /// Hands the batch's operations to the store's thread; never waits for it.
    fn feed_store(&mut self) {
        if self.failpoints.take_append_failure() {
            self.store_ops.push(StoreOp::FailNext);
        }
        if self.store_backlog.is_empty() && !self.store_ops.is_empty() {
            self.store.carry_out_at_once(&mut self.store_ops, &mut self.store_said);
        }
        if !self.store_ops.is_empty() {
            self.store_backlog.push_back(std::mem::take(&mut self.store_ops));
        }
        while let Some(batch) = self.store_backlog.pop_front() {
            if let Err(batch) = self.store.hand_over(batch) {
                self.store_backlog.push_front(batch);
                break;
            }
        }
    }

    fn alarm(&mut self, alarm: &Alarm) {
        let application = &*self.handle.label;
        match alarm {
            Alarm::PartnerInSync => tracing::info!(application, "the partner is in sync"),
            Alarm::Diverged { report } => {
                tracing::warn!(application, code = "LS0601", report, "the two sides differ (R15)");
            }
            Alarm::PartnerLost { why } => {
                tracing::warn!(application, code = "LS0602", why, "the partner is lost");
            }
            Alarm::TookOver { half_way } => {
                tracing::warn!(application, code = "LS0603", half_way, "this side took over");
            }
            Alarm::Undone { what } => {
                tracing::info!(application, code = "LS0614", what, "an undo was run (R19)");
            }
            Alarm::UndoFailed { what } => {
                tracing::error!(application, code = "LS0615", what, "an undo failed: people must look (R19)");
            }
            Alarm::ArbiterUnreachable { why } => {
                tracing::warn!(application, code = UNREACHABLE, why, "the arbiter can't be reached");
            }
            Alarm::DerivedBroken { why } => {
                tracing::error!(application, code = "LS0608", why, "derived tables can't be kept (R17)");
            }
            Alarm::RowsLeft { number, table, left, why } => {
                let number = number.0;
                tracing::error!(
                    application,
                    code = "LS0616",
                    number,
                    table,
                    left,
                    why,
                    "rows can't be read, and stay in their old format (R31)"
                );
            }
            Alarm::Faulted { number, procedure, fault } => {
                self.faults.log(application, *number, procedure, fault);
            }
            Alarm::OnlyReads { reason } => tracing::error!(
                application,
                code = "LS0523",
                reason,
                "the disk failed and no other processor is in sync: only reads are served; start the partner, which \
                 then takes over, or repair the disk and start this processor again (R26)"
            ),
            Alarm::RowsFull { bytes, bytes_max } => tracing::error!(
                application,
                code = "LS0617",
                bytes,
                bytes_max,
                "the rows take all the memory that they may: events that would add to them are turned away, reads \
                 and what frees rows go on; delete rows through the application, or write a higher `rows_mb` and start \
                 the processors again, the standby first"
            ),
            Alarm::Died { note, own } => {
                tracing::error!(
                    application,
                    code = DIED,
                    died = %note.died,
                    own,
                    procedure = note.procedure,
                    unit = note.unit,
                    plugin = %note.plugin,
                    how = ?note.kind,
                    "a processor died in a work unit, or hung in it; the event does not run again under that plugin (R21)"
                );
            }
            Alarm::OwnRefused { number, procedure, what } => {
                self.faults.log_refusal(application, *number, procedure, what);
            }
            Alarm::Campaign { what, back } => {
                // Only a way back needs anybody's attention.
                match back {
                    true => tracing::warn!(application, code = CAMPAIGN, what, "campaign"),
                    false => tracing::info!(application, code = CAMPAIGN, what, "campaign"),
                }
            }
            Alarm::ProtocolBroken { what } => {
                tracing::warn!(application, code = PROTOCOL_BROKEN, what, "a message broke the protocol");
            }
        }
    }
}
