//! A work unit that does not take its context.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[work_unit]
fn check(_m: &Move) -> Outcome {
    Ok(())
}

fn main() {}
