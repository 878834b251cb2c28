//! The main job in one command: a ledger upgraded under live load.

fn main() {}
