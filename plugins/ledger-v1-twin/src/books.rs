//! The books: plain tuples in the tables of version 1.
//!
//! A tuple is encoded as a struct with the same fields is, so these are the same bytes.

use lockstep_plugin_api::prelude::*;

/// Number, cents, entries seen, transfers sent.
pub type Holding = (u32, u64, u64, u32);

/// Transfer, from, to, cents that went in, cents that went out.
pub type Slip = (u64, String, String, u64, u64);

/// Accounts.
pub const HOLDINGS: Table<String, Holding> = Table::new("accounts");
/// By account number and slot: transfer, the other account, cents, whether it came in.
pub const PAGES: Table<(u32, u8), (u64, String, u64, bool)> = Table::new("journal");
/// By [`slot`].
pub const SLIPS: Table<u32, Slip> = Table::new("receipts");
/// Under 0: how many accounts there are.
pub const CENSUS: Table<u8, u32> = Table::new("totals");

/// Slots of an account in [`PAGES`], less one: a mask.
pub const PAGE_MASK: u64 = 0x7;

/// Where the slip of a transfer is kept: what is left of its product with 2^64 over the golden ratio.
#[must_use]
pub fn slot(entry: u64) -> u32 {
    (entry.wrapping_mul(11_400_714_819_323_198_485) >> 46) as u32
}

/// Finds an account or refuses.
///
/// # Errors
/// The refusal.
pub fn find(cx: &Context, name: &String) -> Result<Holding, Stop> {
    match HOLDINGS.get(cx, name)? {
        Some(holding) => Ok(holding),
        None => refuse!("no-account", "there is no account {name}"),
    }
}

/// Changes an account that exists.
///
/// # Errors
/// When it does not.
pub fn change(cx: &mut Context, name: &String, how: impl FnOnce(&mut Holding)) -> Outcome {
    let mut holding = find(cx, name)?;
    how(&mut holding);
    Ok(HOLDINGS.put(cx, name, &holding)?)
}
