//! The other groups of the application, during a campaign (R1). Partition 0's group decides and asks them; they follow.
//!
//! [`plan_together`] makes one decision of all groups' wishes. Groups may be active on different processors: each goes
//! the leg of a step by itself, loading on its own standby and switching over to it.
//!
//! Invariants: the others never have a record that partition 0's group does not hold; a step is entered when every group
//! has done the one before, a way back as soon as one group asks for it, and none after `no_way_back`.

use super::latency::Latencies;
use super::upgrade::Decision;
use super::{Group, Identity};
use crate::campaign::{CampaignPlan, CampaignRecord, Step};
use crate::command::{CommandError, CommandReply, CommandResult};
use crate::effect::Effect;
use crate::entry::Control;
use crate::ids::{Micros, Term};
use crate::leg::{CampaignWord, LegReport};
use crate::message::PlainBody;

/// How often the others are asked during a campaign.
const ASK_EVERY: Micros = Micros::from_ms(20);
/// How often they are asked while there is none: what they said lately is needed to start one.
const ASK_AT_REST_EVERY: Micros = Micros::from_ms(500);
/// A report that is older says nothing any more.
const REPORT_AGE_MAX: Micros = Micros::from_ms(2_000);

/// What partition 0's active has heard of the others, and what another group has heard of it.
#[derive(Clone, Default)]
pub(super) struct Siblings {
    /// By partition, from 1 on.
    reports: Vec<Option<(LegReport, Micros)>>,
    ask_at: Micros,
    /// As one of the others: the highest term of partition 0's active.
    leader_term: Term,
    /// As one of the others: where it would go on to, by the record of this revision.
    wish: Option<(u64, Step, String)>,
}

impl Siblings {
    /// What a group's identity has of this.
    pub(super) fn add_to(&self, identity: &mut Identity) {
        identity.add((&self.reports, self.leader_term, &self.wish));
    }

    /// What was heard is of the past; the others are asked at once.
    pub(super) fn forget(&mut self) {
        self.reports.clear();
        self.ask_at = Micros(0);
    }

    pub(super) fn ask_soon(&mut self) {
        self.ask_at = Micros(0);
    }
}

/// One decision for all groups, from that of partition 0 and the wishes of the others; one that was not heard at this
/// revision is none. Pure.
#[must_use]
pub fn plan_together(record: &CampaignRecord, own: Decision, others: &[Option<&LegReport>]) -> Decision {
    if others.is_empty() || record.paused || record.step.is_over() {
        return own;
    }
    if !record.step.is_back() && !record.no_way_back {
        // Groups that have nothing to switch back say so at once.
        if let Decision::Enter(step, reason) = &own
            && step.is_back()
        {
            return Decision::Enter(Step::BackSwitchOver, reason.clone());
        }
        for (at, other) in others.iter().enumerate() {
            if let Some((step, reason)) = other.and_then(|report| report.wish.as_ref())
                && step.is_back()
            {
                return Decision::Enter(Step::BackSwitchOver, format!("partition {}: {reason}", at + 1));
            }
        }
    }
    let Decision::Enter(own_step, reason) = own else { return own };
    let mut next = own_step;
    for other in others {
        let Some((step, _)) = other.and_then(|report| report.wish.as_ref()) else { return Decision::Wait };
        // Whoever is furthest behind: the others find that step done.
        next = next.min(*step);
    }
    if next == Step::Enable && record.step == Step::Enable {
        return Decision::NoWayBack;
    }
    Decision::Enter(next, if next == own_step { reason } else { String::new() })
}

impl Group {
    /// Whether this group follows the campaign of partition 0.
    pub(super) fn follows_campaign(&self) -> bool {
        self.config.partition != 0
    }

    /// How many other groups partition 0's has to ask.
    fn others(&self) -> u16 {
        if self.follows_campaign() { 0 } else { self.config.partitions - 1 }
    }

    /// Asks the others how they are, and tells them what is held of the campaign.
    pub(super) fn ask_siblings(&mut self) {
        if self.others() == 0 || self.now < self.siblings.ask_at || !self.campaign_is_held() {
            return;
        }
        let meta = &self.state.meta;
        let every = if meta.campaign.is_some() { ASK_EVERY } else { ASK_AT_REST_EVERY };
        self.siblings.ask_at = self.now.plus(every);
        let last = || meta.campaigns.last().cloned().map(Box::new);
        let word = CampaignWord { term: self.own_term(), campaign: meta.campaign.clone().or_else(last) };
        for partition in 1..self.config.partitions {
            self.effects.push(Effect::AskSibling { partition, word: Box::new(word.clone()) });
        }
    }

    /// Another group has answered.
    pub(super) fn on_sibling(&mut self, partition: u16, result: CommandResult) {
        let others = usize::from(self.others());
        self.siblings.reports.resize_with(others, || None);
        let Some(at) = usize::from(partition).checked_sub(1).filter(|at| *at < others) else { return };
        self.siblings.reports[at] = match result {
            Ok(CommandReply::Leg(report)) => Some((*report, self.now)),
            _ => None,
        };
    }

