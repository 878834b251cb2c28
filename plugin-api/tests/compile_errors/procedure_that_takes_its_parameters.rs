//! Control parameters taken by value.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[procedure(version = 1)]
fn go(_cx: &mut Context, m: Move) -> Reply<u64> {
    Ok(m.by)
}

fn main() {}
