//! The statement, version 1 as ever, over a journal with rows of either format.

use ledger_v1::accounts::{account_statement, existing};
use ledger_v1::parameters::{Of, Statement};
use lockstep_plugin_api::prelude::*;

use crate::rows::JOURNAL;

/// What an account holds, and its last entries.
#[procedure(version = 1, reads_only)]
pub fn statement(cx: &Context, of: &Of) -> Reply<Statement> {
    let account = existing(cx, &of.account)?;
    let mut ring = Vec::new();
    for key in account.journal_keys() {
        ring.extend(JOURNAL.get(cx, &key)?);
    }
    Ok(account_statement(&account, ring.iter().map(Into::into)))
}
