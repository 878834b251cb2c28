//! The ledger's version 2.1.0, which should never have left the house: it passes every static check, and under traffic
//! about every 50th transfer panics or fails, and some are slow. It writes no wrong row.
//!
//! It is there for an upgrade that falls back.
#![forbid(unsafe_code)]

pub mod mishap;
pub mod transfer;

use ledger_v1::accounts::{balance, open_account, open_accounts};
use ledger_v1::rows::{ACCOUNTS, RECEIPTS, TOTALS};
use ledger_v2::holiday::{fee_holiday, fee_holiday_over};
use ledger_v2::numbers::{BY_NUMBER, sender};
use ledger_v2::rows::JOURNAL;
use ledger_v2::statement::statement;
use ledger_v2::transfer::TRANSFER_FEE;
use lockstep_plugin_api::prelude::*;

use crate::transfer::transfer;

application! {
    name: "ledger",
    version: "2.1.0",
    tables: [ACCOUNTS, JOURNAL, RECEIPTS, TOTALS, BY_NUMBER],
    features: [TRANSFER_FEE],
    procedures: [
        open_account, transfer, balance, statement, open_accounts, sender, fee_holiday, fee_holiday_over,
    ],
    start: ledger_v1::statistics::on_start,
    shutdown: ledger_v1::statistics::on_shutdown,
}
