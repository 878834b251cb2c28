//! Coming back (R2, R24, R25): tails are cut back, entries are caught up with, copies are made while clients go on, and
//! a store that lost its data is a stranger.

use lockstep_core::command::Role;
use lockstep_core::event::{Encoding, Event, EventId, Request};
use lockstep_core::group::StepUps;
use lockstep_core::ids::Micros;
use lockstep_sim::clients::SimClient;
use lockstep_sim::ledger::{Edition, Parameters};
use lockstep_sim::world::{Settings, World};

/// A pair under load that ends only when the clients are stopped.
fn loaded_pair(settings: Settings) -> World {
    let mut world = World::pair(21, Edition::One, settings);
    (0..2).for_each(|_| world.add_client(u64::MAX));
    world.run_until(|world| world.clients[0].acknowledged.len() > 30);
    world
}

fn stop_and_check(world: &mut World) {
    world.clients.iter_mut().for_each(SimClient::stop);
    world.settle_and_check();
}

fn count(world: &World, what: &str) -> u64 {
    world.seen.counts.get(what).copied().unwrap_or(0)
}

/// Cuts the stream behind the first frame of three events: the active has entries which the standby lacks. Whatever
/// befalls the active next befalls it before it can say to the arbiter that it goes on alone.
fn leave_a_tail(world: &mut World) {
    world.add_scripted_client();
    let client = world.clients.len() - 1;
    world.run_until(|world| world.clients[client].session().is_some());
    let session = world.clients[client].session().expect("it was just seen");
    world.cut_after_frames(0);
    for number in 1..=3 {
        let parameters = Parameters { id: 1 << 60 | number, from: 1, to: 2, amount: 5 };
        let event = Event {
            id: EventId::Numbered { session, number },
            awaited_from: 1,
            procedure: "transfer".into(),
            encoding: Encoding::Postcard,
            parameters: parameters.to_bytes(),
            body: vec![],
        };
        world.submit_as(client, 0, Request::Submit(event));
    }
}

#[test]
fn a_restarted_active_is_cut_back_to_the_last_common_entry() {
    let mut world = loaded_pair(Settings { step_ups: StepUps::Apart, ..Settings::default() });
    leave_a_tail(&mut world);
    world.kill(0, false);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    assert!(world.group(1).state().meta.terms.len() > 1, "the new active has begun a term of its own");
    world.start(0);
    world.run_until(World::in_sync);
    assert_eq!((count(&world, "cut back"), count(&world, "copy")), (1, 0), "a tail needs no copy (R24)");
    stop_and_check(&mut world);
}

#[test]
fn a_live_active_that_was_replaced_takes_its_tables_back() {
    let mut world = loaded_pair(Settings::default());
    leave_a_tail(&mut world);
    world.pause(0, Micros::from_ms(700));
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.run_until(World::in_sync);
    assert_eq!((count(&world, "cut back"), count(&world, "copy")), (1, 0), "undo information is kept (R24)");
    stop_and_check(&mut world);
}

#[test]
fn without_undo_information_a_tail_is_replaced_by_a_copy() {
    let mut world = loaded_pair(Settings { undos_recovered: false, ..Settings::default() });
    leave_a_tail(&mut world);
    world.kill(0, false);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.start(0);
    world.run_until(World::in_sync);
    assert_eq!((count(&world, "cut back"), count(&world, "copy")), (0, 1));
    stop_and_check(&mut world);
}

#[test]
fn a_standby_that_was_away_catches_up_by_entries_under_load() {
    let mut world = loaded_pair(Settings::default());
    world.kill(1, true);
    let before = world.clients[0].acknowledged.len();
    world.run_until(|world| world.clients[0].acknowledged.len() > before + 200);
    world.start(1);
    world.run_until(World::in_sync);
    assert_eq!(count(&world, "copy"), 0, "the recent stream reaches (R25)");
    stop_and_check(&mut world);
}

