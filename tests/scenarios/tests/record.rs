//! The arbiter's rule as a pair lives through it (R4 to R7, R24, R25).

use lockstep_core::command::{Command, Role};
use lockstep_core::event::Request;
use lockstep_core::ids::Micros;
use lockstep_core::message::{Frame, PeerMessage, PlainBody};
use lockstep_sim::ledger::Edition;
use lockstep_sim::world::{Settings, World};

fn loaded_pair(settings: Settings) -> World {
    let mut world = World::pair(11, Edition::One, settings);
    world.add_client(400);
    world.add_client(400);
    world.run_until(|world| world.clients[0].acknowledged.len() > 30);
    world
}

#[test]
fn no_answer_leaves_between_the_loss_of_the_standby_and_its_recorded_shrink() {
    let mut world = loaded_pair(Settings::default());
    world.kill(1, false);
    let acknowledged =
        |world: &World| world.clients.iter().map(|client| client.acknowledged.len()).sum::<usize>();
    let mut at_loss = None;
    while world.record().expect("there is a record").in_sync.len() == 2 {
        // What was held with the standby's word may still leave; nothing that was made later.
        let held = world.group(0).held();
        world.run_for(Micros(50));
        at_loss.get_or_insert((held, acknowledged(&world)));
    }
    world.run_until(|world| world.clients.iter().all(lockstep_sim::clients::SimClient::is_idle));
    let (held, _) = at_loss.expect("the shrink takes a while");
    for client in &world.clients {
        for acknowledged in client.acknowledged.values() {
            assert!(acknowledged.number <= held || world.record().expect("a record").in_sync.len() == 1);
        }
    }
    world.settle_and_check();
}

#[test]
fn a_restarted_active_waits_for_a_recorded_standby_that_lives() {
    let mut world = loaded_pair(Settings::default());
    world.partitioned = true;
    world.kill(0, false);
    world.start(0);
    world.run_for(Micros::from_ms(5));
    // The standby lives and is recorded: it takes over, the restarted one never goes on by itself (R7).
    world.run_until(|world| world.role(1) == Some(Role::Active));
    assert_ne!(world.role(0), Some(Role::Active));
    world.settle_and_check();
}

#[test]
fn a_restart_during_its_own_swap_raises_the_term_all_the_same() {
    for step in 0..40 {
        let mut world = loaded_pair(Settings::default());
        world.kill(1, false);
        world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
        let term = world.record().expect("there is a record").term;
        world.start(1);
        // Sooner or later the active is restarted just as the standby is about to be recorded.
        world.run_for(Micros(18_000 + 250 * step));
        world.kill(0, true);
        world.start(0);
        while world.active() != Some(0) && world.active() != Some(1) {
            world.run_for(Micros(50));
        }
        let now = world.record().expect("there is a record").term;
        assert!(now > term, "step {step}: what was lost with the process has the old term (R7)");
        world.settle_and_check();
    }
}

#[test]
fn both_restart_in_either_order() {
    for first in [0, 1] {
        let mut world = loaded_pair(Settings::default());
        world.kill(0, false);
        world.kill(1, false);
        let term = world.record().expect("there is a record").term;
        world.start(first);
        world.run_until(|world| world.role(first) == Some(Role::Active));
        assert!(world.record().expect("there is a record").term > term, "a restart raises the term (R7)");
        world.start(1 - first);
        world.settle_and_check();
    }
}

#[test]
fn a_standby_that_left_the_record_is_not_promoted() {
    let mut world = loaded_pair(Settings::default());
    world.kill(1, false);
    world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
    let before = world.clients[0].acknowledged.len();
    world.run_until(|world| world.clients[0].acknowledged.len() > before + 20);
    world.kill(0, false);
    world.start(1);
    world.run_for(Micros::from_ms(3_000));
    assert_eq!(world.role(1), Some(Role::Starting), "what it lacks was acknowledged (R5)");
    world.start(0);
    world.settle_and_check();
}

#[test]
fn a_planned_switchover_drops_nothing_and_keeps_both_recorded() {
    let mut world = loaded_pair(Settings::default());
    for turn in 0..6 {
        let active = world.active().expect("there is an active");
        world.command(turn % 2, Command::SwitchOver);
        world.run_until(|world| world.active() == Some(1 - active));
        assert_eq!(world.record().expect("a record").in_sync.len(), 2, "both stay recorded (R5)");
        world.run_for(Micros::from_ms(10));
    }
    let retries: u64 = world.clients.iter().map(|client| client.retries).sum();
    world.settle_and_check();
    assert_eq!(retries, 0, "events that arrive meanwhile wait and are served by the new active");
}

