//! Rows go into their new format in chunks of the stream (R31): whatever dies or comes back meanwhile, all of them do.

use lockstep_core::campaign::Redundancy;
use lockstep_core::command::{Command, CommandError, FeatureState};
use lockstep_core::entry::TableMeta;
use lockstep_core::ids::{Micros, TableId};
use lockstep_core::message::{Frame, PeerMessage, PlainBody};
use lockstep_core::migration::{Chunk, Migration};
use lockstep_core::verdict::{Verdict, compare, rows_unread};
use lockstep_sim::chaos::plan;
use lockstep_sim::clients::SimClient;
use lockstep_sim::ledger::{ACCOUNTS, Edition, Ledger};
use lockstep_sim::world::{Settings, World};

use lockstep_core::application::Application;

fn settings() -> Settings {
    Settings { chunk_rows_max: 1, story: true, ..Settings::default() }
}

/// A pair that runs version 1 with rows in format 1, brought to `edition` on both sides without a campaign.
fn upgraded(edition: Edition) -> World {
    let mut world = World::pair(5, Edition::One, settings());
    (0..3).for_each(|_| world.add_client(u64::MAX));
    world.run_until(|world| world.clients[0].acknowledged.len() > 100);
    for active in 0..2 {
        let other = 1 - active;
        world.command(active, Command::Load { hash: edition.hash() });
        world.run_until(|world| world.group(other).descriptor().hash == edition.hash() && world.in_sync());
        world.command(active, Command::SwitchOver);
        world.run_until(|world| world.active() == Some(other) && world.in_sync());
    }
    world
}

fn enable(world: &mut World) {
    let result = world.carried_out(0, Command::EnableFeatures { features: vec![] });
    assert!(result.is_ok(), "{result:?}");
}

fn migration(world: &World, node: usize) -> Option<&Migration> {
    world.group(node).state().meta.migration.as_deref()
}

fn accounts(world: &World, node: usize) -> &TableMeta {
    &world.group(node).state().meta.tables[&TableId::of(ACCOUNTS)]
}

fn rows(world: &World, node: usize) -> u64 {
    migration(world, node).map_or(0, |migration| migration.tables.values().map(|course| course.rows).sum())
}

/// In the middle: some rows are through, and not all.
fn half_way(world: &mut World) {
    enable(world);
    world.run_until(|world| rows(world, 0) >= 3 && rows(world, 1) >= 3);
    let table = TableId::of(ACCOUNTS);
    assert!((rows(world, 0) as usize) < world.group(0).state().tables.len(table), "it is not through yet");
}

fn through(world: &World) -> bool {
    (0..2).all(|node| world.role(node).is_some() && migration(world, node).is_none()) && world.in_sync()
}

fn told(world: &World, what: &str) -> bool {
    world.story().iter().any(|line| line.contains(what))
}

fn old_rows(world: &World, node: usize) -> usize {
    let mut found = 0;
    world.group(node).state().tables.scan(TableId::of(ACCOUNTS), &[], None, &mut |_, row| {
        found += usize::from(row[0] == 1);
        true
    });
    found
}

fn end_and_check(world: &mut World) {
    world.run_until(through);
    for node in 0..2 {
        assert_eq!(old_rows(world, node), 0, "every row is in its new format");
        assert_eq!((accounts(world, node).oldest, accounts(world, node).left), (2, 0));
    }
    world.clients.iter_mut().for_each(SimClient::stop);
    world.settle_and_check();
}

#[test]
fn rows_that_nobody_writes_get_the_new_format_too_while_events_go_on() {
    let mut world = upgraded(Edition::Two);
    // Nobody writes any more: what the chunks do is done by them alone.
    world.clients.iter_mut().for_each(SimClient::stop);
    world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
    let (table, fee) = (TableId::of(ACCOUNTS), "fee");
    let there = world.group(0).state().tables.len(table);
    assert_eq!(old_rows(&world, 0), there);
    assert_eq!(world.group(0).state().meta.feature_state(fee), FeatureState::Off);
    enable(&mut world);
    let mut before = rows(&world, 0);
    while migration(&world, 0).is_some() {
        let group = world.group(0);
        assert_eq!(group.state().meta.feature_state(fee), FeatureState::Migrating);
        let status = group.status(world.now).migration.expect("it shows how far it is");
        assert_eq!((status.of, status.left), (there as u64, 0), "{status:?}");
        assert!(rows(&world, 0) <= before + 1, "a chunk is bounded, and waits until the one before is held");
        assert_eq!(accounts(&world, 0).oldest, 1, "a reader of format 1 is needed until all are through");
        before = rows(&world, 0);
        world.check_formats(0);
        world.run_for(Micros(100));
    }
    assert_eq!(before as usize, there, "one row a chunk, none twice");
    assert_eq!(world.group(0).state().meta.feature_state(fee), FeatureState::On);
    end_and_check(&mut world);
}

#[test]
fn whoever_is_killed_in_the_middle_it_goes_on_from_its_cursor() {
    for (victim, power) in [(0, false), (0, true), (1, false), (1, true)] {
        let mut world = upgraded(Edition::Two);
        half_way(&mut world);
        let before = rows(&world, 1 - victim);
        world.kill(victim, power);
        world.run_until(|world| world.active() == Some(1 - victim));
        let course = rows(&world, 1 - victim);
        assert!(course >= before || migration(&world, 1 - victim).is_none(), "it does not begin anew");
        world.run_for(Micros::from_ms(20));
        world.start(victim);
        end_and_check(&mut world);
    }
}

