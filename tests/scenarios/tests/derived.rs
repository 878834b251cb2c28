//! Derived tables (R17): built before a version comes into service, exact at every number, in no copy and no digest.
//!
//! The simulated ledger's edition `Indexed` looks at its derived tables before each event, and the world compares them
//! with a build after every change of roles and versions, cut back and copy.

use lockstep_core::campaign::{Redundancy, Step};
use lockstep_core::command::{Command, Role};
use lockstep_core::group::StandbyStart;
use lockstep_core::ids::Micros;
use lockstep_sim::chaos::plan;
use lockstep_sim::clients::SimClient;
use lockstep_sim::ledger::Edition;
use lockstep_sim::world::{Settings, World};

fn loaded(edition: Edition, settings: Settings) -> World {
    let mut world = World::pair(11, edition, settings);
    (0..3).for_each(|_| world.add_client(u64::MAX));
    world.run_until(|world| world.clients[0].acknowledged.len() > 200);
    world
}

fn stop_and_check(world: &mut World) {
    world.clients.iter_mut().for_each(SimClient::stop);
    world.settle_and_check();
}

fn slowly_built() -> Settings {
    Settings { build_rows_max: 1, ..Settings::default() }
}

fn runs(world: &World, node: usize, edition: Edition) -> bool {
    world.group(node).descriptor().hash == edition.hash()
}

#[test]
fn a_version_is_announced_once_its_tables_are_built_and_nothing_else_waits() {
    let mut world = loaded(Edition::One, slowly_built());
    world.command(0, Command::Load { hash: Edition::Indexed.hash() });
    let building = |world: &World| world.group(1).is_building();
    world.run_until(building);
    let from = world.group(0).state().meta.last;
    while building(&world) {
        assert!(runs(&world, 1, Edition::One), "it is built beside the version that runs (R28)");
        assert_eq!(world.record().expect("a record").in_sync.len(), 2, "redundancy is kept");
        world.run_for(Micros(100));
    }
    assert!(world.group(0).state().meta.last.0 > from.0 + 10, "events go on while it is built");
    world.run_until(|world| runs(world, 1, Edition::Indexed));
    world.group(1).verify_derived().expect("they are exact at the number of the change");
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1));
    stop_and_check(&mut world);
    assert!(!world.seen.counts.keys().any(|name| name.contains("faulted 0")), "{:?}", world.seen.counts);
}

#[test]
fn a_kill_while_they_are_built_leaves_a_pair_that_comes_to_rest() {
    for victim in 0..2 {
        let mut world = loaded(Edition::One, slowly_built());
        world.command(0, Command::Load { hash: Edition::Indexed.hash() });
        world.run_until(|world| world.group(1).is_building());
        world.run_for(Micros::from_ms(3));
        assert!(world.group(1).is_building());
        world.kill(victim, true);
        world.run_for(Micros::from_ms(30));
        world.start(victim);
        world.run_until(World::in_sync);
        assert!(runs(&world, 1, Edition::One), "what was half built is nothing");
        stop_and_check(&mut world);
    }
}

#[test]
fn the_bytes_that_both_sides_share_have_no_derived_row() {
    let mut plain = loaded(Edition::One, Settings::default());
    let mut indexed = loaded(Edition::Indexed, Settings::default());
    for world in [&mut plain, &mut indexed] {
        stop_and_check(world);
    }
    let names = |world: &World| {
        let meta = &world.group(0).state().meta;
        meta.tables.values().map(|table| table.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&plain), names(&indexed));
    assert!(indexed.group(0).derived().bytes() > 0);
    assert_eq!(plain.group(0).derived().bytes(), 0);
}

#[test]
fn a_shipped_procedure_maintains_the_derived_tables_of_its_standby() {
    // Version 2 is made active and ships every transfer to the indexed standby, which then takes over.
    let mut world = loaded(Edition::Indexed, Settings::default());
    world.command(0, Command::Load { hash: Edition::Two.hash() });
    world.run_until(|world| runs(world, 1, Edition::Two));
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1));
    let shipped = world.group(0).status(world.now).counts.shipped;
    world.run_until(|world| world.group(0).status(world.now).counts.shipped > shipped + 100);
    world.group(0).verify_derived().expect("shipped updates are followed");
    world.kill(1, true);
    world.run_until(|world| world.active() == Some(0));
    world.start(1);
    stop_and_check(&mut world);
}

