//! Takeover at every frame boundary (R22): the stream is cut behind frame after frame, the active dies, and whatever
//! was half-way is completed, rolled back or run again, exactly once.

use std::collections::BTreeSet;

use lockstep_core::command::{Command, HalfWayEnd, Role};
use lockstep_core::event::{Encoding, Event, EventId, Request};
use lockstep_core::group::StandbyStart;
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
    }
}

/// Cuts the stream of one event of `procedure` behind each of its frames, kills the active, and lets the client of the
/// simulation retry. `b` runs `edition`.
fn cut_everywhere(procedure: &str, edition: Edition, standby: StandbyStart) -> Found {
    let mut found = Found::new();
    for frames in 0..8 {
        let mut world = World::pair(frames, Edition::One, Settings { standby, ..Settings::default() });
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

#[test]
fn a_procedure_that_completes_is_completed_behind_every_step_up() {
    let found = cut_everywhere("transfer", Edition::One, StandbyStart::Behind);
    let expected = (1..=5).map(|step_ups| (step_ups, "completed")).chain([(0, "run again")]).collect();
    assert_eq!(found, expected);
}

#[test]
fn beside_completes_too_although_it_runs_a_unit_ahead() {
    let found = cut_everywhere("transfer", Edition::One, StandbyStart::Beside);
    let expected = (1..=5).map(|step_ups| (step_ups, "completed")).chain([(0, "run again")]).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_procedure_that_rolls_back_is_run_by_the_retry() {
    let found = cut_everywhere("careful", Edition::One, StandbyStart::Behind);
    let expected = (1..=4).map(|step_ups| (step_ups, "rolled back")).chain([(0, "run again")]).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_withheld_body_is_rolled_back_and_sent_again_by_its_client() {
    let found = cut_everywhere("upload", Edition::One, StandbyStart::Behind);
    assert_eq!(found, (0..=3).map(|step_ups| (step_ups, "rolled back")).collect());
}

#[test]
fn a_shipped_procedure_is_run_again_from_the_start_in_the_survivors_version() {
    let found = cut_everywhere("transfer", Edition::Two, StandbyStart::Behind);
    assert_eq!(found, (0..=5).map(|step_ups| (step_ups, "run again")).collect());
}
