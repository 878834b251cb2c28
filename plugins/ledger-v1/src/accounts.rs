//! Accounts: opening them, one or a batch, and reading them.

use lockstep_plugin_api::prelude::*;

use crate::name::AccountName;
use crate::parameters::{
    ACCOUNTS_MAX, BATCH_MAX, Balance, CENTS_MAX, Line, Of, OpenAccount, OpenAccounts, Opened, Statement,
};
use crate::rows::{ACCOUNTS, Account, JOURNAL, JOURNAL_MAX, JournalRow, TOTALS, Totals};

/// Opens an account.
#[procedure(version = 1, recovery = complete)]
pub fn open_account(cx: &mut Context, open: &OpenAccount) -> Reply<Opened> {
    let mut totals = TOTALS.get(cx, &0)?.unwrap_or_default();
    open_one(cx, &mut totals, &open.account, open.cents)?;
    TOTALS.put(cx, &0, &totals)?;
    Ok(Opened { accounts: totals.accounts })
}

/// Opens a batch of accounts with numbers in their names: all of them or, when one exists, none.
#[procedure(version = 1, recovery = complete)]
pub fn open_accounts(cx: &mut Context, open: &OpenAccounts) -> Reply<Opened> {
    refuse_unless!(open.count <= BATCH_MAX, "too-many", "at most {BATCH_MAX} accounts are opened at once");
    let numbers = open.first.checked_add(open.count).map(|end| open.first..end);
    let numbers = numbers.or_refuse("too-many", "the accounts' numbers must stay below 2^32")?;
    let mut totals = TOTALS.get(cx, &0)?.unwrap_or_default();
    for number in numbers {
        open_one(cx, &mut totals, &AccountName::numbered(number), open.cents)?;
    }
    TOTALS.put(cx, &0, &totals)?;
    Ok(Opened { accounts: totals.accounts })
}

fn open_one(cx: &mut Context, totals: &mut Totals, name: &AccountName, cents: u64) -> Outcome {
    refuse_unless!(cents <= CENTS_MAX, "too-much", "an account is opened with at most {CENTS_MAX} cents");
    refuse_unless!(!ACCOUNTS.contains(cx, name)?, "exists", "there is an account {name} already");
    refuse_unless!(
        totals.accounts < ACCOUNTS_MAX,
        "too-many",
        "there are {ACCOUNTS_MAX} accounts, and no more can be"
    );
    ACCOUNTS.put(cx, name, &Account::new(totals.accounts, cents))?;
    totals.accounts += 1;
    Ok(())
}

/// What an account holds.
#[procedure(version = 1, reads_only)]
pub fn balance(cx: &Context, of: &Of) -> Reply<Balance> {
    let account = existing(cx, &of.account)?;
    Ok(Balance { cents: account.cents })
}

/// What an account holds, and its last entries.
#[procedure(version = 1, reads_only)]
pub fn statement(cx: &Context, of: &Of) -> Reply<Statement> {
    let account = existing(cx, &of.account)?;
    let mut ring = Vec::new();
    for key in account.journal_keys() {
        ring.extend(JOURNAL.get(cx, &key)?);
    }
    Ok(account_statement(&account, ring.into_iter()))
}

/// The statement of an account whose ring of entries is `ring`, in the order of its slots.
#[must_use]
pub fn account_statement(account: &Account, ring: impl Iterator<Item = JournalRow>) -> Statement {
    let line = |row: JournalRow| Line {
        entry: row.entry,
        other: row.other,
        cents: row.cents,
        incoming: row.incoming,
    };
    let mut last: Vec<_> = ring.map(line).collect();
    if account.entries > JOURNAL_MAX {
        // The next slot to be written has the oldest entry.
        last.rotate_left((account.entries % JOURNAL_MAX) as usize);
    }
    Statement { cents: account.cents, entries: account.entries, last }
}

/// An account that must exist.
///
/// # Errors
/// A refusal when it does not.
pub fn existing(cx: &Context, name: &AccountName) -> Result<Account, Stop> {
    let account = ACCOUNTS.get(cx, name)?;
    Ok(account.or_refuse("no-account", format_args!("there is no account {name}"))?)
}