#[test]
fn a_copy_comes_to_an_end_under_load_that_the_recent_stream_cannot_bear() {
    // The recent stream bears a few entries, and clients make more than that while the copy is made durable.
    let mut world = loaded_pair(Settings { recent_bytes_max: 1_000, ..Settings::default() });
    (0..6).for_each(|_| world.add_client(u64::MAX));
    world.kill(1, false);
    let before = world.clients[0].acknowledged.len();
    world.run_until(|world| world.clients[0].acknowledged.len() > before + 200);
    world.start(1);
    world.run_until(World::in_sync);
    assert_eq!(count(&world, "copy"), 1, "the stream since the copy is kept until it is installed (R25)");
    stop_and_check(&mut world);
}

#[test]
fn a_copy_that_is_cut_off_is_worth_nothing_and_begun_again() {
    let mut world = loaded_pair(Settings { recent_bytes_max: 4_000, ..Settings::default() });
    world.kill(1, false);
    let before = world.clients[0].acknowledged.len();
    world.run_until(|world| world.clients[0].acknowledged.len() > before + 200);
    let old = world.group(0).state().meta.last;
    world.start(1);
    world.run_until(|world| count(world, "copy") == 1);
    world.kill(0, false);
    world.kill(1, true);
    world.start(1);
    world.run_for(Micros::from_ms(1_000));
    assert_eq!(world.role(1), Some(Role::Starting), "half a copy is never promoted");
    assert!(world.group(1).state().meta.last < old, "it has its old store");
    world.start(0);
    world.run_until(World::in_sync);
    stop_and_check(&mut world);
}

#[test]
fn a_store_that_lost_its_data_is_a_stranger() {
    let mut world = loaded_pair(Settings::default());
    let stores = |world: &World| {
        let record = world.record().expect("there is a record");
        record.in_sync.iter().map(|member| member.store).collect::<Vec<_>>()
    };
    let before = stores(&world);
    // The standby's disk is replaced while the active dies too: the empty store is recorded nowhere.
    world.kill_quietly(0);
    world.kill(1, false);
    world.replace_disk(1);
    world.start(1);
    world.run_for(Micros::from_ms(2_000));
    assert_eq!(world.role(1), Some(Role::Starting), "members are stores, not nodes (R2)");
    world.start(0);
    world.run_until(World::in_sync);
    let after = stores(&world);
    assert!(after.contains(&before[0]) && !after.contains(&before[1]), "{before:?}, then {after:?}");
    stop_and_check(&mut world);
}

#[test]
fn a_damaged_standby_is_not_waited_for_by_a_restarted_active() {
    let mut world = loaded_pair(Settings::default());
    world.kill_quietly(0);
    world.kill(1, false);
    world.start_untrusted(1);
    world.run_for(Micros::from_ms(1_000));
    assert_eq!(world.role(1), Some(Role::Starting), "what can't be trusted is not promoted (R26)");
    assert_eq!(world.record().expect("a record").in_sync.len(), 2);
    world.start(0);
    world.run_until(World::in_sync);
    assert_eq!(count(&world, "copy"), 1);
    stop_and_check(&mut world);
}

/// R25: its syncs take so long that it would never get close under this traffic.
#[test]
fn the_intake_slows_down_for_a_standby_that_does_not_get_closer() {
    let settings = Settings { recent_bytes_max: 64 << 20, ..Settings::default() };
    let mut world = World::pair(23, Edition::One, settings);
    (0..6).for_each(|_| world.add_client(u64::MAX));
    world.kill(1, false);
    world.run_for(Micros::from_ms(400));
    world.start(1);
    world.set_sync_time(1, Micros::from_ms(300));
    world.run_for(Micros::from_ms(2_000));
    assert!(count(&world, "intake slowed down") > 0, "{}", world.describe());
    assert!(world.in_sync(), "it was admitted although its disk is slow: {}", world.describe());
    stop_and_check(&mut world);
}
