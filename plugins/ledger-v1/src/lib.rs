//! A ledger: accounts, transfers between them, a journal. Version 1.4.0.
//!
//! - `open_account` and `open_accounts` make accounts, and all the money there is.
//! - `transfer` moves money; it replies the transfer's own number.
//! - `balance` and `statement` read.
//!
//! *Rows.* Each account keeps its last [`rows::JOURNAL_MAX`] entries in the journal. Beside it there are receipts of
//! transfers, [`rows::RECEIPTS_MAX`] in all: a later transfer takes the place of an earlier one with the same
//! [slot](rows::receipt_slot). A transfer's number is its sender's number and how many transfers that one has sent, so no
//! two transfers have the same, and an audit that knows the numbers that were acknowledged, and their order, can hold the
//! receipts against them one by one: a transfer that was carried out twice has left two receipts, of which one was
//! acknowledged to nobody.
//!
//! *Refusals.* `no-account`, `same-account`, `nothing`, `too-much`, `too-little`, `exists`, `too-many`, `worn-out`.
//!
//! Deliberately absent: fees (version 2), and anything kept between events outside of tables but [`statistics`].
#![forbid(unsafe_code)]

pub mod accounts;
pub mod name;
pub mod parameters;
pub mod rows;
pub mod statistics;
pub mod transfer;

use lockstep_plugin_api::prelude::*;

use crate::accounts::{balance, open_account, open_accounts, statement};
use crate::rows::{ACCOUNTS, JOURNAL, RECEIPTS, TOTALS};
use crate::transfer::transfer;

application! {
    name: "ledger",
    version: "1.4.0",
    tables: [ACCOUNTS, JOURNAL, RECEIPTS, TOTALS],
    procedures: [open_account, transfer, balance, statement, open_accounts],
    start: statistics::on_start,
    shutdown: statistics::on_shutdown,
}
