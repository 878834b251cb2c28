//! The floor (R31): what may run where once a feature is on, whoever asks for something else.

use lockstep_core::campaign::{Redundancy, Step};
use lockstep_core::command::{Command, CommandError, Role};
use lockstep_core::ids::Micros;
use lockstep_sim::chaos::plan;
use lockstep_sim::ledger::Edition;
use lockstep_sim::world::disorder::Line;
use lockstep_sim::world::{Settings, World};

/// A pair on version 2 with its features on, and its active and standby.
fn enabled(seed: u64) -> (World, usize, usize) {
    let mut world = World::pair(seed, Edition::Two, Settings { story: true, ..Settings::default() });
    (0..2).for_each(|_| world.add_client(500));
    world.run_until(|world| world.clients[0].acknowledged.len() > 10);
    let active = world.active().expect("there is an active");
    let result = world.carried_out(active, Command::EnableFeatures { features: Vec::new() });
    assert!(result.is_ok(), "{result:?}");
    world.run_until(World::in_sync);
    assert_eq!(world.group(active).state().meta.floor, Edition::Two.version());
    (world, active, 1 - active)
}

fn runs(world: &World, node: usize) -> Edition {
    Edition::of(world.group(node).descriptor().hash).expect("only editions run here")
}

#[test]
fn a_standby_that_is_recorded_refuses_a_version_below_the_floor() {
    let (mut world, active, standby) = enabled(1);
    world.command(active, Command::Load { hash: Edition::One.hash() });
    // The active dies with the order under way: no stream is left, at whose boundary the version would change. Its death is
    // heard of only once the version is loaded.
    world.run_for(Micros(150));
    world.hold_up(Line::System, standby, Micros::from_ms(200));
    world.hold_up(Line::Arbiter, standby, Micros::from_ms(200));
    world.kill(active, true);
    world.run_until(|world| world.role(standby) == Some(Role::Active));
    assert_eq!(runs(&world, standby), Edition::Two, "it may have to take over, and does");
    world.kill(standby, true);
    world.start(standby);
    world.run_until(|world| world.role(standby) == Some(Role::Active));
    assert_eq!(runs(&world, standby), Edition::Two);
    world.start(active);
    world.settle_and_check();
}

#[test]
fn an_order_for_a_version_below_the_floor_keeps_no_processor_out() {
    let (mut world, active, standby) = enabled(2);
    world.kill(standby, true);
    world.replace_disk(standby);
    world.set_first_edition(standby, Edition::One);
    world.start(standby);
    // While it is being told what to load, an operator asks for what it runs already.
    let told = |world: &World| world.story().iter().filter(|line| line.contains("Order")).count() > 0;
    world.run_until(told);
    world.command(active, Command::Load { hash: Edition::One.hash() });
    world.run_until(World::in_sync);
    assert_eq!(runs(&world, standby), Edition::Two);
    world.settle_and_check();
}

#[test]
fn a_processor_that_has_lost_the_right_file_waits_to_be_told() {
    let (mut world, active, standby) = enabled(3);
    world.run_until(|world| world.clients.iter().all(|client| client.acknowledged.len() > 50));
    // The file that the database names is no longer kept there, and the configuration names an old one.
    world.kill(active, true);
    world.kill(standby, true);
    world.lose_plugin_file(standby, Edition::One);
    world.start(standby);
    assert_eq!(runs(&world, standby), Edition::One);
    world.run_for(Micros::from_ms(2_000));
    assert_eq!(world.role(standby), Some(Role::Starting), "it can't read the rows, and serves nothing");
    world.start(active);
    world.run_until(World::in_sync);
    assert_eq!(runs(&world, standby), Edition::Two);
    world.settle_and_check();
}

/// A campaign whose active died behind that frame of step 207, and the survivor.
fn cut_short(frames: u64) -> (World, usize) {
    let mut world = World::pair(4, Edition::One, Settings::default());
    world.add_client(3_000);
    world.run_until(|world| world.clients[0].acknowledged.len() > 10);
    world.command(0, Command::StartCampaign(Box::new(plan(Edition::One, Edition::Two, Redundancy::Keep))));
    let enables = |world: &World| {
        let campaign = world.active().and_then(|active| world.group(active).state().meta.campaign.as_ref());
        campaign.is_some_and(|campaign| campaign.step == Step::Enable)
    };
    world.run_until(enables);
    world.clients[0].stop();
    world.die_after_frames(frames);
    world.run_until(|world| (0..2).any(|node| world.role(node).is_none()));
    let survivor = (0..2).find(|node| world.role(*node).is_some()).expect("one lives");
    world.run_until(|world| world.role(survivor) == Some(Role::Active));
    (world, survivor)
}

#[test]
fn an_enabling_that_a_takeover_cuts_short_goes_on_and_cannot_be_aborted() {
    // The entry that enables has reached the survivor, and the one that ends the campaign has not.
    let half_done = |(world, survivor): &(World, usize)| {
        let meta = &world.group(*survivor).state().meta;
        meta.campaign.is_some() && meta.floor == Edition::Two.version()
    };
    let (mut world, survivor) =
        (1..60).map(cut_short).find(half_done).expect("a death between two frames of one batch");
    let result = world.carried_out(survivor, Command::AbortCampaign { partner_gone: false });
    let why = result.as_ref().expect_err("version 1 is below the floor (R31)").to_string();
    assert!(why.contains("nothing leads back"), "{why}");
    let result = world.carried_out(survivor, Command::EnableFeatures { features: Vec::new() });
    assert!(matches!(result, Err(CommandError::CampaignUnderWay(_))), "{result:?}");
    // Not even when the other one stays away for longer than a step may take.
    world.run_for(Micros::from_ms(5_000));
    world.start(1 - survivor);
    world.settle_and_check();
    assert_eq!([0, 1].map(|node| runs(&world, node)), [Edition::Two; 2]);
    let campaign = world.group(survivor).state().meta.campaigns.last().expect("it is remembered").clone();
    assert_eq!(campaign.step, Step::Done, "{campaign:?}");
}
