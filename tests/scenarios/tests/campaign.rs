//! Whole campaigns (R28 to R31), undisturbed and with a processor killed in every step.

use std::cell::Cell;

use lockstep_core::campaign::{Redundancy, Step};
use lockstep_core::command::{Command, CommandError, Role};
use lockstep_core::ids::Micros;
use lockstep_sim::chaos::plan;
use lockstep_sim::ledger::Edition;
use lockstep_sim::world::{Settings, World};

fn under_way(seed: u64, to: Edition, redundancy: Redundancy) -> World {
    let faults_max = if to == Edition::Broken { 0 } else { 1_000 };
    under_way_with(seed, to, redundancy, faults_max, Settings::default())
}

fn under_way_with(
    seed: u64,
    to: Edition,
    redundancy: Redundancy,
    faults_max: u64,
    settings: Settings,
) -> World {
    let mut world = World::pair(seed, Edition::One, settings);
    (0..3).for_each(|_| world.add_client(3_000));
    world.run_until(|world| world.clients[0].acknowledged.len() > 10);
    let mut plan = plan(Edition::One, to, redundancy);
    plan.gates.faults_max = faults_max;
    world.command(0, Command::StartCampaign(Box::new(plan)));
    assert!(world.group(0).state().meta.campaign.is_some(), "it is accepted");
    world
}

fn over(world: &World) -> bool {
    (0..2).all(|node| {
        world.role(node).is_some_and(|role| matches!(role, Role::Active | Role::Standby))
            && world.group(node).state().meta.campaign.is_none()
    })
}

fn runs(world: &World, node: usize) -> Edition {
    Edition::of(world.group(node).descriptor().hash).expect("only editions run here")
}

fn hashes(world: &World) -> [Edition; 2] {
    [0, 1].map(|node| runs(world, node))
}

/// What operators read as the gap is what clients see, but for the way of one message.
#[test]
fn the_gap_at_the_switchover_is_measured_and_is_no_longer_than_clients_see_it() {
    for seed in 1..=5 {
        let mut world = under_way(seed, Edition::Two, Redundancy::Keep);
        let answered =
            |world: &World| world.clients.iter().map(|client| client.acknowledged.len()).sum::<usize>();
        let (last, longest) = (Cell::new((world.now, answered(&world))), Cell::new(0));
        world.run_until(|world| {
            let (at, count) = last.get();
            if answered(world) > count {
                longest.set(longest.get().max(world.now.since(at).0));
                last.set((world.now, answered(world)));
            }
            over(world)
        });
        let longest = longest.get();
        let active = world.active().expect("there is an active");
        let campaign = world.group(active).state().meta.campaigns.last().expect("it is remembered").clone();
        let measured = campaign.longest_gap.0;
        assert_eq!(campaign.step, Step::Done, "{campaign:?}");
        assert!(measured > 0 && measured <= longest + 1_000, "{measured} us, and clients saw {longest} us");
        world.settle_and_check();
    }
}

#[test]
fn an_accepted_version_ends_on_both_with_its_feature_on() {
    for redundancy in [Redundancy::Keep, Redundancy::Isolate] {
        let mut world = under_way(1, Edition::Two, redundancy);
        world.run_until(over);
        assert_eq!(hashes(&world), [Edition::Two; 2]);
        let meta = &world.group(0).state().meta;
        assert!(meta.features.contains("fee"), "{:?}", meta.features);
        assert_eq!(meta.floor, Edition::Two.version(), "a feature raises the floor (R31)");
        let campaign = meta.campaigns.last().expect("it is remembered");
        assert_eq!(campaign.step, Step::Done, "{campaign:?}");
        world.settle_and_check();
        // No way back below the floor.
        let active = world.active().expect("there is an active");
        let back = plan(Edition::Two, Edition::One, redundancy);
        let result = world.carried_out(active, Command::StartCampaign(Box::new(back)));
        assert!(matches!(result, Err(CommandError::NotNow(why)) if why.contains("floor")));
    }
}

