//! Events that kill their processor or hang it (R21, R23): a typed fault once and for ever, one processor lost with a
//! note, two without, and innocents of the same batch run as if nothing had happened.

use lockstep_core::campaign::{Redundancy, Step};
use lockstep_core::command::{Command, HalfWayEnd, Role};
use lockstep_core::event::{Answer, Encoding, Event, EventId, Fault, FaultKind, Outcome, Request};
use lockstep_core::group::StepUps;
use lockstep_core::ids::{Micros, NodeId, SessionId};
use lockstep_core::note::{DeathNote, NoteKind};
use lockstep_sim::chaos::plan;
use lockstep_sim::ledger::{DEADLY, DEADLY_EVERY, Edition, HANGS, LATE, Parameters};
use lockstep_sim::world::{Settings, World};

/// A pair with one scripted client.
fn pair(seed: u64, settings: Settings) -> (World, SessionId) {
    let mut world = World::pair(seed, Edition::One, settings);
    world.add_scripted_client();
    world.run_until(|world| world.clients[0].session().is_some());
    world.run_for(Micros::from_ms(30));
    let session = world.clients[0].session().expect("it was just seen");
    (world, session)
}

fn event(session: SessionId, number: u64, procedure: &str, amount: u32) -> Event {
    Event {
        id: EventId::Numbered { session, number },
        awaited_from: 1,
        procedure: procedure.into(),
        encoding: Encoding::Postcard,
        parameters: Parameters { id: number, from: 1, to: 2, amount }.to_bytes(),
        body: Vec::new(),
    }
}

fn submit(world: &mut World, session: SessionId, number: u64, amount: u32) {
    let event = event(session, number, "transfer", amount);
    world.submit_as(0, 0, Request::Submit(event));
}

fn fault(world: &World, id: u64) -> Fault {
    match &world.clients[0].acknowledged[&id].outcome {
        Outcome::Faulted(fault) => fault.clone(),
        other => panic!("event {id} ended with {other:?}"),
    }
}

/// The events of one batch, the third of which is `amount`.
fn with_innocents(world: &mut World, session: SessionId, amount: u32) {
    for number in 1..=5 {
        submit(world, session, number, if number == 3 { amount } else { 5 });
    }
}

fn innocents_were_answered(world: &World) {
    for id in [1, 2, 4, 5] {
        let outcome = &world.clients[0].acknowledged[&id].outcome;
        assert!(matches!(outcome, Outcome::Committed { .. }), "event {id}: {outcome:?}");
    }
}

/// Asks for event `number` again at `node`.
fn ask_again(world: &mut World, node: usize, session: SessionId, number: u64, amount: u32) -> Answer {
    let probe = world.probe(node, Request::Submit(event(session, number, "transfer", amount)));
    world.run_until(|world| world.answer(probe).is_some());
    world.answer(probe).expect("it was just seen").clone()
}

#[test]
fn an_event_that_kills_takes_one_processor_down_and_gets_its_fault_for_ever() {
    for seed in 0..20 {
        let settings = Settings { batch_us_max: 300, ..Settings::default() };
        let (mut world, session) = pair(seed, settings);
        with_innocents(&mut world, session, DEADLY);
        world.run_until(|world| world.clients[0].acknowledged.len() == 5);
        world.settle_and_check();
        assert_eq!(world.deaths.len(), 1, "the partner did not run it (R21)");
        innocents_were_answered(&world);
        let first = fault(&world, 3);
        assert_eq!((first.kind, first.unit.as_str()), (FaultKind::Killed, "debit"));
        assert!(first.message.contains("SIGSEGV"), "{}", first.message);
        let number = world.clients[0].acknowledged[&3].number;
        let again = Answer::Ended { number, outcome: Outcome::Faulted(first) };
        for node in 0..2 {
            assert_eq!(ask_again(&mut world, node, session, 3, DEADLY), again);
        }
        // Whoever takes over knows it too, and so does a start of both.
        (0..2).for_each(|node| world.kill(node, true));
        (0..2).for_each(|node| world.start(node));
        world.run_until(World::in_sync);
        assert_eq!(ask_again(&mut world, 0, session, 3, DEADLY), again);
        assert_eq!(world.deaths.len(), 1);
        let notes: Vec<_> = world.group(1).state().meta.notes.iter().collect();
        assert_eq!(notes.len(), 1);
        assert_eq!((notes[0].note.unit.as_str(), notes[0].note.died.clone()), ("debit", NodeId("a".into())));
    }
}

