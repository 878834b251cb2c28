//! An undo that wants to write.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

#[work_unit(undo = unsend)]
fn send(_cx: &mut Context, _m: &Move) -> Outcome {
    Ok(())
}

fn unsend(_cx: &mut Context, _m: &Move) -> Outcome {
    Ok(())
}

fn main() {}
