//! What leaves, and when (R10, R11, R13): every kind of answer waits until everything that it rests on is held, and a
//! read until the standby has answered something that was sent after it.

use lockstep_core::command::{Command, CommandError, Role};
use lockstep_core::event::{Answer, Encoding, Event, EventId, Outcome, Rejection, Request};
use lockstep_core::ids::{Micros, SessionId};
use lockstep_sim::ledger::{Edition, FAULTY, LIMIT, Parameters};
use lockstep_sim::world::{Probe, Settings, World};

/// A pair with an open session.
fn pair() -> (World, SessionId) {
    let mut world = World::pair(5, Edition::One, Settings::default());
    let session = world.open_session();
    (world, session)
}

fn event(session: SessionId, number: u64, procedure: &str, amount: u32) -> Event {
    Event {
        id: EventId::Numbered { session, number },
        awaited_from: 1,
        procedure: procedure.into(),
        encoding: Encoding::Postcard,
        parameters: Parameters { id: session.0 << 32 | number, from: 1, to: 2, amount }.to_bytes(),
        body: vec![],
    }
}

fn submit(world: &mut World, node: usize, event: Event) -> Probe {
    world.probe(node, Request::Submit(event))
}

fn answered(world: &mut World, node: usize, event: Event) -> Answer {
    let probe = submit(world, node, event);
    world.run_until(|world| world.answer(probe).is_some());
    world.answer(probe).expect("it was just seen").clone()
}

/// Longer than everything takes that has not to wait for the standby, shorter than the silence until it is dropped.
const A_WHILE: Micros = Micros::from_ms(60);

#[test]
fn every_kind_of_answer_waits_for_what_it_rests_on() {
    let (mut world, session) = pair();
    let first = event(session, 1, "transfer", 3);
    let recorded = answered(&mut world, 0, first.clone());
    world.run_for(A_WHILE);
    // The standby is stopped: nothing more is held, and nothing that rests on more leaves.
    world.pause(1, Micros::from_ms(150));
    let rejected = |number, procedure: &str| event(session, number, procedure, 1);
    let waiting = [
        ("a reply", event(session, 2, "transfer", 4)),
        ("a repeat of it, which joins it", event(session, 2, "transfer", 4)),
        ("a refusal", event(session, 3, "transfer", LIMIT + 1)),
        ("a fault", event(session, 4, "transfer", FAULTY)),
        ("a repeat of a refusal", event(session, 3, "transfer", LIMIT + 1)),
        ("a repeat of a fault", event(session, 4, "transfer", FAULTY)),
        ("a read", rejected(5, "balance")),
        ("a repeat of a held reply, behind others", first),
        ("an unknown procedure", rejected(6, "nonsense")),
        ("an unknown session", event(SessionId(999), 1, "transfer", 1)),
        ("an event of long ago", Event { awaited_from: 8, ..rejected(7, "transfer") }),
        ("parameters that say nothing", Event { parameters: vec![1], ..rejected(8, "transfer") }),
        (
            "another encoding of a recorded reply",
            Event { encoding: Encoding::Json, ..rejected(2, "transfer") },
        ),
    ];
    let probes = waiting.map(|(what, event)| (what, submit(&mut world, 0, event)));
    let opening = world.probe(0, Request::OpenSession);
    world.run_for(A_WHILE);
    for (what, probe) in probes {
        assert_eq!(world.answer(probe), None, "{what} left before the standby held what it rests on (R10)");
    }
    assert_eq!(world.answer(opening), None, "so did an opened session");
    world.run_until(|world| probes.iter().all(|(_, probe)| world.answer(*probe).is_some()));
    assert_eq!(world.record().expect("a record").in_sync.len(), 2, "the standby was never dropped");
    let answers = probes.map(|(_, probe)| world.answer(probe).expect("it was just seen").clone());
    assert_eq!(answers[0], answers[1], "a repeat gets the first answer, byte for byte (R12)");
    assert!(matches!(&answers[2], Answer::Ended { outcome: Outcome::Refused(_), .. }), "{:?}", answers[2]);
    assert!(matches!(&answers[3], Answer::Ended { outcome: Outcome::Faulted(_), .. }), "{:?}", answers[3]);
    assert_eq!((&answers[2], &answers[3]), (&answers[4], &answers[5]), "both are recorded (R13)");
    assert_eq!(answers[7], recorded);
    let rejections = [
        Rejection::UnknownProcedure,
        Rejection::UnknownSession,
        Rejection::AlreadyAnswered,
        Rejection::MalformedParameters("14 bytes were expected".into()),
        Rejection::EncodingConflict,
    ];
    assert_eq!(answers[8..], rejections.map(Answer::Rejected));
}

