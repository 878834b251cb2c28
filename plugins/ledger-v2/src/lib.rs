//! The ledger's version 2.0.0.
//!
//! - `transfer` has version 2: its work units have another order, and there is one more, [`transfer::charge_fee`],
//!   which runs when the feature `transfer-fee` is on; that is off at first.
//! - The journal has format 2, with a column for the fee. Until every processor runs this version it is written in
//!   format 1, which this version reads for ever.
//! - `sender` is new: a read-only procedure over a derived table, [`numbers::BY_NUMBER`]. It is refused until the
//!   upgrade is through.
//! - `fee_holiday` and `fee_holiday_over` are new too: for a while, transfers cost nothing ([`holiday`]).
//! - The rest is what it was: the code of version 1, called from here.
//!
//! A receipt's `debited_cents` less its `cents` is the fee, in rows of either version. Fees are paid to the account
//! `fees`, so the money in all accounts stays what was paid in.
#![forbid(unsafe_code)]

pub mod holiday;
pub mod numbers;
pub mod rows;
pub mod statement;
pub mod transfer;

use ledger_v1::accounts::{balance, open_account, open_accounts};
use ledger_v1::rows::{ACCOUNTS, RECEIPTS, TOTALS};
use lockstep_plugin_api::prelude::*;

use crate::holiday::{fee_holiday, fee_holiday_over};
use crate::numbers::{BY_NUMBER, sender};
use crate::rows::JOURNAL;
use crate::statement::statement;
use crate::transfer::{TRANSFER_FEE, transfer};

application! {
    name: "ledger",
    version: "2.0.0",
    tables: [ACCOUNTS, JOURNAL, RECEIPTS, TOTALS, BY_NUMBER],
    features: [TRANSFER_FEE],
    procedures: [
        open_account, transfer, balance, statement, open_accounts, sender, fee_holiday, fee_holiday_over,
    ],
    start: ledger_v1::statistics::on_start,
    shutdown: ledger_v1::statistics::on_shutdown,
}
