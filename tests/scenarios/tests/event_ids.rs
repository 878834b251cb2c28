//! Event ids (R12): sessions, windows, repeats that join, keys.

use lockstep_core::event::{Answer, Encoding, Event, EventId, KEY_BYTES_MAX, Outcome, Rejection, Request};
use lockstep_core::ids::{Micros, SessionId};
use lockstep_core::sessions::WINDOW;
use lockstep_sim::ledger::{Edition, Parameters};
use lockstep_sim::world::{Probe, Settings, World};

fn pair() -> (World, SessionId) {
    let mut world = World::pair(6, Edition::One, Settings::default());
    let session = world.open_session();
    (world, session)
}

fn event(id: EventId, unique: u64, awaited_from: u64) -> Event {
    Event {
        id,
        awaited_from,
        procedure: "transfer".into(),
        encoding: Encoding::Postcard,
        parameters: Parameters { id: unique, from: 1, to: 2, amount: 1 }.to_bytes(),
        body: vec![],
    }
}

fn numbered(session: SessionId, number: u64, awaited_from: u64) -> Event {
    event(EventId::Numbered { session, number }, number, awaited_from)
}

fn ask(world: &mut World, node: usize, event: Event) -> Probe {
    world.probe(node, Request::Submit(event))
}

fn answers(world: &mut World, probes: &[Probe]) -> Vec<Answer> {
    world.run_until(|world| probes.iter().all(|probe| world.answer(*probe).is_some()));
    probes.iter().map(|probe| world.answer(*probe).expect("it was just seen").clone()).collect()
}

fn committed(answer: &Answer) -> bool {
    matches!(answer, Answer::Ended { outcome: Outcome::Committed { .. }, .. })
}

#[test]
fn a_repeat_of_what_is_under_way_joins_it_on_either_side() {
    let (mut world, session) = pair();
    let probes = [0, 1, 0, 1].map(|node| ask(&mut world, node, numbered(session, 1, 1)));
    let answers = answers(&mut world, &probes);
    assert!(committed(&answers[0]));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // The check finds that it ran once.
    world.settle_and_check();
}

#[test]
fn a_full_window_refuses_until_the_client_says_what_it_has() {
    let (mut world, session) = pair();
    let probes: Vec<_> =
        (1..=WINDOW + 1).map(|number| ask(&mut world, 0, numbered(session, number, 1))).collect();
    let all = answers(&mut world, &probes);
    assert!(all[..WINDOW as usize].iter().all(committed));
    assert_eq!(all[WINDOW as usize], Answer::Rejected(Rejection::WindowFull { window: WINDOW }));
    // The same event says that the client has one answer by now, and so makes its own room.
    let probes = [
        ask(&mut world, 0, numbered(session, WINDOW + 1, 2)),
        // What it said that it has is not kept; what it awaits is.
        ask(&mut world, 0, numbered(session, 1, 1)),
        ask(&mut world, 0, numbered(session, 2, 2)),
    ];
    let last = answers(&mut world, &probes);
    assert!(committed(&last[0]), "{:?}", last[0]);
    assert_eq!(last[1], Answer::Rejected(Rejection::AlreadyAnswered));
    assert_eq!(last[2], all[1]);
    world.settle_and_check();
}

#[test]
fn an_unknown_session_is_refused_and_never_run() {
    let (mut world, session) = pair();
    let last = world.group(0).state().meta.last;
    let unknown = ask(&mut world, 0, numbered(SessionId(session.0 + 1), 1, 1));
    assert_eq!(answers(&mut world, &[unknown]), [Answer::Rejected(Rejection::UnknownSession)]);
    assert_eq!(world.group(0).state().meta.last, last, "nothing was put into the stream");
}

#[test]
fn a_key_is_remembered_for_a_time_of_the_stream_and_no_longer() {
    let (mut world, session) = pair();
    let keyed = |unique| event(EventId::Keyed { key: "k".into() }, unique, 0);
    let [first, again] = [ask(&mut world, 0, keyed(100)), ask(&mut world, 1, keyed(100))];
    let both = answers(&mut world, &[first, again]);
    assert!(committed(&both[0]) && both[0] == both[1], "{both:?}");
    // Time alone changes nothing: the stream has to say so.
    world.run_for(Micros::from_ms(601_000));
    let again = ask(&mut world, 0, keyed(100));
    assert_eq!(answers(&mut world, &[again])[0], both[0], "no clock drops an entry, only the stream does");
    let other = ask(&mut world, 0, event(EventId::Keyed { key: "other".into() }, 101, 0));
    let numbered = ask(&mut world, 0, numbered(session, 1, 1));
    answers(&mut world, &[other, numbered]);
    let later = ask(&mut world, 0, keyed(102));
    let later = answers(&mut world, &[later]);
    assert!(committed(&later[0]) && later[0] != both[0], "a later repeat is a new event");
    world.settle_and_check();
}

#[test]
fn a_key_has_a_length() {
    let (mut world, _) = pair();
    for length in [0, KEY_BYTES_MAX + 1] {
        let key = "k".repeat(length);
        let probe = ask(&mut world, 0, event(EventId::Keyed { key }, 1, 0));
        let answer = answers(&mut world, &[probe]);
        assert!(matches!(answer[0], Answer::Rejected(Rejection::MalformedParameters(_))), "{answer:?}");
    }
}