#[test]
fn a_processor_that_is_alone_knows_its_own_note_after_its_start() {
    let (mut world, session) = pair(1, Settings::default());
    world.kill(1, false);
    world.run_until(|world| world.record().is_some_and(|record| record.in_sync.len() == 1));
    submit(&mut world, session, 1, DEADLY);
    world.run_until(|world| world.role(0).is_none());
    world.run_until(|world| !world.clients[0].acknowledged.is_empty());
    assert_eq!(fault(&world, 1).kind, FaultKind::Killed);
    assert_eq!(world.deaths.len(), 1, "it found what it had left");
    world.settle_and_check();
}

#[test]
fn a_read_that_kills_is_not_run_again_either() {
    let (mut world, session) = pair(2, Settings::default());
    let read = event(session, 9, "balance", 5);
    let plugin = world.group(0).descriptor().hash;
    let note = DeathNote::new(&read, plugin, "read", NodeId("b".into()), NoteKind::Killed { signal: 6 });
    world.tell_note(0, note);
    let units = world.units_run(0);
    let probe = world.probe(0, Request::Submit(read));
    world.run_until(|world| world.answer(probe).is_some());
    let answer = world.answer(probe).expect("it was just seen");
    assert!(
        matches!(answer, Answer::Ended { outcome: Outcome::Faulted(fault), .. } if fault.kind == FaultKind::Killed),
        "{answer:?}"
    );
    assert_eq!(world.units_run(0), units);
}

#[test]
fn a_unit_that_hangs_is_given_up_and_its_processor_comes_back() {
    let (mut world, session) = pair(3, Settings::default());
    with_innocents(&mut world, session, HANGS);
    world.run_until(|world| world.role(0).is_none());
    world.run_until(|world| world.clients[0].acknowledged.len() == 5);
    world.settle_and_check();
    assert_eq!(world.deaths.len(), 1);
    innocents_were_answered(&world);
    let fault = fault(&world, 3);
    assert_eq!((fault.kind, fault.unit.as_str()), (FaultKind::Hung, "debit"));
}

#[test]
fn a_unit_that_returns_late_is_a_fault_and_its_updates_are_dropped() {
    let (mut world, session) = pair(4, Settings::default());
    with_innocents(&mut world, session, LATE);
    world.run_until(|world| world.clients[0].acknowledged.len() == 5);
    world.settle_and_check();
    innocents_were_answered(&world);
    let fault = fault(&world, 3);
    assert_eq!((fault.kind, fault.unit.as_str()), (FaultKind::Deadline, "debit"));
    assert!(fault.message.contains("8 ms") && fault.message.contains("7 ms"), "{}", fault.message);
}

#[test]
fn a_standby_that_is_late_is_no_fault() {
    let (mut world, session) = pair(5, Settings::default());
    world.kill(1, false);
    world.slow_units(1, Micros::from_ms(100));
    world.run_until(|world| world.record().is_some_and(|record| record.in_sync.len() == 1));
    world.start(1);
    world.run_until(World::in_sync);
    submit(&mut world, session, 1, 5);
    world.run_until(|world| world.clients[0].acknowledged.len() == 1);
    assert!(matches!(world.clients[0].acknowledged[&1].outcome, Outcome::Committed { .. }));
    assert!(world.in_sync());
    // As active it judges itself.
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    submit(&mut world, session, 2, 5);
    world.run_until(|world| world.clients[0].acknowledged.len() == 2);
    assert_eq!(fault(&world, 2).kind, FaultKind::Deadline);
    world.settle_and_check();
}

/// Lets b find event 1 half-way behind its third step-up, at the death of a, which leaves no note of its own.
fn half_way(seed: u64, on_b: Edition, procedure: &str, id: u64) -> (World, SessionId) {
    let (mut world, session) = pair(seed, Settings { step_ups: StepUps::Apart, ..Settings::default() });
    if on_b != Edition::One {
        world.command(0, Command::Load { hash: on_b.hash() });
        world.run_until(|world| world.group(1).descriptor().hash == on_b.hash());
        world.run_until(World::in_sync);
    }
    world.cut_after_frames(3);
    let mut event = event(session, 1, procedure, 5);
    event.parameters = Parameters { id, from: 1, to: 2, amount: 5 }.to_bytes();
    world.submit_as(0, 0, Request::Submit(event));
    (world, session)
}

