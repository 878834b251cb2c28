//! Transfers as the ledger's entries of them are: what is written, and what must be found again.
//!
//! Invariant: an entry follows from its number alone, so whoever reads a store knows what must stand in it.

use std::sync::Arc;

use lockstep_core::entry::{Entry, EntryBody, Op};
use lockstep_core::event::{Encoding, EventId, Outcome};
use lockstep_core::ids::{Micros, Number, SessionId, TableId, Term};

/// So many accounts take part.
pub const ACCOUNTS: u64 = 50_000;
/// The journal goes round in so many lines, so that what is in memory does not grow.
const JOURNAL: u64 = 200_000;
/// One number in so many has a long row in it, so that some records pass the bounds of blocks and pages.
const LONG_ONE_IN: u64 = 97;

/// A number that looks random and follows from `seed` (the finaliser of SplitMix64).
#[must_use]
pub fn mixed(seed: u64) -> u64 {
    let mut word = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// `bytes` bytes that follow from `seed`, none of them zero for long.
#[must_use]
pub fn bytes_of(seed: u64, bytes: usize) -> Vec<u8> {
    let mut made = Vec::with_capacity(bytes + 8);
    let mut word = seed;
    while made.len() < bytes {
        word = mixed(word);
        made.extend_from_slice(&word.to_le_bytes());
    }
    made.truncate(bytes);
    made
}

/// The entry with this number: two accounts, a line of the journal, a reply; 150 to 250 bytes encoded.
#[must_use]
pub fn entry(number: u64) -> Arc<Entry> {
    let account = |which: u64| {
        let account = mixed(number * 2 + which) % ACCOUNTS;
        let key = format!("acc{account:06}").into_bytes();
        let row = bytes_of(number * 4 + which, 18);
        Op { table: TableId::of("accounts"), key: key.into(), value: Some(row.into()) }
    };
    let line = match number % LONG_ONE_IN {
        0 => 3_000,
        _ => 40 + (mixed(number) % 60) as usize,
    };
    let journal = Op {
        table: TableId::of("journal"),
        key: (number % JOURNAL).to_be_bytes().into(),
        value: Some(bytes_of(number * 4 + 2, line).into()),
    };
    let body = EntryBody::Procedure {
        event: EventId::Numbered { session: SessionId(70_000 + number % 64), number },
        awaited_from: number.saturating_sub(64),
        encoding: Encoding::Postcard,
        procedure: "transfer".into(),
        outcome: Outcome::Committed { reply: bytes_of(number * 4 + 3, 9).into() },
        ops: vec![account(0), account(1), journal],
    };
    Arc::new(Entry { number: Number(number), term: Term(1), time: Micros(number * 31), body })
}

/// The entries of the record with this sequence, when each has `transfers` of them.
#[must_use]
pub fn record(sequence: u64, transfers: u64) -> Vec<Arc<Entry>> {
    (sequence * transfers + 1..=(sequence + 1) * transfers).map(entry).collect()
}
