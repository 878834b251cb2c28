//! The rolling upgrade (R28 to R31). [`plan_campaign`] decides, from the record and what can be seen, what to do next;
//! the rest carries that out. The active drives; its record is in the stream, so any side that becomes active goes on.

use super::Group;
use super::evaluation::{LATENCY_EVENTS_MIN, plan_evaluation};
use super::feed::{DIVERGENCES_MAX, Feed};
use super::gap;
use super::outputs::Asker;
use super::siblings::plan_together;
use crate::campaign::{CampaignPlan, CampaignRecord, CheckVerdict, Redundancy, Step};
use crate::command::{Command, CommandError, CommandReply, CommandResult};
use crate::descriptor::ApplicationDescriptor;
use crate::effect::Alarm;
use crate::entry::Control;
use crate::ids::{Micros, PluginHash, TableId};
use crate::leg::LegReport;
use crate::message::{Order, PeerMessage, PlainBody};
use crate::record::Member;

/// How often a campaign is looked at.
const DRIVE_EVERY: Micros = Micros::from_ms(5);
/// An order that got no answer is sent again after this long.
const ORDER_AGAIN: Micros = Micros::from_ms(5_000);
/// An order that failed and may go better next time is given so often, with a wait that doubles before each further one.
const ORDER_TRIES_MAX: u32 = 3;
const ORDER_WAIT: Micros = Micros::from_ms(500);
/// A step that was entered so often leads back: a campaign does not go in circles.
const ENTRIES_MAX: usize = 6;

/// What the decision goes by.
#[derive(Clone, Debug)]
pub struct CampaignView<'a> {
    /// The campaign's record.
    pub record: &'a CampaignRecord,
    /// What this side, the active, runs.
    pub own: PluginHash,
    /// What the partner runs; none when it can't be heard.
    pub partner: Option<PluginHash>,
    /// The partner is recorded in sync.
    pub in_sync: bool,
    /// In every other group of the application too, as it said lately (R1).
    pub others_in_sync: bool,
    /// The application has several groups.
    pub several: bool,
    /// This group follows the campaign of partition 0, which evaluates for all.
    pub follows: bool,
    /// Nothing leads back: all groups are ready for 207, or a floor above the old version stands in the stream (R31).
    pub no_way_back: bool,
    /// Nothing is left to enable.
    pub enabled: bool,
    /// The partner was told to load another file than it runs, and has not said what became of it.
    pub order_open: bool,
    /// The partner was taken out of service.
    pub isolated: bool,
    /// How long the step has been going on.
    pub in_step: Micros,
    /// How long the partner has been in sync on the target while this side runs the old version.
    pub mixed_for: Option<Micros>,
    /// Events in this step, over all groups.
    pub events: u64,
    /// Faults in this step, over all groups.
    pub faults: u64,
    /// Divergences in this step, over all groups.
    pub divergences: u64,
    /// Processors that died of the target in this step, or hung in it, and left a note (R21).
    pub deaths: u64,
    /// 99th percentile of latency in this step, microseconds.
    pub p99_us: u64,
    /// What the user's own checks have shown.
    pub own_checks: Option<&'a CheckVerdict>,
    /// Their last run was begun after the least time of the evaluation.
    pub checked_late: bool,
    /// Why the last order could not be carried out, and is not given again.
    pub order_failed: Option<&'a str>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing now.
    Wait,
    /// Go to this step; the reason is empty when all is well.
    Enter(Step, String),
    /// Take the partner out of service.
    Isolate,
    /// Bring it back.
    Integrate,
    /// Tell the partner to load this file.
    Load(PluginHash),
    /// Change this side's own version to this file, in place: the partner is declared gone (R30).
    ChangeInPlace(PluginHash),
    /// Make the partner the active one.
    SwitchOver,
    /// Enable the features and end the campaign well; where there are several groups it ends once all have done it.
    Enable,
    /// All groups are ready for 207: from here on nothing leads back in any of them.
    NoWayBack,
}

/// What is not on yet.
struct ToEnable {
    features: Vec<String>,
    formats: Vec<(TableId, u16)>,
}

