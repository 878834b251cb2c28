//! Takeover at every frame boundary (R22): the stream is cut behind frame after frame, the active dies, and whatever
//! was half-way is completed, rolled back or run again, exactly once.

use std::collections::BTreeSet;

use lockstep_core::command::{Command, HalfWayEnd, Role};
use lockstep_core::event::{Answer, Encoding, Event, EventId, Outcome, Request};
use lockstep_core::group::{StandbyStart, StepUps};
use lockstep_core::ids::{Micros, SessionId};
use lockstep_sim::ledger::{Edition, Parameters};
use lockstep_sim::world::{Settings, World};

/// Half-way procedures that takeovers found: step-ups and what was done.
type Found = BTreeSet<(u32, HalfWayEndName)>;
type HalfWayEndName = &'static str;

fn name(end: HalfWayEnd) -> HalfWayEndName {
    match end {
        HalfWayEnd::Completed => "completed",
        HalfWayEnd::RolledBack => "rolled back",
        HalfWayEnd::RunAgain => "run again",
        HalfWayEnd::Faulted => "faulted",
    }
}

/// Cuts the stream of one event of `procedure` behind each of its frames, kills the active, and lets the client of the
/// simulation retry. `b` runs `edition`.
fn cut_everywhere(procedure: &str, edition: Edition, settings: Settings) -> Found {
    let mut found = Found::new();
    for frames in 0..8 {
        let mut world = World::pair(frames, Edition::One, settings.clone());
        if edition != Edition::One {
            world.command(0, Command::Load { hash: edition.hash() });
            world.run_until(|world| world.group(1).descriptor().hash == edition.hash());
            world.run_until(World::in_sync);
        }
        world.add_scripted_client();
        world.run_until(|world| world.clients[0].session().is_some());
        world.run_for(Micros::from_ms(30));
        let session = world.clients[0].session().expect("it was just seen");
        let parameters = Parameters { id: 1, from: 1, to: 2, amount: 5 };
        world.cut_after_frames(frames);
        world.submit_as(0, 0, event(session, procedure, parameters));
        // It dies before it sees that the link is cut: its last word to the arbiter leaves the standby in sync.
        world.kill_quietly(0);
        world.run_until(|world| world.role(1) == Some(Role::Active));
        let status = world.group(1).status(world.now);
        for (half_way, count) in status.half_way {
            assert_eq!(count, 1);
            found.insert((half_way.step_ups, name(half_way.end)));
        }
        // The client hears nothing and sends it again, to the other processor.
        world.settle_and_check();
        assert_eq!(world.clients[0].acknowledged.len(), 1, "behind frame {frames}");
    }
    found
}

fn event(session: SessionId, procedure: &str, parameters: Parameters) -> Request {
    Request::Submit(Event {
        id: EventId::Numbered { session, number: 1 },
        awaited_from: 1,
        procedure: procedure.into(),
        encoding: Encoding::Postcard,
        parameters: parameters.to_bytes(),
        body: vec![7; 9],
    })
}

fn apart() -> Settings {
    Settings { step_ups: StepUps::Apart, ..Settings::default() }
}

fn beside() -> Settings {
    Settings { standby: StandbyStart::Beside, ..Settings::default() }
}

#[test]
fn what_is_told_together_is_there_as_a_whole_or_not_at_all() {
    for (procedure, edition) in [
        ("transfer", Edition::One),
        ("careful", Edition::One),
        ("upload", Edition::One),
        ("transfer", Edition::Two),
    ] {
        let found = cut_everywhere(procedure, edition, Settings::default());
        assert_eq!(found, Found::new(), "nothing of `{procedure}` is half-way (R14)");
    }
}

#[test]
fn a_procedure_that_completes_is_completed_behind_every_step_up() {
    let found = cut_everywhere("transfer", Edition::One, apart());
    let expected = (1..=5).map(|step_ups| (step_ups, "completed")).chain([(0, "run again")]).collect();
    assert_eq!(found, expected);
}