#[test]
fn a_half_way_event_without_a_note_is_marked_before_it_is_completed() {
    let (mut world, session) = half_way(6, Edition::One, "transfer", 1);
    world.kill_quietly(0);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    let marked =
        |world: &World| world.group(1).state().meta.notes.iter().any(|n| n.note.kind == NoteKind::Marked);
    assert!(marked(&world), "the mark comes first (R21)");
    // Another event waits for it.
    let last = world.group(1).state().meta.last;
    let probe = world.probe(1, Request::Submit(event(session, 2, "transfer", 5)));
    world.run_until(|world| world.answer(probe).is_some());
    let Some(Answer::Ended { number, .. }) = world.answer(probe) else { panic!("it was run") };
    assert_eq!(number.0, last.0 + 2, "after the half-way one");
    assert!(!marked(&world), "it has ended, and is under no suspicion any more");
    assert!(world.group(1).state().meta.notes.is_empty());
    world.settle_and_check();
}

#[test]
fn a_second_death_without_a_note_quarantines_the_event() {
    let (mut world, _) = half_way(7, Edition::Deadly, "transfer", DEADLY_EVERY);
    world.noteless_percent = 100;
    world.kill_quietly(0);
    // b runs it again, in its own version, and dies of it.
    world.run_until(|world| world.deaths.len() == 1);
    world.run_until(|world| !world.clients[0].acknowledged.is_empty());
    let fault = fault(&world, DEADLY_EVERY);
    assert_eq!(fault.kind, FaultKind::Quarantined);
    world.settle_and_check();
    assert_eq!(world.deaths.len(), 1);
}

#[test]
fn what_was_rolled_back_is_marked_when_its_client_sends_it_again() {
    let (mut world, _) = half_way(8, Edition::One, "careful", 1);
    world.kill_quietly(0);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    let kinds =
        |world: &World| world.group(1).state().meta.notes.iter().map(|n| n.note.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&world), [NoteKind::Suspected]);
    world.run_until(|world| kinds(world) == [NoteKind::Marked]);
    assert!(world.clients[0].acknowledged.is_empty(), "it runs once the mark is held");
    world.run_until(|world| world.clients[0].acknowledged.len() == 1);
    assert!(kinds(&world).is_empty());
    world.settle_and_check();
}

#[test]
fn a_note_that_names_another_event_clears_the_half_way_one() {
    let (mut world, session) = half_way(9, Edition::One, "transfer", 1);
    let last = world.group(1).state().meta.last.0;
    submit(&mut world, session, 2, DEADLY);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    assert_eq!(world.deaths.len(), 1);
    world.settle_and_check();
    assert_eq!(world.deaths.len(), 1);
    // The note, then the half-way event: no mark between them.
    assert_eq!(world.clients[0].acknowledged[&1].number.0, last + 2);
    assert_eq!(fault(&world, 2).kind, FaultKind::Killed);
}

#[test]
fn a_half_way_event_that_is_noted_gets_its_fault_at_the_takeover() {
    let (mut world, session) = half_way(10, Edition::One, "transfer", 1);
    let plugin = Edition::One.hash();
    let noted = event(session, 1, "transfer", 5);
    let kind = NoteKind::Killed { signal: 11 };
    let units = world.units_run(1);
    world.run_for(Micros(300));
    world.tell_note(1, DeathNote::new(&noted, plugin, "note", NodeId("a".into()), kind));
    world.kill_quietly(0);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    let half_way = world.group(1).status(world.now).half_way;
    assert_eq!(half_way.len(), 1);
    assert_eq!(half_way[0].0.end, HalfWayEnd::Faulted);
    world.settle_and_check();
    assert_eq!(fault(&world, 1).unit, "note");
    assert_eq!(world.units_run(1) - units, 3, "those before the death alone (R22)");
}

