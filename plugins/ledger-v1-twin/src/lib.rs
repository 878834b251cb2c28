//! The ledger's version 1.4.0, written by somebody else: another program with the same procedures, work units, rows,
//! replies and refusals, byte for byte and in the same order, so that it runs in lock step with `ledger-v1`.
//!
//! It shares no code with `ledger-v1`: a mistake of one is not the other's.
#![forbid(unsafe_code)]

pub mod books;
pub mod moving;
pub mod opening;
pub mod tally;
pub mod texts;

use lockstep_plugin_api::prelude::*;

use crate::books::{CENSUS, HOLDINGS, PAGES, SLIPS};
use crate::moving::transfer;
use crate::opening::{balance, open_account, open_accounts, statement};

application! {
    name: "ledger",
    version: "1.4.0",
    tables: [HOLDINGS, PAGES, SLIPS, CENSUS],
    procedures: [open_account, transfer, balance, statement, open_accounts],
    start: tally::on_start,
    shutdown: tally::on_shutdown,
}