#[test]
fn beside_completes_too_although_it_runs_a_unit_ahead() {
    let found = cut_everywhere("transfer", Edition::One, beside());
    let expected = (1..=5).map(|step_ups| (step_ups, "completed")).chain([(0, "run again")]).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_procedure_that_rolls_back_is_run_by_the_retry() {
    let found = cut_everywhere("careful", Edition::One, apart());
    let expected = (1..=4).map(|step_ups| (step_ups, "rolled back")).chain([(0, "run again")]).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_withheld_body_is_rolled_back_and_sent_again_by_its_client() {
    let found = cut_everywhere("upload", Edition::One, apart());
    assert_eq!(found, (0..=3).map(|step_ups| (step_ups, "rolled back")).collect());
}

#[test]
fn a_shipped_procedure_is_run_again_from_the_start_in_the_survivors_version() {
    let found = cut_everywhere("transfer", Edition::Two, apart());
    assert_eq!(found, (0..=5).map(|step_ups| (step_ups, "run again")).collect());
}

#[test]
fn what_had_ended_comes_first_then_the_half_way_one_then_what_is_still_asked() {
    // Three events leave in one go; the stream is cut in the middle of the second, behind its second step-up. The frames
    // of each: `Begin`, five step-ups, the end.
    let mut world = World::pair(31, Edition::One, apart());
    world.add_scripted_client();
    world.run_until(|world| world.clients[0].session().is_some());
    world.run_for(Micros::from_ms(30));
    let session = world.clients[0].session().expect("it was just seen");
    let last = world.group(0).state().meta.last.0;
    world.cut_after_frames(7 + 2);
    for number in 1..=3 {
        let parameters = Parameters { id: number, from: 1, to: 2, amount: 5 };
        let Request::Submit(event) = event(session, "transfer", parameters) else { unreachable!() };
        let id = EventId::Numbered { session, number };
        world.submit_as(0, 0, Request::Submit(Event { id, ..event }));
    }
    world.kill_quietly(0);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    // Long before the client asks again: as soon as the mark before it is held (R21).
    world.run_for(Micros::from_ms(2));
    assert_eq!(world.group(1).state().meta.last.0, last + 3, "the half-way one is dealt with at once (R22)");
    world.settle_and_check();
    let number_of = |id: u64| world.clients[0].acknowledged[&id].number.0;
    assert_eq!(number_of(1), last + 1, "it had ended: it keeps its number (R22)");
    assert_eq!(number_of(2), last + 3, "it was half-way: it is completed behind its mark (R21, R22)");
    assert!(number_of(3) > last + 3, "the new active knew nothing of it; its client's retry ran it");
    let half_way = world.group(1).status(world.now).half_way;
    assert_eq!(half_way.len(), 1);
    assert_eq!((half_way[0].0.step_ups, half_way[0].0.end), (2, HalfWayEnd::Completed));
}

#[test]
fn the_time_that_procedures_see_never_goes_back() {
    let mut world = World::pair(32, Edition::One, Settings::default());
    // The standby's clock is far behind the active's.
    world.clock_behind[1] = Micros::from_ms(500);
    world.add_client(100);
    world.run_until(|world| world.clients[0].acknowledged.len() > 50);
    let read = |world: &mut World, node: usize| {
        let parameters = Parameters { id: 1, from: 1, to: 2, amount: 5 };
        let probe = world.probe(node, event(SessionId(1), "balance", parameters));
        world.run_until(|world| world.answer(probe).is_some());
        match world.answer(probe) {
            Some(Answer::Ended { outcome: Outcome::Committed { reply }, .. }) => {
                u64::from_le_bytes(reply[8..16].try_into().expect("a balance and a time"))
            }
            other => panic!("{other:?}"),
        }
    };
    world.run_until(|world| world.clients[0].acknowledged.len() > 60);
    let before = world.group(1).state().meta.time.0;
    world.kill(0, false);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    assert!(world.now.0 - 500_000 < before, "its clock has not overtaken the stream's");
    let after = read(&mut world, 1);
    assert!(after >= before, "time runs on from the last `Begin` (R33): {before}, then {after}");
    world.run_for(Micros::from_ms(1_000));
    let later = read(&mut world, 1);
    assert!(later > after, "and goes on once the clock has overtaken it");
    world.settle_and_check();
}
