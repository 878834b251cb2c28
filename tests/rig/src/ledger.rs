//! The ledger's control parameters, replies and rows, as the rig uses them: the plugins' own types.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hasher;

use ledger_v1::name::AccountName;
use ledger_v1::parameters::{Of, OpenAccounts, Transfer, Transferred};
use ledger_v1::rows::{ACCOUNTS, RECEIPTS, receipt_slot};
use ledger_v2::rows::JOURNAL;
use lockstep_client::Encoding;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::audit::{Books, Entry};

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

/// How many work units a run of version 1's procedures has, for those that the cuts drill runs.
#[must_use]
pub fn units_of_v1() -> BTreeMap<&'static str, u32> {
    BTreeMap::from([("open_accounts", 1), ("transfer", 4)])
}

fn call(procedure: &'static str, parameters: &impl Serialize) -> Call {
    let parameters =
        postcard::to_stdvec(parameters).expect("control parameters of the ledger can be encoded");
    Call { procedure, encoding: Encoding::Postcard, parameters }
}

/// Opens accounts number `first` to `first + count - 1`.
#[must_use]
pub fn open_accounts(first: u32, count: u32, cents: u64) -> Call {
    call("open_accounts", &OpenAccounts { first, count, cents })
}

/// Moves money from account number `from` to account number `to`.
#[must_use]
pub fn transfer(from: u32, to: u32, cents: u64) -> Call {
    let (from, to) = (AccountName::numbered(from), AccountName::numbered(to));
    call("transfer", &Transfer { from, to, cents })
}

/// Reads what account number `account` holds.
#[must_use]
pub fn balance(account: u32) -> Call {
    call("balance", &Of { account: AccountName::numbered(account) })
}

/// The number of the transfer that a reply names.
///
/// # Errors
/// When it is no such reply.
pub fn entry_of(reply: &[u8]) -> Result<u64, Failure> {
    let reply: Transferred = postcard::from_bytes(reply)
        .map_err(|error| Failure::new(format!("a transfer's reply can't be read: {error}")))?;
    Ok(reply.entry)
}

/// A transfer's reply that names this transfer, as the plugin encodes it.
#[must_use]
pub fn reply_of_entry(entry: u64) -> Vec<u8> {
    postcard::to_stdvec(&Transferred { entry }).expect("a number can be encoded")
}

#[derive(Deserialize)]
struct Header {
    digest: String,
}

#[derive(Deserialize)]
struct Row<'a> {
    table: &'a str,
    key: &'a str,
    value: &'a str,
}

/// The ledger of a database that `lockstep db export` has written: a header line, then a line for each row.
/// The digest is the header's and one made here from the rows' bytes, both.
///
/// # Errors
/// When the export can't be read, or its journal speaks of a transfer without a receipt.
pub fn books(export: &str) -> Result<Books, Failure> {
    let mut lines = export.lines();
    let header: Header = serde_json::from_str(lines.next().unwrap_or_default())?;
    let mut rows = std::hash::DefaultHasher::new();
    let mut books =
        Books { digest: String::new(), accounts: BTreeMap::new(), elsewhere_cents: 0, journal: Vec::new() };
    let mut journal = Vec::new();
    let mut sorted: Vec<&str> = lines.collect();
    sorted.sort_unstable();
    for line in sorted {
        rows.write(line.as_bytes());
        let row: Row<'_> = serde_json::from_str(line)?;
        let bad =
            |error: lockstep_plugin_api::Error| Failure::new(format!("an exported row: {error}: {line}"));
        let (key, value) = (bytes(row.key)?, bytes(row.value)?);
        match row.table {
            "accounts" => {
                let name = ACCOUNTS.decode_key(&key).map_err(bad)?;
                let account = ACCOUNTS.decode_row(&value).map_err(bad)?;
                match number_of(&name) {
                    Some(number) => {
                        books.accounts.insert(number, account.cents);
                    }
                    None => books.elsewhere_cents += account.cents,
                }
            }
            "receipts" => {
                let receipt = RECEIPTS.decode_row(&value).map_err(bad)?;
                let number = |name| {
                    number_of(name)
                        .ok_or_else(|| Failure::new(format!("a transfer of {name}, which nobody asked for")))
                };
                books.journal.push(Entry {
                    entry: receipt.entry,
                    from: number(&receipt.from)?,
                    to: number(&receipt.to)?,
                    cents: receipt.cents,
                    fee_cents: receipt.debited_cents.saturating_sub(receipt.cents),
                });
            }
            "journal" => journal.push(JOURNAL.decode_row(&value).map_err(bad)?),
            // What is counted over all accounts, and whatever a later version adds: in the digest.
            _ => {}
        }
    }
    books.digest = format!("{}-{:016x}", header.digest, rows.finish());
    let receipts: HashMap<u64, &Entry> = books.journal.iter().map(|entry| (entry.entry, entry)).collect();
    let slots: HashSet<u32> = receipts.keys().map(|entry| receipt_slot(*entry)).collect();
    for row in journal {
        let receipt = receipts.get(&row.entry);
        // A later transfer may have its slot by now.
        let replaced = receipt.is_none() && slots.contains(&receipt_slot(row.entry));
        let fits = receipt.is_some_and(|receipt| {
            let other = if row.incoming { receipt.from } else { receipt.to };
            receipt.cents == row.cents && Some(other) == number_of(&row.other)
        });
        if !fits && !replaced {
            return Err(Failure::new(format!("the journal has {row:?}, and its receipt is {receipt:?}")));
        }
    }
    Ok(books)
}

