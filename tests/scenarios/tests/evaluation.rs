//! The evaluation at 203 (R30): what passes, what leads back, what waits for the operator; checks of the user's own; the
//! ways out of a survivor whose partner is gone; orders that fail in passing (R28).

use lockstep_core::campaign::{
    CampaignPlan, CampaignRecord, CheckVerdict, Decide, Judgement, OwnCheck, Redundancy, Step,
};
use lockstep_core::command::{CampaignStatus, Command, CommandError};
use lockstep_core::ids::Micros;
use lockstep_sim::chaos::plan;
use lockstep_sim::ledger::Edition;
use lockstep_sim::world::{Settings, World};

const ABORT: Command = Command::AbortCampaign { partner_gone: false };
const ACCEPT: Command = Command::AcceptCampaign { partner_gone: false };
const ABORT_ALONE: Command = Command::AbortCampaign { partner_gone: true };
const ACCEPT_ALONE: Command = Command::AcceptCampaign { partner_gone: true };

fn to_two() -> CampaignPlan {
    plan(Edition::One, Edition::Two, Redundancy::Keep)
}

/// With a check of the user's own.
fn checked() -> CampaignPlan {
    let mut plan = to_two();
    plan.own_checks.checks = vec![OwnCheck::Command("./sums-are-right".into())];
    plan
}

/// A pair under load that was told to go to another version.
fn under_way(seed: u64, plan: CampaignPlan) -> World {
    let mut world = World::pair(seed, Edition::One, Settings::default());
    (0..3).for_each(|_| world.add_client(300));
    world.run_until(|world| world.clients[0].acknowledged.len() > 10);
    start(&mut world, plan);
    world
}

fn start(world: &mut World, plan: CampaignPlan) {
    world.command(0, Command::StartCampaign(Box::new(plan)));
    assert!(world.group(0).state().meta.campaign.is_some(), "it is accepted");
}

fn step(world: &World) -> Option<Step> {
    let campaign = &world.group(world.active()?).state().meta.campaign;
    campaign.as_ref().map(|campaign| campaign.step)
}

fn until(world: &mut World, wanted: Step) {
    world.run_until(|world| step(world) == Some(wanted));
}

fn status(world: &World) -> CampaignStatus {
    let active = world.active().expect("there is an active");
    world.group(active).status(world.now).campaign.expect("a campaign is under way")
}

/// Runs on until no campaign is under way on any living processor, and gives the last one.
fn end(world: &mut World) -> CampaignRecord {
    world.run_until(|world| {
        (0..2).all(|node| world.role(node).is_none() || world.group(node).state().meta.campaign.is_none())
            && world.active().is_some()
    });
    let active = world.active().expect("there is an active");
    world.group(active).state().meta.campaigns.last().expect("it is remembered").clone()
}

fn runs(world: &World, node: usize) -> Edition {
    Edition::of(world.group(node).descriptor().hash).expect("only editions run here")
}

fn settle(world: &mut World) {
    world.clients.iter_mut().for_each(lockstep_sim::clients::SimClient::stop);
    world.settle_and_check();
}

// -- the gates

#[test]
fn too_few_events_are_inconclusive_and_fall_back_when_the_timer_ends_unless_somebody_accepts() {
    for accepted in [false, true] {
        let mut plan = to_two();
        plan.gates.events_min = u64::MAX;
        let mut world = under_way(1, plan);
        until(&mut world, Step::Evaluate);
        assert_eq!(status(&world).judgement, Some(Judgement::Undecided));
        world.run_until(|world| matches!(status(world).judgement, Some(Judgement::Inconclusive(_))));
        let left = status(&world).rollback_in_ms.expect("the timer runs");
        assert!((1_500..=2_000).contains(&left), "{left} ms are left of 2 s");
        if accepted {
            let active = world.active().expect("an active");
            world.command(active, ACCEPT);
            assert_eq!(end(&mut world).step, Step::Done);
        } else {
            let campaign = end(&mut world);
            assert_eq!(campaign.step, Step::FellBack);
            assert!(campaign.reason.contains("nobody accepted"), "{}", campaign.reason);
            assert!(campaign.reason.contains("too few events"), "{}", campaign.reason);
        }
        settle(&mut world);
    }
}