#[test]
fn a_read_alone_waits_until_the_standby_answers_a_frame_that_was_sent_after_it() {
    let (mut world, session) = pair();
    answered(&mut world, 0, event(session, 1, "transfer", 3));
    world.run_for(A_WHILE);
    assert_eq!(world.group(0).held(), world.group(0).state().meta.last, "nothing is under way");
    world.pause(1, A_WHILE);
    let read = submit(&mut world, 0, event(session, 2, "balance", 1));
    world.run_for(Micros::from_ms(40));
    assert_eq!(world.answer(read), None, "no lease and no clock stands for the standby's word (R11)");
    world.run_until(|world| world.answer(read).is_some());
}

/// What takes an entry back is kept until the entry is known to be held (R24), and under load a heartbeat is far off.
#[test]
fn a_standby_hears_soon_of_much_that_is_held() {
    let settings = Settings { batch_us_max: 50, ..Settings::default() };
    let mut world = World::pair(5, Edition::One, settings);
    let session = world.open_session();
    world.run_for(A_WHILE);
    let probes: Vec<Probe> =
        (1..=900).map(|number| submit(&mut world, 0, event(session, number, "transfer", 1))).collect();
    world.run_until(|world| probes.iter().all(|probe| world.answer(*probe).is_some()));
    world.run_for(Micros(500));
    let (held, knows) = (world.group(0).held(), world.group(1).held());
    assert!(held.0 - knows.0 < 256, "{held} is held, and the standby knows of {knows}");
}

/// A pair of version 2, which has a feature.
fn featured() -> World {
    let mut world = World::pair(6, Edition::Two, Settings::default());
    world.run_until(World::in_sync);
    world.run_for(A_WHILE);
    world
}

const ENABLE: Command = Command::EnableFeatures { features: Vec::new() };

/// What it says is done by what is not held yet: its own entry, or that of a command before it.
#[test]
fn what_an_operator_is_told_is_held() {
    let mut world = featured();
    world.pause(1, Micros::from_ms(150));
    (0..2).for_each(|_| world.command(0, ENABLE));
    world.run_for(A_WHILE);
    assert_eq!(world.results, [], "it left before the standby held what it rests on (R10)");
    world.run_until(|world| world.results.len() == 2);
    assert!(world.results[0].is_ok(), "{:?}", world.results);
    assert!(matches!(&world.results[1], Err(CommandError::NotNow(why)) if why.contains("on already")));
    assert_eq!(world.record().expect("a record").in_sync.len(), 2, "the standby was never dropped");
    assert_eq!(world.group(1).state().meta.floor, Edition::Two.version());
}

/// Whenever it comes, the one that is active then carries it out.
#[test]
fn a_command_that_comes_into_a_switchover_is_carried_out() {
    for after_us in (0..3_000).step_by(150) {
        let mut world = featured();
        world.command(0, Command::SwitchOver);
        world.run_for(Micros(after_us));
        world.command(0, ENABLE);
        world.run_until(|world| world.results.len() == 2);
        assert!(world.results.iter().all(Result::is_ok), "{after_us}: {:?}", world.results);
        world.run_until(|world| world.active() == Some(1) && world.in_sync());
        assert_eq!(world.group(1).state().meta.floor, Edition::Two.version(), "{after_us}");
    }
}

