//! A plan with a unit of other control parameters.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[procedure(version = 1)]
fn go(_m: &Move) -> Plan<Move> {
    Plan::of([check])
}

#[work_unit]
fn check(_cx: &mut Context, _m: &String) -> Outcome {
    Ok(())
}

fn main() {}
