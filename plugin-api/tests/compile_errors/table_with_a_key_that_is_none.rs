//! The order of a key's bytes is that of the values.
use lockstep_plugin_api::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Name(String);

const COUNTS: Table<Name, u64> = Table::new("counts");

fn main() {}
