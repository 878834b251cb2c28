//! Requests that come in at the standby (R35): kept until they are answered, and no more of them under way than there are
//! credits.

use lockstep_core::command::Role;
use lockstep_core::event::{Answer, Encoding, Event, EventId, Request};
use lockstep_core::group::FORWARD_CREDITS;
use lockstep_core::ids::Micros;
use lockstep_sim::ledger::{Edition, Parameters};
use lockstep_sim::world::{Probe, Settings, World};

/// More requests than there are credits, all at the standby, while the active is stopped.
fn asked() -> (World, Vec<Probe>) {
    let mut world = World::pair(3, Edition::One, Settings { story: true, ..Settings::default() });
    world.run_until(World::in_sync);
    world.pause(0, Micros::from_ms(60));
    let ask = |id: u64| {
        Request::Submit(Event {
            id: EventId::Keyed { key: format!("order-{id}") },
            awaited_from: 0,
            procedure: "transfer".into(),
            encoding: Encoding::Postcard,
            parameters: Parameters { id, from: 1, to: 2, amount: 1 }.to_bytes(),
            body: vec![],
        })
    };
    let probes = (1..=FORWARD_CREDITS as u64 + 300).map(|id| world.probe(1, ask(id))).collect();
    world.run_for(Micros::from_ms(40));
    (world, probes)
}

fn forwarded(world: &World) -> usize {
    world.story().iter().filter(|line| line.contains("Forward {")).count()
}

fn all_committed(world: &World, probes: &[Probe]) -> bool {
    probes.iter().all(|probe| match world.answer(*probe) {
        None => false,
        Some(Answer::Ended { .. }) => true,
        Some(other) => panic!("{other:?}"),
    })
}

#[test]
fn no_more_requests_are_under_way_than_there_are_credits() {
    let (mut world, probes) = asked();
    assert_eq!(forwarded(&world), FORWARD_CREDITS, "the active has answered none of them yet");
    assert!(world.group(1).is_throttled(), "no further clients are read");
    // Bounded, since those that wait knock again every millisecond.
    world.run_for(Micros::from_ms(500));
    assert!(all_committed(&world, &probes), "{}", world.describe());
    assert!(!world.group(1).is_throttled());
    assert_eq!(forwarded(&world), probes.len(), "each answer gave its credit back");
    world.settle_and_check();
}

#[test]
fn what_was_forwarded_to_an_active_that_dies_is_run_by_its_successor() {
    let (mut world, probes) = asked();
    world.kill(0, false);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.run_until(|world| all_committed(world, &probes));
    world.start(0);
    world.settle_and_check();
}
