//! Several partitions of one application (R1): keys, and campaigns over all groups with a kill in any step.

use lockstep_core::campaign::{CampaignRecord, Redundancy, Step};
use lockstep_core::command::{Command, CommandError, Role};
use lockstep_core::event::{Answer, Encoding, Event, EventId, Rejection, Request};
use lockstep_core::ids::Micros;
use lockstep_core::partition::partition_of;
use lockstep_sim::chaos::plan;
use lockstep_sim::ledger::Edition;
use lockstep_sim::partitions::Partitions;
use lockstep_sim::world::{Settings, World};

fn under_way(seed: u64, count: u16, to: Edition, redundancy: Redundancy) -> Partitions {
    let mut partitions = Partitions::pairs(seed, Edition::One, count, &Settings::default());
    for world in &mut partitions.worlds {
        world.add_client(6_000);
    }
    partitions.run_until(|worlds| worlds.iter().all(|world| world.clients[0].acknowledged.len() > 10));
    // By now every group has been heard.
    partitions.run_for(Micros::from_ms(600));
    let mut plan = plan(Edition::One, to, redundancy);
    plan.gates.faults_max = if to == Edition::Broken { 0 } else { 1_000 };
    let result = partitions.carried_out(0, 0, Command::StartCampaign(Box::new(plan)));
    assert!(result.is_ok(), "{result:?}");
    assert!(campaign(&partitions.worlds[0], 1).is_some(), "what is accepted is held (R10)");
    partitions
}

fn campaign(world: &World, node: usize) -> Option<&CampaignRecord> {
    world.role(node)?;
    world.group(node).state().meta.campaign.as_deref()
}

fn over(worlds: &[World]) -> bool {
    worlds.iter().all(|world| {
        world.in_sync() && (0..2).all(|node| world.role(node).is_some() && campaign(world, node).is_none())
    })
}

fn editions(partitions: &Partitions) -> Vec<Edition> {
    let of = |world: &World, node: usize| Edition::of(world.group(node).descriptor().hash).unwrap();
    partitions.worlds.iter().flat_map(|world| [of(world, 0), of(world, 1)]).collect()
}

/// All groups ended alike, on one version, and nothing is lost.
#[track_caller]
fn assert_ended_alike(mut partitions: Partitions, what: &str) -> Step {
    partitions.run_until(over);
    let ends: Vec<_> = partitions
        .worlds
        .iter()
        .map(|world| {
            let meta = &world.group(world.active().unwrap()).state().meta;
            let last = meta.campaigns.last().expect("it is remembered everywhere");
            (last.step, last.id, last.reason.clone(), meta.features.clone(), meta.floor)
        })
        .collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{what}: {ends:?}");
    let editions = editions(&partitions);
    assert!(editions.iter().all(|edition| *edition == editions[0]), "{what}: {editions:?}");
    let right = if ends[0].0 == Step::Done { Edition::Two } else { Edition::One };
    assert_eq!(editions[0], right, "{what}");
    assert_eq!(ends[0].3.contains("fee"), ends[0].0 == Step::Done, "{what}");
    partitions.worlds.iter_mut().for_each(World::settle_and_check);
    // Shown when a test fails that wanted another end.
    println!("{what}: {ends:?}");
    ends[0].0
}

#[test]
fn a_campaign_takes_all_groups_step_by_step() {
    for redundancy in [Redundancy::Keep, Redundancy::Isolate] {
        let mut partitions = under_way(1, 3, Edition::Two, redundancy);
        while !over(&partitions.worlds) {
            partitions.run_for(Micros::from_ms(1));
            // No group is further than partition 0's: its record is held there first (R29).
            let leader = &partitions.worlds[0];
            let held =
                leader.active().and_then(|active| campaign(leader, active)).map(|record| record.revision);
            for world in &partitions.worlds[1..] {
                let copy = world.active().and_then(|active| campaign(world, active));
                if let (Some(copy), Some(held)) = (copy, held) {
                    assert!(copy.revision <= held, "{copy:?}");
                }
            }
        }
        let reason = partitions.worlds[0].group(0).state().meta.campaigns[0].reason.clone();
        assert_eq!(assert_ended_alike(partitions, "undisturbed"), Step::Done, "{reason}");
    }
}

