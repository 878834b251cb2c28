//! Faults by seed for an application of several partitions (R1): campaigns over all groups, while processors die with all
//! their groups at once, links of single groups fail, and groups are active on different processors.
//!
//! At the end all groups have ended the last campaign alike, run one version, and keep the promise each for itself.
//! Deliberately absent: messages between these groups. Each world counts its own events, and they have the same ids.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use lockstep_core::campaign::Redundancy;
use lockstep_core::command::{Command, Role};
use lockstep_core::ids::Micros;

use crate::chaos::{plan, seen};
use crate::clients::SimClient;
use crate::ledger::Edition;
use crate::partitions::Partitions;
use crate::random::Random;
use crate::world::{Seen, Settings, World};

/// Runs one seed with so many groups to its end and checks the promise; tells what was seen in all groups.
///
/// # Panics
/// When the promise is broken.
#[must_use]
pub fn run(seed: u64, groups: u16) -> Seen {
    let (mut partitions, mut random) = prepare(seed, groups, false);
    play(&mut partitions, &mut random);
    let mut all = Seen::default();
    for (what, times) in partitions.worlds.iter().flat_map(|world| seen(world).counts) {
        *all.counts.entry(what).or_default() += times;
    }
    all
}

/// As [`run`], and prints the story of each group, also when the promise is broken.
///
/// # Panics
/// When it is.
pub fn tell(seed: u64, groups: u16) {
    let (mut partitions, mut random) = prepare(seed, groups, true);
    let end = catch_unwind(AssertUnwindSafe(|| play(&mut partitions, &mut random)));
    for (partition, world) in partitions.worlds.iter().enumerate() {
        println!("partition {partition}");
        world.story().iter().for_each(|line| println!("{line}"));
    }
    if let Err(panic) = end {
        resume_unwind(panic);
    }
}

fn prepare(seed: u64, groups: u16, story: bool) -> (Partitions, Random) {
    let mut random = Random::new(seed.wrapping_mul(0x1234_5677));
    let settings = Settings {
        unknown_swaps_percent: if random.percent(30) { 20 } else { 0 },
        recent_bytes_max: if random.percent(30) { 4_000 } else { 1 << 20 },
        batch_us_max: if random.percent(50) { 300 } else { 0 },
        build_rows_max: 8,
        chunk_rows_max: 3,
        story,
        ..Settings::default()
    };
    let mut partitions = Partitions::pairs(seed, Edition::One, groups, &settings);
    for world in &mut partitions.worlds {
        for _ in 0..random.within(1, 3) {
            world.add_client(u64::MAX);
        }
    }
    (partitions, random)
}

fn play(partitions: &mut Partitions, random: &mut Random) {
    for _ in 0..random.within(4, 12) {
        partitions.run_for(Micros(random.within(1_000, 60_000)));
        injure(partitions, random);
    }
    settle_and_check(partitions);
}

/// Does one thing to a processor, to one group, or to all of them.
fn injure(partitions: &mut Partitions, random: &mut Random) {
    let node = random.within(0, 2) as usize;
    let at = random.within(0, partitions.worlds.len() as u64) as usize;
    let leader = partitions.worlds[0].active();
    match random.within(0, 14) {
        0..=2 => {
            // The one that drives the campaigns, most of the time.
            let node = leader.unwrap_or(node);
            partitions.kill(node);
            partitions.run_for(Micros(random.within(1_000, 900_000)));
            start_dead(partitions);
        }
        3 => {
            partitions.kill(node);
            partitions.run_for(Micros(random.within(1_000, 60_000)));
            start_dead(partitions);
        }
        4 => {
            (0..2).for_each(|node| partitions.kill(node));
            partitions.run_for(Micros(random.within(1_000, 60_000)));
            start_dead(partitions);
        }
        5 => partitions.worlds[at].cut(),
        6 => {
            let world = &mut partitions.worlds[at];
            world.partitioned = true;
            world.seen.add("partition");
            world.cut();
            partitions.run_for(Micros(random.within(1_000, 900_000)));
            partitions.worlds[at].partitioned = false;
        }
        7 => partitions.worlds[at].cut_one_way(node, Micros(random.within(1_000, 600_000))),
        8 => partitions.worlds[at].delay(node, Micros(random.within(1_000, 300_000))),
        9 => {
            let length = Micros(random.within(1_000, 900_000));
            partitions.worlds.iter_mut().for_each(|world| world.pause(node, length));
        }
        10 => {
            // Refused while a campaign is under way; else the group is active on the other processor from here on.
            if let Some(active) = partitions.worlds[at].active() {
                partitions.worlds[at].seen.add("switchover asked for");
                partitions.worlds[at].command(active, Command::SwitchOver);
            }
        }
        _ => start_campaign(partitions, random),
    }
}

