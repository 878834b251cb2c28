//! Segments with records of any content, sealed as if they had been written: for `tests/fuzz` alone, which would find
//! nothing behind the checksums otherwise.
//!
//! Deliberately absent: reading; that is what is tried, by the functions that everybody has.

use lockstep_core::ids::{Number, StoreId, Term};

use crate::record::{self, END_MARK, Head, Kind, Place, UNIT};

/// A record to be.
#[derive(Clone, Debug)]
pub struct Forged {
    /// Which of the kinds, by any number.
    pub kind: u8,
    /// The numbers of the first and the last entry, as its header says.
    pub numbers: (u64, u64),
    /// Everything up to here is held, as its header says.
    pub held: u64,
    /// What is decoded.
    pub payload: Vec<u8>,
}

/// Segment `number` of `store`, `bytes` long at least, with these records from the sequence 0 on.
#[must_use]
pub fn segment(store: StoreId, number: u64, records: &[Forged], bytes: usize) -> Vec<u8> {
    let mut whole = vec![0; UNIT];
    for (sequence, forged) in (0..).zip(records) {
        let kinds = Kind::ALL;
        let head = Head {
            kind: kinds[usize::from(forged.kind) % kinds.len()],
            sequence,
            synced: sequence,
            first: Number(forged.numbers.0),
            last: Number(forged.numbers.1),
            term: Term(1),
            held: Number(forged.held),
        };
        let mut buffer = vec![0; UNIT];
        buffer.extend(&forged.payload);
        buffer.push(END_MARK);
        record::finish(&head, Place { store, segment: number, offset: whole.len() as u64 }, &mut buffer);
        whole.extend(buffer);
    }
    whole.resize(whole.len().max(bytes), 0);
    let header = crate::segment::header(store, number, whole.len() as u64);
    whole[..UNIT].copy_from_slice(&header);
    whole
}
