//! A procedure of one unit replies with a `Reply`.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[procedure(version = 1)]
fn go(_cx: &mut Context, m: &Move) -> u64 {
    m.by
}

fn main() {}
