//! The rows of the tables, in format 1. They are public so that an audit can read an exported database.
//!
//! Invariants: numbers of accounts are given once, from 0; an account's counts only grow; of each journal's ring only the
//! row under the count's slot is written, so a ring's rows are the last ones. So the ledger takes so much memory and no
//! more, whatever it has carried out.

use lockstep_plugin_api::prelude::*;

use crate::name::AccountName;

/// Accounts by name.
pub const ACCOUNTS: Table<AccountName, Account> = Table::new("accounts");
/// The last entries of each account: a ring of [`JOURNAL_MAX`] by the account's number and the slot.
pub const JOURNAL: Table<(u32, u8), JournalRow> = Table::new("journal");
/// Receipts of transfers by [`receipt_slot`].
pub const RECEIPTS: Table<u32, Receipt> = Table::new("receipts");
/// One row, under key 0.
pub const TOTALS: Table<u8, Totals> = Table::new("totals");

/// How many entries an account's journal keeps.
pub const JOURNAL_MAX: u64 = 8;

/// How many receipts are kept, as a power of two.
const RECEIPTS_BITS: u32 = 18;
/// How many receipts are kept, of all senders together.
pub const RECEIPTS_MAX: u32 = 1 << RECEIPTS_BITS;

/// Where the receipt of a transfer stands, by the transfer's number. Transfers are spread over all slots, and the last one
/// that was carried out of those with the same slot is the one whose receipt stands there.
#[must_use]
pub fn receipt_slot(entry: u64) -> u32 {
    // Multiplicative hashing: Knuth, The Art of Computer Programming, volume 3, 6.4.
    (entry.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - RECEIPTS_BITS)) as u32
}

/// An account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its number: a short key for what belongs to it.
    pub number: u32,
    /// What it holds.
    pub cents: u64,
    /// How many entries its journal has seen.
    pub entries: u64,
    /// How many transfers it has sent.
    pub sent: u32,
}

impl Account {
    /// A new account.
    #[must_use]
    pub fn new(number: u32, cents: u64) -> Self {
        Account { number, cents, entries: 0, sent: 0 }
    }

    /// Pays `cents`, which it must hold, in a transfer.
    ///
    /// # Panics
    /// When it does not hold as much.
    pub fn pay(&mut self, cents: u64) {
        self.cents = self.cents.checked_sub(cents).expect("the sender's means were checked");
        self.entries += 1;
        self.sent += 1;
    }

    /// Is paid `cents` in a transfer.
    pub fn receive(&mut self, cents: u64) {
        self.cents += cents;
        self.entries += 1;
    }

    /// The number of the last transfer that it sent, unlike that of any other transfer.
    #[must_use]
    pub fn last_sent(&self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.sent)
    }

    /// Where its entries stand in the journal, once there are as many: the slots of its ring.
    pub fn journal_keys(&self) -> impl Iterator<Item = (u32, u8)> + use<> {
        let number = self.number;
        (0..JOURNAL_MAX as u8).map(move |slot| (number, slot))
    }

    /// Where its last entry stands in the journal.
    #[must_use]
    pub fn last_entry_key(&self) -> (u32, u8) {
        (self.number, (self.entries.wrapping_sub(1) % JOURNAL_MAX) as u8)
    }
}

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
}

/// What proves that a transfer was carried out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The transfer's number.
    pub entry: u64,
    /// Who paid.
    pub from: AccountName,
    /// Who was paid.
    pub to: AccountName,
    /// How much the payee got.
    pub cents: u64,
    /// How much the payer paid: as much, and whatever a version charges for it.
    pub debited_cents: u64,
}

/// What is counted over all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// How many accounts there are; the next one's number.
    pub accounts: u32,
}
