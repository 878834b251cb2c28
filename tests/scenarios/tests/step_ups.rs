//! What a standby runs, and when (R14, R16, R18), and in which formats rows are written (R17).

use lockstep_core::command::Command;
use lockstep_core::event::{Encoding, Event, EventId, Request};
use lockstep_core::group::{StandbyStart, StepUps};
use lockstep_core::ids::{Micros, SessionId, TableId};
use lockstep_sim::clients::SimClient;
use lockstep_sim::ledger::{ACCOUNTS, Edition, Parameters};
use lockstep_sim::world::{Settings, World};

fn pair(settings: Settings, edition: Edition) -> (World, SessionId) {
    let mut world = World::pair(8, Edition::One, settings);
    if edition != Edition::One {
        world.command(0, Command::Load { hash: edition.hash() });
        world.run_until(|world| world.group(1).descriptor().hash == edition.hash());
    }
    let session = world.open_session();
    world.run_for(Micros::from_ms(30));
    (world, session)
}

fn event(session: SessionId, procedure: &str, body_bytes: usize) -> Request {
    Request::Submit(Event {
        id: EventId::Numbered { session, number: 1 },
        awaited_from: 1,
        procedure: procedure.into(),
        encoding: Encoding::Postcard,
        parameters: Parameters { id: 1, from: 1, to: 2, amount: 5 }.to_bytes(),
        body: vec![7; body_bytes],
    })
}

fn apart(standby: StandbyStart) -> Settings {
    Settings { standby, step_ups: StepUps::Apart, ..Settings::default() }
}

/// How many units the standby has run when it has `frames` of the first frames of the procedure.
fn units_run(settings: Settings, edition: Edition, procedure: &str, frames: u64) -> u64 {
    units_run_with(settings, edition, procedure, 9, frames)
}

fn units_run_with(
    settings: Settings,
    edition: Edition,
    procedure: &str,
    body_bytes: usize,
    frames: u64,
) -> u64 {
    let (mut world, session) = pair(settings, edition);
    world.cut_after_frames(frames - 1);
    world.probe(0, event(session, procedure, body_bytes));
    // Longer than frames take, shorter than anybody takes over.
    world.run_for(Micros(200));
    world.units_run(1)
}

#[test]
fn behind_runs_a_unit_only_with_its_step_up_in_hand() {
    for step_ups in 0..=5 {
        let units = units_run(apart(StandbyStart::Behind), Edition::One, "transfer", 1 + step_ups);
        assert_eq!(units, step_ups, "with {step_ups} step-ups: the active survived so many units (R14)");
    }
}

#[test]
fn all_step_ups_of_a_procedure_come_in_one_frame() {
    assert_eq!(units_run(Settings::default(), Edition::One, "transfer", 1), 5);
    assert_eq!(units_run(Settings::default(), Edition::One, "careful", 1), 4);
}

#[test]
fn beside_runs_the_first_unit_on_begin_and_never_more_than_one_ahead() {
    for step_ups in 0..=5 {
        let units = units_run(apart(StandbyStart::Beside), Edition::One, "transfer", 1 + step_ups);
        assert_eq!(units, (step_ups + 1).min(5), "with {step_ups} step-ups ([P] Fig. 3)");
    }
}

#[test]
fn a_shipped_procedure_runs_no_unit_on_the_standby() {
    for standby in [StandbyStart::Behind, StandbyStart::Beside] {
        assert_eq!(
            units_run(apart(standby), Edition::Two, "transfer", 7),
            0,
            "its updates are performed instead (R16)"
        );
        assert_eq!(
            units_run(apart(standby), Edition::Two, "careful", 6),
            4,
            "equal versions run in lock step"
        );
    }
}

#[test]
fn of_a_withheld_body_only_the_units_that_read_it_are_shipped() {
    for standby in [StandbyStart::Behind, StandbyStart::Beside] {
        let units = units_run(apart(standby), Edition::One, "upload", 5);
        assert_eq!(units, 2, "`check` and `record`, not `store` (R18)");
    }
}

#[test]
fn what_is_told_together_is_shipped_like_what_is_told_apart() {
    let units = |edition, procedure| units_run(Settings::default(), edition, procedure, 1);
    assert_eq!(units(Edition::Two, "transfer"), 0, "its updates are performed instead (R16)");
    assert_eq!(units(Edition::One, "upload"), 2, "`check` and `record`, not `store` (R18)");
}

#[test]
fn what_is_too_large_for_a_frame_is_told_apart() {
    let units = |frames| units_run_with(Settings::default(), Edition::One, "upload", 2 << 20, frames);
    assert_eq!((1..=5).map(units).collect::<Vec<_>>(), [0, 1, 1, 2, 2], "the unit between is shipped");
}

fn formats(world: &World, node: usize) -> Vec<u8> {
    let mut formats = Vec::new();
    let tables = &world.group(node).state().tables;
    tables.scan(TableId::of(ACCOUNTS), &[], None, &mut |_, row| {
        formats.push(row[0]);
        true
    });
    formats.sort_unstable();
    formats.dedup();
    formats
}

#[test]
fn rows_are_written_in_the_floors_format_until_features_are_enabled() {
    let (mut world, _) = pair(Settings::default(), Edition::Two);
    let load = |world: &mut World| {
        world.add_client(150);
        world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
    };
    load(&mut world);
    // The new version is active and the old one has to read what it writes: by shipping, and after a switch back.
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1));
    load(&mut world);
    assert_eq!([formats(&world, 0), formats(&world, 1)], [vec![1], vec![1]], "the floor is version 1 (R17)");
    let result = world.carried_out(0, Command::EnableFeatures { features: vec![] });
    assert!(result.is_err(), "not while the old version runs somewhere (R31)");
    world.command(1, Command::Load { hash: Edition::Two.hash() });
    world.run_until(|world| world.group(0).descriptor().hash == Edition::Two.hash());
    load(&mut world);
    assert_eq!([formats(&world, 0), formats(&world, 1)], [vec![1], vec![1]], "nothing is enabled yet");
    world.run_until(World::in_sync);
    world.command(1, Command::EnableFeatures { features: vec![] });
    load(&mut world);
    assert!(formats(&world, 0).contains(&2) && formats(&world, 0) == formats(&world, 1));
    assert_eq!(world.group(0).state().meta.floor, Edition::Two.version());
    // Below the floor nobody comes back: a processor with the old version is told what to load.
    world.command(1, Command::Load { hash: Edition::One.hash() });
    world.run_for(Micros::from_ms(500));
    world.settle_and_check();
    assert_eq!(world.group(0).descriptor().hash, Edition::Two.hash());
    // Nor does one that starts with it over an empty disk.
    world.kill(0, false);
    world.replace_disk(0);
    world.start(0);
    assert_eq!(world.group(0).descriptor().hash, Edition::One.hash());
    world.settle_and_check();
    assert_eq!(world.group(0).descriptor().hash, Edition::Two.hash(), "it is told what to load (R29, R31)");
}