impl CampaignView<'_> {
    /// The way back. Where this side runs the old version, only the partner has to change.
    fn fall_back(&self, reason: impl Into<String>) -> Decision {
        let on_target = self.own == self.record.plan.to_hash;
        Decision::Enter(if on_target { Step::BackSwitchOver } else { Step::BackLoad }, reason.into())
    }
}

/// Decides what a campaign does next. Pure, and the same on whichever side is active.
#[must_use]
pub fn plan_campaign(view: &CampaignView<'_>) -> Decision {
    let record = view.record;
    match plan_step(view) {
        Decision::Enter(step, _)
            if !step.is_back()
                && step != record.step
                && !step.is_over()
                && !view.no_way_back
                && record.entries(step) >= ENTRIES_MAX =>
        {
            view.fall_back(format!("step {} was entered {ENTRIES_MAX} times without an end", step.figure()))
        }
        decision => decision,
    }
}

/// The partner was declared gone, and is not back: this side ends on the version that the campaign is on its way to.
fn plan_alone(view: &CampaignView<'_>) -> Decision {
    let record = view.record;
    let on_target = view.own == record.plan.to_hash;
    let (there, hash, end, why) = if record.step.is_back() {
        // A twin of the old version is as good.
        (!on_target, record.plan.from_hash, Step::FellBack, "")
    } else {
        (
            on_target,
            record.plan.to_hash,
            Step::Done,
            "the partner was declared gone, so no feature is enabled",
        )
    };
    match view.order_failed {
        _ if there => Decision::Enter(end, why.into()),
        // It is tried again by the operator's next word.
        Some(_) => Decision::Wait,
        None => Decision::ChangeInPlace(hash),
    }
}

fn plan_step(view: &CampaignView<'_>) -> Decision {
    let record = view.record;
    let (from, to) = (record.plan.from_hash, record.plan.to_hash);
    let on_target = view.own == to;
    if record.paused || record.step.is_over() {
        return Decision::Wait;
    }
    let enter = |step: Step| Decision::Enter(step, String::new());
    let fall_back = |reason: &str| view.fall_back(reason);
    let forward = [Step::LoadFirst, Step::SwitchOver, Step::Evaluate, Step::LoadSecond];
    if view.deaths > 0 && forward.contains(&record.step) {
        return fall_back("a processor died of the new version, or hung in it (R21)");
    }
    if record.partner_gone && view.partner.is_none() && !view.in_sync {
        return plan_alone(view);
    }
    let late = view.partner.is_some() && view.in_step > Micros::from_ms(record.plan.step_time_max_ms);
    let partner_on = |hash: PluginHash| view.partner == Some(hash) && view.in_sync;
    let lead_partner_to = |hash: PluginHash| match view.partner {
        Some(partner) if partner == hash && view.isolated => Decision::Integrate,
        Some(partner) if partner != hash => Decision::Load(hash),
        _ => Decision::Wait,
    };
    match record.step {
        Step::IsolateFirst | Step::IsolateSecond => {
            let next = if record.step == Step::IsolateFirst { Step::LoadFirst } else { Step::LoadSecond };
            match record.plan.redundancy {
                Redundancy::Keep => enter(next),
                Redundancy::Isolate if view.isolated && !view.in_sync => enter(next),
                // Outage guard: nobody is taken out while the other one is not there to take over from.
                Redundancy::Isolate if view.in_sync || view.isolated => Decision::Isolate,
                Redundancy::Isolate => Decision::Wait,
            }
        }
        // The old version's processor failed, and the new version has taken over: it is evaluated.
        Step::LoadFirst | Step::SwitchOver if on_target => enter(Step::Evaluate),
        Step::LoadFirst if view.partner == Some(to) && diverged_too_often(view) => {
            fall_back("the new version diverged")
        }
        Step::LoadFirst if partner_on(to) => {
            let enough = Micros::from_ms((record.plan.gates.time_min_ms / 4).min(10_000));
            match view.mixed_for {
                Some(mixed_for) if mixed_for >= enough => enter(Step::SwitchOver),
                _ => Decision::Wait,
            }
        }
        Step::LoadFirst => match view.order_failed {
            Some(reason) => fall_back(reason),
            None if late => fall_back("the standby did not come up with the new version in time"),
            None => lead_partner_to(to),
        },
        Step::SwitchOver if partner_on(to) => Decision::SwitchOver,
        Step::SwitchOver if late => fall_back("the switchover could not be made in time"),
        Step::SwitchOver if view.partner == Some(from) => enter(Step::LoadFirst),
        Step::SwitchOver => Decision::Wait,
        Step::Evaluate if !on_target => fall_back("the processor with the new version was lost"),
        Step::Evaluate if view.follows && diverged_too_often(view) => fall_back("the new version diverged"),
        Step::Evaluate if view.follows && view.in_sync => enter(Step::IsolateSecond),
        Step::Evaluate if view.follows => Decision::Wait,
        Step::Evaluate => plan_evaluation(view),
        Step::LoadSecond | Step::Enable if !on_target && !view.no_way_back => {
            fall_back("the processor with the new version was lost before the other one had it")
        }
        Step::LoadSecond if partner_on(to) => enter(Step::Enable),
        Step::LoadSecond if view.no_way_back => lead_partner_to(to),
        Step::LoadSecond => match view.order_failed {
            Some(reason) => fall_back(reason),
            None if late => fall_back("the second processor did not come up with the new version in time"),
            None => lead_partner_to(to),
        },
        Step::Enable if !on_target => Decision::Wait,
        Step::Enable if partner_on(to) && !view.several => Decision::Enable,
        // Ready; with a way back until all are.
        Step::Enable if partner_on(to) && !record.no_way_back => enter(Step::Enable),
        Step::Enable if partner_on(to) && view.enabled => enter(Step::Done),
        Step::Enable if partner_on(to) => Decision::Enable,
        Step::Enable if view.no_way_back => lead_partner_to(to),
        Step::Enable if view.partner == Some(from) => enter(Step::LoadSecond),
        Step::Enable => Decision::Wait,
        Step::BackSwitchOver if !on_target => enter(Step::BackLoad),
        Step::BackSwitchOver if partner_on(from) => Decision::SwitchOver,
        Step::BackSwitchOver => lead_partner_to(from),
        Step::BackLoad if on_target => enter(Step::BackSwitchOver),
        // An order for the target may still be under way there: it is taken back first.
        Step::BackLoad if partner_on(from) && view.order_open => Decision::Load(from),
        Step::BackLoad if partner_on(from) => enter(Step::FellBack),
        Step::BackLoad => lead_partner_to(from),
        Step::Done | Step::FellBack => Decision::Wait,
    }
}

