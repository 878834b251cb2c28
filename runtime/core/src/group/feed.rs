//! The active's side of bringing a standby back: entries since the last common number, or a whole copy, then lock
//! step, then the record (R4, R24, R25).
//!
//! A copy is a fuzzy walk: rows are read while events go on, and every entry made meanwhile is sent between them, in
//! order. Entries are absolute, and each row is read after all entries sent before it, so at the walk's end the copy
//! is exact. Sessions are sent whole at the end, at one number.

use super::{Group, Partner};
use crate::command::Role;
use crate::descriptor::ApplicationDescriptor;
use crate::effect::Alarm;
use crate::entry::{Control, EntryBody, Op, TableMeta};
use crate::ids::{Number, StoreId, TableId};
use crate::message::{Divergence, Hello, PeerMessage, PlainBody};
use crate::state::Installed;
use crate::tables::WalkCursor;
use crate::verdict::{Pairing, Verdict, compare, compare_retiring, rows_unread};

/// Entries that are on their way to a standby that catches up, at most.
const CATCH_UP_AHEAD: u64 = 8_192;
/// A standby this close is waited for, so that it can be recorded.
const CLOSE: u64 = 2_048;
/// Rows of a copy in one frame.
const COPY_ROWS: usize = 1_024;
/// Frames of a copy that are on their way, at most: the intake goes on between them.
const COPY_AHEAD: u64 = 4;

/// A version that diverged so often is not brought back by itself (R15).
pub(super) const DIVERGENCES_MAX: u32 = 2;

/// How the partner is fed.
#[derive(Clone)]
pub(super) enum Feed {
    /// Not at all.
    Nothing,
    /// Entries from `next` on, to catch up.
    Entries {
        /// The next to send.
        next: Number,
    },
    /// A whole copy, as soon as no swap is under way: it may record the very store that the copy replaces.
    CopyWaits,
    /// A whole copy.
    Copy {
        /// Where the walk stands.
        cursor: WalkCursor,
        /// The confirmation that the first frame of the copy asked for, less one.
        confirmed_before: u64,
    },
    /// The copy is sent; its new store will say hello.
    CopySent,
    /// In lock step.
    InStep,
}

/// The standby that answers wait for: recorded, or about to be (R4).
#[derive(Clone)]
pub(super) struct Waiting {
    pub store: StoreId,
    pub acked: Number,
}

impl Group {
    /// The partner said hello to this active: feed it from where it stands.
    pub(super) fn begin_feed(&mut self, hello: &Hello) {
        self.set_partner_application(hello.application.clone());
        if self.partner_out {
            return self.send(PeerMessage::OutOfService { out: true });
        }
        if hello.role == Role::Isolated {
            // The active that isolated it is gone; it says hello again once it is back in service.
            return self.send(PeerMessage::OutOfService { out: false });
        }
        if let Err(reason) = self.may_integrate(&hello.application) {
            self.alarm(Alarm::PartnerLost { why: format!("it may not integrate: {reason}") });
            // A starting processor is told what to load (R29).
            let hash = self.own_hash();
            return self.send_order(hash);
        }
        if self.is_banned(&hello.application) {
            self.set_feed(Feed::Nothing);
            let why = "it diverged repeatedly; no further copy is made until its version changes, or an operator asks \
                 for one (R15)";
            return self.alarm(Alarm::PartnerLost { why: why.into() });
        }
        let meta = &self.state.meta;
        let needs_copy = hello.needs_copy || self.diverged_stores.contains(&hello.store);
        let common = (!needs_copy).then(|| meta.last_common(&hello.terms, hello.last)).flatten();
        match common.filter(|common| self.recent.reaches(*common, meta.last)) {
            Some(common) => {
                self.send(PeerMessage::CatchUp { common, runs: hello.application.hash });
                self.set_feed(Feed::Entries { next: common.next() });
                self.recent.keep_from(Some(common.next()));
                let acks_from = self.next_confirm();
                if let Some(partner) = &mut self.partner {
                    partner.acked = Number(0);
                    partner.acks_from = acks_from;
                    partner.unacknowledged = None;
                }
            }
            None => self.begin_copy(),
        }
    }

    /// Whether a version has diverged so often that it is not brought back by itself (R15). On a campaign's way back
    /// everything is shipped, so the partner's version computes nothing that could differ.
    fn is_banned(&self, theirs: &ApplicationDescriptor) -> bool {
        let count = self.divergences.get(&theirs.hash).copied().unwrap_or(0);
        count >= DIVERGENCES_MAX && !self.ships_everything()
    }

