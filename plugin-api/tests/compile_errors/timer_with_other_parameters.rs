//! A timer whose procedure has other control parameters.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[procedure(version = 1)]
fn go(cx: &mut Context, _m: &Move) -> Reply<u64> {
    cx.set_timer("again", When::After(std::time::Duration::from_secs(1)), go, &7u64)?;
    Ok(1)
}

fn main() {}