#[test]
fn redundancy_is_kept_throughout_unless_isolation_is_asked_for() {
    let mut world = under_way(2, Edition::Two, Redundancy::Keep);
    while !over(&world) {
        world.run_for(Micros(200));
        assert_eq!(world.record().expect("a record").in_sync.len(), 2, "{}", world.describe());
    }
    let mut world = under_way(2, Edition::Two, Redundancy::Isolate);
    world.run_until(|world| world.role(1) == Some(Role::Isolated));
    world.run_until(over);
    assert_eq!(hashes(&world), [Edition::Two; 2]);
}

#[test]
fn a_version_that_faults_falls_back_by_itself_and_says_why() {
    let mut world = under_way(3, Edition::Broken, Redundancy::Keep);
    world.run_until(over);
    assert_eq!(hashes(&world), [Edition::One; 2]);
    let meta = &world.group(0).state().meta;
    let campaign = meta.campaigns.last().expect("it is remembered");
    assert_eq!(campaign.step, Step::FellBack);
    assert!(campaign.reason.contains("faults"), "{}", campaign.reason);
    assert!(meta.features.is_empty());
    world.settle_and_check();
}

#[test]
fn features_are_refused_until_both_run_the_version() {
    let mut world = World::pair(4, Edition::One, Settings::default());
    world.command(0, Command::Load { hash: Edition::Two.hash() });
    world.run_until(|world| world.group(1).descriptor().hash == Edition::Two.hash());
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1));
    let result = world.carried_out(1, Command::EnableFeatures { features: vec!["fee".into()] });
    assert!(matches!(result, Err(CommandError::NotInSync(_))), "{result:?}");
}

#[test]
fn a_kill_in_any_step_ends_in_one_version_everywhere() {
    for step in Step::forward() {
        for victim in [Role::Active, Role::Standby] {
            for redundancy in [Redundancy::Keep, Redundancy::Isolate] {
                let mut world = under_way(5 + step as u64, Edition::Two, redundancy);
                let at_step = |world: &World| {
                    world.active().is_some_and(|active| {
                        let campaign = &world.group(active).state().meta.campaign;
                        campaign.as_ref().is_some_and(|campaign| campaign.step >= step)
                    })
                };
                world.run_until(|world| at_step(world) || over(world));
                let active = world.active().expect("there is an active");
                let node = if victim == Role::Active { active } else { 1 - active };
                world.kill(node, true);
                world.run_for(Micros::from_ms(30));
                world.start(node);
                world.run_until(over);
                let [a, b] = hashes(&world);
                assert_eq!(a, b, "step {step:?}, {victim} killed, {redundancy:?}");
                world.settle_and_check();
            }
        }
    }
}

#[test]
fn an_abort_in_any_step_before_the_last_returns_to_the_old_version() {
    for step in Step::forward().take(6) {
        let mut world = under_way(40 + step as u64, Edition::Two, Redundancy::Keep);
        world.run_until(|world| {
            over(world)
                || world.active().is_some_and(|active| {
                    let campaign = &world.group(active).state().meta.campaign;
                    campaign.as_ref().is_some_and(|campaign| campaign.step >= step)
                })
        });
        let active = world.active().expect("there is an active");
        let result = world.carried_out(active, Command::AbortCampaign { partner_gone: false });
        assert!(result.is_ok(), "{step:?}: {result:?}");
        world.run_until(over);
        assert_eq!(hashes(&world), [Edition::One; 2], "{step:?}");
        world.settle_and_check();
    }
}

#[test]
fn a_version_that_diverges_falls_back_from_whichever_side_it_runs_on() {
    for (seed, redundancy) in [(1, Redundancy::Keep), (2, Redundancy::Isolate)] {
        let settings = Settings { divergence_expected: true, ..Settings::default() };
        let mut world = under_way_with(seed, Edition::Wrong, redundancy, 0, settings);
        world.run_until(over);
        assert_eq!(hashes(&world), [Edition::One; 2]);
        let meta = &world.group(0).state().meta;
        let campaign = meta.campaigns.last().expect("it is remembered");
        assert_eq!(campaign.step, Step::FellBack);
        assert!(campaign.reason.contains("diverged"), "{}", campaign.reason);
        world.settle_and_check();
    }
}

