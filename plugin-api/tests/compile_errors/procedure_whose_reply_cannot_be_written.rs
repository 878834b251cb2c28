//! A reply is encoded.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

pub struct Opaque;

#[procedure(version = 1)]
fn go(_cx: &mut Context, _m: &Move) -> Reply<Opaque> {
    Ok(Opaque)
}

fn main() {}
