//! Lock step, mixed versions and divergence, as a pair lives through them (R14 to R18).

use lockstep_core::command::{Command, Role};
use lockstep_core::group::StandbyStart;
use lockstep_core::ids::Micros;
use lockstep_sim::clients::SimClient;
use lockstep_sim::ledger::Edition;
use lockstep_sim::world::{Settings, World};

/// A pair whose standby runs `edition`, under the load of two clients.
fn pair_with(edition: Edition, settings: Settings) -> World {
    let mut world = World::pair(7, Edition::One, settings);
    if edition != Edition::One {
        world.command(0, Command::Load { hash: edition.hash() });
        world.run_until(|world| world.group(1).descriptor().hash == edition.hash());
    }
    world.add_client(200);
    world.add_client(200);
    world
}

fn counts(world: &World) -> (u64, u64) {
    let counts = world.group(1).status(world.now).counts;
    (counts.in_lock_step, counts.shipped)
}

#[test]
fn the_same_version_runs_in_lock_step_behind_and_beside() {
    for standby in [StandbyStart::Behind, StandbyStart::Beside] {
        let mut world = pair_with(Edition::One, Settings { standby, ..Settings::default() });
        world.settle_and_check();
        let (in_lock_step, shipped) = counts(&world);
        assert!(in_lock_step > 250 && shipped == 0, "{in_lock_step} in lock step, {shipped} shipped");
    }
}

#[test]
fn a_twin_binary_of_the_same_version_runs_in_lock_step() {
    let mut world = pair_with(Edition::Twin, Settings::default());
    world.settle_and_check();
    let (in_lock_step, shipped) = counts(&world);
    assert!(in_lock_step > 250 && shipped == 0, "{in_lock_step} in lock step, {shipped} shipped");
}

#[test]
fn of_two_versions_only_the_procedures_that_differ_are_shipped() {
    let mut world = pair_with(Edition::Two, Settings::default());
    world.settle_and_check();
    let (in_lock_step, shipped) = counts(&world);
    assert!(in_lock_step > 50 && shipped > 100, "{in_lock_step} in lock step, {shipped} shipped");
    assert!(world.group(0).status(world.now).shipped.contains("transfer"));
}

#[test]
fn a_switchover_between_versions_keeps_shipping_what_differs() {
    let mut world = pair_with(Edition::Two, Settings::default());
    world.run_until(|world| world.clients[0].acknowledged.len() > 40);
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1));
    world.settle_and_check();
    assert!(world.group(0).status(world.now).counts.shipped > 50, "the old version gets shipped updates");
}

#[test]
fn a_version_that_computes_something_else_is_named_dropped_and_copied_once() {
    let settings = Settings { divergence_expected: true, story: true, ..Settings::default() };
    let mut world = pair_with(Edition::Wrong, settings);
    world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
    let report = world.story().iter().find(|line| line.contains("first difference")).expect("it is reported");
    assert!(report.contains(".credit, first difference: active accounts["), "{report}");
    let copies = |world: &World| world.seen.counts.get("copy").copied().unwrap_or(0);
    assert_eq!(copies(&world), 1, "a repeated divergence of one version ends automatic copies (R15)");
    assert_eq!(world.record().expect("there is a record").in_sync.len(), 1);
    // Nor do a new link or a restart bring it back by itself.
    world.cut();
    world.run_for(Micros::from_ms(500));
    world.kill(1, false);
    world.start(1);
    world.run_for(Micros::from_ms(500));
    assert_eq!((copies(&world), world.in_sync()), (1, false));
    // Another version does, with a copy of its own.
    world.command(0, Command::Load { hash: Edition::Twin.hash() });
    world.settle_and_check();
    assert_eq!(copies(&world), 2, "what diverged is replaced as a whole (R15)");
}

#[test]
fn a_standby_that_cannot_read_a_shipped_row_does_not_hold_it() {
    let settings = Settings { divergence_expected: true, story: true, ..Settings::default() };
    let mut world = pair_with(Edition::Two, settings);
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1));
    world.command(1, Command::Load { hash: Edition::Blind.hash() });
    world.run_until(|world| world.group(0).descriptor().hash == Edition::Blind.hash());
    world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
    let why = world.story().iter().find(|line| line.contains("riddle")).expect("it is told why");
    assert!(why.contains("can't be read"), "{why}");
    assert!(!world.in_sync(), "what it can't read does not count as held (R17)");
    world.command(1, Command::Load { hash: Edition::One.hash() });
    world.settle_and_check();
}

#[test]
fn an_operator_may_ask_for_one_more_copy_of_a_version_that_diverged() {
    let settings = Settings { divergence_expected: true, ..Settings::default() };
    let mut world = pair_with(Edition::Wrong, settings);
    world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
    assert!(!world.in_sync());
    world.command(0, Command::Integrate);
    world.settle_and_check();
}

#[test]
fn a_standby_that_diverged_is_promotable_until_the_record_drops_it() {
    let settings = Settings { divergence_expected: true, ..Settings::default() };
    let mut world = pair_with(Edition::Wrong, settings);
    world.run_until(|world| world.seen.counts.contains_key("diverged"));
    assert_eq!(world.record().expect("there is a record").in_sync.len(), 2);
    // The active dies before it has asked for the swap; what it has acknowledged, the other one holds.
    world.kill(0, false);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
    // The two versions still differ, so the new active has the old one dropped in turn, or copied once.
    world.command(1, Command::Load { hash: Edition::Wrong.hash() });
    world.settle_and_check();
}
