//! A word that `#[work_unit]` does not know.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[work_unit(bodies)]
fn check(_cx: &mut Context, _m: &Move) -> Outcome {
    Ok(())
}

fn main() {}
