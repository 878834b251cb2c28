//! Timers and messages (R34, R10, R22): what waits in rows survives whoever dies, is done once, and in its order.

use lockstep_core::channels::{self, GroupMessage};
use lockstep_core::command::Command;
use lockstep_core::event::{Answer, Encoding, Event, EventId, Outcome, Rejection, Request};
use lockstep_core::ids::{GroupName, Micros, SessionId, TableId};
use lockstep_core::timers;
use lockstep_sim::ledger::{self, ELSEWHERE, Edition, FAULTY, Parameters};
use lockstep_sim::partitions::{Partitions, with_key};
use lockstep_sim::world::{Settings, World};

/// Longer than a frame takes, shorter than the silence until a standby is dropped.
const A_WHILE: Micros = Micros::from_ms(60);

fn event(session: SessionId, number: u64, procedure: &str, parameters: Parameters) -> Event {
    Event {
        id: EventId::Numbered { session, number },
        awaited_from: 1,
        procedure: procedure.into(),
        encoding: Encoding::Postcard,
        parameters: parameters.to_bytes(),
        body: vec![],
    }
}

/// Of an even account: its timer fires once.
fn parameters(id: u64, to: u8, amount: u32) -> Parameters {
    Parameters { id, from: 2, to, amount }
}

fn commit(world: &mut World, event: Event) {
    let node = world.active().expect("there is an active");
    let request = with_key(Request::Submit(event), world.settings().partition);
    let probe = world.probe(node, request);
    world.run_until(|world| world.answer(probe).is_some());
    let answer = world.answer(probe);
    assert!(matches!(answer, Some(Answer::Ended { outcome: Outcome::Committed { .. }, .. })), "{answer:?}");
}

fn ran(world: &World, id: u64) -> bool {
    let active = world.active().expect("there is an active");
    world.group(active).state().tables.get(TableId::of(ledger::RAN), &id.to_le_bytes()).is_some()
}

fn timers_at(world: &World, node: usize) -> usize {
    world.group(node).state().tables.len(TableId::TIMERS)
}

#[test]
fn a_timer_fires_on_the_active_alone_also_on_one_that_took_over() {
    let mut world = World::pair(3, Edition::One, Settings::default());
    let session = world.open_session();
    for number in 1..=20 {
        commit(&mut world, event(session, number, "later", parameters(number, 4, 5)));
    }
    world.kill(0, false);
    assert!(timers_at(&world, 1) > 0, "the standby has their rows, and fires none");
    world.run_until(|world| world.active() == Some(1) && timers_at(world, 1) == 0);
    assert!((1..=20).all(|id| ran(&world, ledger::fired_as(id, 0))));
    world.settle_and_check();
}

#[test]
fn a_timer_that_faults_is_used_up() {
    let mut world = World::pair(4, Edition::One, Settings::default());
    let session = world.open_session();
    commit(&mut world, event(session, 1, "later", parameters(1, 4, FAULTY)));
    world.run_until(|world| timers_at(world, 0) == 0);
    world.run_for(Micros::from_ms(500));
    assert_eq!(world.group(0).status(world.now).counts.timers_fired, 1);
    world.settle_and_check();
}

#[test]
fn a_message_leaves_only_when_what_sent_it_is_held() {
    let mut world = World::pair(5, Edition::One, Settings { partition: (0, 2), ..Settings::default() });
    let session = world.open_session();
    world.run_for(A_WHILE);
    world.pause(1, Micros::from_ms(150));
    let tell = event(session, 1, "tell", parameters(1, ELSEWHERE + 1, 5));
    let request = with_key(Request::Submit(tell), (0, 2));
    world.probe(0, request);
    world.run_for(A_WHILE);
    assert!(world.take_outward().is_empty(), "the standby does not hold it (R10)");
    world.run_for(Micros::from_ms(300));
    let told = world.take_outward();
    assert!(matches!(&told[..], [(_, GroupMessage::Message { number: 1, .. }), ..]), "{told:?}");
}

