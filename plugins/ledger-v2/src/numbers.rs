//! Accounts by their numbers: a derived table, and the procedure that reads it.
//!
//! Version 1 has neither. The table is built from the accounts while this version is loaded, before it comes into service,
//! and is in no row that version 1 would have to keep.

use ledger_v1::name::AccountName;
use ledger_v1::rows::{ACCOUNTS, Account};
use lockstep_plugin_api::prelude::*;

/// The account that has a number.
pub const BY_NUMBER: Derived<u32, AccountName> =
    Table::new("by_number").derived(&Translate { from: ACCOUNTS, by: by_number });

fn by_number(name: &AccountName, account: &Account, rows: &mut Translated<'_, u32, AccountName>) {
    rows.put(&account.number, name);
}

/// What `sender` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The transfer's number.
    pub entry: u64,
}

/// What `sender` replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The account.
    pub account: AccountName,
}

/// Which account sent the transfer with a number, also when its receipt is gone.
#[procedure(version = 1, reads_only)]
pub fn sender(cx: &Context, sent: &Sent) -> Reply<Sender> {
    let unknown = || format!("no account has sent transfer {}", sent.entry);
    let (number, count) = ((sent.entry >> 32) as u32, sent.entry as u32);
    let name = BY_NUMBER.get(cx, &number)?.or_refuse("no-transfer", unknown())?;
    let account = ACCOUNTS.get(cx, &name)?.or_refuse("no-transfer", unknown())?;
    refuse_unless!((1..=account.sent).contains(&count), "no-transfer", "{}", unknown());
    Ok(Sender { account: name })
}