#[test]
fn a_planned_switchover_waits_until_everything_is_held() {
    let mut world = World::pair(12, Edition::Two, Settings::default());
    world.run_for(Micros::from_ms(50));
    let term = world.record().expect("there is a record").term;
    world.pause(1, Micros::from_ms(60));
    // Nobody waits for an answer to this entry, and yet it counts.
    world.command(0, Command::EnableFeatures { features: vec![] });
    world.command(0, Command::SwitchOver);
    world.run_for(Micros::from_ms(40));
    assert_eq!(world.record().expect("a record").term, term, "the standby does not hold it yet (R5)");
    world.run_until(|world| world.active() == Some(1));
    world.settle_and_check();
}

#[test]
fn a_planned_switchover_serves_on_while_the_arbiter_prepares_its_record() {
    let mut world = World::pair(14, Edition::One, Settings::default());
    world.run_for(Micros::from_ms(50));
    let before = world.group(0).state().meta.last;
    world.command(0, Command::SwitchOver);
    world.probe(0, Request::OpenSession);
    // The simulated arbiter needs longer.
    world.run_for(Micros(100));
    assert_eq!(world.group(0).state().meta.last, before.next(), "nothing waits yet");
    world.run_until(|world| world.active() == Some(1));
    world.settle_and_check();
}

#[test]
fn a_frame_of_an_older_term_counts_for_nothing() {
    let mut world = World::pair(13, Edition::One, Settings::default());
    let old = world.record().expect("there is a record").term;
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1));
    world.run_for(Micros::from_ms(50));
    let number = world.group(0).state().meta.last.next();
    // The old active's frame to the standby: the stream does not go on with it.
    let stale = PeerMessage::Plain { number, time: world.now, body: PlainBody::OpenSession };
    world.inject(0, Frame { term: old, message: stale });
    assert!(world.group(0).state().meta.last < number, "receivers refuse lower terms (R3)");
    // An old acknowledgement to the active: nothing is held by it.
    world.pause(0, Micros::from_ms(60));
    let opened = world.probe(1, Request::OpenSession);
    world.run_for(Micros::from_ms(20));
    world.inject(1, Frame { term: old, message: PeerMessage::Ack { through: number, confirmed: 99 } });
    world.run_for(Micros::from_ms(20));
    assert_eq!(world.answer(opened), None);
    world.run_until(|world| world.answer(opened).is_some());
    world.settle_and_check();
}

#[test]
fn a_standby_too_far_behind_gets_a_whole_copy_while_clients_go_on() {
    let mut world = loaded_pair(Settings { recent_bytes_max: 4_000, ..Settings::default() });
    world.kill(1, false);
    let before = world.clients[0].acknowledged.len();
    world.run_until(|world| world.clients[0].acknowledged.len() > before + 100);
    world.start(1);
    world.settle_and_check();
    assert_eq!(world.seen.counts.get("copy"), Some(&1));
}

#[test]
fn an_isolated_standby_comes_back_only_when_it_is_integrated() {
    let mut world = loaded_pair(Settings::default());
    world.command(0, Command::Isolate);
    world.run_until(|world| world.role(1) == Some(Role::Isolated));
    world.run_for(Micros::from_ms(200));
    assert_eq!(world.role(1), Some(Role::Isolated));
    assert_eq!(world.record().expect("a record").in_sync.len(), 1);
    world.command(0, Command::Integrate);
    world.run_until(World::in_sync);
    world.settle_and_check();
}

#[test]
fn a_new_active_does_not_wait_for_a_dead_partner_whose_link_is_silent() {
    let mut world = loaded_pair(Settings::default());
    world.kill_in_silence(0, false);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.run_for(Micros::from_ms(20));
    let probe = world.probe(1, Request::OpenSession);
    // Much sooner than the silence after which a standby that was waited for is dropped.
    world.run_for(Micros::from_ms(20));
    assert!(world.answer(probe).is_some(), "{}", world.describe());
    world.cut();
    world.start(0);
    world.settle_and_check();
}

#[test]
fn a_standby_that_comes_and_goes_waits_longer_each_time() {
    let mut world = loaded_pair(Settings::default());
    for wait_ms in [20, 40, 80, 160, 320, 640] {
        world.kill(1, false);
        world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
        let gone = world.now;
        world.start(1);
        world.run_until(World::in_sync);
        let waited = world.now.since(gone);
        assert!(waited >= Micros::from_ms(wait_ms), "each removal doubles the wait (R27): {waited}");
    }
    world.clients[0].stop();
    world.settle_and_check();
}

#[test]
fn a_standby_that_is_silent_is_dropped_before_it_would_promote() {
    let mut world = loaded_pair(Settings::default());
    let silent_from = world.now;
    world.pause(1, Micros::from_ms(3_000));
    world.run_until(|world| world.record().expect("a record").in_sync.len() == 1);
    let silent = world.now.since(silent_from);
    assert!(silent > Micros::from_ms(150) && silent < Micros::from_ms(600), "{silent} (R27)");
    world.clients[0].stop();
    world.settle_and_check();
}