/// The number of one of the load's accounts.
fn number_of(name: &AccountName) -> Option<u32> {
    let number = name.as_str().strip_prefix("acc")?.parse().ok()?;
    (AccountName::numbered(number) == *name).then_some(number)
}

fn bytes(hex: &str) -> Result<Vec<u8>, Failure> {
    let bad = || Failure::new(format!("`{hex}` is no hexadecimal"));
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return Err(bad());
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| bad())).collect()
}

#[cfg(test)]
mod tests {
    use ledger_v1::rows::{Account, Receipt};
    use ledger_v2::rows::JournalRow;
    use lockstep_plugin_api::prelude::*;

    use super::*;

    fn row<K: Key, V: Serialize + serde::de::DeserializeOwned>(
        table: &Table<K, V>,
        name: &str,
        key: &K,
        value: &V,
        format: u16,
    ) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (mut key_bytes, mut row) = (Vec::new(), Vec::new());
        key.encode(&mut key_bytes);
        table.encode_row(value, format, &mut row).unwrap();
        format!("{{\"table\":\"{name}\",\"key\":\"{}\",\"value\":\"{}\"}}\n", hex(&key_bytes), hex(&row))
    }

    fn export() -> String {
        let (one, two) = (AccountName::numbered(1), AccountName::numbered(2));
        let fees = AccountName::new("fees").unwrap();
        let receipt = Receipt { entry: 5, from: one, to: two, cents: 10, debited_cents: 11 };
        let line = JournalRow { entry: 5, other: two, cents: 10, incoming: false, fee_cents: 1 };
        [
            "{\"lockstep_export\":1,\"digest\":\"d\"}\n".to_owned(),
            row(&ACCOUNTS, "accounts", &one, &Account::new(0, 89), 1),
            row(&ACCOUNTS, "accounts", &two, &Account::new(1, 110), 1),
            row(&ACCOUNTS, "accounts", &fees, &Account::new(2, 1), 1),
            row(&RECEIPTS, "receipts", &receipt_slot(5), &receipt, 1),
            row(&JOURNAL, "journal", &(0, 0), &line, 1),
            row(&JOURNAL, "journal", &(0, 1), &line, 2),
        ]
        .concat()
    }

    #[test]
    fn an_export_is_read_in_both_formats() {
        let books = books(&export()).unwrap();
        assert_eq!(books.accounts, BTreeMap::from([(1, 89), (2, 110)]));
        assert_eq!(books.elsewhere_cents, 1);
        assert_eq!(books.journal, [Entry { entry: 5, from: 1, to: 2, cents: 10, fee_cents: 1 }]);
    }

    #[test]
    fn any_changed_row_changes_the_digest() {
        let before = books(&export()).unwrap().digest;
        let lines: Vec<_> = export().lines().map(str::to_owned).collect();
        for at in 1..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(at);
            // Without its receipt the journal can't be read at all.
            if let Ok(books) = books(&fewer.join("\n")) {
                assert_ne!(books.digest, before, "line {at}");
            }
        }
        let mut turned = lines;
        turned[1..].reverse();
        assert_eq!(books(&turned.join("\n")).unwrap().digest, before, "the order of the rows means nothing");
    }

    #[test]
    fn a_journal_without_receipt_is_refused() {
        let without: Vec<_> =
            export().lines().filter(|line| !line.contains("receipts")).map(str::to_owned).collect();
        assert!(books(&without.join("\n")).is_err());
        assert!(books("").is_err());
    }
}
