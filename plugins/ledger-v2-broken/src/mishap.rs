//! What is wrong with this version: some work units panic, some return an error, some are slow.
//!
//! All of it is drawn from the runtime's random numbers, so both sides and every repetition of a run meet the same.
//! Invariant: a mishap happens before its unit writes anything and never changes what is written.

use std::time::{Duration, Instant};

use lockstep_plugin_api::prelude::*;

/// One unit in so many fails: with four units in a transfer, about every 50th transfer does.
pub const FAILS_ONE_IN: u64 = 200;
/// One unit in so many is slow.
pub const SLOW_ONE_IN: u64 = 512;
/// How slow.
const SLOW_FOR: Duration = Duration::from_millis(1);

/// Perhaps something goes wrong here.
///
/// # Errors
/// Every other time that it fails.
///
/// # Panics
/// The other times.
pub fn perhaps(cx: &mut Context) -> Outcome {
    if cx.random().is_multiple_of(SLOW_ONE_IN) {
        // A clock in a work unit is wrong, which is this version's point; it decides nothing but the delay.
        let begun = Instant::now();
        while begun.elapsed() < SLOW_FOR {
            std::hint::spin_loop();
        }
    }
    let drawn = cx.random();
    if !drawn.is_multiple_of(FAILS_ONE_IN) {
        return Ok(());
    }
    if (drawn / FAILS_ONE_IN).is_multiple_of(2) {
        panic!("the broken version panics");
    }
    Err(lockstep_plugin_api::Error::new("the broken version fails").into())
}