    /// Feeds a partner that was told to wait: what stood against it may be gone.
    pub(super) fn feed_anew(&mut self) {
        let waits = |partner: &&Partner| matches!(partner.feed, Feed::Nothing);
        let hello = self.partner.as_ref().filter(waits).and_then(|partner| partner.hello.clone());
        if let Some(hello) = hello.filter(|_| !self.partner_out) {
            self.begin_feed(&hello);
        }
    }

    fn begin_copy(&mut self) {
        if self.arbiter.is_busy() {
            return self.set_feed(Feed::CopyWaits);
        }
        // Whether its old store is recorded decides when that one goes (R25).
        self.show_record();
        self.send(PeerMessage::CopyBegin { meta: Box::new(self.state.meta.clone()) });
        let confirmed_before = self.confirm_sent;
        self.set_feed(Feed::Copy { cursor: WalkCursor::default(), confirmed_before });
    }

    fn set_feed(&mut self, feed: Feed) {
        if let Some(partner) = &mut self.partner {
            partner.feed = feed;
        }
    }

    pub(super) fn may_integrate(&self, theirs: &ApplicationDescriptor) -> Result<(), String> {
        self.can_work_on_rows(theirs)?;
        let ours = self.application.descriptor();
        let (old, new) = if theirs.version <= ours.version { (theirs, ours) } else { (ours, theirs) };
        let comparison = compare_retiring(old, new, self.retires());
        match comparison.verdict {
            Verdict::Incompatible => Err(comparison.reasons.join("; ")),
            Verdict::Compatible | Verdict::Mixed => Ok(()),
        }
    }

    /// Whether a version may work on the rows of this store.
    pub(super) fn can_work_on_rows(&self, version: &ApplicationDescriptor) -> Result<(), String> {
        let floor = self.state.meta.floor;
        if version.version < floor {
            return Err(format!("version {} is below the floor {floor} (R31)", version.version));
        }
        let unread = rows_unread(self.state.meta.oldest_formats(), version);
        if unread.is_empty() { Ok(()) } else { Err(unread.join("; ")) }
    }

    /// Whether the running version may work on the rows of this store. It may not where the right one's file was lost
    /// and a start fell back on another: this side then leaves the service to its partner, which tells it what to load.
    pub(super) fn can_serve_rows(&self) -> bool {
        self.can_work_on_rows(self.application.descriptor()).is_ok()
    }

    /// Notes what the partner runs, and by own procedure whether it is shipped (R16) or lacking there (R32).
    pub(super) fn set_partner_application(&mut self, theirs: ApplicationDescriptor) {
        let ours = self.application.descriptor();
        let pairings = compare(&theirs, ours).procedures;
        let pairing_of = |name: &str| pairings.iter().find(|p| p.name == name).map(|p| p.pairing.clone());
        let shipped =
            ours.procedures.iter().map(|p| pairing_of(&p.name) != Some(Pairing::LockStep)).collect();
        let lacking = ours.procedures.iter().map(|p| pairing_of(&p.name) == Some(Pairing::OnlyNew)).collect();
        if let Some(partner) = &mut self.partner {
            partner.shipped = shipped;
            partner.lacking = lacking;
            if let Some(hello) = &mut partner.hello {
                // Whatever is fed anew on this link is fed to the version that it runs now.
                hello.application = theirs.clone();
            }
            partner.application = Some(Box::new(theirs));
        }
    }

