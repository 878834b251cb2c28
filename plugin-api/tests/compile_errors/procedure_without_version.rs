//! A procedure without a version.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[procedure(recovery = complete)]
fn go(cx: &mut Context, m: &Move) -> Reply<u64> {
    let _ = cx;
    Ok(m.by)
}

fn main() {}
