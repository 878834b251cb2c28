//! Changes of an upgrade, as they stand in the stream: told to the audit trail, and by the active to the operators' own
//! command, once they are held.
//!
//! Invariants: nothing is told of a record that may be taken back; partition 0's engine tells for all (R1); after a
//! failure a change may be told twice, never left out.

use std::collections::VecDeque;

use lockstep_core::campaign::{CampaignRecord, Step};
use lockstep_core::command::Role;
use lockstep_core::entry::Control;
use lockstep_core::ids::{Number, Term};

use super::EngineLoop;
use crate::notifier::Notice;
use crate::trail::{TrailEntry, What};

/// A record that is in the stream and not known to be held.
struct Waiting {
    number: Number,
    record: Box<CampaignRecord>,
    change: &'static str,
    /// The active that put it there has told of it, or is about to.
    told_elsewhere: bool,
}

/// The changes that wait.
#[derive(Default)]
pub(super) struct Changes {
    last: Option<Box<CampaignRecord>>,
    waiting: VecDeque<Waiting>,
    takeovers: u64,
}

impl Changes {
    /// Begins with the record that the store had.
    pub fn new(record: Option<&CampaignRecord>) -> Self {
        Changes { last: record.cloned().map(Box::new), ..Changes::default() }
    }

    /// Takes what the runtime put into the stream.
    fn take(&mut self, number: Number, control: Control, role: Role) {
        let Control::Campaign(record) = control else { return };
        let Some(record) = record else {
            self.last = None;
            return;
        };
        let change = change(self.last.as_deref(), &record);
        self.last = Some(record.clone());
        let told_elsewhere = role != Role::Active;
        self.waiting.push_back(Waiting { number, record, change, told_elsewhere });
    }

    /// Entries after `to` are taken back.
    fn cut_back(&mut self, to: Number) {
        self.waiting.retain(|waiting| waiting.number <= to);
    }

    /// This side is the active after a failure, if `takeovers` says so: the one before may not have told.
    fn role_changed(&mut self, takeovers: u64) {
        if takeovers != self.takeovers {
            self.takeovers = takeovers;
            self.waiting.iter_mut().for_each(|waiting| waiting.told_elsewhere = false);
        }
    }

    fn held(&mut self, through: Number) -> Option<Waiting> {
        self.waiting.front().filter(|waiting| waiting.number <= through)?;
        self.waiting.pop_front()
    }
}

/// What has changed, in a word.
fn change(before: Option<&CampaignRecord>, now: &CampaignRecord) -> &'static str {
    let before = before.filter(|before| before.id == now.id);
    match (before, now.step) {
        (_, Step::Done) => "done",
        (_, Step::FellBack) => "fell-back",
        (None, _) if now.trail.len() <= 1 => "started",
        (None, _) => "step",
        (Some(before), _) if before.step != now.step => "step",
        (Some(before), _) if before.paused != now.paused => {
            if now.paused {
                "paused"
            } else {
                "resumed"
            }
        }
        (Some(before), _) if before.accepted != now.accepted => "accepted",
        (Some(before), _) if before.no_way_back != now.no_way_back => "no-way-back",
        _ => "changed",
    }
}

impl EngineLoop {
    pub(super) fn note_control(&mut self, number: Number, control: Control) {
        if self.handle.partition == 0 {
            self.changes.take(number, control, self.group.role());
        }
    }

    pub(super) fn note_cut(&mut self, to: Number) {
        self.changes.cut_back(to);
    }

    pub(super) fn note_role(&mut self, role: Role, term: Term, in_sync: usize) {
        self.changes.role_changed(self.group.takeovers());
        let what = What::Role { role, term: term.0, in_sync: in_sync as u64 };
        self.services.trail.add(TrailEntry::now(Some(&self.handle.label), "", "", what));
    }

    /// Tells of all changes up to `through`.
    pub(super) fn tell_changes(&mut self, through: Number) {
        while let Some(Waiting { record, change, told_elsewhere, .. }) = self.changes.held(through) {
            let plan = &record.plan;
            if !plan.notify.is_empty() && self.group.role() == Role::Active && !told_elsewhere {
                let environment = self.environment(&record, change);
                self.services.notifier.tell(Notice { command: plan.notify.clone(), environment });
            }
            let what = What::Upgrade {
                id: record.id,
                from: plan.from,
                to: plan.to,
                change: change.into(),
                step: record.step.name().into(),
                figure: record.step.figure(),
                reason: record.reason.clone(),
            };
            let (by, why) = if change == "started" { (&*plan.started_by, &*plan.why) } else { ("", "") };
            self.services.trail.add(TrailEntry::now(Some(&self.handle.application), by, why, what));
        }
    }

    fn environment(&self, record: &CampaignRecord, change: &str) -> Vec<(&'static str, String)> {
        let plan = &record.plan;
        vec![
            ("LOCKSTEP_APPLICATION", self.handle.application.to_string()),
            ("LOCKSTEP_NODE", self.node.to_string()),
            ("LOCKSTEP_UPGRADE", record.id.to_string()),
            ("LOCKSTEP_FROM", plan.from.to_string()),
            ("LOCKSTEP_TO", plan.to.to_string()),
            ("LOCKSTEP_CHANGE", change.to_owned()),
            ("LOCKSTEP_STEP", record.step.name().to_owned()),
            ("LOCKSTEP_FIGURE", record.step.figure().to_string()),
            ("LOCKSTEP_REASON", record.reason.clone()),
            ("LOCKSTEP_STARTED_BY", plan.started_by.clone()),
            ("LOCKSTEP_REVISION", record.revision.to_string()),
        ]
    }
}