    /// Sends a bounded part of what a returning standby needs; once a batch.
    pub(super) fn feed_partner(&mut self) {
        if self.role != Role::Active {
            return;
        }
        let last = self.state.meta.last;
        let Some(partner) = &mut self.partner else { return };
        match &mut partner.feed {
            Feed::Entries { next } => {
                let mut number = *next;
                let bound = partner.acked.0.max(number.0.saturating_sub(CATCH_UP_AHEAD)) + CATCH_UP_AHEAD;
                let mut entries = Vec::new();
                while number <= last && number.0 <= bound {
                    let Some(entry) = self.recent.get(number) else {
                        // The recent stream did not reach; only a copy helps.
                        return self.begin_copy();
                    };
                    entries.push(entry);
                    number = number.next();
                }
                *next = number;
                self.recent.keep_from(Some(number));
                for entry in entries {
                    self.send(PeerMessage::Entry(Box::new(entry)));
                }
                // What was half-way at a takeover has no `Begin` on this link: it comes as an entry.
                if number > last && !self.notes.awaits_mark() && !self.is_acting() {
                    self.set_feed(Feed::InStep);
                    self.recent.keep_from(None);
                    self.send(PeerMessage::InStep);
                    self.note_installed();
                    if let Some(announced) =
                        self.partner.as_mut().and_then(|partner| partner.announced.take())
                    {
                        self.on_versions(announced);
                    }
                }
            }
            Feed::Copy { cursor, confirmed_before } => {
                let confirmed = partner.confirmed.max(*confirmed_before);
                if self.confirm_sent >= confirmed + COPY_AHEAD {
                    return;
                }
                let rows = self.state.tables.walk(cursor, COPY_ROWS);
                if !rows.is_empty() {
                    self.send(PeerMessage::CopyRows(rows));
                    self.next_confirm();
                    return;
                }
                let sessions = &self.state.sessions;
                let all: Vec<_> = sessions.iter().map(|(id, session)| (id, session.clone())).collect();
                let keyed: Vec<_> =
                    sessions.keyed().map(|(key, reply)| (key.to_owned(), reply.clone())).collect();
                for part in all.chunks(64) {
                    self.send(PeerMessage::CopySessions(part.to_vec()));
                }
                for part in keyed.chunks(4_096) {
                    self.send(PeerMessage::CopyKeyed(part.to_vec()));
                }
                self.send(PeerMessage::CopyEnd { meta: Box::new(self.state.meta.clone()) });
                self.recent.keep_from(Some(self.state.meta.last.next()));
                self.set_feed(Feed::CopySent);
            }
            Feed::CopyWaits => self.begin_copy(),
            Feed::Nothing | Feed::CopySent | Feed::InStep => {}
        }
    }

    /// Puts into the stream what runs on the partner, if the record of it is another (R29).
    fn note_installed(&mut self) {
        let Some(partner) = &self.partner else { return };
        let (Some(hello), Some(application)) = (&partner.hello, &partner.application) else { return };
        let (node, descriptor) = (hello.node.clone(), (**application).clone());
        self.install(node, &descriptor, false);
    }

    /// Puts into the stream that `node` runs the version of `descriptor`, unless that is known; and whether it was loaded
    /// there `by_hand`.
    pub(super) fn install(
        &mut self,
        node: crate::ids::NodeId,
        descriptor: &ApplicationDescriptor,
        by_hand: bool,
    ) {
        let known = self.state.meta.installed.get(&node);
        if self.disk_failure().is_some() {
            // Whoever takes over writes it down.
            return;
        }
        let same = |known: &Installed| known.hash == descriptor.hash && known.version == descriptor.version;
        if known.is_some_and(|known| same(known) && (known.by_hand || !by_hand)) {
            return;
        }
        let tables = descriptor
            .tables
            .iter()
            .filter(|table| table.derived_from.is_none())
            .map(|table| TableMeta::new(TableId::of(&table.name), &table.name, table.kind, table.format))
            .chain(TableMeta::own())
            .collect();
        let (version, hash) = (descriptor.version, descriptor.hash);
        self.plain(PlainBody::Control(Control::Installed { node, version, hash, by_hand, tables }));
    }

    pub(super) fn on_ack(&mut self, through: Number, confirmed: u64) {
        let last = self.state.meta.last;
        if self.role != Role::Active {
            return;
        }
        if through > last {
            return self
                .close_link(format!("an acknowledgement of {through} came, and the last number is {last}"));
        }
        let Some(partner) = &mut self.partner else { return };
        partner.confirmed = partner.confirmed.max(confirmed);
        if partner.diverged
            || confirmed < partner.acks_from
            || !matches!(partner.feed, Feed::Entries { .. } | Feed::InStep)
        {
            return;
        }
        partner.acked = partner.acked.max(through);
        let acked = partner.acked;
        let store = partner.hello.as_ref().map(|hello| hello.store);
        if let Some(waiting) = &mut self.waiting
            && Some(waiting.store) == store
        {
            waiting.acked = waiting.acked.max(acked);
        }
        self.update_held();
        self.release();
    }

    /// Whether the partner is in lock step and close enough to be waited for.
    pub(super) fn partner_is_close(&self) -> Option<StoreId> {
        let partner = self.partner.as_ref()?;
        // A word on this feed, not only an old hello: a dead one's link may stay up in silence.
        let answered = partner.confirmed >= partner.acks_from;
        let close = partner.acked.0 + CLOSE >= self.state.meta.last.0;
        if !answered || !close || partner.diverged || !matches!(partner.feed, Feed::InStep) {
            return None;
        }
        partner.hello.as_ref().map(|hello| hello.store)
    }