    /// What the others said lately, by partition from 1 on.
    fn reports(&self) -> Vec<Option<&LegReport>> {
        let lately = |at: usize| {
            let (report, heard) = self.siblings.reports.get(at)?.as_ref()?;
            (self.now.since(*heard) <= REPORT_AGE_MAX).then_some(report)
        };
        (0..usize::from(self.others())).map(lately).collect()
    }

    /// What the others said of this revision of the record.
    pub(super) fn reports_at(&self, revision: u64) -> Vec<Option<&LegReport>> {
        let all = self.reports().into_iter();
        all.map(|report| report.filter(|report| report.revision == Some(revision))).collect()
    }

    /// The latencies of this step over all groups.
    pub(super) fn latencies_of_all(&self, others: &[Option<&LegReport>]) -> Latencies {
        let mut all = self.evaluation.latencies.clone();
        others.iter().flatten().for_each(|report| all.add(&report.latencies));
        all
    }

    /// Whether all groups are ready for this campaign.
    pub(super) fn siblings_are_ready(&self, plan: &CampaignPlan) -> Result<(), CommandError> {
        for (at, report) in self.reports().into_iter().enumerate() {
            let partition = at + 1;
            let not_in_sync =
                |why: &str| Err(CommandError::NotInSync(format!("partition {partition}: {why}")));
            let Some(report) = report else { return not_in_sync("its active was not heard lately") };
            if !report.in_sync {
                return not_in_sync("an upgrade needs both processors");
            }
            if (report.own, report.partner) != (plan.from_hash, Some(plan.from_hash)) || report.order_open {
                return not_in_sync("it does not run the version that is planned from on both processors");
            }
            if report.revision.is_some() {
                return not_in_sync("the campaign before is not over there");
            }
            if report.floor > plan.to {
                let why = format!("partition {partition}: {} is below its floor {}", plan.to, report.floor);
                return Err(CommandError::NotNow(why));
            }
        }
        Ok(())
    }

    /// Keeps what this group would do next, for its report.
    pub(super) fn set_wish(&mut self, revision: u64, wish: Option<(Step, String)>) {
        self.siblings.wish = wish.map(|(step, reason)| (revision, step, reason));
    }

    /// Partition 0's active says how the campaign stands. This side is active.
    pub(super) fn on_campaign_word(&mut self, word: CampaignWord) -> CommandResult {
        if !self.follows_campaign() {
            return Err(CommandError::NotNow("the campaign is this group's own".into()));
        }
        if self.notes.awaits_mark() {
            // The numbers that come next are those of suspected events (R21); it is asked again.
            return Err(CommandError::NotNow("suspected events run first".into()));
        }
        if word.term < self.siblings.leader_term {
            return Err(CommandError::NotNow("partition 0 has a newer active".into()));
        }
        self.siblings.leader_term = word.term;
        let ours = self.state.meta.campaign.as_ref().map(|ours| (ours.id, ours.revision));
        match (word.campaign, ours) {
            (Some(theirs), Some((_, revision))) if theirs.revision > revision => self.adopt_campaign(*theirs),
            // Partition 0 was made active by force and has lost the record: it counts all the same.
            (Some(theirs), Some((id, _))) if theirs.step.is_over() && theirs.id != id => self.drop_campaign(),
            (None, Some(_)) => self.drop_campaign(),
            (Some(theirs), None) if !theirs.step.is_over() && !self.is_over_here(theirs.id) => {
                self.campaign_entered_anew();
                self.adopt_campaign(*theirs);
            }
            _ => {}
        }
        Ok(CommandReply::Leg(Box::new(self.leg_report())))
    }

    fn is_over_here(&self, id: u64) -> bool {
        self.state.meta.campaigns.iter().any(|campaign| campaign.id == id)
    }

    fn drop_campaign(&mut self) {
        self.integrate_partner();
        self.plain(PlainBody::Control(Control::Campaign(None)));
    }

    /// Takes over the record as it is now; a step that it enters is begun as in partition 0.
    fn adopt_campaign(&mut self, record: CampaignRecord) {
        let before = self.state.meta.campaign.as_ref().map(|ours| ours.step);
        if before == Some(record.step) {
            return self.put_copy(record);
        }
        self.step_entered(&record);
        self.put_copy(record);
        if self.ships_everything() {
            self.feed_anew();
        }
    }

    fn leg_report(&self) -> LegReport {
        let campaign = self.state.meta.campaign.as_ref().filter(|_| self.campaign_is_held());
        let revision = campaign.map(|campaign| campaign.revision);
        let wish = self.siblings.wish.as_ref().filter(|(of, _, _)| Some(*of) == revision);
        LegReport {
            // A record that is not held yet is none that may be gone on from, and not "no campaign" either.
            revision: revision.or(self.state.meta.campaign.as_ref().map(|_| 0)),
            wish: wish.map(|(_, step, reason)| (*step, reason.clone())),
            own: self.own_hash(),
            partner: self.partner_hash(),
            in_sync: self.recorded_partner().is_some(),
            order_open: self.order_is_open(),
            floor: self.state.meta.floor,
            events: self.evaluation.events,
            faults: self.evaluation.faults,
            divergences: self.evaluation.divergences,
            deaths: self.evaluation.deaths,
            gap: self.gap.measured(),
            latencies: self.evaluation.latencies.buckets(),
        }
    }
}