fn start_campaign(partitions: &mut Partitions, random: &mut Random) {
    // Every group has to be in sync, and heard.
    partitions.run_for(Micros(random.within(1_000, 900_000)));
    let world = &mut partitions.worlds[0];
    let Some(active) = world.active() else { return };
    let from = Edition::of(world.group(active).descriptor().hash).expect("only editions run here");
    let targets: &[Edition] = match from {
        Edition::One => &[Edition::Two, Edition::Twin, Edition::Broken],
        Edition::Twin => &[Edition::Two, Edition::One],
        _ => &[Edition::One, Edition::Broken],
    };
    let to = targets[random.within(0, targets.len() as u64) as usize];
    let redundancy = if random.percent(30) { Redundancy::Isolate } else { Redundancy::Keep };
    let mut plan = plan(from, to, redundancy);
    plan.gates.faults_max = if to == Edition::Broken { 0 } else { 1_000 };
    plan.enable_features = random.percent(50);
    world.seen.add("campaign asked for");
    world.command(active, Command::StartCampaign(Box::new(plan)));
    if random.percent(30) {
        partitions.run_for(Micros(random.within(1_000, 200_000)));
        let world = &mut partitions.worlds[0];
        if let Some(active) = world.active() {
            world.seen.add("abort of a campaign asked for");
            world.command(active, Command::AbortCampaign { partner_gone: false });
        }
    }
}

fn start_dead(partitions: &mut Partitions) {
    for node in 0..2 {
        if partitions.worlds.iter().all(|world| world.role(node).is_none()) {
            partitions.start(node);
        }
    }
}

/// Ends all faults, lets everything come to rest, and checks that all groups came to the same end.
fn settle_and_check(partitions: &mut Partitions) {
    start_dead(partitions);
    for world in &mut partitions.worlds {
        world.partitioned = false;
        world.clients.iter_mut().for_each(SimClient::stop);
    }
    partitions.run_until(|worlds| {
        worlds.iter().all(|world| {
            let roles = (0..2).all(|node| {
                world.role(node).is_some_and(|role| matches!(role, Role::Active | Role::Standby))
                    && world.group(node).state().meta.campaign.is_none()
            });
            // One that was away when a campaign ended is led to what it ended with, once it is back (R29).
            let alike = world.group(0).descriptor().hash == world.group(1).descriptor().hash;
            roles && alike && world.in_sync()
        })
    });
    let end = |world: &World, node: usize| {
        let (meta, runs) = (&world.group(node).state().meta, world.group(node).descriptor().hash);
        let last = meta.campaigns.last().map(|campaign| (campaign.id, campaign.step));
        (Edition::of(runs), last, meta.features.clone(), meta.floor)
    };
    let ends: Vec<_> = partitions.worlds.iter().flat_map(|world| [end(world, 0), end(world, 1)]).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "the groups came to different ends: {ends:?} (R1)");
    partitions.worlds.iter_mut().for_each(World::settle_and_check);
}