/// A repeated divergence fails the evaluation, whatever its gate allows: the partner is not copied again (R15).
pub(super) fn diverged_too_often(view: &CampaignView<'_>) -> bool {
    view.divergences > view.record.plan.gates.divergences_max.min(u64::from(DIVERGENCES_MAX) - 1)
}

impl Group {
    /// This side has just become active: what is in the stream about a campaign is held before it acts.
    pub(super) fn campaign_entered_anew(&mut self) {
        self.evaluation.begin();
        self.evaluation.mixed_since = None;
        self.evaluation.forget_orders();
        self.evaluation.entered = self.state.meta.last;
        self.order_sent = None;
        self.siblings.forget();
        self.gap.forget();
    }

    /// What the stream says of a campaign is held (R29).
    pub(super) fn campaign_is_held(&self) -> bool {
        self.held >= self.evaluation.entered
    }

    /// What the partner runs, if it can be heard.
    pub(super) fn partner_hash(&self) -> Option<PluginHash> {
        self.partner_application().map(|application| application.hash)
    }

    /// The partner that the record has in sync.
    pub(super) fn recorded_partner(&self) -> Option<Member> {
        let record = self.arbiter.record.as_ref()?;
        record.in_sync.iter().find(|member| member.store != self.store).cloned()
    }

    fn partner_application(&self) -> Option<&ApplicationDescriptor> {
        self.partner.as_ref()?.application.as_deref()
    }

    /// On the way back one of the versions is in doubt, perhaps because it diverged: nothing is run in lock step with
    /// it, so that the way back does not end in a pair whose sides can't agree (R30).
    pub(super) fn ships_everything(&self) -> bool {
        let campaign = self.state.meta.campaign.as_ref();
        campaign.is_some_and(|campaign| matches!(campaign.step, Step::BackSwitchOver | Step::BackLoad))
    }