#[test]
fn a_latency_that_has_nothing_to_be_compared_with_is_inconclusive() {
    // No traffic while versions are mixed: there is no yardstick. Then plenty.
    let mut world = World::pair(2, Edition::One, Settings::default());
    let mut plan = to_two();
    plan.gates.latency_ratio_max_percent = 200;
    start(&mut world, plan);
    until(&mut world, Step::Evaluate);
    (0..12).for_each(|_| world.add_client(100));
    world.run_until(|world| matches!(status(world).judgement, Some(Judgement::Inconclusive(_))));
    let Some(Judgement::Inconclusive(why)) = status(&world).judgement else { unreachable!() };
    assert!(why.contains("was not measured"), "{why}");
    let active = world.active().expect("an active");
    world.command(active, ABORT);
    assert_eq!(end(&mut world).step, Step::FellBack);
    settle(&mut world);
}

#[test]
fn an_operator_who_decides_is_waited_for_and_then_the_timer_leads_back() {
    let mut plan = to_two();
    plan.decide = Decide::Operator;
    let mut world = under_way(3, plan);
    until(&mut world, Step::Evaluate);
    world.run_until(|world| status(world).judgement == Some(Judgement::Passed));
    world.run_for(Micros::from_ms(200));
    assert_eq!(step(&world), Some(Step::Evaluate), "it waits");
    let campaign = end(&mut world);
    assert_eq!(campaign.step, Step::FellBack);
    assert_eq!(campaign.reason, "nobody accepted it in time");
    settle(&mut world);
}

// -- checks of the user's own

#[test]
fn a_check_that_passes_is_run_once_more_when_the_least_time_is_over_and_the_new_version_stays() {
    let mut world = under_way(4, checked());
    until(&mut world, Step::Evaluate);
    world.run_until(|world| status(world).own_checks == Some(CheckVerdict::Pass));
    assert!(status(&world).in_step < Micros::from_ms(100), "the first run does not wait for the least time");
    assert_eq!(step(&world), Some(Step::Evaluate));
    assert_eq!(end(&mut world).step, Step::Done);
    assert_eq!(world.checks_run, 2);
    settle(&mut world);
}

#[test]
fn a_check_that_fails_leads_back_by_itself_with_its_own_words() {
    let mut world = under_way(5, checked());
    world.checks_say = Some(CheckVerdict::Fail("the sums differ by 3 cents".into()));
    let campaign = end(&mut world);
    assert_eq!(campaign.step, Step::FellBack);
    // By itself, and not because nobody accepted it in time.
    assert_eq!(campaign.reason, "the check of your own failed: the sums differ by 3 cents");
    assert_eq!([runs(&world, 0), runs(&world, 1)], [Edition::One; 2]);
    settle(&mut world);
}

#[test]
fn a_check_that_fails_later_leads_back_although_it_passed_before() {
    let mut plan = checked();
    plan.own_checks.every_ms = 50;
    plan.decide = Decide::Operator;
    let mut world = under_way(6, plan);
    until(&mut world, Step::Evaluate);
    world.run_until(|world| status(world).judgement == Some(Judgement::Passed));
    world.checks_say = Some(CheckVerdict::Fail("a row is wrong".into()));
    assert_eq!(end(&mut world).step, Step::FellBack);
    settle(&mut world);
}

#[test]
fn a_check_that_can_not_be_run_or_never_ends_is_inconclusive() {
    for says in [Some(CheckVerdict::Inconclusive("there is no such program".into())), None] {
        let mut plan = checked();
        plan.own_checks.time_max_ms = 100;
        plan.gates.time_max_ms = 6_000;
        let mut world = under_way(7, plan);
        world.checks_say = says.clone();
        until(&mut world, Step::Evaluate);
        world.run_until(|world| matches!(status(world).judgement, Some(Judgement::Inconclusive(_))));
        let Some(Judgement::Inconclusive(why)) = status(&world).judgement else { unreachable!() };
        assert!(why.contains("could not be run"), "{why}");
        // The operator knows better.
        let active = world.active().expect("an active");
        world.command(active, ACCEPT);
        assert_eq!(end(&mut world).step, Step::Done, "{says:?}");
        settle(&mut world);
    }
}

// -- pause, resume, accept, abort

