//! The ledger's version 1.4.1 with one more procedure, which does to its host whatever a work unit can do: it kills it,
//! hangs it, comes late, panics. Its start can refuse, or never return. Transfers are those of version 1.
//!
//! It is there for tests of death notes (R21), of the watchdog (R23) and of version changes that fail (R28).
#![forbid(unsafe_code)]

pub mod mishap;
pub mod start;

use ledger_v1::accounts::{balance, open_account, open_accounts, statement};
use ledger_v1::rows::{ACCOUNTS, JOURNAL, RECEIPTS, TOTALS};
use ledger_v1::transfer::transfer;
use lockstep_plugin_api::prelude::*;

use crate::mishap::mishap;

application! {
    name: "ledger",
    version: "1.4.1",
    tables: [ACCOUNTS, JOURNAL, RECEIPTS, TOTALS],
    procedures: [open_account, transfer, balance, statement, open_accounts, mishap],
    start: start::on_start,
    shutdown: ledger_v1::statistics::on_shutdown,
}
