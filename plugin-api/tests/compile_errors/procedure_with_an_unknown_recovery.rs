//! A recovery that there is not.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[procedure(version = 1, recovery = forward)]
fn go(_cx: &mut Context, m: &Move) -> Reply<u64> {
    Ok(m.by)
}

fn main() {}
