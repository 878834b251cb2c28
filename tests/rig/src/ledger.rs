//! The ledger's control parameters, replies and rows, as the rig uses them: the plugins' own types.

use lockstep_client::Encoding;
use serde::{Deserialize, Serialize};

use crate::Failure;

#[derive(Serialize)]
struct Open {
    account: String,
    cents: u64,
}
#[derive(Serialize)]
struct Transfer {
    from: String,
    to: String,
    cents: u64,
}
#[derive(Deserialize)]
struct Receipt {
    entry: u64,
}

/// The name of the load's account `number`.
#[must_use]
pub fn account_name(number: u32) -> String {
    format!("acc{number}")
}

/// Opens an account: procedure, encoding, control parameters.
#[must_use]
pub fn open_account(number: u32, cents: u64) -> (&'static str, Encoding, Vec<u8>) {
    let parameters = Open { account: account_name(number), cents };
    ("open_account", Encoding::Postcard, postcard::to_stdvec(&parameters).unwrap_or_default())
}

/// A transfer: procedure, encoding, control parameters.
#[must_use]
pub fn transfer(from: u32, to: u32, cents: u64) -> (&'static str, Encoding, Vec<u8>) {
    let parameters = Transfer { from: account_name(from), to: account_name(to), cents };
    ("transfer", Encoding::Postcard, postcard::to_stdvec(&parameters).unwrap_or_default())
}

/// The journal's entry that a transfer's reply names.
///
/// # Errors
/// When it is no such reply.
pub fn entry_of(reply: &[u8]) -> Result<u64, Failure> {
    let receipt: Receipt = postcard::from_bytes(reply)
        .map_err(|error| Failure::new(format!("a transfer's reply can't be read: {error}")))?;
    Ok(receipt.entry)
}
