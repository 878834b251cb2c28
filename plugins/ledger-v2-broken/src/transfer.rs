//! The transfer, version 3: that of version 2, with a mishap before each work unit.

use ledger_v1::parameters::Transfer;
use ledger_v2::transfer::{self as sound, TRANSFER_FEE};
use lockstep_plugin_api::prelude::*;

use crate::mishap;

/// Moves money from one account to another, mostly.
#[procedure(version = 3, recovery = complete)]
pub fn transfer(_transfer: &Transfer) -> Plan<Transfer> {
    Plan::of([check, record, debit]).when(TRANSFER_FEE, charge_fee).then(credit)
}

/// As in version 2.
#[work_unit]
pub fn check(cx: &mut Context, transfer: &Transfer) -> Outcome {
    mishap::perhaps(cx)?;
    sound::check(cx, transfer)
}

/// As in version 2.
#[work_unit]
pub fn record(cx: &mut Context, transfer: &Transfer) -> Outcome {
    mishap::perhaps(cx)?;
    sound::record(cx, transfer)
}

/// As in version 2.
#[work_unit]
pub fn debit(cx: &mut Context, transfer: &Transfer) -> Outcome {
    mishap::perhaps(cx)?;
    sound::debit(cx, transfer)
}

/// As in version 2.
#[work_unit]
pub fn charge_fee(cx: &mut Context, transfer: &Transfer) -> Outcome {
    mishap::perhaps(cx)?;
    sound::charge_fee(cx, transfer)
}

/// As in version 2.
#[work_unit]
pub fn credit(cx: &mut Context, transfer: &Transfer) -> Outcome {
    mishap::perhaps(cx)?;
    sound::credit(cx, transfer)
}
