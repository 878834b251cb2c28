//! Faults by seed: kills, power cuts, cut links, partitions, pauses, switchovers and whole campaigns at any moment.

use lockstep_core::campaign::{CampaignPlan, Decide, Gates, OwnChecks, Redundancy};
use lockstep_core::command::{Command, Role};
use lockstep_core::group::{StandbyStart, StepUps};
use lockstep_core::ids::Micros;

use crate::clients::SimClient;
use crate::disorder::disturb;
use crate::later_faults::{harm, may_harm};
use crate::ledger::Edition;
use crate::random::Random;
use crate::world::{Seen, Settings, World};

/// A campaign's plan from one edition to another, with short gates.
#[must_use]
pub fn plan(from: Edition, to: Edition, redundancy: Redundancy) -> CampaignPlan {
    CampaignPlan {
        from: from.version(),
        from_hash: from.hash(),
        to: to.version(),
        to_hash: to.hash(),
        redundancy,
        gates: Gates {
            time_min_ms: 100,
            events_min: 20,
            time_max_ms: 1_000,
            faults_max: 1_000,
            divergences_max: 0,
            latency_ratio_max_percent: 0,
            latency_floor_us: 0,
        },
        own_checks: OwnChecks::default(),
        decide: Decide::Automatic,
        rollback_after_ms: 2_000,
        step_time_max_ms: 2_000,
        enable_features: true,
        notify: String::new(),
        retire: vec![],
        only_new: vec![],
        started_by: "simulation".into(),
        why: String::new(),
    }
}

/// What a seed means. A later one injects more, so the same seed is another run; a seed that once failed is kept with
/// what it meant then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// Kills, cuts, partitions, pauses, damaged disks, commands, campaigns.
    First,
    /// Beside these deaths in the middle of a batch, one-way cuts, delays, slow and lost disks, clocks that jump.
    Second,
    /// Beside these events that kill their processor, hang or come late, and a version that kills.
    Third,
    /// Beside these a version with derived tables, from the start or by a change of versions.
    Fourth,
    /// Beside these events that act on the world.
    Fifth,
    /// Beside these timers and messages, whose words may be lost or doubled.
    Sixth,
    /// Beside these disks that fail under a running processor, and clients that vanish.
    Seventh,
    /// Beside these `durability: replicated`, in a quarter of the lives.
    Eighth,
    /// Beside these links that are late for themselves, a link that is dialled anew, and full disks.
    Ninth,
    /// Beside these procedures whose step-ups are told together, in half of the lives.
    Tenth,
}

impl Generation {
    const ALL: [Generation; 10] = [
        Generation::First,
        Generation::Second,
        Generation::Third,
        Generation::Fourth,
        Generation::Fifth,
        Generation::Sixth,
        Generation::Seventh,
        Generation::Eighth,
        Generation::Ninth,
        Generation::Tenth,
    ];

    /// The one called `number`, from 1 on.
    #[must_use]
    pub fn numbered(number: usize) -> Option<Self> {
        Self::ALL.get(number.checked_sub(1)?).copied()
    }
}

/// What a seed means that names no generation.
pub const LATEST: Generation = Generation::Tenth;

/// Runs one seed to its end and checks the promise.
///
/// # Panics
/// When the promise is broken.
#[must_use]
pub fn run(seed: u64, story: bool) -> World {
    run_as(LATEST, seed, story)
}

/// Runs one seed as the generation `generation` means it.
///
/// # Panics
/// When the promise is broken.
#[must_use]
pub fn run_as(generation: Generation, seed: u64, story: bool) -> World {
    let (mut world, mut random) = prepare(generation, seed, story, false);
    play(&mut world, &mut random, generation);
    world
}

/// Runs one seed with the real store beside each disk.
///
/// # Panics
/// When the promise is broken, or the store loses something.
#[must_use]
pub fn run_over_real_store(generation: Generation, seed: u64) -> World {
    let (mut world, mut random) = prepare(generation, seed, false, true);
    play(&mut world, &mut random, generation);
    world
}

