//! The journal's rows in format 2, and how they were in format 1. The other tables are those of version 1.

use ledger_v1::name::AccountName;
use ledger_v1::rows::JournalRow as JournalRowFormat1;
use lockstep_plugin_api::prelude::*;

/// The last entries of each account. A row is written in format 2 once no processor has to read it as version 1.
pub const JOURNAL: Table<(u32, u8), JournalRow> =
    Table::new("journal").format(2).older::<JournalRowFormat1>(1);

/// An entry of an account's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRow {
    /// The transfer's number.
    pub entry: u64,
    /// The account at its other end.
    pub other: AccountName,
    /// How much.
    pub cents: u64,
    /// Whether it was paid to this account, not by it.
    pub incoming: bool,
    /// What this account paid for the transfer beside; in format 1 there is no such column.
    pub fee_cents: u64,
}

impl From<JournalRowFormat1> for JournalRow {
    fn from(old: JournalRowFormat1) -> Self {
        let JournalRowFormat1 { entry, other, cents, incoming } = old;
        JournalRow { entry, other, cents, incoming, fee_cents: 0 }
    }
}

impl From<&JournalRow> for JournalRowFormat1 {
    fn from(new: &JournalRow) -> Self {
        let JournalRow { entry, other, cents, incoming, fee_cents: _ } = *new;
        JournalRowFormat1 { entry, other, cents, incoming }
    }
}
