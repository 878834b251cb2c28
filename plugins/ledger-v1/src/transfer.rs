//! The transfer, version 1: check, debit, credit, record.
//!
//! Each unit leaves the next one what it needs in the rows alone; nothing is handed over beside them.

use lockstep_plugin_api::prelude::*;

use crate::accounts::existing;
use crate::parameters::{CENTS_MAX, SENT_MAX, Transfer, Transferred};
use crate::rows::{ACCOUNTS, Account, JOURNAL, JournalRow, RECEIPTS, Receipt, receipt_slot};
use crate::statistics;

/// Moves money from one account to another.
#[procedure(version = 1, recovery = complete)]
pub fn transfer(_transfer: &Transfer) -> Plan<Transfer> {
    Plan::of([check, debit, credit, record])
}

/// Both accounts exist and differ, the amount is within its limits, and the sender can pay.
#[work_unit]
pub fn check(cx: &mut Context, transfer: &Transfer) -> Outcome {
    checked(cx, transfer, 0)
}

/// As [`check`], where the sender pays `fee_cents` beside.
///
/// # Errors
/// The refusal.
pub fn checked(cx: &Context, transfer: &Transfer, fee_cents: u64) -> Outcome {
    let Transfer { from, to, cents } = transfer;
    refuse_unless!(from != to, "same-account", "{from} can't pay itself");
    refuse_unless!(*cents > 0, "nothing", "a transfer moves at least a cent");
    refuse_unless!(*cents <= CENTS_MAX, "too-much", "a transfer moves at most {CENTS_MAX} cents");
    let sender = existing(cx, from)?;
    existing(cx, to)?;
    refuse_unless!(sender.cents >= cents + fee_cents, "too-little", "{from} holds {} cents", sender.cents);
    refuse_unless!(
        sender.sent < SENT_MAX,
        "worn-out",
        "{from} has sent {SENT_MAX} transfers, and can't send more"
    );
    Ok(())
}

/// The sender pays.
#[work_unit]
pub fn debit(cx: &mut Context, transfer: &Transfer) -> Outcome {
    let mut sender = existing(cx, &transfer.from)?;
    sender.pay(transfer.cents);
    ACCOUNTS.put(cx, &transfer.from, &sender)?;
    Ok(())
}

/// The other one is paid.
#[work_unit]
pub fn credit(cx: &mut Context, transfer: &Transfer) -> Outcome {
    let mut payee = existing(cx, &transfer.to)?;
    payee.receive(transfer.cents);
    ACCOUNTS.put(cx, &transfer.to, &payee)?;
    Ok(())
}

/// Both journals and the receipt say so.
#[work_unit]
pub fn record(cx: &mut Context, transfer: &Transfer) -> Outcome {
    let Transfer { from, to, cents } = *transfer;
    let sender = existing(cx, &from)?;
    let payee = existing(cx, &to)?;
    let entry = sender.last_sent();
    JOURNAL.put(cx, &sender.last_entry_key(), &JournalRow { entry, other: to, cents, incoming: false })?;
    JOURNAL.put(cx, &payee.last_entry_key(), &JournalRow { entry, other: from, cents, incoming: true })?;
    write_receipt(cx, transfer, &sender, cents)?;
    statistics::transferred(cents);
    Ok(())
}

/// Writes the receipt of the last transfer that `sender` sent, and replies its number.
///
/// # Errors
/// When the runtime does not take them.
pub fn write_receipt(cx: &mut Context, transfer: &Transfer, sender: &Account, debited_cents: u64) -> Outcome {
    let Transfer { from, to, cents } = *transfer;
    let entry = sender.last_sent();
    RECEIPTS.put(cx, &receipt_slot(entry), &Receipt { entry, from, to, cents, debited_cents })?;
    cx.reply(&Transferred { entry })?;
    Ok(())
}