#[test]
fn copies_catch_ups_cuts_and_restarts_end_in_exact_tables() {
    for (standby, recent_bytes_max, undos_recovered) in [
        (StandbyStart::Behind, 4_000, false),
        (StandbyStart::Beside, 1 << 20, true),
        (StandbyStart::Behind, 1 << 20, true),
    ] {
        let settings = Settings { standby, recent_bytes_max, undos_recovered, ..Settings::default() };
        let mut world = loaded(Edition::Indexed, settings);
        for round in 0..6 {
            let node = round % 2;
            // In the middle of what is being sent, so that the returning side has what the other has not.
            world.die_after_frames(7 + round as u64);
            world.run_for(Micros::from_ms(40));
            world.forget_cut();
            for node in [node, 1 - node] {
                if world.role(node).is_none() {
                    world.start(node);
                }
            }
            world.run_until(World::in_sync);
            for node in 0..2 {
                world.group(node).verify_derived().expect("exact");
            }
        }
        stop_and_check(&mut world);
    }
}

#[test]
fn a_deposed_active_takes_its_derived_tables_back_too() {
    let mut world = loaded(Edition::Indexed, Settings::default());
    // Frames are lost from here on; the active goes on for a while, and its entries are nobody's.
    let (last, held) = (world.group(0).state().meta.last, world.group(0).held());
    assert!(last >= held);
    world.cut_one_way(0, Micros::from_ms(20));
    world.run_until(|world| world.group(0).state().meta.last.0 > world.group(1).state().meta.last.0 + 5);
    world.pause(0, Micros::from_ms(700));
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.run_until(World::in_sync);
    assert!(world.seen.counts.contains_key("cut back"), "{:?}", world.seen.counts);
    stop_and_check(&mut world);
}

#[test]
fn an_upgrade_to_it_and_the_way_back_change_no_shared_row() {
    for abort in [false, true] {
        let mut world = loaded(Edition::One, slowly_built());
        let campaign = plan(Edition::One, Edition::Indexed, Redundancy::Keep);
        world.command(0, Command::StartCampaign(Box::new(campaign)));
        if abort {
            let evaluates = |world: &World| {
                let campaign =
                    world.active().and_then(|active| world.group(active).state().meta.campaign.clone());
                campaign.is_some_and(|campaign| campaign.step == Step::Evaluate)
            };
            world.run_until(evaluates);
            world.command(world.active().expect("an active"), Command::AbortCampaign { partner_gone: false });
        }
        let over = |world: &World| {
            (0..2).all(|node| {
                world.role(node).is_some_and(|role| matches!(role, Role::Active | Role::Standby))
                    && world.group(node).state().meta.campaign.is_none()
            })
        };
        world.run_until(over);
        let ended = if abort { Edition::One } else { Edition::Indexed };
        assert!((0..2).all(|node| runs(&world, node, ended)), "{}", world.describe());
        stop_and_check(&mut world);
        assert_eq!(world.group(0).derived().bytes() > 0, !abort);
    }
}

#[test]
fn a_row_that_cannot_be_translated_fails_the_load_and_says_why() {
    let mut world = loaded(Edition::One, Settings { derived_may_break: true, ..slowly_built() });
    let campaign = plan(Edition::One, Edition::Lost, Redundancy::Keep);
    world.command(0, Command::StartCampaign(Box::new(campaign)));
    world.run_until(|world| world.group(0).state().meta.campaigns.last().is_some());
    let ended = world.group(0).state().meta.campaigns.last().expect("just seen").clone();
    assert_eq!(ended.step, Step::FellBack);
    assert!(ended.reason.contains("can't be found on the map"), "{}", ended.reason);
    assert!((0..2).all(|node| runs(&world, node, Edition::One)));
    stop_and_check(&mut world);
}

#[test]
fn where_derived_tables_broke_reads_of_them_fault() {
    let settings = Settings { derived_may_break: true, ..Settings::default() };
    let mut world = World::pair(3, Edition::Lost, settings);
    world.add_client(400);
    world.run_until(|world| world.seen.counts.contains_key("derived tables broken"));
    assert!(world.group(0).derived().why_broken().is_some_and(|why| why.contains("map")));
    // This edition never reads them; its events go on.
    stop_and_check(&mut world);
}
