//! Control parameters without `Deserialize`.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

pub struct Opaque;

#[procedure(version = 1)]
fn go(_cx: &mut Context, _o: &Opaque) -> Reply<u64> {
    Ok(1)
}

fn main() {}
