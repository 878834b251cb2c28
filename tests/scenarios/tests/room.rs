//! The memory that rows may take: what would add to them is turned away by the active alone, and recorded nowhere.

use lockstep_core::channels::{self, GroupMessage};
use lockstep_core::event::{Answer, Encoding, Event, EventId, Outcome, Rejection, Request};
use lockstep_core::ids::{GroupName, Micros, SessionId};
use lockstep_core::timers;
use lockstep_sim::ledger::{Edition, LIMIT, Parameters};
use lockstep_sim::world::{Settings, World};

const ROOM: usize = 2_000;
const FULL: Answer = Answer::Rejected(Rejection::NoRoom { bytes_max: ROOM as u64 });

/// A pair whose sides have so much room, the active first.
fn pair(rows_bytes_max: [usize; 2]) -> (World, SessionId) {
    let mut world = World::pair(6, Edition::One, Settings { rows_bytes_max, ..Settings::default() });
    let session = world.open_session();
    assert_eq!(world.active(), Some(0));
    (world, session)
}

fn ask(world: &mut World, node: usize, procedure: &str, id: EventId, parameters: &Parameters) -> Answer {
    let event = Event {
        id,
        awaited_from: 0,
        procedure: procedure.into(),
        encoding: Encoding::Postcard,
        parameters: parameters.to_bytes(),
        body: vec![],
    };
    let probe = world.probe(node, Request::Submit(event));
    world.run_until(|world| world.answer(probe).is_some());
    world.answer(probe).expect("it was just seen").clone()
}

fn numbered(session: SessionId, number: u64) -> EventId {
    EventId::Numbered { session, number }
}

/// A transfer with a row of its own.
fn transfer(world: &mut World, node: usize, session: SessionId, number: u64) -> Answer {
    let parameters = Parameters { id: number, from: 1, to: 2, amount: 1 };
    ask(world, node, "transfer", numbered(session, number), &parameters)
}

fn committed(answer: &Answer) -> bool {
    matches!(answer, Answer::Ended { outcome: Outcome::Committed { .. }, .. })
}

/// Transfers from number `first` on until one is turned away; its number.
fn fill(world: &mut World, session: SessionId, first: u64) -> u64 {
    let full = (first..100).find(|number| {
        let answer = transfer(world, 0, session, *number);
        assert!(committed(&answer) || answer == FULL, "{answer:?}");
        answer == FULL
    });
    full.expect("each transfer has a row of its own")
}

#[test]
fn what_adds_rows_is_turned_away_and_the_rest_goes_on() {
    let (mut world, session) = pair([ROOM; 2]);
    let full = fill(&mut world, session, 1);
    assert!(full > 5, "it was full at {full} already");
    let last = world.group(0).state().meta.last;
    // On either side, and again and again.
    for node in [1, 0] {
        assert_eq!(transfer(&mut world, node, session, full), FULL);
    }
    let none = Parameters { id: 0, from: 1, to: 2, amount: 1 };
    let read = ask(&mut world, 0, "balance", numbered(session, full), &none);
    assert!(committed(&read), "{read:?}");
    assert_eq!(world.group(0).state().meta.last, last, "nothing was put into the stream");
    // What acts on the world isn't tried: it would act.
    assert_eq!(ask(&mut world, 0, "wire", numbered(session, full), &Parameters { id: full, ..none }), FULL);
    // A repeat is answered as before, and a refusal adds no rows.
    assert!(committed(&transfer(&mut world, 0, session, full - 1)));
    let too_much = Parameters { id: full + 1, amount: LIMIT + 1, ..none };
    let refused = ask(&mut world, 0, "transfer", numbered(session, full + 1), &too_much);
    assert!(matches!(&refused, Answer::Ended { outcome: Outcome::Refused(_), .. }), "{refused:?}");
    world.settle_and_check();
}

#[test]
fn only_the_active_looks_and_the_same_event_finds_room_later() {
    let (mut world, session) = pair([ROOM, usize::MAX]);
    let full = fill(&mut world, session, 1);
    let shop = GroupName { application: "shop".into(), partition: 0 };
    let mut parameters = Parameters { id: 900, from: 4, to: 5, amount: 1 }.to_bytes();
    parameters.extend(1i64.to_le_bytes());
    let message = GroupMessage::Message { number: 1, procedure: "hear".into(), parameters };
    world.hear(shop.clone(), &message);
    world.run_for(Micros::from_ms(5));
    assert_eq!(channels::taken(&world.group(0).state().tables, &shop), 0, "it waits at its sender");
    world.kill(0, false);
    world.run_until(|world| world.active() == Some(1));
    assert!(committed(&transfer(&mut world, 1, session, full)), "the other side has room for it");
    world.hear(shop.clone(), &message);
    world.run_for(Micros::from_ms(5));
    assert_eq!(channels::taken(&world.group(1).state().tables, &shop), 1);
    world.start(0);
    world.settle_and_check();
}

#[test]
fn a_standby_that_is_full_follows() {
    let (mut world, session) = pair([usize::MAX, 1]);
    for number in 1..50 {
        assert!(committed(&transfer(&mut world, 0, session, number)));
    }
    world.settle_and_check();
    assert_eq!(world.group(0).state().meta.last, world.group(1).state().meta.last);
}

#[test]
fn timers_that_were_set_fire_all_the_same() {
    let (mut world, session) = pair([ROOM; 2]);
    // From an odd account: it fires some times, each with a row of its own.
    let later = Parameters { id: 1, from: 1, to: 2, amount: 1 };
    assert!(committed(&ask(&mut world, 0, "later", numbered(session, 1), &later)));
    fill(&mut world, session, 2);
    let set = |world: &World| timers::all(&world.group(0).state().tables).len();
    assert!(set(&world) > 0, "none was set");
    world.run_until(|world| set(world) == 0);
    world.settle_and_check();
}