#[test]
fn an_operator_is_not_told_by_a_deposed_active_that_it_is_done() {
    let mut world = featured();
    world.pause(1, Micros::from_ms(40));
    world.command(0, ENABLE);
    // It sleeps before the standby has held anything of it, and wakes up when that is the active.
    world.pause(0, Micros::from_ms(1_500));
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.run_until(|world| !world.results.is_empty());
    assert_eq!(world.results, [Err(CommandError::NoActive)]);
}

#[test]
fn confirmations_of_an_earlier_active_count_for_nothing() {
    let (mut world, session) = pair();
    // The standby has confirmed many reads of this process ...
    for number in 0..20 {
        answered(&mut world, 0, event(session, 2 + number, "balance", 1));
    }
    // ... which dies, and comes back as another that has sent no `Confirm` yet.
    world.kill(0, false);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.start(0);
    world.run_until(World::in_sync);
    world.command(1, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(0));
    answered(&mut world, 0, event(session, 1, "transfer", 3));
    world.run_for(A_WHILE);
    world.pause(1, A_WHILE);
    let read = submit(&mut world, 0, event(session, 40, "balance", 1));
    world.run_for(Micros::from_ms(40));
    assert_eq!(world.answer(read), None, "the standby has not said anything since (R11)");
    world.run_until(|world| world.answer(read).is_some());
}

#[test]
fn a_deposed_active_that_wakes_up_answers_no_read_from_its_old_tables() {
    let (mut world, session) = pair();
    world.run_for(A_WHILE);
    world.pause(0, Micros::from_ms(1_500));
    world.run_until(|world| world.role(1) == Some(Role::Active));
    let moved = answered(&mut world, 1, event(session, 1, "transfer", 7));
    assert!(matches!(moved, Answer::Ended { .. }), "{moved:?}");
    // It arrives while the old active sleeps, and is the first thing that it hears when it wakes up.
    let read = submit(&mut world, 0, event(session, 2, "balance", 1));
    world.run_until(|world| world.answer(read).is_some());
    match world.answer(read).expect("it was just seen") {
        Answer::Retry { .. } => {}
        Answer::Ended { outcome: Outcome::Committed { reply }, .. } => {
            assert_eq!(i64::from_le_bytes(reply[..8].try_into().expect("8 bytes")), -7, "the read is stale");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deposed_active_that_wakes_up_does_not_say_that_an_event_will_never_run() {
    let (mut world, _) = pair();
    world.run_for(A_WHILE);
    world.pause(0, Micros::from_ms(1_500));
    world.run_until(|world| world.role(1) == Some(Role::Active));
    let opening = world.probe(1, Request::OpenSession);
    world.run_until(|world| world.answer(opening).is_some());
    let Some(Answer::SessionOpened { session }) = world.answer(opening).cloned() else { panic!("it opens") };
    let moved = event(session, 1, "transfer", 7);
    let done = answered(&mut world, 1, moved.clone());
    // A repeat of it, to the old active. It has never heard of the session, which a client must not be told: it would
    // take the event for one that has not run and never will.
    let repeat = submit(&mut world, 0, moved);
    world.run_until(|world| world.answer(repeat).is_some());
    let said = world.answer(repeat).expect("it was just seen");
    assert!(matches!(said, Answer::Retry { .. }) || *said == done, "{said:?}");
}

#[test]
fn a_recorded_reply_crosses_a_takeover_and_keeps_its_encoding() {
    let (mut world, session) = pair();
    let transfer = event(session, 1, "transfer", 3);
    let refused = event(session, 2, "transfer", LIMIT + 1);
    let keyed = Event { id: EventId::Keyed { key: "order-7".into() }, ..event(session, 3, "transfer", 5) };
    let before = [&transfer, &refused, &keyed].map(|event| answered(&mut world, 0, event.clone()));
    world.kill(0, true);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    let after = [&transfer, &refused, &keyed].map(|event| answered(&mut world, 1, event.clone()));
    assert_eq!(before, after, "replies, refusals and keyed replies are part of the database (R12, R13)");
    for event in [transfer, keyed] {
        let answer = answered(&mut world, 1, Event { encoding: Encoding::Json, ..event });
        assert_eq!(answer, Answer::Rejected(Rejection::EncodingConflict), "it is encoded once (R13)");
    }
    world.settle_and_check();
}
