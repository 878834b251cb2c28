//! A work unit that returns no outcome.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[work_unit]
fn check(_cx: &mut Context, _m: &Move) {}

fn main() {}
