//! Procedures that one of two versions has (R32).
//!
//! One that only the new version has is refused until the upgrade is through, so that no client sees it come and go; one
//! that declares itself `one_sided` is served at once, and shipped while versions differ. One that the campaign file
//! retires is served as long as the old version is active, and refused from the switchover on; the way back serves it
//! again.

use super::Group;
use super::outputs::Asker;
use crate::campaign::Step;
use crate::event::{Answer, Event, Rejection};
use crate::sessions::Known;

impl Group {
    /// The procedures that the campaign under way retires.
    pub(super) fn retires(&self) -> &[String] {
        self.state.meta.campaign.as_ref().map_or(&[], |campaign| &campaign.plan.retire)
    }

    /// Whether a procedure that the version here has is not served yet.
    pub(super) fn is_not_enabled(&self, procedure: usize) -> bool {
        let declared = &self.application.descriptor().procedures[procedure];
        let named = |names: &[String]| names.contains(&declared.name);
        if named(self.retires()) {
            return false;
        }
        let partner = self.partner.as_ref().filter(|_| self.waiting.is_some());
        // `one_sided` ones are not among them, see the verdict.
        let lacking = partner.is_some_and(|partner| partner.lacking.get(procedure).copied().unwrap_or(false));
        // Also while the partner can't be heard: it may come back with the old version, and so may this side.
        lacking || self.state.meta.campaign.as_ref().is_some_and(|campaign| named(&campaign.plan.only_new))
    }

    /// An event of a procedure that the version here does not have: what is recorded of it crosses versions (R13).
    pub(super) fn on_unknown_procedure(&mut self, asker: Asker, event: &Event) {
        if let Known::Ended(recorded) = self.state.sessions.look_up(&event.id) {
            if recorded.encoding != event.encoding {
                return self.reject(asker, Rejection::EncodingConflict);
            }
            let (number, outcome) = (recorded.number, recorded.outcome.clone());
            self.counts.repeated += 1;
            return self.output(number, asker, Answer::Ended { number, outcome });
        }
        let name = event.procedure.as_str();
        let names = |list: &[String]| list.iter().any(|listed| listed == name);
        let done = self.state.meta.campaigns.iter().filter(|campaign| campaign.step == Step::Done);
        let retired = names(self.retires()) || done.into_iter().any(|c| names(&c.plan.retire));
        self.reject(asker, if retired { Rejection::Retired } else { Rejection::UnknownProcedure });
    }
}
