//! The way of a lone survivor (R30). Its partner was lost in a campaign and is declared gone by the operator, so the legs
//! cannot be gone: the survivor changes its own version, in place, at a procedure boundary, and the campaign is over.
//!
//! A partner that comes back later may still run the other version, after any campaign. It is told to load what runs
//! here, so that no mixed pair stays.
//!
//! Deliberately absent: enabling features, which needs a second processor (R31).

use super::Group;
use super::outputs::Asker;
use crate::campaign::CampaignRecord;
use crate::command::Role;
use crate::effect::Effect;
use crate::ids::{NodeId, PluginHash};

impl Group {
    /// Whether this active is on its own in a campaign whose operator declared the partner gone.
    pub(super) fn goes_alone(&self) -> bool {
        let declared = self.state.meta.campaign.as_ref().is_some_and(|campaign| campaign.partner_gone);
        declared
            && self.role == Role::Active
            && self.partner.is_none()
            && self.waiting.is_none()
            && self.recorded_partner().is_none()
    }

    /// Loads a version beside the one that runs here, unless that is under way.
    pub(super) fn load_in_place(&mut self, hash: PluginHash) {
        let under_way = self.loading.is_some_and(|(loading, _)| loading == hash)
            || self.next_application.as_ref().is_some_and(|next| next.descriptor().hash == hash);
        let waits = self.evaluation.order_again_at.is_some_and(|again| self.now < again);
        if self.goes_alone() && !under_way && !waits {
            self.discard_next();
            self.order_attempt += 1;
            self.loading = Some((hash, self.order_attempt));
            self.effects.push(Effect::LoadPlugin { hash });
        }
    }

    /// The version that was loaded takes over here, between two procedures; at the end of a batch.
    pub(super) fn change_in_place(&mut self) {
        if self.role != Role::Active || self.next_application.is_none() {
            return;
        }
        if !self.goes_alone() {
            return self.forget_order();
        }
        let free = self.next_derived.is_built()
            && !self.is_acting()
            && self.again.is_none()
            && !self.notes.awaits_mark()
            && !self.arbiter.is_busy()
            && self.disk_failure().is_none();
        let Some(next) = self.next_application.take_if(|_| free) else { return };
        let node = self.config.node.clone();
        self.change_version(next);
        let descriptor = self.application.descriptor().clone();
        self.install(node, &descriptor, false);
    }

    /// After a campaign: whoever still runs what it left behind is led to what it ended with. A partner is told to load it;
    /// an active hands over to a partner that has it, and is led by that one then.
    pub(super) fn lead_left_behind(&mut self) {
        let Some((runs, _)) = self.ended_on() else { return };
        if self.is_partner_left_behind() {
            return self.order_load(runs);
        }
        let own = self.is_left_behind(&self.config.node, self.own_hash());
        let on_it = self.partner_hash() == Some(runs);
        if own && on_it && self.recorded_partner().is_some() && self.hand_over.is_none() {
            self.begin_hand_over(Asker::Nobody);
        }
    }

    /// The version that the last campaign ended with, and the other one, when none is under way.
    fn ended_on(&self) -> Option<(PluginHash, PluginHash)> {
        let meta = &self.state.meta;
        meta.campaigns.last().filter(|_| meta.campaign.is_none()).and_then(CampaignRecord::ended_on)
    }

    /// Whether `node`, which runs `hash`, runs what the last campaign left behind, and no operator has loaded it there since:
    /// it was away, or has lost the word that its change of version was taken (R28).
    fn is_left_behind(&self, node: &NodeId, hash: PluginHash) -> bool {
        let by_hand = self.state.meta.installed.get(node).is_some_and(|installed| installed.by_hand);
        !by_hand && self.ended_on().is_some_and(|(_, left)| hash == left)
    }

    /// The same of the partner.
    fn is_partner_left_behind(&self) -> bool {
        let (Some(hello), Some(hash)) = (self.partner_hello(), self.partner_hash()) else { return false };
        self.is_left_behind(&hello.node, hash)
    }
}