#[test]
fn a_kill_in_any_step_of_either_processor_leaves_no_mixed_group() {
    for (seed, step) in (10..).zip(Step::forward()) {
        for victim in 0..2 {
            for delay_ms in [if victim == 0 { 0 } else { 25 }, 60] {
                let mut partitions = under_way(seed, 2, Edition::Two, Redundancy::Keep);
                let reached = |worlds: &[World]| {
                    let records = (0..2).filter_map(|node| campaign(&worlds[0], node));
                    let mut steps = records.map(|record| record.step);
                    steps.any(|now| now >= step) || over(worlds)
                };
                partitions.run_until(reached);
                partitions.run_for(Micros::from_ms(delay_ms));
                partitions.kill(victim);
                partitions.run_for(Micros::from_ms(900));
                partitions.start(victim);
                assert_ended_alike(partitions, &format!("{step:?}, {victim} killed after {delay_ms} ms"));
            }
        }
    }
}

#[test]
fn both_may_die_at_once() {
    for (seed, step) in (40..).zip(Step::forward()) {
        let mut partitions = under_way(seed, 2, Edition::Two, Redundancy::Keep);
        let reached =
            |world: &World| (0..2).filter_map(|node| campaign(world, node)).any(|now| now.step >= step);
        partitions.run_until(|worlds| reached(&worlds[1]) || over(worlds));
        (0..2).for_each(|node| partitions.kill(node));
        partitions.run_for(Micros::from_ms(50));
        (0..2).for_each(|node| partitions.start(node));
        assert_ended_alike(partitions, &format!("both killed in {step:?}"));
    }
}

#[test]
fn groups_that_are_active_on_different_processors_go_through_all_the_same() {
    let mut partitions = Partitions::pairs(60, Edition::One, 2, &Settings::default());
    for world in &mut partitions.worlds {
        (0..2).for_each(|_| world.add_client(6_000));
    }
    partitions.worlds[1].command(0, Command::SwitchOver);
    partitions.run_until(|worlds| worlds[1].active() == Some(1) && worlds[1].in_sync());
    partitions.run_for(Micros::from_ms(600));
    let plan = plan(Edition::One, Edition::Two, Redundancy::Keep);
    let result = partitions.carried_out(0, 0, Command::StartCampaign(Box::new(plan)));
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(assert_ended_alike(partitions, "mixed roles"), Step::Done);
}

#[test]
fn groups_whose_standbys_are_out_of_service_on_either_processor_hear_one_another() {
    let mut partitions = Partitions::pairs(61, Edition::One, 2, &Settings::default());
    partitions.worlds.iter_mut().for_each(|world| world.add_client(6_000));
    partitions.worlds[1].command(0, Command::SwitchOver);
    partitions.run_until(|worlds| worlds[1].active() == Some(1) && worlds[1].in_sync());
    partitions.run_for(Micros::from_ms(600));
    let plan = plan(Edition::One, Edition::Two, Redundancy::Isolate);
    partitions.worlds[0].command(0, Command::StartCampaign(Box::new(plan)));
    // Partition 0's record goes from processor a's group to one that is isolated there, and whose active is on b.
    partitions.run_until(|worlds| {
        worlds[0].role(1) == Some(Role::Isolated) && worlds[1].role(0) == Some(Role::Isolated)
    });
    partitions.worlds[0].command(0, Command::AbortCampaign { partner_gone: false });
    assert_eq!(assert_ended_alike(partitions, "aborted while both are isolated"), Step::FellBack);
}

#[test]
fn faults_of_all_groups_count_in_one_evaluation() {
    // Partition 0 has no traffic: what fails is seen in the other group alone.
    let mut partitions = Partitions::pairs(70, Edition::One, 2, &Settings::default());
    (0..2).for_each(|_| partitions.worlds[1].add_client(6_000));
    partitions.run_for(Micros::from_ms(700));
    let mut plan = plan(Edition::One, Edition::Broken, Redundancy::Keep);
    plan.gates.faults_max = 0;
    partitions.worlds[0].command(0, Command::StartCampaign(Box::new(plan)));
    partitions.run_until(over);
    let meta = &partitions.worlds[0].group(0).state().meta;
    let last = meta.campaigns.last().expect("it is remembered");
    assert_eq!(last.step, Step::FellBack);
    assert!(last.reason.contains("faults"), "{last:?}");
    assert_ended_alike(partitions, "a version that faults");
}

#[test]
fn a_campaign_waits_until_every_group_is_ready_and_belongs_to_partition_0() {
    let mut partitions = Partitions::pairs(80, Edition::One, 2, &Settings::default());
    let planned = || Command::StartCampaign(Box::new(plan(Edition::One, Edition::Two, Redundancy::Keep)));
    let result = partitions.carried_out(1, 0, planned());
    assert!(matches!(&result, Err(CommandError::NotNow(why)) if why.contains("partition 0")), "{result:?}");
    // Its standby is out of service there.
    partitions.worlds[1].command(0, Command::Isolate);
    partitions.run_until(|worlds| worlds[1].role(1) == Some(Role::Isolated));
    partitions.run_for(Micros::from_ms(600));
    let result = partitions.carried_out(0, 0, planned());
    assert!(
        matches!(&result, Err(CommandError::NotInSync(why)) if why.contains("partition 1")),
        "{result:?}"
    );
}

