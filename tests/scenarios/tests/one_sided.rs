//! Procedures that one of two versions has (R32): new ones wait until the upgrade is through unless they say otherwise,
//! old ones end with a campaign that retires them.
//!
//! The edition `Slim` lacks `careful`; it has `exchange` and the read-only `peek`, and `exchange_at_once`, which is served
//! at once.

use lockstep_core::campaign::{CampaignPlan, Decide, Redundancy, Step};
use lockstep_core::command::Command;
use lockstep_core::event::{Answer, Encoding, Event, EventId, Outcome, Rejection, Request};
use lockstep_core::group::StepUps;
use lockstep_core::ids::SessionId;
use lockstep_sim::chaos::plan;
use lockstep_sim::ledger::{Edition, Parameters};
use lockstep_sim::world::{Settings, World};

struct Desk {
    world: World,
    session: SessionId,
    number: u64,
}

impl Desk {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let mut world = World::pair(8, Edition::One, settings);
        let session = world.open_session();
        Desk { world, session, number: 0 }
    }

    fn event(&mut self, procedure: &str) -> Event {
        self.number += 1;
        Event {
            id: EventId::Numbered { session: self.session, number: self.number },
            awaited_from: 1,
            procedure: procedure.into(),
            encoding: Encoding::Postcard,
            parameters: Parameters { id: self.number, from: 1, to: 2, amount: 5 }.to_bytes(),
            body: vec![],
        }
    }

    fn answer_to(&mut self, event: &Event) -> Answer {
        let active = self.active();
        let probe = self.world.probe(active, Request::Submit(event.clone()));
        self.world.run_until(|world| world.answer(probe).is_some());
        self.world.answer(probe).expect("it was just seen").clone()
    }

    fn ask(&mut self, procedure: &str) -> Answer {
        let event = self.event(procedure);
        self.answer_to(&event)
    }

    fn serves(&mut self, procedure: &str) -> bool {
        match self.ask(procedure) {
            Answer::Ended { outcome: Outcome::Committed { .. }, .. } => true,
            Answer::Rejected(Rejection::NotEnabled | Rejection::Retired | Rejection::UnknownProcedure) => {
                false
            }
            other => panic!("{procedure}: {other:?}"),
        }
    }

    fn active(&self) -> usize {
        self.world.active().expect("there is an active")
    }

    fn start(&mut self, plan: CampaignPlan) {
        let result = self.world.carried_out(0, Command::StartCampaign(Box::new(plan)));
        assert!(result.is_ok(), "{result:?}");
    }

    fn until(&mut self, step: Step) {
        self.world.run_until(|world| {
            world.active().is_some_and(|active| {
                let meta = &world.group(active).state().meta;
                let now = meta.campaign.as_ref().map(|campaign| campaign.step);
                let last = meta.campaigns.last().map(|campaign| campaign.step);
                now == Some(step) || (now.is_none() && last == Some(step))
            })
        });
    }
}

fn to_slim() -> CampaignPlan {
    let mut plan = plan(Edition::One, Edition::Slim, Redundancy::Keep);
    plan.gates.events_min = 0;
    plan.decide = Decide::Operator;
    plan.rollback_after_ms = 50_000;
    plan.retire = vec!["careful".into()];
    plan.only_new = vec!["exchange".into(), "peek".into()];
    plan
}

#[test]
fn a_pair_that_lacks_a_procedure_is_incompatible_unless_the_campaign_retires_it() {
    let mut desk = Desk::new();
    let mut plan = to_slim();
    plan.retire.clear();
    desk.start(plan);
    desk.until(Step::FellBack);
    assert!(
        desk.world.seen.counts.keys().any(|name| name.contains("does not fit")),
        "{:?}",
        desk.world.seen.counts
    );
    assert!(desk.serves("careful"));
    desk.start(to_slim());
    desk.until(Step::Evaluate);
}

