//! The transfer. Units, plan and rows are those of version 1; how they come about is not.

use lockstep_plugin_api::prelude::*;

use crate::books::{Holding, PAGE_MASK, PAGES, SLIPS, change, find, slot};
use crate::opening::MOST_CENTS;
use crate::tally;
use crate::texts::{Move, Moved};

/// Moves money.
#[procedure(version = 1, recovery = complete)]
pub fn transfer(_move: &Move) -> Plan<Move> {
    Plan::of([check, debit]).then(credit).then(record)
}

/// Says no to whatever must not be.
#[work_unit]
pub fn check(cx: &mut Context, it: &Move) -> Outcome {
    let no = |code: &str, message: String| Err(Refusal::new(code, message).into());
    match (it.from == it.to, it.cents) {
        (true, _) => return no("same-account", format!("{} can't pay itself", it.from)),
        (_, 0) => return no("nothing", "a transfer moves at least a cent".into()),
        (_, cents) if cents > MOST_CENTS => {
            return no("too-much", format!("a transfer moves at most {MOST_CENTS} cents"));
        }
        _ => {}
    }
    let [(_, cents, _, sent), _] = [find(cx, &it.from)?, find(cx, &it.to)?];
    if cents.checked_sub(it.cents).is_none() {
        return no("too-little", format!("{} holds {cents} cents", it.from));
    }
    match sent.checked_add(1) {
        Some(_) => Ok(()),
        None => no("worn-out", format!("{} has sent {sent} transfers, and can't send more", it.from)),
    }
}

/// Out of one account.
#[work_unit]
pub fn debit(cx: &mut Context, it: &Move) -> Outcome {
    change(cx, &it.from, |(_, cents, entries, sent)| {
        (*cents, *entries, *sent) = (*cents - it.cents, *entries + 1, *sent + 1);
    })
}

/// Into the other.
#[work_unit]
pub fn credit(cx: &mut Context, it: &Move) -> Outcome {
    change(cx, &it.to, |(_, cents, entries, _)| {
        (*cents, *entries) = (*cents + it.cents, *entries + 1);
    })
}

/// On paper: a page each, and a slip.
#[work_unit]
pub fn record(cx: &mut Context, it: &Move) -> Outcome {
    let ends = [find(cx, &it.from)?, find(cx, &it.to)?];
    let [(payer, _, _, sent), _] = ends;
    let entry = (u64::from(payer) << 32) + u64::from(sent);
    let page = |(number, _, entries, _): Holding| (number, (entries.wrapping_sub(1) & PAGE_MASK) as u8);
    for (end, (holding, other)) in ends.into_iter().zip([&it.to, &it.from]).enumerate() {
        PAGES.put(cx, &page(holding), &(entry, other.clone(), it.cents, end == 1))?;
    }
    SLIPS.put(cx, &slot(entry), &(entry, it.from.clone(), it.to.clone(), it.cents, it.cents))?;
    cx.reply(&Moved { entry })?;
    tally::moved(it.cents);
    Ok(())
}
