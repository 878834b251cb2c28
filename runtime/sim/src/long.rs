//! Long lives by seed: a hundred faults and more for one pair, with a little traffic between them, and a rest every
//! so many faults in which everything is checked.
//!
//! Cheap by what is bounded: each client sends a few events between two faults, so that the stream stays short, and a
//! rest keeps a failure near its cause.

use lockstep_core::ids::Micros;

use crate::chaos::{Generation, injure, prepare};
use crate::random::Random;
use crate::world::World;

/// Turns between two rests; each does something to the pair, most of them a fault or two.
const TURNS_A_REST: u64 = 25;

/// Runs one long life to its end, as `generation` means it, and checks the promise; over the real store if `real_store`.
///
/// # Panics
/// When the promise is broken.
#[must_use]
pub fn run(generation: Generation, seed: u64, story: bool, real_store: bool) -> World {
    let (mut world, mut random) = prepare(generation, seed, story, real_store);
    play(&mut world, &mut random, generation);
    world
}

/// As [`run`], and prints its story, also when the promise is broken.
///
/// # Panics
/// When it is.
pub fn tell(generation: Generation, seed: u64, real_store: bool) {
    let (mut world, mut random) = prepare(generation, seed, true, real_store);
    let end =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(&mut world, &mut random, generation)));
    world.story().iter().for_each(|line| println!("{line}"));
    if let Err(panic) = end {
        std::panic::resume_unwind(panic);
    }
}

fn play(world: &mut World, random: &mut Random, generation: Generation) {
    let deadly = random.percent(50);
    world.noteless_percent = if deadly && random.percent(30) { 50 } else { 0 };
    for client in &mut world.clients {
        client.deadly_permille = if deadly { 12 } else { 0 };
        client.stop();
    }
    for _ in 0..random.within(6, 10) {
        for _ in 0..TURNS_A_REST {
            for client in &mut world.clients {
                client.to_send = client.to_send.max(random.within(0, 6));
            }
            world.run_for(Micros(random.within(100, 12_000)));
            injure(world, random, generation);
        }
        world.clients.iter_mut().for_each(|client| client.stop());
        world.rest_and_check();
    }
}