#[test]
fn a_retired_procedure_is_served_until_the_switchover_and_again_on_the_way_back() {
    let mut desk = Desk::new();
    let before = desk.event("careful");
    let recorded = desk.answer_to(&before);
    desk.start(to_slim());
    desk.until(Step::LoadFirst);
    desk.world.run_until(|world| world.group(1).descriptor().hash == Edition::Slim.hash());
    let shipped = desk.world.group(1).status(desk.world.now).counts.shipped;
    assert!(desk.serves("careful"), "the old version is active");
    desk.world.run_until(|world| world.group(1).status(world.now).counts.shipped > shipped);
    desk.until(Step::Evaluate);
    assert_eq!(desk.ask("careful"), Answer::Rejected(Rejection::Retired));
    assert_eq!(desk.answer_to(&before), recorded, "a recorded reply outlives its procedure (R13)");
    let active = desk.active();
    desk.world.command(active, Command::AbortCampaign { partner_gone: false });
    desk.until(Step::FellBack);
    assert!(desk.serves("careful"));
    // Through to the end, it is gone for good.
    desk.start(to_slim());
    desk.until(Step::Evaluate);
    let active = desk.active();
    desk.world.command(active, Command::AcceptCampaign { partner_gone: false });
    desk.until(Step::Done);
    assert_eq!(desk.ask("careful"), Answer::Rejected(Rejection::Retired));
    assert_eq!(desk.ask("never there"), Answer::Rejected(Rejection::UnknownProcedure));
    assert_eq!(desk.answer_to(&before), recorded);
    desk.world.settle_and_check();
}

#[test]
fn what_only_the_new_version_has_waits_until_the_upgrade_is_through_unless_it_says_otherwise() {
    let mut desk = Desk::new();
    desk.start(to_slim());
    desk.until(Step::Evaluate);
    for procedure in ["exchange", "peek"] {
        assert_eq!(desk.ask(procedure), Answer::Rejected(Rejection::NotEnabled), "{procedure}");
    }
    let shipped = desk.world.group(0).status(desk.world.now).counts.shipped;
    assert!(desk.serves("exchange_at_once"));
    desk.world.run_until(|world| world.group(0).status(world.now).counts.shipped == shipped + 1);
    // Without its partner it does not come sooner: the way back is open.
    desk.world.kill(0, true);
    desk.world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
    assert_eq!(desk.ask("exchange"), Answer::Rejected(Rejection::NotEnabled));
    desk.world.start(0);
    desk.world.run_until(World::in_sync);
    let active = desk.active();
    desk.world.command(active, Command::AcceptCampaign { partner_gone: false });
    desk.until(Step::Done);
    for procedure in ["exchange", "peek", "exchange_at_once"] {
        assert!(desk.serves(procedure), "{procedure}");
    }
    desk.world.settle_and_check();
}

#[test]
fn a_takeover_by_the_version_that_lacks_it_rolls_it_back_and_doubles_nothing() {
    for frames in 0..6 {
        let mut desk = Desk::with(Settings { step_ups: StepUps::Apart, ..Settings::default() });
        desk.start(to_slim());
        desk.until(Step::Evaluate);
        let event = desk.event("exchange_at_once");
        let active = desk.active();
        desk.world.die_after_frames(frames);
        let probe = desk.world.probe(active, Request::Submit(event.clone()));
        desk.world.run_until(|world| world.active() == Some(1 - active) || world.answer(probe).is_some());
        if desk.world.active() != Some(1 - active) {
            desk.world.kill(active, true);
            desk.world.run_until(|world| world.active() == Some(1 - active));
        }
        let then = desk.answer_to(&event);
        let known = matches!(then, Answer::Ended { outcome: Outcome::Committed { .. }, .. });
        assert!(known || then == Answer::Rejected(Rejection::UnknownProcedure), "{then:?}");
        desk.world.start(active);
        desk.until(Step::FellBack);
        desk.world.settle_and_check();
    }
}
