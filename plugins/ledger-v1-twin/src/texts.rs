//! Control parameters and replies, as this program holds them: the same fields with the same names, other types.

use lockstep_plugin_api::prelude::*;
use serde::Deserializer;
use serde::de::Error as _;

/// Bytes of the longest account name.
pub const LONGEST_NAME: usize = 32;

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let fits = (1..=LONGEST_NAME).contains(&text.len());
    if fits && !text.chars().any(|letter| letter.is_control()) {
        return Ok(text);
    }
    Err(D::Error::custom(format_args!(
        "an account's name has 1 to {LONGEST_NAME} bytes and no control characters"
    )))
}

/// An account to open.
#[derive(Serialize, Deserialize)]
pub struct NewAccount {
    /// Its name.
    #[serde(deserialize_with = "name")]
    pub account: String,
    /// Its money.
    pub cents: u64,
}

/// Accounts to open: `acc{first}` and those after it.
#[derive(Serialize, Deserialize)]
pub struct NewAccounts {
    /// The number of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// The money of each.
    pub cents: u64,
}

/// How many accounts there are after some were opened.
#[derive(Serialize, Deserialize)]
pub struct Grown {
    /// That number.
    pub accounts: u32,
}

/// Money to move.
#[derive(Serialize, Deserialize)]
pub struct Move {
    /// Out of this account.
    #[serde(deserialize_with = "name")]
    pub from: String,
    /// Into this one.
    #[serde(deserialize_with = "name")]
    pub to: String,
    /// So much of it.
    pub cents: u64,
}

/// The number that a transfer got.
#[derive(Serialize, Deserialize)]
pub struct Moved {
    /// That number.
    pub entry: u64,
}

/// Which account is asked for.
#[derive(Serialize, Deserialize)]
pub struct Which {
    /// Its name.
    #[serde(deserialize_with = "name")]
    pub account: String,
}

/// The money of an account.
#[derive(Serialize, Deserialize)]
pub struct Money {
    /// In cents.
    pub cents: u64,
}

/// The money of an account and what happened to it of late.
#[derive(Serialize, Deserialize)]
pub struct Paper {
    /// The money.
    pub cents: u64,
    /// How much ever happened to it.
    pub entries: u64,
    /// What happened of late, the last thing last.
    pub last: Vec<PaperLine>,
}

/// A line of it.
#[derive(Serialize, Deserialize)]
pub struct PaperLine {
    /// The transfer.
    pub entry: u64,
    /// With whom.
    pub other: String,
    /// How much.
    pub cents: u64,
    /// Whether it came in.
    pub incoming: bool,
}
