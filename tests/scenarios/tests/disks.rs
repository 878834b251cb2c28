//! Disks that are slow, fail, or lose what only the operating system had (R26, R27).

use lockstep_core::command::{Command, Role};
use lockstep_core::event::{Answer, Encoding, Event, EventId, Request};
use lockstep_core::ids::{Micros, Number};
use lockstep_sim::clients::SimClient;
use lockstep_sim::ledger::{Edition, Parameters};
use lockstep_sim::world::{Settings, World};

fn loaded_pair(settings: Settings) -> World {
    let mut world = World::pair(61, Edition::One, settings);
    (0..2).for_each(|_| world.add_client(u64::MAX));
    world.run_until(|world| world.clients[0].acknowledged.len() > 60);
    world
}

fn replicated() -> Settings {
    Settings { replicated: true, ..Settings::default() }
}

fn stop_and_check(world: &mut World) {
    world.clients.iter_mut().for_each(SimClient::stop);
    world.settle_and_check();
}

fn last(world: &World, node: usize) -> Number {
    world.group(node).state().meta.last
}

/// Both die, and the machine of `node` loses power: the end of its store is gone. Then only `node` starts.
fn start_alone_after_a_power_cut(world: &mut World, node: usize) {
    let before = last(world, node);
    world.kill(1 - node, false);
    world.kill(node, true);
    world.run_for(Micros::from_ms(50));
    world.start(node);
    assert!(last(world, node) < before, "something is lost, or this shows nothing");
    world.run_for(Micros::from_ms(5_000));
}

#[test]
fn a_standby_whose_machine_lost_power_waits_for_the_other_and_lets_it_serve() {
    let mut world = loaded_pair(replicated());
    start_alone_after_a_power_cut(&mut world, 1);
    assert_eq!(world.role(1), Some(Role::Starting), "it may lack what was acknowledged (R26)");
    world.start(0);
    world.run_until(World::in_sync);
    assert_eq!(world.active(), Some(0), "who has more serves");
    stop_and_check(&mut world);
}

#[test]
fn an_active_whose_machine_lost_power_waits_for_the_other_and_lets_it_serve() {
    let mut world = loaded_pair(replicated());
    start_alone_after_a_power_cut(&mut world, 0);
    assert_eq!(world.role(0), Some(Role::Starting), "it may lack what was acknowledged (R26)");
    world.start(1);
    world.run_until(World::in_sync);
    assert_eq!(world.active(), Some(1), "who has more serves");
    stop_and_check(&mut world);
}

#[test]
fn when_both_machines_lose_power_both_are_heard_before_one_serves() {
    // Nothing was acknowledged to anybody: that two power cuts at once may lose it is what `replicated` says.
    let mut world = World::pair(62, Edition::One, replicated());
    (0..2).for_each(|node| world.kill(node, true));
    world.start(0);
    world.run_for(Micros::from_ms(5_000));
    assert_eq!(world.role(0), Some(Role::Starting));
    world.start(1);
    world.run_until(World::in_sync);
    world.add_client(20);
    world.settle_and_check();
}

#[test]
fn force_makes_a_store_that_may_lack_its_tail_serve() {
    let mut world = loaded_pair(replicated());
    start_alone_after_a_power_cut(&mut world, 0);
    world.command(0, Command::Force);
    world.run_until(|world| world.role(0) == Some(Role::Active));
}

/// R9: what two operating systems had is synced before an answer rests on one alone.
#[test]
fn under_replicated_one_that_serves_alone_rests_on_syncs() {
    let mut world = loaded_pair(Settings { sync_us_max: 20_000, ..replicated() });
    world.kill(1, false);
    let acknowledged = world.clients[0].acknowledged.len();
    world.run_until(|world| world.clients[0].acknowledged.len() > acknowledged + 3);
    world.kill(0, true);
    world.start(0);
    world.run_until(|world| world.role(0) == Some(Role::Active));
    world.start(1);
    stop_and_check(&mut world);
}

/// R9: a standby that lost what both had held is sent it again, and is alone only once that is synced.
#[test]
fn under_replicated_one_that_is_brought_up_to_date_takes_over_only_what_is_synced() {
    let mut world = loaded_pair(replicated());
    // The swap that would drop it waits for that long, and so it is back before.
    world.set_sync_time(0, Micros::from_ms(100));
    let before = last(&world, 1);
    world.kill(1, true);
    world.start(1);
    assert!(last(&world, 1) < before, "something is lost, or this shows nothing");
    world.set_sync_time(1, Micros::from_ms(50));
    world.run_until(|world| last(world, 1) >= before);
    assert_eq!(world.record().expect("a record").in_sync.len(), 2, "it was not dropped");
    world.kill(0, false);
    // The record is checked when it is made: it names nobody who has not durably what was answered.
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.start(0);
    stop_and_check(&mut world);
}

