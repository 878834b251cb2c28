//! A work unit whose context comes last.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[work_unit]
fn check(_m: &Move, _cx: &mut Context) -> Outcome {
    Ok(())
}

fn main() {}