#[test]
fn a_divergence_during_the_evaluation_leads_back_although_the_two_versions_cannot_agree() {
    let settings = Settings { divergence_expected: true, ..Settings::default() };
    // Nothing is running yet that shows the difference; it does once the new version is active.
    let mut world = World::pair(3, Edition::One, settings);
    let mut plan = plan(Edition::One, Edition::Wrong, Redundancy::Keep);
    plan.gates.time_min_ms = 200;
    world.command(0, Command::StartCampaign(Box::new(plan)));
    world.run_until(|world| {
        world.active() == Some(1)
            && world.group(1).state().meta.campaign.as_ref().is_some_and(|c| c.step == Step::Evaluate)
    });
    (0..3).for_each(|_| world.add_client(1_000));
    world.run_until(over);
    assert_eq!(hashes(&world), [Edition::One; 2]);
    let campaign = world.group(0).state().meta.campaigns.last().expect("it is remembered").clone();
    assert_eq!(campaign.step, Step::FellBack);
    assert!(campaign.reason.contains("divergence"), "{}", campaign.reason);
    world.settle_and_check();
}

#[test]
fn below_the_floor_no_processor_is_integrated() {
    let mut world = under_way(31, Edition::Two, Redundancy::Keep);
    world.run_until(over);
    world.run_until(World::in_sync);
    let standby = 1 - world.active().expect("there is an active");
    // An emptied processor comes back with the version that its own file names.
    world.kill(standby, true);
    world.replace_disk(standby);
    world.set_first_edition(standby, Edition::One);
    world.start(standby);
    assert_eq!(world.group(standby).descriptor().hash, Edition::One.hash());
    world.run_until(World::in_sync);
    assert_eq!(hashes(&world), [Edition::Two; 2], "it is told to load what may read the rows (R31)");
    world.clients.iter_mut().for_each(lockstep_sim::clients::SimClient::stop);
    world.settle_and_check();
}

#[test]
fn nothing_of_a_step_is_done_before_its_record_is_held() {
    let mut world = World::pair(32, Edition::One, Settings { story: true, ..Settings::default() });
    let ordered = |world: &World| world.story().iter().any(|line| line.contains("-> Order"));
    // The standby's word comes late.
    world.delay(0, Micros::from_ms(120));
    world.command(0, Command::StartCampaign(Box::new(plan(Edition::One, Edition::Two, Redundancy::Keep))));
    world.run_for(Micros::from_ms(100));
    assert!(!ordered(&world), "no order leaves before its step is held (R29)");
    world.run_until(ordered);
    world.run_until(over);
    world.settle_and_check();
}

#[test]
fn a_campaign_goes_on_where_the_old_version_runs_as_a_twin() {
    for redundancy in [Redundancy::Keep, Redundancy::Isolate] {
        let mut world = under_way(33, Edition::Two, redundancy);
        world.command(0, Command::PauseCampaign);
        world.run_until(World::in_sync);
        // An emptied standby comes back with another file of the same version, and takes over.
        let (active, standby) = (0, 1);
        world.kill(standby, true);
        world.replace_disk(standby);
        world.set_first_edition(standby, Edition::Twin);
        world.start(standby);
        world.run_until(World::in_sync);
        world.kill(active, true);
        world.run_until(|world| world.active() == Some(standby));
        assert_eq!(runs(&world, standby), Edition::Twin);
        world.start(active);
        world.run_until(World::in_sync);
        world.command(standby, Command::ResumeCampaign);
        world.run_until(over);
        assert_eq!(hashes(&world), [Edition::Two; 2], "{redundancy:?}");
        world.settle_and_check();
    }
}