/// Runs one seed and prints its story, also when the promise is broken; with `real_store` over the real store.
///
/// # Panics
/// When it is.
pub fn tell(generation: Generation, seed: u64, real_store: bool) {
    let (mut world, mut random) = prepare(generation, seed, true, real_store);
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        play(&mut world, &mut random, generation);
    }));
    world.story().iter().for_each(|line| println!("{line}"));
    if let Err(panic) = end {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn prepare(generation: Generation, seed: u64, story: bool, real_store: bool) -> (World, Random) {
    let mut random = Random::new(seed.wrapping_mul(0x1234_5677));
    let mut settings = Settings {
        step_ups: StepUps::Apart,
        standby: if random.percent(25) { StandbyStart::Beside } else { StandbyStart::Behind },
        unknown_swaps_percent: if random.percent(30) { 20 } else { 0 },
        recent_bytes_max: if random.percent(30) { 4_000 } else { 1 << 20 },
        divergence_expected: random.percent(10),
        batch_us_max: if random.percent(50) { 300 } else { 0 },
        sync_us_max: if random.percent(20) { 20_000 } else { 600 },
        undos_recovered: random.percent(70),
        build_rows_max: 8,
        chunk_rows_max: 3,
        derived_may_break: false,
        real_store,
        story,
        ..Settings::default()
    };
    if generation >= Generation::Sixth {
        settings.posts = random.percent(70);
        settings.words_lost_percent = if random.percent(50) { 10 } else { 0 };
    }
    if generation >= Generation::Eighth {
        settings.replicated = random.percent(25);
    }
    if generation >= Generation::Tenth && random.percent(50) {
        settings.step_ups = StepUps::Together;
    }
    let first = match generation {
        _ if generation >= Generation::Fourth && !settings.divergence_expected && random.percent(30) => {
            Edition::Indexed
        }
        _ => Edition::One,
    };
    let mut world = World::pair(seed, first, settings);
    if world.settings().replicated {
        // Two that lose what the operating systems had are more than `replicated` promises to survive.
        world.weak = Some(random.within(0, 2) as usize);
    }
    let endless = random.percent(50);
    for _ in 0..random.within(1, 5) {
        // Some are done long before the faults are, others load the pair all the time.
        world.add_client(if endless { u64::MAX } else { random.within(20, 120) });
        if let Some(client) = world.clients.last_mut() {
            client.acts_percent = if generation >= Generation::Fifth { 25 } else { 0 };
        }
    }
    (world, random)
}

fn play(world: &mut World, random: &mut Random, generation: Generation) {
    let faults = random.within(3, 14);
    if generation >= Generation::Third && random.percent(50) {
        world.noteless_percent = if random.percent(30) { 50 } else { 0 };
        world.clients.iter_mut().for_each(|client| client.deadly_permille = 12);
    }
    for _ in 0..faults {
        world.run_for(Micros(random.within(100, 40_000)));
        injure(world, random, generation);
    }
    world.clients.iter_mut().for_each(SimClient::stop);
    world.settle_and_check();
}

/// Does one thing to the pair, whatever it is in the middle of.
pub(crate) fn injure(world: &mut World, random: &mut Random, generation: Generation) {
    match generation {
        _ if generation >= Generation::Third && random.percent(10) => bring_deadly(world),
        Generation::First => fault(world, random, generation),
        _ if generation >= Generation::Ninth && random.percent(15) => disturb(world, random),
        _ if generation >= Generation::Seventh && random.percent(12) => harm(world, random),
        _ if random.percent(45) => further_fault(world, random),
        _ => fault(world, random, generation),
    }
}

fn fault(world: &mut World, random: &mut Random, generation: Generation) {
    let node = random.within(0, 2) as usize;
    let active = world.active();
    match random.within(0, 19) {
        0..=3 => {
            // The active, most of the time: that is where it hurts.
            let node = active.unwrap_or(node);
            world.kill(node, random.percent(40));
            world.run_for(Micros(random.within(100, 30_000)));
            start(world, node);
        }
        4 | 5 => {
            if world.role(node).is_some() {
                world.kill(node, random.percent(40));
                world.run_for(Micros(random.within(100, 30_000)));
                start(world, node);
            }
        }
        6 => {
            (0..2).for_each(|node| world.kill(node, random.percent(60)));
            start(world, node);
            world.run_for(Micros(random.within(100, 30_000)));
            start(world, 1 - node);
        }
        7 => world.cut(),
        8 => world.cut_after_frames(random.within(0, 60)),
        9 => {
            // Cut in the middle of a batch, and the active dies before the link is back.
            world.cut_after_frames(random.within(0, 40));
            world.run_for(Micros(random.within(500, 3_000)));
            if let Some(active) = world.active() {
                world.kill(active, random.percent(40));
                world.run_for(Micros(random.within(1_000, 30_000)));
                start(world, active);
            }
        }
        10 => {
            world.partitioned = true;
            world.seen.add("partition");
            world.cut();
            world.run_for(Micros(random.within(1_000, 900_000)));
            world.partitioned = false;
        }
        11 => world.pause(active.unwrap_or(node), Micros(random.within(1_000, 1_000_000))),
        12 => {
            world.seen.add("switchover asked for");
            world.command(node, Command::SwitchOver);
        }
        13 => {
            world.seen.add("isolation asked for");
            world.command(node, Command::Isolate);
            world.run_for(Micros(random.within(100, 30_000)));
            if world.role(node).is_some() {
                world.command(node, Command::Integrate);
            }
        }
        14 => load(world, random, node, generation),
        15 => world.command(node, Command::EnableFeatures { features: vec![] }),
        16 => {
            // A disk is found damaged. Only one is at a time: two have nobody left who could be trusted.
            if may_harm(world, node)
                && active.is_some_and(|active| active != node)
                && world.role(node).is_some()
            {
                world.kill(node, random.percent(40));
                world.run_for(Micros(random.within(100, 30_000)));
                if world.role(node).is_none() {
                    world.start_untrusted(node);
                }
            }
        }
        _ => start_campaign(world, random, generation),
    }
}

/// Starts a processor, unless it was started again after a death of its own in the meantime.
pub(crate) fn start(world: &mut World, node: usize) {
    if world.role(node).is_none() {
        world.start(node);
    }
}

/// Runs on for up to `us_max` microseconds and starts whoever is dead.
fn start_dead(world: &mut World, random: &mut Random, us_max: u64) {
    world.run_for(Micros(random.within(500, us_max)));
    world.forget_cut();
    for node in 0..2 {
        if world.role(node).is_none() {
            start(world, node);
        }
    }
}

fn further_fault(world: &mut World, random: &mut Random) {
    let node = random.within(0, 2) as usize;
    match random.within(0, 14) {
        0..=6 => {
            // In the middle of whatever is being sent.
            world.die_after_frames(random.within(0, 30));
            start_dead(world, random, 30_000);
        }
        7 => {
            world.cut_one_way(node, Micros(random.within(1_000, 900_000)));
            if random.percent(50) {
                world.run_for(Micros(random.within(1_000, 900_000)));
            }
        }
        8 | 9 => world.delay(node, Micros(random.within(1_000, 400_000))),
        10 | 11 => world.slow_disk(node, Micros(random.within(10_000, 500_000))),
        12 => {
            let behind = if random.percent(50) { 0 } else { random.within(0, 40_000) };
            world.jump_clock(node, Micros(behind));
        }
        _ => {
            if may_harm(world, node)
                && world.active().is_some_and(|active| active != node)
                && world.role(node).is_some()
            {
                world.kill(node, true);
                world.replace_disk(node);
                start_dead(world, random, 30_000);
            }
        }
    }
}

/// A campaign brings a version that kills its processor; it has to fall back.
fn bring_deadly(world: &mut World) {
    let Some(active) = world.active() else { return };
    let from = Edition::of(world.group(active).descriptor().hash).expect("only editions run here");
    if from.version() == Edition::One.version() && !world.settings().divergence_expected {
        world.seen.add("campaign to what kills asked for");
        let plan = plan(from, Edition::Deadly, Redundancy::Keep);
        world.command(active, Command::StartCampaign(Box::new(plan)));
        world.run_for(Micros::from_ms(100));
    }
}

fn load(world: &mut World, random: &mut Random, node: usize, generation: Generation) {
    let wrong = world.settings().divergence_expected;
    let editions: &[Edition] = match generation {
        _ if wrong => &[Edition::Wrong, Edition::One],
        Generation::Fourth | Generation::Fifth => {
            &[Edition::One, Edition::Twin, Edition::Two, Edition::Indexed]
        }
        _ => &[Edition::One, Edition::Twin, Edition::Two],
    };
    let edition = editions[random.within(0, editions.len() as u64) as usize];
    world.seen.add("version change asked for");
    world.command(node, Command::Load { hash: edition.hash() });
}

fn start_campaign(world: &mut World, random: &mut Random, generation: Generation) {
    let Some(active) = world.active() else { return };
    let from = Edition::of(world.group(active).descriptor().hash).expect("only editions run here");
    let targets: &[Edition] = match from {
        Edition::One | Edition::Wrong if world.settings().divergence_expected => {
            &[Edition::Wrong, Edition::Two]
        }
        Edition::Indexed | Edition::Lost | Edition::Slim => &[Edition::Two, Edition::One, Edition::Broken],
        Edition::One | Edition::Twin | Edition::Two
            if generation >= Generation::Fourth && random.percent(50) =>
        {
            &[Edition::Indexed]
        }
        Edition::One | Edition::Wrong | Edition::Blind => &[Edition::Two, Edition::Twin, Edition::Broken],
        Edition::Twin => &[Edition::Two, Edition::One],
        Edition::Two | Edition::Broken | Edition::Deadly | Edition::Smudged | Edition::Three => {
            &[Edition::One, Edition::Broken]
        }
    };
    let to = targets[random.within(0, targets.len() as u64) as usize];
    let redundancy = if random.percent(30) { Redundancy::Isolate } else { Redundancy::Keep };
    let mut plan = plan(from, to, redundancy);
    if to == Edition::Broken {
        plan.gates.faults_max = 0;
    }
    plan.enable_features = random.percent(30);
    world.seen.add("campaign asked for");
    world.command(active, Command::StartCampaign(Box::new(plan)));
    if random.percent(20) {
        world.run_for(Micros(random.within(1_000, 100_000)));
        if let Some(active) = world.active() {
            world.seen.add("abort of a campaign asked for");
            world.command(active, Command::AbortCampaign { partner_gone: false });
        }
    }
}

/// What a run has seen, with what its groups counted.
#[must_use]
pub fn seen(world: &World) -> Seen {
    let mut seen = world.seen.clone();
    seen.counts.insert("late unit".into(), world.late_units());
    let retries = world.clients.iter().map(|client| client.retries).sum();
    seen.counts.insert("client retry".into(), retries);
    for node in 0..2 {
        if world.role(node).is_some_and(|role| role != Role::Starting) {
            let counts = world.group(node).status(world.now).counts;
            for (name, count) in [("shipped", counts.shipped), ("lock step", counts.in_lock_step)] {
                *seen.counts.entry(name.into()).or_default() += count;
            }
        }
    }
    seen
}
