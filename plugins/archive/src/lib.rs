//! An archive of fingerprints: a document is ancillary data, which is read once on the active and withheld from the
//! standby (R18). What is kept of it is a row under its number.
//!
//! - `file` reads a document and keeps its length and fingerprint; a later one under the same number replaces it.
//! - `filed` reads what is kept.
//! - `reserve` keeps places for documents to come, one work unit for each.
//!
//! Refusals: `empty`, `unknown`, `too_many`.
#![forbid(unsafe_code)]

use lockstep_plugin_api::prelude::*;

application! {
    name: "archive",
    version: "1.0.0",
    tables: [DOCUMENTS],
    procedures: [file, filed, reserve],
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

/// Which places, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The first document's number.
    pub first: u64,
    /// How many, 1 to [`PLACES_MAX`].
    pub count: u32,
}

/// The most places of one reservation.
pub const PLACES_MAX: u32 = 64;

/// How many places of this reservation are kept so far.
const KEPT: Scratch<u32> = Scratch::new("kept");

/// Keeps places for documents whose numbers follow each other; what is filed already stays.
#[procedure(version = 1, units = [admit, keep])]
pub fn reserve(places: &Places) -> Plan<Places> {
    (1..places.count.min(PLACES_MAX)).fold(Plan::of([admit, keep]), |plan, _| plan.then(keep))
}

/// Looks whether it is a number of places that can be kept.
#[work_unit]
pub fn admit(_cx: &mut Context, places: &Places) -> Outcome {
    let fits = (1..=PLACES_MAX).contains(&places.count);
    refuse_unless!(fits, "too_many", "1 to {PLACES_MAX} places are reserved at a time");
    refuse_unless!(
        places.first.checked_add(PLACES_MAX.into()).is_some(),
        "unknown",
        "there is no such document"
    );
    Ok(())
}

/// Keeps the next place.
#[work_unit]
pub fn keep(cx: &mut Context, places: &Places) -> Outcome {
    let kept = KEPT.get(cx)?.unwrap_or(0);
    let number = places.first + u64::from(kept);
    if DOCUMENTS.get(cx, &number)?.is_none() {
        DOCUMENTS.put(cx, &number, &Fingerprint::of(b""))?;
    }
    KEPT.set(cx, &(kept + 1))?;
    cx.reply(&(kept + 1))?;
    Ok(())
}
