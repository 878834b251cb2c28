//! A plan that names a function without `#[work_unit]`.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[procedure(version = 1)]
fn go(_m: &Move) -> Plan<Move> {
    Plan::of([check])
}

fn check(_cx: &mut Context, _m: &Move) -> Outcome {
    Ok(())
}

fn main() {}
