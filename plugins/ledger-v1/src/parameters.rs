//! Control parameters and replies of the procedures, and their limits. Callers share these types.

use serde::{Deserialize, Serialize};

use crate::name::AccountName;

/// The most cents that a transfer moves or that an account is opened with. Together with [`ACCOUNTS_MAX`] it makes
/// every sum fit into 64 bits: money is made by opening accounts, and nowhere else.
pub const CENTS_MAX: u64 = 1_000_000_000_000;
/// The most accounts.
pub const ACCOUNTS_MAX: u32 = 1 << 21;
/// The most accounts that one `open_accounts` opens.
pub const BATCH_MAX: u32 = 4_096;
/// How many transfers an account can send in its life; entries' numbers stay below 2^53, exact in every JSON reader.
pub const SENT_MAX: u32 = u32::MAX;

/// What `open_account` is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAccount {
    /// The new account.
    pub account: AccountName,
    /// What is paid in.
    pub cents: u64,
}

/// What `open_accounts` is told: accounts `acc{first}`, `acc{first + 1}`, ... are opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAccounts {
    /// The first one's number in its name.
    pub first: u32,
    /// How many; at most [`BATCH_MAX`].
    pub count: u32,
    /// What is paid into each.
    pub cents: u64,
}

/// What opening replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// How many accounts there are now.
    pub accounts: u32,
}

/// What `transfer` is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who pays.
    pub from: AccountName,
    /// Who is paid.
    pub to: AccountName,
    /// How much.
    pub cents: u64,
}

/// What `transfer` replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// The transfer's own number, that of its receipt and of its rows in both journals.
    pub entry: u64,
}

/// What `balance` and `statement` are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// The account.
    pub account: AccountName,
}

/// What `balance` replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What the account holds.
    pub cents: u64,
}

/// What `statement` replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// What the account holds.
    pub cents: u64,
    /// How many entries its journal has seen.
    pub entries: u64,
    /// The last ones, oldest first.
    pub last: Vec<Line>,
}

/// An entry of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The transfer's number.
    pub entry: u64,
    /// The account at its other end.
    pub other: AccountName,
    /// How much.
    pub cents: u64,
    /// Whether it was paid to this account, not by it.
    pub incoming: bool,
}