#[test]
fn what_is_asked_twice_changes_the_record_once() {
    let mut plan = to_two();
    plan.gates.events_min = u64::MAX;
    let mut world = under_way(31, plan);
    until(&mut world, Step::Evaluate);
    let active = world.active().expect("an active");
    for command in [Command::PauseCampaign, ACCEPT, ABORT] {
        let revisions = [0, 1].map(|_| {
            let result = world.carried_out(active, command.clone());
            assert!(result.is_ok(), "{command:?}: {result:?}");
            let campaign = &world.group(active).state().meta.campaign;
            campaign.as_ref().expect("it is under way").revision
        });
        assert_eq!(revisions[0], revisions[1], "{command:?}");
    }
    assert_eq!(end(&mut world).step, Step::FellBack);
    settle(&mut world);
}

#[test]
fn a_pause_holds_any_step_and_its_time_does_not_count() {
    for wanted in [Step::LoadFirst, Step::Evaluate, Step::LoadSecond] {
        let mut plan = to_two();
        plan.gates.events_min = u64::MAX;
        let mut world = under_way(8 + wanted as u64, plan);
        if wanted == Step::LoadSecond {
            until(&mut world, Step::Evaluate);
            let active = world.active().expect("an active");
            world.command(active, ACCEPT);
        }
        until(&mut world, wanted);
        let active = world.active().expect("an active");
        world.command(active, Command::PauseCampaign);
        world.run_for(Micros::from_ms(20));
        let before = status(&world);
        // Longer than any of the campaign's own bounds.
        world.run_for(Micros::from_ms(4_000));
        let after = status(&world);
        assert_eq!((after.record.step, after.in_step), (before.record.step, before.in_step), "{wanted:?}");
        world.command(world.active().expect("an active"), Command::ResumeCampaign);
        world.run_for(Micros::from_ms(50));
        if wanted == Step::Evaluate {
            assert_eq!(step(&world), Some(Step::Evaluate), "the rollback timer stood still");
            world.command(world.active().expect("an active"), ACCEPT);
        }
        if wanted == Step::LoadFirst {
            until(&mut world, Step::Evaluate);
            world.command(world.active().expect("an active"), ACCEPT);
        }
        assert_eq!(end(&mut world).step, Step::Done, "{wanted:?}");
        settle(&mut world);
    }
}

#[test]
fn an_acceptance_in_advance_leaves_only_what_fails() {
    let mut plan = checked();
    plan.gates.events_min = u64::MAX;
    let mut world = under_way(20, plan.clone());
    let result = world.carried_out(0, ACCEPT);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(end(&mut world).step, Step::Done);
    settle(&mut world);
    // What fails leads back all the same.
    let mut plan = self::plan(Edition::One, Edition::Broken, Redundancy::Keep);
    plan.gates.faults_max = 0;
    plan.decide = Decide::Operator;
    let mut world = under_way(21, plan);
    until(&mut world, Step::Evaluate);
    world.run_until(|world| step(world).is_some_and(Step::is_back));
    let result = world.carried_out(world.active().expect("an active"), ACCEPT);
    assert!(matches!(result, Err(CommandError::NotNow(_))), "{result:?}");
    assert_eq!(end(&mut world).step, Step::FellBack);
    settle(&mut world);
}

// -- a lone survivor

/// The new version serves alone at 203; its partner is dead.
fn alone_on_the_new_version(seed: u64) -> World {
    let mut plan = to_two();
    plan.gates.events_min = u64::MAX;
    plan.gates.time_max_ms = 60_000;
    let mut world = under_way(seed, plan);
    until(&mut world, Step::Evaluate);
    world.run_for(Micros::from_ms(50));
    let active = world.active().expect("an active");
    assert_eq!(runs(&world, active), Edition::Two);
    let result = world.carried_out(active, ABORT_ALONE);
    assert!(matches!(result, Err(CommandError::NotNow(_))), "the partner lives");
    world.kill(1 - active, true);
    is_alone(&mut world);
    world
}

/// The record has dropped the dead one, and the link to it is down.
fn is_alone(world: &mut World) {
    world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
    world.run_for(Micros::from_ms(50));
}

