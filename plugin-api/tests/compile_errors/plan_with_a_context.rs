//! A plan that wants a context.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[procedure(version = 1)]
fn go(_cx: &mut Context, _m: &Move) -> Plan<Move> {
    Plan::of([check])
}

#[work_unit]
fn check(_cx: &mut Context, _m: &Move) -> Outcome {
    Ok(())
}

fn main() {}
