//! `durability: replicated` (R9, R26): what two operating systems have is held, and one alone rests on syncs from before
//! it is alone.

use lockstep_core::command::{Command, Role};
use lockstep_core::event::Request;
use lockstep_core::ids::{Micros, Number};
use lockstep_sim::clients::SimClient;
use lockstep_sim::ledger::Edition;
use lockstep_sim::world::{Settings, World};

/// A pair under load whose syncs take `sync_ms`, long after something was synced.
fn loaded_pair(seed: u64, sync_ms: u64, settings: Settings) -> World {
    let mut world = World::pair(seed, Edition::One, Settings { replicated: true, ..settings });
    (0..2).for_each(|_| world.add_client(u64::MAX));
    world.run_until(|world| world.clients[0].acknowledged.len() > 60);
    (0..2).for_each(|node| world.set_sync_time(node, Micros::from_ms(sync_ms)));
    world
}

fn stop_and_check(world: &mut World) {
    world.clients.iter_mut().for_each(SimClient::stop);
    world.settle_and_check();
}

fn last(world: &World, node: usize) -> Number {
    world.group(node).state().meta.last
}

fn alone(world: &World) -> bool {
    world.record().expect("a record").in_sync.len() == 1
}

/// The standby dies. The very moment at which the record drops it, before the active has heard of that, the active's
/// machine loses power: by then its disk has everything.
#[test]
fn everything_is_synced_before_the_standby_is_dropped() {
    let mut world = loaded_pair(71, 50, Settings::default());
    world.kill(1, false);
    // Somebody asks all the time, so that there is always something that is not synced.
    while !alone(&world) {
        world.probe(0, Request::OpenSession);
        world.run_for(Micros(20));
    }
    let before = last(&world, 0);
    world.kill(0, true);
    world.start(0);
    assert!(last(&world, 0) < before, "something that nobody was told is lost, or this shows nothing");
    world.run_until(|world| world.role(0) == Some(Role::Active));
    world.start(1);
    stop_and_check(&mut world);
}

/// The active dies. The very moment at which the record has the standby in its place, that one's machine loses power.
#[test]
fn everything_is_synced_before_a_promotion() {
    let mut world = loaded_pair(72, 50, Settings::default());
    world.kill(0, false);
    world.run_until(alone);
    world.kill(1, true);
    world.start(1);
    world.run_until(|world| world.active() == Some(1));
    world.start(0);
    stop_and_check(&mut world);
}

/// While the swap that drops the standby is under way, events go on: none is held by what only one operating system has.
#[test]
fn nothing_is_held_unsynced_while_the_swap_is_under_way() {
    let mut world = loaded_pair(73, 5, Settings::default());
    // It is not heard any more, and hears: it acknowledges what nobody learns of.
    world.cut_one_way(1, Micros::from_ms(800));
    world.run_until(alone);
    world.kill(0, true);
    world.start(0);
    stop_and_check(&mut world);
}

/// A standby's machine loses power under it. It starts, its process dies, it starts again: it still lacks its end, and
/// the active's machine still has it.
#[test]
fn that_the_end_is_lost_is_known_until_it_is_there_again() {
    let mut lost = 0;
    // What a power cut takes is as the seed says.
    for (seed, real_store) in [(74, false), (74, true), (75, true), (76, true)] {
        let mut world = loaded_pair(seed, 1, Settings { real_store, ..Settings::default() });
        let before = last(&world, 1);
        world.kill(0, false);
        world.kill(1, true);
        world.start(1);
        world.run_for(Micros::from_ms(5));
        world.kill(1, false);
        world.start(1);
        lost += u64::from(last(&world, 1) < before);
        world.run_for(Micros::from_ms(5_000));
        assert_eq!(world.role(1), Some(Role::Starting), "it may lack what was acknowledged (R26)");
        world.start(0);
        world.run_until(World::in_sync);
        stop_and_check(&mut world);
    }
    assert!(lost > 2, "of most of these something is lost, or this shows nothing: {lost}");
}

/// The same, and before it dies the active has given it a part of what it lacks: that makes it no better.
#[test]
fn half_of_the_end_is_not_the_end() {
    let mut shown = 0;
    for frames in 0..40 {
        let settings = Settings { real_store: true, ..Settings::default() };
        // The active's syncs take so long that it does not drop the standby meanwhile.
        let mut world = loaded_pair(75, 400, settings);
        world.kill(1, true);
        world.start(1);
        let found = last(&world, 1);
        world.run_until(|world| world.is_linked());
        world.die_after_frames(frames);
        world.run_until(|world| (0..2).any(|node| world.role(node).is_none()));
        world.run_for(Micros::from_ms(1));
        if world.role(0).is_some() || alone(&world) || last(&world, 1) == found {
            continue;
        }
        world.kill(1, false);
        world.start(1);
        world.run_for(Micros::from_ms(3_000));
        shown += u64::from(world.role(1) == Some(Role::Starting));
        world.start(0);
        stop_and_check(&mut world);
    }
    assert!(shown > 0, "some of these had a part of what they lacked, or this shows nothing");
}

/// A switchover is under way, and the machine of the one that is to serve loses power. It comes back without its end,
/// before the record has it or after: the other one serves on.
#[test]
fn a_switchover_to_one_that_lost_its_end_does_not_go_ahead() {
    let mut lacking = 0;
    for seed in 0..40 {
        let mut world = loaded_pair(100 + seed, 1, Settings::default());
        world.clients.iter_mut().for_each(SimClient::stop);
        world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
        let term = world.group(0).term();
        world.command(0, Command::SwitchOver);
        world.run_for(Micros(100 * seed));
        world.kill(1, true);
        world.start(1);
        let lacks = last(&world, 1) < last(&world, 0);
        world.run_until(|world| world.record().is_some_and(|record| record.term > term));
        lacking += u64::from(lacks && !alone(&world));
        world.run_until(World::in_sync);
        world.add_client(20);
        world.settle_and_check();
    }
    assert!(
        lacking > 5,
        "some of these were handed over to without their end, or this shows nothing: {lacking}"
    );
}

/// The standby differs from the active, and is still recorded as what it was before (R15). The active's machine loses
/// power: what it lacks then, the standby has, although it asks for a copy.
#[test]
fn one_that_differs_still_has_what_the_other_lacks() {
    let mut lacking = 0;
    for seed in 0..6 {
        let settings = Settings { replicated: true, divergence_expected: true, ..Settings::default() };
        let mut world = World::pair(200 + seed, Edition::One, settings);
        world.command(0, Command::Load { hash: Edition::Wrong.hash() });
        world.run_until(|world| world.group(1).descriptor().hash == Edition::Wrong.hash());
        (0..2).for_each(|_| world.add_client(40));
        world.run_until(|world| world.seen.counts.contains_key("diverged"));
        assert!(!alone(&world), "it is still recorded");
        world.kill(0, true);
        world.start(0);
        lacking += u64::from(last(&world, 0) < last(&world, 1));
        world.run_until(|world| world.active().is_some());
        world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
        world.command(1, Command::Load { hash: Edition::One.hash() });
        world.settle_and_check();
    }
    assert!(lacking > 0, "some of these lost something, or this shows nothing");
}