/// R24, R26: a full disk can't cut back either, and then says nothing of what it still has.
#[test]
fn a_full_disk_that_cannot_cut_back_stops_its_processor_and_no_more() {
    let mut world = loaded_pair(Settings::default());
    // The active gets ahead of what is held, dies, and has to cut that off when it is back.
    world.delay(1, Micros::from_ms(50));
    world.run_for(Micros::from_ms(5));
    world.kill(0, false);
    world.run_until(|world| world.active() == Some(1));
    world.start(0);
    world.fill_disk(0);
    world.run_until(|world| world.role(0).is_none());
    assert!(world.seen.counts["cut back"] > 0, "it was to cut back, or this shows nothing");
    world.make_room(0);
    world.start(0);
    world.run_until(World::in_sync);
    stop_and_check(&mut world);
}

/// R27: it is heard, and its acknowledgements are late.
#[test]
fn a_standby_with_a_slow_disk_leaves_the_record_and_comes_back() {
    let mut world = loaded_pair(Settings { ack_age_max_ms: 100, ..Settings::default() });
    world.slow_disk(1, Micros::from_ms(3_000));
    world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
    world.run_for(Micros::from_ms(3_500));
    world.run_until(World::in_sync);
    stop_and_check(&mut world);
}

/// R26: an active that cannot write goes, and its partner takes over.
#[test]
fn an_active_whose_disk_fails_gives_way_to_its_standby() {
    let mut world = loaded_pair(Settings::default());
    world.fail_disk(0);
    world.run_until(|world| world.active() == Some(1));
    assert_eq!(world.role(0), None, "it stopped");
    world.start(0);
    world.run_until(World::in_sync);
    stop_and_check(&mut world);
}

#[test]
fn a_standby_whose_disk_fails_stops_and_comes_back_as_a_copy() {
    let mut world = loaded_pair(Settings::default());
    world.fail_disk(1);
    world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
    assert_eq!(world.role(1), None, "it stopped");
    world.start(1);
    world.run_until(World::in_sync);
    assert_eq!(world.seen.counts["copy"], 1, "only a copy counts after that");
    stop_and_check(&mut world);
}

/// R26: else it serves reads alone and says so.
#[test]
fn one_that_is_alone_and_cannot_write_serves_reads_until_a_standby_is_back() {
    let mut world = loaded_pair(Settings { sync_us_max: 20_000, ..Settings::default() });
    world.kill(1, false);
    world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
    world.run_for(Micros::from_ms(30));
    assert!(world.group(0).held() < last(&world, 0), "something waits for its sync, or this shows less");
    world.fail_disk(0);
    assert_eq!(last(&world, 0), world.group(0).held(), "what could not be written is taken back");
    let (read, write) = (world.probe(0, balance()), world.probe(0, Request::OpenSession));
    world.run_for(Micros::from_ms(1_000));
    assert!(matches!(world.answer(read), Some(Answer::Ended { .. })), "{:?}", world.answer(read));
    assert!(matches!(world.answer(write), Some(Answer::Retry { .. })), "{:?}", world.answer(write));
    world.command(0, Command::EnableFeatures { features: vec![] });
    world.run_for(Micros::from_ms(1));
    assert!(world.last_result().is_err(), "nothing is changed without a disk");
    assert_eq!(world.role(0), Some(Role::Active));
    world.start(1);
    world.run_until(|world| world.active() == Some(1));
    assert_eq!(world.role(0), None, "it stopped when another was in sync");
    world.start(0);
    world.run_until(World::in_sync);
    stop_and_check(&mut world);
}

/// R26: a full disk refuses something of an active alone. What it took before is there at the next start, so it is held;
/// what was refused is taken back. Reads go on; once there is room and it is started again, all does.
#[test]
fn an_active_alone_whose_disk_is_full_serves_reads_and_keeps_what_it_had() {
    for real_store in [false, true] {
        let mut world = loaded_pair(Settings { sync_us_max: 20_000, real_store, ..Settings::default() });
        world.kill(1, false);
        world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
        world.run_for(Micros::from_ms(30));
        world.clients.iter_mut().for_each(|client| client.acts_percent = 50);
        world.fill_disk(0);
        world.run_until(|world| world.seen.counts.contains_key("reads alone"));
        assert_eq!(last(&world, 0), world.group(0).held(), "what was refused is taken back");
        let read = world.probe(0, balance());
        world.run_for(Micros::from_ms(100));
        assert!(matches!(world.answer(read), Some(Answer::Ended { .. })), "{:?}", world.answer(read));
        let had = last(&world, 0);
        world.make_room(0);
        world.kill(0, false);
        world.start(0);
        assert_eq!(last(&world, 0), had, "the start finds just that");
        world.run_until(|world| world.role(0) == Some(Role::Active));
        world.start(1);
        stop_and_check(&mut world);
    }
}

fn balance() -> Request {
    let parameters = Parameters { id: 1 << 61, from: 1, to: 2, amount: 0 };
    Request::Submit(Event {
        id: EventId::Keyed { key: "read".into() },
        awaited_from: 0,
        procedure: "balance".into(),
        encoding: Encoding::Postcard,
        parameters: parameters.to_bytes(),
        body: vec![],
    })
}