    /// Whether the partner with `store` is there, in lock step, heard of lately and wanted.
    pub(super) fn partner_is_well(&self, store: StoreId) -> bool {
        let silence = crate::ids::Micros::from_ms(self.config.silence_shrink_ms);
        !self.partner_out
            && self.partner.as_ref().is_some_and(|partner| {
                matches!(partner.feed, Feed::InStep)
                    && !partner.diverged
                    && partner.hello.as_ref().is_some_and(|hello| hello.store == store)
                    && self.now.since(partner.heard) <= silence
                    && !self.acknowledgement_is_late(partner)
            })
    }

    /// Looks how far a standby that catches up has come (R25); once a batch.
    pub(super) fn watch_lag(&mut self) {
        let recorded = self.recorded_partner().is_some();
        let lag = self.partner.as_ref().map_or(0, |partner| match partner.feed {
            Feed::Entries { .. } | Feed::InStep if !recorded => {
                self.state.meta.last.0.saturating_sub(partner.acked.0)
            }
            // It is being made durable, and what it lacks is kept in memory meanwhile.
            Feed::CopySent if self.recent.is_filling() => self.state.meta.last.0,
            // Rows of a copy go beside the traffic, whatever that is; what was made meanwhile is sent between them.
            _ => 0,
        });
        self.intake.look(self.now, if lag > CLOSE { lag } else { 0 });
    }

    /// Whether what the partner has not acknowledged is too old (R27). An age may be up to twice as long before it is
    /// seen: one mark is kept, not one for each number.
    pub(super) fn acknowledgement_is_late(&self, partner: &Partner) -> bool {
        let age_max = crate::ids::Micros::from_ms(self.config.ack_age_max_ms);
        partner.unacknowledged.is_some_and(|(_, since)| self.now.since(since) > age_max)
    }

    /// Notes since when the partner has not acknowledged something; once a batch.
    pub(super) fn watch_acknowledgements(&mut self) {
        let (last, now) = (self.state.meta.last, self.now);
        let Some(partner) = &mut self.partner else { return };
        let in_step = matches!(partner.feed, Feed::InStep);
        let marked = partner.unacknowledged.filter(|(number, _)| in_step && *number > partner.acked);
        partner.unacknowledged = marked.or((in_step && partner.acked < last).then_some((last, now)));
    }

    pub(super) fn on_diverged(&mut self, divergence: &Divergence) {
        if self.role != Role::Active {
            return;
        }
        let Some(partner) = &mut self.partner else { return };
        if partner.diverged {
            return;
        }
        partner.diverged = true;
        self.diverged_stores.extend(partner.hello.as_ref().map(|hello| hello.store));
        self.counts.divergences += 1;
        self.evaluation.divergences += 1;
        if let Some(application) = &partner.application {
            *self.divergences.entry(application.hash).or_default() += 1;
        }
        let report = self.divergence_report(divergence);
        self.alarm(Alarm::Diverged { report });
    }

    /// Names procedure, unit and the first differing update (R15).
    fn divergence_report(&self, divergence: &Divergence) -> String {
        let Divergence { number, procedure, unit, offset, updates, .. } = divergence;
        let at = format!("number {number}: {procedure}.{unit}");
        let Some(entry) = self.recent.get(*number) else { return at };
        let EntryBody::Procedure { ops, outcome, .. } = &entry.body else { return at };
        let ours = ops.get(*offset as usize..).unwrap_or_default();
        let theirs = updates.iter().filter(|op| op.table != TableId::SCRATCH && op.table != TableId::REPLY);
        let name = |op: &Op| {
            let table =
                self.state.meta.tables.get(&op.table).map_or("(unknown)", |table| table.name.as_str());
            let hex =
                |bytes: &[u8]| bytes.iter().take(32).map(|byte| format!("{byte:02x}")).collect::<String>();
            format!(
                "{table}[{}] = {}",
                hex(&op.key),
                op.value.as_ref().map_or("(none)".into(), |value| hex(value))
            )
        };
        for (index, theirs) in theirs.enumerate() {
            match ours.get(index) {
                Some(ours) if ours == theirs => {}
                Some(ours) => {
                    return format!(
                        "{at}, first difference: active {}, standby {}",
                        name(ours),
                        name(theirs)
                    );
                }
                None => return format!("{at}, first difference: active (none), standby {}", name(theirs)),
            }
        }
        format!("{at}, the standby's updates are the same or end early; the active's outcome is {outcome:?}")
    }
}