#[test]
fn a_message_that_comes_twice_is_taken_once_and_one_too_early_not_at_all() {
    let mut world = World::pair(6, Edition::One, Settings::default());
    let shop = GroupName { application: "shop".into(), partition: 0 };
    let message = |number: u64| {
        let mut parameters = parameters(number, 4, 5).to_bytes();
        parameters.extend((number as i64).to_le_bytes());
        GroupMessage::Message { number, procedure: "hear".into(), parameters }
    };
    for number in [2, 1, 1, 3, 2, 2, 1] {
        world.hear(shop.clone(), &message(number));
        world.run_for(Micros::from_ms(5));
    }
    assert_eq!(channels::taken(&world.group(0).state().tables, &shop), 2, "3 came before 2 was taken");
    assert_eq!(world.group(0).status(world.now).counts.messages_taken, 2);
    let told: Vec<_> = world.take_outward().into_iter().map(|(_, what)| what).collect();
    assert_eq!(told.last(), Some(&GroupMessage::Taken { through: 2 }));
    world.check();
}

#[test]
fn clients_can_not_forge_what_the_runtime_starts() {
    let mut world = World::pair(7, Edition::One, Settings::default());
    let from = world.group_name();
    for id in [EventId::Timer { key: "x".into(), due: Micros(1) }, EventId::Message { from, number: 1 }] {
        let forged = Event { id, ..event(SessionId(1), 1, "transfer", parameters(1, 4, 5)) };
        let probe = world.probe(0, Request::Submit(forged));
        world.run_until(|world| world.answer(probe).is_some());
        let answer = world.answer(probe);
        assert!(matches!(answer, Some(Answer::Rejected(Rejection::MalformedParameters(_)))), "{answer:?}");
    }
}

#[test]
fn what_waits_crosses_a_change_of_versions() {
    let mut world = World::pair(8, Edition::One, Settings::default());
    let session = world.open_session();
    world.command(0, Command::Load { hash: Edition::Two.hash() });
    for number in 1..=10 {
        commit(&mut world, event(session, number, "later", parameters(number, 4, 5)));
        commit(&mut world, event(session, 100 + number, "tell", parameters(100 + number, 4, 5)));
    }
    world.kill(0, false);
    world.run_until(|world| world.active() == Some(1));
    world.settle_and_check();
    assert!(timers::all(&world.group(1).state().tables).is_empty());
    assert!(
        (1..=10).all(|id| ran(&world, ledger::fired_as(id, 0)) && ran(&world, (100 + id) | ledger::MESSAGE))
    );
}

#[test]
fn messages_between_two_groups_arrive_once_in_order_while_processors_die() {
    let settings = Settings { words_lost_percent: 10, ..Settings::default() };
    let mut pairs = Partitions::pairs(9, Edition::One, 2, &settings);
    let sessions: Vec<_> = pairs.worlds.iter_mut().map(World::open_session).collect();
    for number in 1..=30 {
        for (at, session) in sessions.iter().enumerate() {
            let to = ELSEWHERE + 1 - at as u8;
            commit(&mut pairs.worlds[at], event(*session, number, "tell", parameters(number, to, 5)));
        }
        match number {
            10 => pairs.kill(0),
            12 => pairs.start(0),
            20 => pairs.kill(1),
            22 => pairs.start(1),
            _ => {}
        }
        pairs.run_until(|worlds| worlds.iter().all(|world| world.active().is_some()));
    }
    let all_heard = |world: &World| (1..=30).all(|id| ran(world, id | ledger::MESSAGE));
    pairs.run_until(|worlds| worlds.iter().all(all_heard));
    pairs.run_until(|worlds| {
        worlds.iter().all(|world| {
            let active = world.active().expect("there is an active");
            world.group(active).state().tables.len(TableId::OUTBOX) == 0
        })
    });
    pairs.worlds.iter_mut().for_each(World::settle_and_check);
}
