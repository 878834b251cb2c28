//! Words of different links that overtake one another, each link staying in order itself, and disks that are full for a
//! while (R26).

use lockstep_core::ids::Micros;

use crate::chaos::start;
use crate::random::Random;
use crate::world::World;
use crate::world::disorder::Line;

/// Holds up one of the links, has the pair's dialled anew, or fills a disk.
pub(crate) fn disturb(world: &mut World, random: &mut Random) {
    let node = random.within(0, 2) as usize;
    let line = match random.within(0, 7) {
        0 => Line::Arbiter,
        1 => Line::Clients,
        2 => Line::System,
        3 => return world.redial(),
        _ => return fill(world, random),
    };
    world.hold_up(line, node, Micros(random.within(1_000, 400_000)));
}

/// A disk is full for up to 60 ms, that of the active most of the time, and now and then while it is alone. Then there is
/// room again, and whoever has stopped, or only reads, is started once more.
fn fill(world: &mut World, random: &mut Random) {
    let node = random.within(0, 2) as usize;
    let node = world.active().filter(|_| random.percent(70)).unwrap_or(node);
    if world.role(node).is_none() || (0..2).any(|node| world.disk_has_failed(node)) {
        return;
    }
    world.forget_cut();
    if random.percent(40) {
        world.kill(1 - node, false);
        world.run_for(Micros(random.within(1_000, 20_000)));
    }
    world.fill_disk(node);
    world.run_for(Micros(random.within(100, 60_000)));
    world.make_room(node);
    world.run_for(Micros::from_ms(1));
    if world.disk_has_failed(node) {
        world.kill(node, false);
    }
    (0..2).for_each(|node| start(world, node));
}
