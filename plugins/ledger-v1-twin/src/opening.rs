//! New accounts, and a look at old ones.

use lockstep_plugin_api::prelude::*;

use crate::books::{CENSUS, HOLDINGS, PAGE_MASK, PAGES, find};
use crate::texts::{Grown, Money, NewAccount, NewAccounts, Paper, PaperLine, Which};

/// The most money of a new account, and of a transfer.
pub const MOST_CENTS: u64 = 10u64.pow(12);
const MOST_ACCOUNTS: u32 = 1 << 21;
const MOST_AT_ONCE: u32 = 4_096;

fn open_all(cx: &mut Context, names: impl Iterator<Item = String>, cents: u64) -> Reply<Grown> {
    let mut census = CENSUS.get(cx, &0)?.unwrap_or(0);
    for name in names {
        let (code, message) = if cents > MOST_CENTS {
            ("too-much", format!("an account is opened with at most {MOST_CENTS} cents"))
        } else if HOLDINGS.contains(cx, &name)? {
            ("exists", format!("there is an account {name} already"))
        } else if census >= MOST_ACCOUNTS {
            ("too-many", format!("there are {MOST_ACCOUNTS} accounts, and no more can be"))
        } else {
            HOLDINGS.put(cx, &name, &(census, cents, 0, 0))?;
            census += 1;
            continue;
        };
        return Err(Refusal::new(code, message).into());
    }
    CENSUS.put(cx, &0, &census)?;
    Ok(Grown { accounts: census })
}

/// One account.
#[procedure(version = 1, recovery = complete)]
pub fn open_account(cx: &mut Context, new: &NewAccount) -> Reply<Grown> {
    open_all(cx, std::iter::once(new.account.clone()), new.cents)
}

/// Many accounts, or none.
#[procedure(version = 1, recovery = complete)]
pub fn open_accounts(cx: &mut Context, new: &NewAccounts) -> Reply<Grown> {
    if new.count > MOST_AT_ONCE {
        refuse!("too-many", "at most {MOST_AT_ONCE} accounts are opened at once");
    }
    if u64::from(new.first) + u64::from(new.count) > u64::from(u32::MAX) {
        refuse!("too-many", "the accounts' numbers must stay below 2^32");
    }
    open_all(cx, (0..new.count).map(|at| format!("acc{}", new.first + at)), new.cents)
}

/// The money of an account.
#[procedure(version = 1, reads_only)]
pub fn balance(cx: &Context, which: &Which) -> Reply<Money> {
    find(cx, &which.account).map(|(_, cents, _, _)| Money { cents })
}

/// The money of an account, and its pages: from the slot that is written next, around to the one before it.
#[procedure(version = 1, reads_only)]
pub fn statement(cx: &Context, which: &Which) -> Reply<Paper> {
    let (number, cents, entries, _) = find(cx, &which.account)?;
    let next = (entries & PAGE_MASK) as u8;
    let mut last = Vec::new();
    for slot in (next..=PAGE_MASK as u8).chain(0..next) {
        if let Some((entry, other, cents, incoming)) = PAGES.get(cx, &(number, slot))? {
            last.push(PaperLine { entry, other, cents, incoming });
        }
    }
    Ok(Paper { cents, entries, last })
}
