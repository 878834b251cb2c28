//! A work unit that returns a number.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[work_unit]
fn check(_cx: &mut Context, m: &Move) -> u64 {
    m.by
}

fn main() {}
