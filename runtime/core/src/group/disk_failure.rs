//! A disk that fails under a running group (R26). A standby stops: it comes back as a fresh copy. An active that is not
//! alone stops too: its partner takes over. An active that is alone serves reads of what is held, and nothing else,
//! until a standby is back and recorded; then it stops, and that one takes over.
//!
//! A disk that is full has refused something, and what it took before is there at the next start: the shell syncs that
//! before it tells of the failure, so that it is held, and not taken back (nor what it did to the world undone, R19).
//!
//! Invariant: from the failure on this side makes no entry. What it had made and could not write is taken back, and its
//! term and numbers may still be found on some disk; another entry under them would be a second one (R8).

use super::Group;
use crate::command::{CommandError, Role};
use crate::effect::{Alarm, Effect};

/// How far a failed disk has been dealt with.
#[derive(Clone, Debug)]
pub(super) struct DiskFailure {
    reason: String,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is not settled yet whether somebody else is recorded.
    Open,
    ReadsAlone,
    /// The shell was asked to stop: nothing happens here any more.
    Stopped,
}

impl Group {
    pub(super) fn on_store_failed(&mut self, reason: String) {
        if self.disk_failure.is_none() {
            self.disk_failure = Some(DiskFailure { reason, stage: Stage::Open });
        }
    }

    /// Why this side makes no entry any more.
    #[must_use]
    pub fn disk_failure(&self) -> Option<&str> {
        self.disk_failure.as_ref().map(|failure| failure.reason.as_str())
    }

    /// What clients and operators are told who want something to be written.
    pub(super) fn only_reads(&self) -> Option<String> {
        let reason = self.disk_failure()?;
        Some(format!(
            "the disk of this processor failed, and no other is in sync: only reads are served ({reason})"
        ))
    }

    /// Stops, or goes on with reads alone; before every look at the record. Returns whether nothing else is due.
    pub(super) fn settle_disk_failure(&mut self) -> bool {
        let Some(failure) = &self.disk_failure else { return false };
        let reason = failure.reason.clone();
        if failure.stage == Stage::Stopped {
            return true;
        }
        if self.role == Role::Active && self.arbiter.is_busy() {
            // Whether somebody else is recorded is just being asked.
            return false;
        }
        if self.role != Role::Active || self.is_deposed() || self.recorded_partner().is_some() {
            self.disk_failure = Some(DiskFailure { reason: reason.clone(), stage: Stage::Stopped });
            self.effects.push(Effect::Stop { reason });
            return true;
        }
        if failure.stage == Stage::Open {
            self.disk_failure = Some(DiskFailure { reason: reason.clone(), stage: Stage::ReadsAlone });
            self.alarm(Alarm::OnlyReads { reason });
            // It was never recorded and no swap is under way, so nothing needs its word (R4).
            self.waiting = None;
            self.update_held();
            self.release();
            self.take_back_unheld();
        }
        false
    }

    /// Nothing that is not held can be any more: reads are of what is.
    fn take_back_unheld(&mut self) {
        self.append();
        while self.state.meta.last > self.held {
            let undo = self.undos.pop_back().expect("what is not held can be taken back (R24)");
            let changes = self.state.take_back(undo);
            self.follow_changes(&|| changes.iter().cloned());
        }
        self.recent.cut_back(self.held);
        self.durable = self.held;
        self.alone.cut_back(self.held);
        self.application_changed();
        self.undo_unwritten();
        self.forget_messages();
        let reason = self.only_reads().expect("the disk failed");
        self.give_up_outputs(&reason, &CommandError::NotNow(reason.clone()));
        self.give_up_marked();
        // A partner that has some of it is fed anew.
        if let Some(partner) = &self.partner {
            let link = partner.link;
            self.effects.push(Effect::CloseLink { link });
            self.on_link_down(link);
        }
    }

    /// Whether the shell was asked to stop.
    pub(super) fn has_stopped(&self) -> bool {
        self.disk_failure.as_ref().is_some_and(|failure| failure.stage == Stage::Stopped)
    }
}