#[test]
fn a_survivor_whose_partner_is_gone_returns_to_the_old_version_in_place() {
    let mut world = alone_on_the_new_version(30);
    let active = world.active().expect("an active");
    world.run_for(Micros::from_ms(3_000));
    assert_eq!(step(&world), Some(Step::Evaluate), "the timer waits for the partner");
    world.add_client(50);
    let result = world.carried_out(active, ABORT_ALONE);
    assert!(result.is_ok(), "{result:?}");
    let campaign = end(&mut world);
    assert_eq!((campaign.step, runs(&world, active)), (Step::FellBack, Edition::One));
    world.run_until(|world| world.clients[3].acknowledged.len() == 50);
    assert_eq!(world.active(), Some(active), "the change of version is no takeover");
    world.start(1 - active);
    world.run_until(World::in_sync);
    assert_eq!(runs(&world, 1 - active), Edition::One);
    settle(&mut world);
}

#[test]
fn a_survivor_whose_partner_is_gone_ends_on_the_new_version_and_a_partner_that_returns_follows() {
    let mut world = alone_on_the_new_version(31);
    let active = world.active().expect("an active");
    world.command(active, ACCEPT_ALONE);
    let campaign = end(&mut world);
    assert_eq!((campaign.step, runs(&world, active)), (Step::Done, Edition::Two));
    assert!(world.group(active).state().meta.features.is_empty(), "features need two (R31)");
    world.start(1 - active);
    world.run_until(|world| world.in_sync() && runs(world, 1 - active) == Edition::Two);
    let result = world.carried_out(active, Command::EnableFeatures { features: vec![] });
    assert!(result.is_ok(), "{result:?}");
    settle(&mut world);
}

/// The campaign fell back; the other processor has not heard that its change of version was taken, and its link is cut: if
/// so, the world and the active.
fn after_a_lost_word(after: Micros) -> Option<(World, usize)> {
    let mut world = under_way(35, to_two());
    until(&mut world, Step::Evaluate);
    let active = world.active().expect("an active");
    world.command(active, ABORT);
    until(&mut world, Step::BackLoad);
    let active = world.active().expect("an active");
    // The order has arrived by then, or not; what answers the announcement is late.
    world.run_for(after);
    world.delay(1 - active, Micros::from_ms(300));
    world.run_until(|world| step(world).is_none());
    assert_eq!(runs(&world, active), Edition::One);
    let unheard = runs(&world, 1 - active) == Edition::Two;
    world.cut();
    unheard.then_some((world, active))
}

/// R28, R29: and the campaign is over meanwhile.
#[test]
fn a_partner_that_lost_the_word_of_its_change_is_led_to_what_the_campaign_ended_with() {
    let worlds: Vec<_> = (0..12).map(Micros::from_ms).filter_map(after_a_lost_word).collect();
    assert!(!worlds.is_empty(), "each time it had heard, so this shows nothing");
    for (mut world, active) in worlds {
        world.run_until(|world| world.in_sync() && runs(world, 1 - active) == Edition::One);
        assert_eq!(end(&mut world).step, Step::FellBack);
        settle(&mut world);
    }
}

/// The same, and it becomes active before anybody can lead it: it hands over to the one that runs what it is to load.
#[test]
fn an_active_that_runs_what_a_campaign_left_behind_hands_over_and_is_led() {
    let (mut world, active) =
        (0..12).map(Micros::from_ms).find_map(after_a_lost_word).expect("one hears late");
    let other = 1 - active;
    world.run_until(|world| world.group(other).state().meta.campaign.is_none());
    assert_eq!(runs(&world, other), Edition::Two, "nobody has led it yet, or this shows nothing");
    // The order that leads it finds nobody; what it followed so far is recorded.
    world.starts_fail[other] = 3;
    world.run_until(World::in_sync);
    world.kill(active, false);
    world.run_until(|world| world.active() == Some(other));
    world.start(active);
    world.run_until(|world| world.in_sync() && (0..2).all(|node| runs(world, node) == Edition::One));
    assert_eq!(world.active(), Some(active));
    settle(&mut world);
}

