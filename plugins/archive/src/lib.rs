//! An archive of fingerprints: a document is ancillary data, which is read once on the active and withheld from the
//! standby (R18). What is kept of it is a row under its number.
//!
//! - `file` reads a document and keeps its length and fingerprint; a later one under the same number replaces it.
//! - `filed` reads what is kept.
//!
//! Refusals: `empty`, `unknown`.
#![forbid(unsafe_code)]

use lockstep_plugin_api::prelude::*;

application! {
    name: "archive",
    version: "1.0.0",
    tables: [DOCUMENTS],
    procedures: [file, filed],
}

const DOCUMENTS: Table<u64, Fingerprint> = Table::new("documents");

/// Which document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its number.
    pub number: u64,
}

/// What is kept of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How long it is.
    pub bytes: u64,
    /// FNV-1a of its bytes, 64 bits.
    pub fnv: u64,
}

impl Fingerprint {
    /// Of a document.
    #[must_use]
    pub fn of(document: &[u8]) -> Self {
        let step = |fnv: u64, byte: &u8| (fnv ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Fingerprint { bytes: document.len() as u64, fnv: document.iter().fold(0xcbf2_9ce4_8422_2325, step) }
    }
}

/// Keeps the fingerprint of the document that is the event's body.
#[procedure(version = 1, body = withheld)]
pub fn file(_document: &Document) -> Plan<Document> {
    Plan::of([read])
}

/// Reads the document; the standby gets the row.
#[work_unit(body)]
pub fn read(cx: &mut Context, document: &Document) -> Outcome {
    let bytes = cx.body();
    refuse_unless!(!bytes.is_empty(), "empty", "there is no document in the event's body");
    let fingerprint = Fingerprint::of(bytes);
    DOCUMENTS.put(cx, &document.number, &fingerprint)?;
    cx.reply(&fingerprint)?;
    Ok(())
}

/// What is kept of a document.
#[procedure(version = 1, reads_only)]
pub fn filed(cx: &Context, document: &Document) -> Reply<Fingerprint> {
    Ok(DOCUMENTS.get(cx, &document.number)?.or_refuse("unknown", "nothing was filed under this number")?)
}