#[test]
fn an_abort_takes_all_groups_back_and_none_once_features_are_being_enabled() {
    for (seed, step) in (90..).zip(Step::forward()) {
        let mut partitions = under_way(seed, 2, Edition::Two, Redundancy::Keep);
        partitions.run_until(|worlds| {
            (0..2).filter_map(|node| campaign(&worlds[1], node)).any(|now| now.step >= step) || over(worlds)
        });
        let active = partitions.worlds[0].active().expect("there is one");
        let refused =
            partitions.carried_out(0, active, Command::AbortCampaign { partner_gone: false }).is_err();
        let end = assert_ended_alike(partitions, &format!("aborted in {step:?}"));
        assert_eq!(end, if refused { Step::Done } else { Step::FellBack }, "{step:?}");
    }
}

#[test]
fn nothing_leads_back_once_one_group_may_have_enabled() {
    let mut partitions = under_way(97, 2, Edition::Two, Redundancy::Keep);
    partitions.run_until(|worlds| {
        (0..2).filter_map(|node| campaign(&worlds[1], node)).any(|record| record.no_way_back)
    });
    let active = partitions.worlds[0].active().expect("there is one");
    let result = partitions.carried_out(0, active, Command::AbortCampaign { partner_gone: false });
    assert!(matches!(result, Err(CommandError::NotNow(_))), "{result:?}");
    assert_eq!(assert_ended_alike(partitions, "aborted too late"), Step::Done);
}

#[test]
fn a_step_waits_for_the_group_that_is_behind() {
    let mut partitions = under_way(98, 2, Edition::Two, Redundancy::Keep);
    // The other group loses its standby before that has the new version: campaign and timers wait.
    partitions.worlds[1].partitioned = true;
    partitions.worlds[1].cut();
    partitions.run_for(Micros::from_ms(1_200));
    let step = |partitions: &Partitions| campaign(&partitions.worlds[0], 0).map(|record| record.step);
    assert_eq!(step(&partitions), Some(Step::LoadFirst));
    assert_eq!(partitions.worlds[0].group(1).descriptor().hash, Edition::Two.hash(), "this one is ready");
    partitions.worlds[1].partitioned = false;
    // What is to be evaluated.
    partitions.worlds.iter_mut().for_each(|world| world.add_client(6_000));
    assert_eq!(assert_ended_alike(partitions, "a group that was behind"), Step::Done);
}

#[test]
fn an_event_runs_only_in_the_partition_of_its_key() {
    let mut partitions = Partitions::pairs(100, Edition::One, 2, &Settings::default());
    let event = |key: &str| Event {
        id: EventId::Keyed { key: key.into() },
        awaited_from: 0,
        procedure: "balance".into(),
        encoding: Encoding::Postcard,
        parameters: vec![],
        body: vec![],
    };
    let (key, wrong) = ("alice", 1 - usize::from(partition_of(b"alice", 2)));
    let by_key = |key: &str| Request::SubmitByKey { key: key.into(), event: event("1") };
    let world = &mut partitions.worlds[wrong];
    let last = world.group(0).state().meta.last;
    // At the active, and at the standby, which passes it on.
    let probes = [
        (
            world.probe(0, by_key(key)),
            Rejection::WrongPartition { partition: 1 - wrong as u16, partitions: 2 },
        ),
        (
            world.probe(1, by_key(key)),
            Rejection::WrongPartition { partition: 1 - wrong as u16, partitions: 2 },
        ),
        (world.probe(0, Request::Submit(event("2"))), Rejection::KeyMissing { partitions: 2 }),
    ];
    world.run_until(|world| probes.iter().all(|(probe, _)| world.answer(*probe).is_some()));
    for (probe, expected) in &probes {
        assert_eq!(world.answer(*probe), Some(&Answer::Rejected(expected.clone())));
    }
    assert_eq!(world.group(0).state().meta.last, last, "nothing was run");
    let right = &mut partitions.worlds[1 - wrong];
    let probe = right.probe(0, by_key(key));
    right.run_until(|world| world.answer(probe).is_some());
    let answer = right.answer(probe);
    let of_key = |answer: &Answer| {
        matches!(answer, Answer::Rejected(Rejection::WrongPartition { .. } | Rejection::KeyMissing { .. }))
    };
    assert!(answer.is_some_and(|answer| !of_key(answer)), "{answer:?}");
}
