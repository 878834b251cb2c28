//! A read-only procedure that writes.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

const MOVES: Table<u64, u64> = Table::new("moves");

#[procedure(version = 1, reads_only)]
fn go(cx: &Context, m: &Move) -> Reply<u64> {
    MOVES.put(cx, &m.by, &1)?;
    Ok(1)
}

fn main() {}
