//! A derived table, written by a procedure.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Move {
    by: u64,
}

const MOVES: Table<u64, u64> = Table::new("moves");
const INDEX: Derived<u64, ()> = Table::new("index").derived(&Translate { from: MOVES, by: index });

fn index(_key: &u64, row: &u64, rows: &mut Translated<'_, u64, ()>) {
    rows.put(row, &());
}

#[procedure(version = 1)]
fn go(cx: &mut Context, m: &Move) -> Reply<u64> {
    INDEX.put(cx, &m.by, &())?;
    Ok(1)
}

fn main() {}