    /// What can be seen of the campaign at `now`; `others` is what the other groups said of this revision of it.
    pub(super) fn campaign_view<'a>(
        &'a self,
        record: &'a CampaignRecord,
        others: &[Option<&LegReport>],
        now: Micros,
    ) -> CampaignView<'a> {
        let sum = |own: u64, of: fn(&LegReport) -> u64| {
            own + others.iter().flatten().map(|other| of(other)).sum::<u64>()
        };
        CampaignView {
            record,
            own: self.own_hash(),
            partner: self.partner_hash(),
            in_sync: self.recorded_partner().is_some(),
            others_in_sync: others.iter().all(|other| other.is_some_and(|other| other.in_sync)),
            several: self.config.partitions > 1,
            follows: self.follows_campaign(),
            no_way_back: self.no_way_back(record),
            enabled: !record.plan.enable_features || self.to_enable(&[]).is_none(),
            order_open: self.order_is_open(),
            isolated: self.partner_out,
            in_step: record.in_step(now),
            mixed_for: self.evaluation.mixed_since.map(|since| now.since(since)),
            events: sum(self.evaluation.events, |other| other.events),
            faults: sum(self.evaluation.faults, |other| other.faults),
            divergences: sum(self.evaluation.divergences, |other| other.divergences),
            deaths: sum(self.evaluation.deaths, |other| other.deaths),
            p99_us: self.latencies_of_all(others).percentile(99.0),
            own_checks: self.evaluation.checking.verdict(),
            checked_late: self.checked_late(record),
            order_failed: self.evaluation.order_failed.as_deref(),
        }
    }

    pub(super) fn drive_campaign(&mut self) {
        let Some(record) = &self.state.meta.campaign else { return };
        if self.now < self.evaluation.next_look
            || !self.campaign_is_held()
            || self.arbiter.is_busy()
            || self.disk_failure().is_some()
            || self.is_acting()
        {
            return;
        }
        self.evaluation.next_look = self.now.plus(DRIVE_EVERY);
        let record = (**record).clone();
        let partner = self.partner_hash();
        let in_sync = self.recorded_partner().is_some();
        let own = self.own_hash();
        // This side may have been started anew with another file of the old version, a twin: that is as good.
        if own != record.plan.to_hash && partner == Some(record.plan.to_hash) && in_sync {
            if self.evaluation.mixed_since.is_none() {
                self.evaluation.begin();
                self.evaluation.mixed_since = Some(self.now);
            }
        } else {
            self.evaluation.mixed_since = None;
        }
        self.run_checks(&record);
        let others = self.reports_at(record.revision);
        let view = self.campaign_view(&record, &others, self.now);
        let decision = plan_together(&record, plan_campaign(&view), &others);
        if self.follows_campaign() {
            let wish = match &decision {
                Decision::Enter(step, reason) => Some((*step, reason.clone())),
                _ => None,
            };
            self.set_wish(record.revision, wish);
        }
        match decision {
            Decision::Wait => {}
            // Partition 0 enters it, for all.
            Decision::Enter(..) if self.follows_campaign() => {}
            Decision::Enter(step, reason) => self.enter_step(record, step, reason),
            Decision::Isolate => self.isolate_partner(),
            Decision::Integrate => self.integrate_partner(),
            Decision::Load(hash) => self.order_load(hash),
            Decision::ChangeInPlace(hash) => self.load_in_place(hash),
            Decision::SwitchOver => {
                if self.hand_over.is_none() {
                    self.begin_hand_over(Asker::Nobody);
                }
            }
            Decision::Enable => {
                if record.plan.enable_features {
                    // Already on is as good: a takeover may have come between the two entries.
                    if self.to_enable(&[]).is_some() {
                        let _not_in_sync = self.enable(&[]);
                    }
                }
                if self.config.partitions == 1 {
                    return self.enter_step(record, Step::Done, String::new());
                }
                // Nothing is said of it before it is held.
                self.evaluation.entered = self.state.meta.last;
            }
            Decision::NoWayBack => self.put_campaign(CampaignRecord { no_way_back: true, ..record }),
        }
    }

    /// Features or formats of the target are being enabled. A takeover may have come between that entry and the record's.
    fn no_way_back(&self, record: &CampaignRecord) -> bool {
        record.no_way_back || record.plan.from < self.state.meta.floor
    }

    pub(super) fn order_load(&mut self, hash: PluginHash) {
        let repeat = |at: Micros| match self.evaluation.order_again_at {
            Some(again) => self.now >= again,
            None => self.now.since(at) > ORDER_AGAIN,
        };
        let due = self.order_sent.is_none_or(|(sent, at)| sent != hash || repeat(at));
        if due
            && self
                .partner
                .as_ref()
                .is_some_and(|partner| matches!(partner.feed, Feed::InStep | Feed::Nothing))
        {
            self.send_order(hash);
        }
    }

    /// Tells the partner to load a file. Only what was ordered last is taken when the partner announces it.
    pub(super) fn send_order(&mut self, hash: PluginHash) {
        self.order_attempt += 1;
        let attempt = self.order_attempt;
        self.order_sent = Some((hash, self.now));
        self.evaluation.order_again_at = None;
        self.send(PeerMessage::Order { attempt, order: Order::Load { hash } });
    }

    /// Whether the partner was told to load another file than it runs, as far as is known here.
    pub(super) fn order_is_open(&self) -> bool {
        let runs = self.partner_application().map(|application| application.hash);
        self.order_sent.is_some_and(|(ordered, _)| runs != Some(ordered))
    }

    fn enter_step(&mut self, mut record: CampaignRecord, step: Step, reason: String) {
        if record.step == Step::LoadFirst && step == Step::SwitchOver {
            let latencies = self.latencies_of_all(&self.reports_at(record.revision));
            let measured = latencies.total() >= LATENCY_EVENTS_MIN;
            record.yardstick_p99_us = if measured { latencies.percentile(99.0) } else { 0 };
        }
        record.longest_gap = gap::longest(&record, &self.gap, &self.reports_at(record.revision));
        let time = self.stream_time();
        record.trail.push((step, time));
        record.step = step;
        record.since = time;
        record.attempt = self.order_attempt;
        // One that came back in sync is not gone.
        record.partner_gone &= self.recorded_partner().is_none();
        if !reason.is_empty() {
            record.reason = reason;
        }
        self.step_entered(&record);
        self.put_campaign(record);
        if self.ships_everything() {
            self.feed_anew();
        }
    }

    /// What is to be done at the beginning of a step, in each group.
    pub(super) fn step_entered(&mut self, record: &CampaignRecord) {
        let step = record.step;
        let what = format!("campaign {}: {step:?} ({}) {}", record.id, step.figure(), record.reason);
        self.alarm(Alarm::Campaign { what: what.trim_end().into(), back: step.is_back() });
        if step.is_over() {
            self.integrate_partner();
        }
        self.evaluation.begin();
        self.evaluation.forget_orders();
    }

    /// Changes the record, and tells the other groups once it is held.
    fn put_campaign(&mut self, mut record: CampaignRecord) {
        record.revision = self.state.meta.last.next().0;
        self.put_copy(record);
        self.siblings.ask_soon();
    }

    /// Puts the record into this group's stream as it is.
    pub(super) fn put_copy(&mut self, record: CampaignRecord) {
        self.evaluation.entered = self.plain(PlainBody::Control(Control::Campaign(Some(Box::new(record)))));
    }

    pub(super) fn on_campaign_command(&mut self, command: Command) -> CommandResult {
        if self.follows_campaign() {
            return Err(CommandError::NotNow("the campaign is partition 0's: ask its group".into()));
        }
        if let Command::StartCampaign(plan) = command {
            return self.start_campaign(*plan);
        }
        let Some(record) = self.state.meta.campaign.clone() else { return Err(CommandError::NoCampaign) };
        let before = *record;
        let mut record = before.clone();
        match command {
            Command::PauseCampaign if record.paused => {}
            Command::PauseCampaign => {
                record.paused = true;
                record.paused_at = self.stream_time();
            }
            Command::ResumeCampaign => self.unpause(&mut record),
            Command::AcceptCampaign { partner_gone } => {
                if record.step.is_back() {
                    let why = format!("it is on its way back: {}", record.reason);
                    return Err(CommandError::NotNow(why));
                }
                self.declare(&mut record, partner_gone)?;
                record.accepted = true;
            }
            Command::AbortCampaign { .. } if self.no_way_back(&record) => {
                let why = "features or formats of the target are being enabled, and nothing leads back from there (R31)";
                return Err(CommandError::NotNow(why.into()));
            }
            Command::AbortCampaign { partner_gone } => {
                self.declare(&mut record, partner_gone)?;
                self.unpause(&mut record);
                if !record.step.is_back() {
                    let on_target = self.own_hash() == record.plan.to_hash;
                    // Another group may have gone further; those that have nothing to switch back say so at once.
                    let switches = on_target || self.config.partitions > 1;
                    let step = if switches { Step::BackSwitchOver } else { Step::BackLoad };
                    self.enter_step(record, step, "aborted by the operator".into());
                    return Ok(CommandReply::Accepted);
                }
            }
            _ => return Err(CommandError::NotBuilt("this command".into())),
        }
        // What was asked for already changes nothing.
        if record != before {
            self.put_campaign(record);
        }
        Ok(CommandReply::Accepted)
    }

    /// The time of a pause does not count as time of the step.
    fn unpause(&self, record: &mut CampaignRecord) {
        if std::mem::take(&mut record.paused) {
            let paused_for = self.stream_time().since(record.paused_at);
            record.since = record.since.plus(paused_for);
            record.paused_at = Micros(0);
        }
    }

    /// The operator says that the partner is gone, which must not be there then.
    fn declare(&mut self, record: &mut CampaignRecord, partner_gone: bool) -> Result<(), CommandError> {
        if !partner_gone {
            return Ok(());
        }
        if self.recorded_partner().is_some() || self.partner.is_some() {
            let why = "the partner is recorded in sync or can be heard, so it is not gone";
            return Err(CommandError::NotNow(why.into()));
        }
        self.evaluation.forget_orders();
        record.partner_gone = true;
        Ok(())
    }

    fn start_campaign(&mut self, plan: CampaignPlan) -> CommandResult {
        if let Some(campaign) = &self.state.meta.campaign {
            return Err(CommandError::CampaignUnderWay(campaign.step.figure()));
        }
        let not_in_sync = |why: &str| Err(CommandError::NotInSync(why.into()));
        let Some(first) = self.recorded_partner() else {
            return not_in_sync("an upgrade needs both processors");
        };
        let own = self.own_hash();
        if self.partner_application().map(|application| application.hash) != Some(own) || self.order_is_open()
        {
            return not_in_sync("the two processors run different plugin files; load one on both first");
        }
        if plan.from_hash != own {
            return Err(CommandError::NotNow(
                "the running version is not the one that was planned from".into(),
            ));
        }
        if plan.to_hash == own {
            return Err(CommandError::NotNow("that plugin file runs already".into()));
        }
        if plan.to < self.state.meta.floor {
            let floor = self.state.meta.floor;
            let why = format!("{} is below the floor {floor}: features or formats of it are in use", plan.to);
            return Err(CommandError::NotNow(why));
        }
        self.siblings_are_ready(&plan)?;
        let time = self.stream_time();
        let record = CampaignRecord {
            id: self.state.meta.last.next().0,
            plan,
            step: Step::IsolateFirst,
            attempt: 0,
            revision: 0,
            no_way_back: false,
            since: time,
            first: first.node,
            yardstick_p99_us: 0,
            longest_gap: Micros(0),
            paused: false,
            paused_at: Micros(0),
            accepted: false,
            partner_gone: false,
            reason: String::new(),
            trail: vec![(Step::IsolateFirst, time)],
        };
        self.campaign_entered_anew();
        self.put_campaign(record);
        Ok(CommandReply::Accepted)
    }

    /// The partner has the new version ready: from the current number on it is that one's (R28).
    pub(super) fn on_versions(&mut self, theirs: Box<ApplicationDescriptor>) {
        let Some(partner) = &mut self.partner else { return };
        let Some(node) = partner.hello.as_ref().map(|hello| hello.node.clone()) else { return };
        if self.order_sent.is_none_or(|(ordered, _)| ordered != theirs.hash) {
            // An order that was taken back meanwhile: the partner stays as it is.
            return;
        }
        if let Err(reason) = theirs.check() {
            return self.close_link(reason);
        }
        let by_hand = self.state.meta.campaign.is_none();
        match partner.feed {
            Feed::InStep if self.acting.is_none() => {}
            Feed::Nothing if self.acting.is_none() => {
                // Out of service: its hello will say the same when it is back.
                self.install(node, &theirs, by_hand);
                self.set_partner_application(*theirs);
                // One that waits for another version has loaded what was ordered: it is told what it needs (R29).
                return self.feed_anew();
            }
            Feed::Nothing
            | Feed::InStep
            | Feed::Entries { .. }
            | Feed::CopyWaits
            | Feed::Copy { .. }
            | Feed::CopySent => {
                partner.announced = Some(theirs);
                return;
            }
        }
        if let Err(reasons) = self.may_integrate(&theirs) {
            return self.close_link(format!("the partner's new version does not fit: {reasons}"));
        }
        if self.partner_application().map(|application| application.hash) == Some(theirs.hash) {
            return;
        }
        self.install(node, &theirs, by_hand);
        let number = self.state.meta.last;
        self.send(PeerMessage::VersionsFrom { number });
        self.set_partner_application(*theirs);
    }

    pub(super) fn on_order_failed(&mut self, attempt: u32, reason: String, may_pass: bool) {
        if attempt == self.order_attempt {
            self.order_failed(format!("the partner could not load the plugin: {reason}"), reason, may_pass);
        }
    }

    /// What was ordered could not be done: it is ordered again if that may go better, and is a reason to fall back
    /// otherwise, or after the last try (R28).
    pub(super) fn order_failed(&mut self, what: String, reason: String, may_pass: bool) {
        self.alarm(Alarm::Campaign { what, back: true });
        self.evaluation.order_failures += 1;
        let failures = self.evaluation.order_failures;
        if may_pass && failures < ORDER_TRIES_MAX {
            let wait = Micros(ORDER_WAIT.0 << (failures - 1));
            self.evaluation.order_again_at = Some(self.now.plus(wait));
        } else {
            self.evaluation.order_failed = Some(reason);
        }
    }

    /// Enables features, and the formats of the running version, at this point of the stream (R31).
    pub(super) fn enable(&mut self, features: &[String]) -> CommandResult {
        let ours = self.application.descriptor();
        let theirs = self.partner_application().map(|application| application.version);
        if self.recorded_partner().is_none() || theirs != Some(ours.version) {
            let why =
                format!("every processor must be in sync on {} before features are enabled", ours.version);
            return Err(CommandError::NotInSync(why));
        }
        if let Some(unknown) = features.iter().find(|name| !ours.features.iter().any(|f| f.name == **name)) {
            return Err(CommandError::NotNow(format!("{} has no feature `{unknown}`", ours.version)));
        }
        let floor = ours.version.max(self.state.meta.floor);
        let Some(ToEnable { features, formats }) = self.to_enable(features) else {
            return self.migrate_again();
        };
        self.plain(PlainBody::Control(Control::Enable { features, formats, floor }));
        Ok(CommandReply::Done)
    }

    /// Rows that a migration could not read and left: once they are mended, or another version reads them, they are
    /// looked at again. The floor stays, and so does the way back.
    fn migrate_again(&mut self) -> CommandResult {
        let meta = &self.state.meta;
        let left = meta.tables.values().filter(|table| table.oldest < table.format);
        let formats: Vec<_> = left.map(|table| (table.id, table.format)).collect();
        if formats.is_empty() || meta.migration.is_some() {
            return Err(CommandError::NotNow("all of it is on already".into()));
        }
        let (features, floor) = (Vec::new(), meta.floor);
        self.plain(PlainBody::Control(Control::Enable { features, formats, floor }));
        Ok(CommandReply::Done)
    }

    /// What of these features, all when empty, and of the running version's formats is not on yet.
    fn to_enable(&self, features: &[String]) -> Option<ToEnable> {
        let (ours, meta) = (self.application.descriptor(), &self.state.meta);
        let wanted = |name: &String| features.is_empty() || features.contains(name);
        let names = ours.features.iter().map(|feature| feature.name.clone());
        let features: Vec<_> = names.filter(|name| wanted(name) && !meta.features.contains(name)).collect();
        let formats: Vec<_> = ours
            .tables
            .iter()
            .map(|table| (TableId::of(&table.name), table.format))
            .filter(|(id, format)| meta.tables.get(id).is_some_and(|table| table.format < *format))
            .collect();
        (!features.is_empty() || !formats.is_empty()).then_some(ToEnable { features, formats })
    }
}
