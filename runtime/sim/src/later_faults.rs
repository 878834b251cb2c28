//! Disks that fail under a running processor (R26), and clients that vanish (R12).
//!
//! Invariant: of two stores one can always be trusted. What takes both is more than a pair can survive.

use lockstep_core::command::{Command, Role};
use lockstep_core::ids::Micros;

use crate::chaos::start;
use crate::random::Random;
use crate::world::World;

/// Whether the disk of `node` may be harmed in this life.
pub(crate) fn may_harm(world: &World, node: usize) -> bool {
    world.weak.is_none_or(|weak| weak == node) && !world.disk_has_failed(1 - node)
}

/// Fails a disk, or lets a client vanish.
pub(crate) fn harm(world: &mut World, random: &mut Random) {
    let active = world.active();
    match (random.within(0, 6), active) {
        (0, Some(active)) if may_harm(world, active) && is_calm(world, active) => {
            world.seen.add("failed disk of an active with a standby");
            fail(world, random, active);
        }
        (1, Some(active)) if may_harm(world, 1 - active) && world.role(1 - active) == Some(Role::Standby) => {
            world.seen.add("failed disk of a standby");
            fail(world, random, 1 - active);
        }
        (2, Some(active)) if may_harm(world, active) && is_calm(world, active) => {
            fail_alone(world, random, active);
        }
        _ => vanish(world, random),
    }
}

/// Whether nobody is isolated, or will be by what is under way: an isolated one would not come back by itself.
fn is_calm(world: &World, active: usize) -> bool {
    let campaign = world.group(active).state().meta.campaign.is_some();
    world.in_sync() && !campaign && (0..2).all(|node| !world.is_paused(node))
}

fn fail(world: &mut World, random: &mut Random, node: usize) {
    world.forget_cut();
    world.fail_disk(node);
    world.run_until(|world| world.role(node).is_none());
    world.run_for(Micros(random.within(100, 30_000)));
    start(world, node);
}

/// The active's disk fails while its partner is dead and out of the record: it serves reads until the partner, back
/// and in sync, takes over. Nothing else happens to either of them meanwhile.
fn fail_alone(world: &mut World, random: &mut Random, node: usize) {
    world.forget_cut();
    world.partitioned = false;
    world.kill(1 - node, false);
    world.run_for(Micros::from_ms(20));
    let alone = |world: &World| world.record().is_some_and(|record| record.in_sync.len() == 1);
    if world.active() != Some(node) || !alone(world) || world.role(1 - node).is_some() {
        return start(world, 1 - node);
    }
    world.seen.add("failed disk of an active alone");
    world.fail_disk(node);
    world.run_for(Micros(random.within(100, 30_000)));
    start(world, 1 - node);
    let patience = world.now.plus(Micros::from_ms(5_000));
    let taken_over = |world: &World| world.active() == Some(1 - node);
    world.run_until(|world| taken_over(world) || world.now > patience);
    if !taken_over(world) {
        // One that diverged again and again gets no copy by itself, and nothing else ends this: an operator asks (R15).
        world.command(node, Command::Integrate);
        world.run_until(taken_over);
    }
    world.run_for(Micros(random.within(100, 30_000)));
    start(world, node);
}

/// A client is gone with everything that it awaited; some come back and open a new session.
fn vanish(world: &mut World, random: &mut Random) {
    let client = random.within(0, world.clients.len() as u64) as usize;
    let back = random.percent(70);
    world.seen.add(if back { "client in a new session" } else { "client gone for ever" });
    world.clients[client].vanish();
    if !back {
        world.clients[client].stop();
    }
}