#[test]
fn a_survivor_on_the_old_version_may_go_on_to_the_new_one_in_place() {
    for crash in [false, true] {
        let mut world = under_way(32, to_two());
        until(&mut world, Step::LoadFirst);
        world.kill(1, true);
        is_alone(&mut world);
        let result = world.carried_out(0, ACCEPT_ALONE);
        assert!(result.is_ok(), "{result:?}");
        if crash {
            // It dies in the middle and goes on where its record stands.
            world.run_for(Micros::from_ms(2));
            world.kill(0, true);
            world.start(0);
        }
        let campaign = end(&mut world);
        assert_eq!((campaign.step, runs(&world, 0)), (Step::Done, Edition::Two), "crash: {crash}");
        world.start(1);
        world.run_until(|world| world.in_sync() && runs(world, 1) == Edition::Two);
        settle(&mut world);
    }
}

#[test]
fn a_partner_that_returns_after_it_was_declared_gone_is_led_like_any_other() {
    let mut world = alone_on_the_new_version(33);
    let active = world.active().expect("an active");
    // The old version does not load here before the partner is back.
    world.starts_fail[active] = 3;
    world.command(active, ABORT_ALONE);
    world.run_for(Micros::from_ms(100));
    world.start(1 - active);
    let campaign = end(&mut world);
    assert_eq!(campaign.step, Step::FellBack);
    world.run_until(|world| world.in_sync() && (0..2).all(|node| runs(world, node) == Edition::One));
    settle(&mut world);
}

// -- orders that fail, and steps that go in circles

#[test]
fn a_version_that_does_not_start_is_tried_again_and_then_the_campaign_falls_back() {
    for (failures, ends) in [(1, Step::Done), (2, Step::Done), (3, Step::FellBack)] {
        let mut plan = to_two();
        plan.step_time_max_ms = 60_000;
        plan.gates.events_min = 0;
        let mut world = World::pair(40 + failures, Edition::One, Settings::default());
        (0..3).for_each(|_| world.add_client(300));
        world.starts_fail[1] = failures;
        start(&mut world, plan);
        let campaign = end(&mut world);
        assert_eq!(campaign.step, ends, "{failures} failures: {}", campaign.reason);
        if ends == Step::FellBack {
            assert_eq!(campaign.reason, "it does not start");
        }
        assert_eq!(world.starts_fail[1], 0, "it was tried so often");
        settle(&mut world);
    }
}

#[test]
fn a_campaign_does_not_go_in_circles() {
    let mut plan = to_two();
    plan.gates.time_min_ms = 40_000;
    plan.step_time_max_ms = 60_000;
    let mut world = World::pair(50, Edition::One, Settings::default());
    start(&mut world, plan);
    // Whenever the standby is about to be made active it turns out to run the old version again.
    let mut rounds = 0;
    while step(&world).is_some_and(|step| !step.is_back()) && rounds < 20 {
        until_or_back(&mut world, Step::SwitchOver);
        let active = world.active().expect("an active");
        if step(&world) == Some(Step::SwitchOver) {
            world.kill(1 - active, true);
            world.replace_disk(1 - active);
            world.set_first_edition(1 - active, Edition::One);
            world.start(1 - active);
            world.run_until(|world| step(world) != Some(Step::SwitchOver));
        }
        rounds += 1;
    }
    let campaign = end(&mut world);
    assert_eq!(campaign.step, Step::FellBack);
    assert!(campaign.reason.contains("was entered 6 times"), "{}", campaign.reason);
    settle(&mut world);
}

fn until_or_back(world: &mut World, wanted: Step) {
    world.run_until(|world| step(world) == Some(wanted) || step(world).is_none_or(Step::is_back));
}

#[test]
fn nobody_is_isolated_while_the_other_one_is_not_in_sync() {
    let mut world = World::pair(60, Edition::One, Settings::default());
    let mut plan = plan(Edition::One, Edition::Two, Redundancy::Isolate);
    plan.gates.events_min = 0;
    start(&mut world, plan);
    world.command(0, Command::PauseCampaign);
    world.kill(1, true);
    world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
    world.command(0, Command::ResumeCampaign);
    world.run_for(Micros::from_ms(5_000));
    assert_eq!(step(&world), Some(Step::IsolateFirst), "the campaign waits (R30)");
    world.start(1);
    let campaign = end(&mut world);
    assert_eq!(campaign.step, Step::Done, "{}", campaign.reason);
    settle(&mut world);
}