#[test]
fn a_version_that_kills_falls_back_and_the_old_one_runs_the_event() {
    let (mut world, _) = pair(11, Settings::default());
    world.add_client(400);
    world.run_until(|world| world.clients[1].acknowledged.len() > 10);
    let plan = plan(Edition::One, Edition::Deadly, Redundancy::Keep);
    world.command(0, Command::StartCampaign(Box::new(plan)));
    world.run_until(|world| !world.deaths.is_empty());
    world.settle_and_check();
    let campaign = world.group(0).state().meta.campaigns.last().expect("it is over").clone();
    assert_eq!(campaign.step, Step::FellBack, "{campaign:?}");
    assert!(world.deaths.iter().all(|death| death.plugin == Edition::Deadly.hash()));
    for death in &world.deaths {
        assert_eq!(world.deaths_of(&death.event, death.plugin), 1);
    }
    let faulted =
        |outcome: &Outcome| matches!(outcome, Outcome::Faulted(fault) if fault.kind == FaultKind::Killed);
    let noted = world.clients[1].acknowledged.values().filter(|a| faulted(&a.outcome)).count();
    assert_eq!(noted, 0, "the old version ran what the new one died of (R21)");
}

#[test]
fn a_note_outlives_a_power_loss_that_takes_its_entry() {
    for seed in 0..20 {
        let mut world =
            World::new(seed, Edition::One, Settings { sync_us_max: 20_000, ..Settings::default() });
        let deadly = event(SessionId(2), 1, "transfer", 5);
        let died = NodeId("a".into());
        let note =
            DeathNote::new(&deadly, Edition::One.hash(), "debit", died, NoteKind::Killed { signal: 7 });
        world.leave_own_note(0, note);
        let noted = |world: &World| world.group(0).state().meta.notes.iter().count();
        world.start(0);
        world.run_until(|world| noted(world) == 1);
        world.kill(0, true);
        world.start(0);
        world.run_until(|world| world.role(0) == Some(Role::Active));
        world.run_for(Micros::from_ms(100));
        assert_eq!(noted(&world), 1, "the file had it until the entry was held");
        world.start(1);
        world.settle_and_check();
    }
}

#[test]
fn a_standby_that_died_of_an_event_tells_the_active_of_it() {
    let (mut world, session) = pair(12, Settings::default());
    let deadly = event(session, 1, "transfer", 5);
    let died = NodeId("b".into());
    let note = DeathNote::new(&deadly, Edition::One.hash(), "debit", died, NoteKind::Killed { signal: 7 });
    world.kill(1, false);
    world.leave_own_note(1, note);
    world.start(1);
    world.run_until(|world| world.group(0).state().meta.notes.iter().count() == 1);
    submit(&mut world, session, 1, 5);
    world.settle_and_check();
    assert_eq!(fault(&world, 1).kind, FaultKind::Killed);
    assert_eq!(world.seen.counts["note recorded"], 2, "and both let go of it, the file too");
    world.kill(1, false);
    world.start(1);
    world.run_for(Micros::from_ms(50));
    assert_eq!(world.seen.counts["note recorded"], 2);
}

#[test]
fn what_a_standbys_version_dies_of_is_shipped_to_it() {
    let (mut world, session) = pair(12, Settings::default());
    world.command(0, Command::Load { hash: Edition::Deadly.hash() });
    world.run_until(|world| world.group(1).descriptor().hash == Edition::Deadly.hash() && world.in_sync());
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1) && world.in_sync());
    // The procedure has one version on both sides: it runs in lock step.
    let mut deadly = event(session, 1, "careful", 5);
    deadly.parameters = Parameters { id: DEADLY_EVERY, from: 1, to: 2, amount: 5 }.to_bytes();
    world.probe(1, Request::Submit(deadly.clone()));
    world.run_until(|world| world.active() == Some(0));
    world.start(1);
    world.run_until(World::in_sync);
    assert_eq!(world.group(1).descriptor().hash, Edition::Deadly.hash(), "it came back as it was");
    let again = world.probe(0, Request::Submit(deadly));
    world.run_until(|world| world.answer(again).is_some());
    let answer = world.answer(again);
    assert!(matches!(answer, Some(Answer::Ended { outcome: Outcome::Committed { .. }, .. })), "{answer:?}");
    world.run_for(Micros::from_ms(50));
    assert_eq!((world.deaths.len(), world.in_sync()), (1, true), "its standby did not run it (R21)");
    world.settle_and_check();
}
