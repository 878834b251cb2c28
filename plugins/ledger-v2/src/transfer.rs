//! The transfer, version 2: check, record, debit, charge the fee if there is one, credit.
//!
//! With the fee off, it leaves the rows that version 1 leaves, byte for byte.

use ledger_v1::accounts::existing;
use ledger_v1::name::AccountName;
use ledger_v1::parameters::Transfer;
use ledger_v1::rows::{ACCOUNTS, Account, TOTALS};
use ledger_v1::statistics;
use ledger_v1::transfer::{checked, write_receipt};
use lockstep_plugin_api::prelude::*;

use crate::holiday;
use crate::rows::{JOURNAL, JournalRow};

/// Transfers cost a cent, which the sender pays to the account [`fees_account`].
pub const TRANSFER_FEE: Feature = Feature::new("transfer-fee", "one cent a transfer, paid by the sender");
/// The fee.
pub const FEE_CENTS: u64 = 1;

/// The account that is paid the fees; it is opened with the first one unless it exists.
///
/// # Panics
/// Never: its name is one.
#[must_use]
pub fn fees_account() -> AccountName {
    AccountName::new("fees").expect("it is short and plain")
}

/// Moves money from one account to another.
#[procedure(version = 2, recovery = complete)]
pub fn transfer(_transfer: &Transfer) -> Plan<Transfer> {
    Plan::of([check, record, debit]).when(TRANSFER_FEE, charge_fee).then(credit)
}

/// What a transfer costs its sender beside.
fn fee_cents(cx: &Context) -> Result<u64, Error> {
    Ok(if cx.feature(TRANSFER_FEE) && !holiday::is_on(cx)? { FEE_CENTS } else { 0 })
}

/// Both accounts exist and differ, the amount is within its limits, and the sender can pay.
#[work_unit]
pub fn check(cx: &mut Context, transfer: &Transfer) -> Outcome {
    checked(cx, transfer, fee_cents(cx)?)
}

/// Both journals and the receipt say what the next units do.
#[work_unit]
pub fn record(cx: &mut Context, transfer: &Transfer) -> Outcome {
    let Transfer { from, to, cents } = *transfer;
    let fee_cents = fee_cents(cx)?;
    // As the next units will leave them; nothing of that is written here.
    let mut sender = existing(cx, &from)?;
    sender.pay(cents + fee_cents);
    let mut payee = existing(cx, &to)?;
    payee.receive(cents);
    let entry = sender.last_sent();
    let paid = JournalRow { entry, other: to, cents, incoming: false, fee_cents };
    JOURNAL.put(cx, &sender.last_entry_key(), &paid)?;
    let received = JournalRow { entry, other: from, cents, incoming: true, fee_cents: 0 };
    JOURNAL.put(cx, &payee.last_entry_key(), &received)?;
    write_receipt(cx, transfer, &sender, cents + fee_cents)
}

/// The sender pays.
#[work_unit]
pub fn debit(cx: &mut Context, transfer: &Transfer) -> Outcome {
    let mut sender = existing(cx, &transfer.from)?;
    sender.pay(transfer.cents + fee_cents(cx)?);
    ACCOUNTS.put(cx, &transfer.from, &sender)?;
    Ok(())
}

/// The fee goes to its account, so that no money is lost.
#[work_unit]
pub fn charge_fee(cx: &mut Context, _transfer: &Transfer) -> Outcome {
    let fee_cents = fee_cents(cx)?;
    if fee_cents == 0 {
        return Ok(());
    }
    let name = fees_account();
    let mut fees = match ACCOUNTS.get(cx, &name)? {
        Some(fees) => fees,
        None => {
            let mut totals = TOTALS.get(cx, &0)?.unwrap_or_default();
            let fees = Account::new(totals.accounts, 0);
            totals.accounts += 1;
            TOTALS.put(cx, &0, &totals)?;
            fees
        }
    };
    fees.cents += fee_cents;
    ACCOUNTS.put(cx, &name, &fees)?;
    Ok(())
}

/// The other one is paid.
#[work_unit]
pub fn credit(cx: &mut Context, transfer: &Transfer) -> Outcome {
    let mut payee = existing(cx, &transfer.to)?;
    payee.receive(transfer.cents);
    ACCOUNTS.put(cx, &transfer.to, &payee)?;
    statistics::transferred(transfer.cents);
    Ok(())
}
