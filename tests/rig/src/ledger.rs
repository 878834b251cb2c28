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

/// A call of one of the ledger's procedures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The procedure.
    pub procedure: &'static str,
    /// How the parameters are encoded.
    pub encoding: Encoding,
    /// Control parameters.
    pub parameters: Vec<u8>,
}

/// How many work units the procedures of version 1 have that the cuts drill runs.
#[must_use]
pub fn units_of_v1() -> std::collections::BTreeMap<&'static str, u32> {
    std::collections::BTreeMap::from([("open_account", 1), ("transfer", 4)])
}

/// The name of the load's account `number`.
#[must_use]
pub fn account_name(number: u32) -> String {
    format!("acc{number}")
}

fn call(procedure: &'static str, parameters: &impl Serialize) -> Call {
    let parameters =
        postcard::to_stdvec(parameters).expect("control parameters of the ledger can be encoded");
    Call { procedure, encoding: Encoding::Postcard, parameters }
}

/// Opens an account.
#[must_use]
pub fn open_account(number: u32, cents: u64) -> Call {
    let parameters = Open { account: account_name(number), cents };
    call("open_account", &parameters)
}

/// A transfer.
#[must_use]
pub fn transfer(from: u32, to: u32, cents: u64) -> Call {
    let parameters = Transfer { from: account_name(from), to: account_name(to), cents };
    call("transfer", &parameters)
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

/// The ledger of an exported database.
///
/// # Errors
/// When the export can't be read.
pub fn books(_export: &serde_json::Value) -> Result<crate::audit::Books, Failure> {
    Err(Failure::new("the plugins' rows can't be read yet"))
}

/// A transfer's reply that names this entry, as the plugin encodes it.
#[must_use]
pub fn reply_of_entry(entry: u64) -> Vec<u8> {
    postcard::to_stdvec(&entry).unwrap_or_default()
}