#[test]
fn both_restart_in_the_middle_and_it_goes_on_by_itself() {
    let mut world = upgraded(Edition::Two);
    half_way(&mut world);
    let before = rows(&world, 0).min(rows(&world, 1));
    (0..2).for_each(|node| world.kill(node, false));
    (0..2).for_each(|node| world.start(node));
    assert!((0..2).all(|node| rows(&world, node) >= before), "the cursor stands in the database");
    end_and_check(&mut world);
}

#[test]
fn a_standby_that_was_away_comes_back_by_entries_or_by_a_copy_in_the_middle() {
    for copied in [false, true] {
        let mut world = upgraded(Edition::Two);
        world.kill(1, true);
        world.run_until(|world| world.record().is_some_and(|record| record.in_sync.len() == 1));
        world.start(1);
        world.run_until(World::in_sync);
        half_way(&mut world);
        world.kill(1, true);
        if copied {
            world.replace_disk(1);
        }
        world.run_for(Micros(1_500));
        world.start(1);
        end_and_check(&mut world);
    }
}

#[test]
fn a_switchover_in_the_middle_hands_it_over() {
    let mut world = upgraded(Edition::Two);
    half_way(&mut world);
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1));
    end_and_check(&mut world);
}

#[test]
fn it_rests_while_a_campaign_is_under_way() {
    let mut world = upgraded(Edition::Two);
    half_way(&mut world);
    let campaign = plan(Edition::Two, Edition::Broken, Redundancy::Keep);
    let result = world.carried_out(0, Command::StartCampaign(Box::new(campaign)));
    assert!(result.is_ok(), "{result:?}");
    let stood = rows(&world, 0);
    world.run_for(Micros::from_ms(20));
    assert!(world.group(0).state().meta.campaign.is_some());
    assert_eq!(rows(&world, 0), stood, "a campaign measures, and is not disturbed (R30)");
    end_and_check(&mut world);
}

#[test]
fn a_row_that_cannot_be_read_stays_and_is_told_and_tried_again_by_a_version_that_can() {
    let mut world = upgraded(Edition::Smudged);
    world.clients.iter_mut().for_each(SimClient::stop);
    world.run_until(|world| world.clients.iter().all(SimClient::is_idle));
    enable(&mut world);
    world.run_until(through);
    assert_eq!(world.seen.counts.get("rows left by a migration"), Some(&1), "{:?}", world.seen.counts);
    for node in 0..2 {
        assert_eq!(old_rows(&world, node), 1, "it stays as it is, and the others are through");
        assert_eq!((accounts(&world, node).oldest, accounts(&world, node).left), (1, 1));
    }
    // No version without a reader of format 1 may come, however the two declare themselves.
    let oldest = || world.group(0).state().meta.oldest_formats();
    let three = Ledger::new(Edition::Three);
    assert!(rows_unread(oldest(), three.descriptor())[0].contains("format 1"));
    // Version 2 as it should be reads it: enabling again looks at what was left.
    let active = world.active().expect("there is an active");
    world.command(active, Command::Load { hash: Edition::Two.hash() });
    let two = Edition::Two.hash();
    world.run_until(|world| world.group(1 - active).descriptor().hash == two && world.in_sync());
    world.command(active, Command::SwitchOver);
    world.run_until(|world| world.active() == Some(1 - active) && world.in_sync());
    let active = 1 - active;
    let floor = world.group(active).state().meta.floor;
    let result = world.carried_out(active, Command::EnableFeatures { features: vec![] });
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(world.group(active).state().meta.floor, floor, "nothing new is enabled");
    world.run_until(through);
    let result = world.carried_out(active, Command::EnableFeatures { features: vec![] });
    assert!(matches!(result, Err(CommandError::NotNow(_))), "{result:?}");
    end_and_check(&mut world);
}

#[test]
fn a_version_without_the_old_reader_is_taken_when_the_migration_is_through_and_not_before() {
    let [two, three] = [Edition::Two, Edition::Three].map(Ledger::new);
    assert_ne!(compare(two.descriptor(), three.descriptor()).verdict, Verdict::Incompatible);
    let mut world = upgraded(Edition::Two);
    half_way(&mut world);
    world.command(0, Command::Load { hash: Edition::Three.hash() });
    let mut refused = false;
    while migration(&world, 0).is_some() {
        world.run_for(Micros(100));
        refused |= told(&world, "until its migration is through");
        let runs = world.group(1).descriptor().hash;
        assert!(
            migration(&world, 0).is_none() || runs != Edition::Three.hash(),
            "not while rows may be in format 1"
        );
    }
    assert!(refused);
    world.run_until(through);
    world.command(0, Command::Load { hash: Edition::Three.hash() });
    world.run_until(|world| world.group(1).descriptor().hash == Edition::Three.hash() && world.in_sync());
    end_and_check(&mut world);
}

#[test]
fn a_chunk_that_continues_nothing_is_refused() {
    let mut world = World::pair(7, Edition::Two, Settings { divergence_expected: true, ..settings() });
    let table = TableId::of(ACCOUNTS);
    let chunk = Chunk { table, upto: None, rows: 0, left: 0, ops: vec![] };
    let number = world.group(1).state().meta.last.next();
    let message = PeerMessage::Plain { number, time: world.now, body: PlainBody::Migrated(Box::new(chunk)) };
    let term = world.group(0).term();
    world.inject(1, Frame { term, message });
    world.run_for(Micros::from_ms(5));
    assert!(told(&world, "not the next one"), "{}", world.describe());
    world.settle_and_check();
}
