//! One redo record: a header of 64 bytes, the payload in `postcard`, an end mark, zeros up to a multiple of 64.
//!
//! Invariants that tell a torn record (R26: never acknowledged, may be cut off) from a damaged one:
//! - Records lie in files that are zero ahead of them, so a sector that was never written is still all zero. A header
//!   says how many sectors of its record are zero by themselves: more than that were not written.
//! - A header lies in one sector: it is there whole or not at all. Its last byte and the record's are never zero.
//! - A header's checksum is over its place too: a header that was written elsewhere is none here.
//! - Each header says which records were synced when it was written. A hole before such a record is damage.

use lockstep_core::encoded_entries::{EncodedEntries, encode_onto};
use lockstep_core::ids::{Number, StoreId, Term};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The size of a header, and what records are aligned to, in bytes.
pub(crate) const UNIT: usize = 64;
/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;
const MAGIC: [u8; 4] = *b"LSr1";
pub(crate) const END_MARK: u8 = 0xA5;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `Vec<Entry>`.
    Entries = 1,
    /// `Vec<Row>` of a copy.
    Rows = 2,
    /// `Meta`: the copy is whole.
    CopyEnd = 3,
    /// `Vec<(SessionId, Session)>` of a copy.
    Sessions = 4,
    /// `Vec<(String, KeyedReply)>` of a copy.
    Keyed = 5,
    /// Nothing: entries before this record with a number above the header's `last` never count again.
    Cut = 6,
    /// `Meta`: a copy begins; the first record of its store.
    CopyBegin = 8,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = {
        use Kind::*;
        [Entries, Rows, CopyEnd, Sessions, Keyed, Cut, CopyBegin]
    };

    fn of(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// What it is for.
    pub kind: Kind,
    /// Its place among all records of the store, from 0, without holes.
    pub sequence: u64,
    /// Records with a lower sequence were synced when this one was written.
    pub synced: u64,
    /// The first entry's number.
    pub first: Number,
    /// The last entry's number.
    pub last: Number,
    /// The last entry's term.
    pub term: Term,
    /// Everything up to here was known to be held when it was written.
    pub held: Number,
    /// The payload's length, in bytes.
    pub payload_bytes: u32,
    zero_sectors: u8,
    checksum: u64,
}

impl Header {
    /// How long the record is, in bytes.
    pub fn record_bytes(&self) -> usize {
        (UNIT + self.payload_bytes as usize + 1).next_multiple_of(UNIT)
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub store: StoreId,
    pub segment: u64,
    pub offset: u64,
}

impl Place {
    fn seed(&self) -> u64 {
        let store = (self.store.0 as u64) ^ ((self.store.0 >> 64) as u64);
        store ^ self.segment.rotate_left(40) ^ self.offset
    }
}

/// What a record is to carry beside its payload.
pub(crate) struct Head {
    pub kind: Kind,
    pub sequence: u64,
    pub synced: u64,
    pub first: Number,
    pub last: Number,
    pub term: Term,
    pub held: Number,
}

/// Encodes payload and end mark into `buffer`, leaving room for the header.
pub(crate) fn encode(payload: &(impl Serialize + ?Sized), buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(UNIT, 0);
    encode_onto(payload, buffer);
    buffer.push(END_MARK);
}

/// How many bytes a record of entries with so many bytes takes, at most.
pub(crate) fn entries_bytes_max(entries_bytes: usize) -> u64 {
    // Their number, as long as it can be, and the mark.
    const AROUND: usize = UNIT + 10 + 1;
    (AROUND + entries_bytes).next_multiple_of(UNIT) as u64
}

/// As [`encode`] of a `Vec<Entry>`, of `count` entries that are encoded already.
pub(crate) fn encode_entries(count: u64, entries: &[EncodedEntries], buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(UNIT, 0);
    encode_onto(&count, buffer);
    entries.iter().for_each(|entries| buffer.extend_from_slice(entries.as_bytes()));
    buffer.push(END_MARK);
}

/// Fills in the header of an encoded record and pads it: it is then ready to be written at `place`.
pub(crate) fn finish(head: &Head, place: Place, buffer: &mut Vec<u8>) {
    let payload_bytes = u32::try_from(buffer.len() - UNIT - 1).expect("a record is smaller than 4 GB");
    let checksum = xxh3_64_with_seed(&buffer[UNIT..UNIT + payload_bytes as usize], place.seed());
    let zero_sectors = zero_sectors(buffer, place);
    buffer.resize(buffer.len().next_multiple_of(UNIT), 0);
    let header = &mut buffer[..UNIT];
    header[0..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
    // Two lengths share a word. When the first does not fit, nothing is said to be synced.
    let length = |from: u64, to: u64| to.saturating_sub(from).min(u64::from(u32::MAX));
    let lengths = length(head.synced, head.sequence) | length(head.first.0, head.last.0) << 32;
    let words = [head.sequence, lengths, head.held.0, head.last.0, head.term.0, checksum];
    for (at, word) in words.iter().enumerate() {
        header[8 + at * 8..16 + at * 8].copy_from_slice(&word.to_le_bytes());
    }
    (header[56], header[57], header[63]) = (head.kind as u8, zero_sectors, END_MARK);
    let checksum = xxh3_64_with_seed(&header[..58], place.seed());
    header[58..63].copy_from_slice(&checksum.to_le_bytes()[..5]);
}

/// How many sectors of a record, up to its end mark, are all zero; the one with the header is not looked at.
/// 255 stands for all that are more.
fn zero_sectors(record: &[u8], place: Place) -> u8 {
    let first = (SECTOR - (place.offset % SECTOR as u64) as usize).min(record.len());
    let zero = record[first..].chunks(SECTOR).filter(|sector| all_zero(sector)).count();
    u8::try_from(zero).unwrap_or(u8::MAX)
}

/// What lies at a place of a segment.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A record and its payload.
    Record(Header, &'a [u8]),
    /// Nothing yet.
    Empty,
    /// The begin of a record that was not written to its end.
    Torn,
    /// A record that was whole once.
    Damaged(&'static str),
}

/// The header at `place` of the segment `bytes`, if there is a good one.
pub(crate) fn header_at(bytes: &[u8], place: Place) -> Option<Header> {
    header_of(bytes.get(usize::try_from(place.offset).ok()?..)?, place)
}

/// The header at the start of `record`, which lies at `place`, if there is a good one.
pub(crate) fn header_of(record: &[u8], place: Place) -> Option<Header> {
    let header = record.get(..UNIT)?;
    if header[0..4] != MAGIC || header[63] != END_MARK {
        return None;
    }
    if xxh3_64_with_seed(&header[..58], place.seed()).to_le_bytes()[..5] != header[58..63] {
        return None;
    }
    let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    Some(Header {
        kind: Kind::of(header[56])?,
        payload_bytes: u32::from_le_bytes(header[4..8].try_into().expect("four bytes")),
        sequence: word(8),
        synced: match word(16) & u64::from(u32::MAX) {
            unsynced if unsynced == u64::from(u32::MAX) => 0,
            unsynced => word(8).saturating_sub(unsynced),
        },
        first: Number(word(32).saturating_sub(word(16) >> 32)),
        held: Number(word(24)),
        last: Number(word(32)),
        term: Term(word(40)),
        zero_sectors: header[57],
        checksum: word(48),
    })
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Reads what lies at `place` of the segment `bytes`.
pub(crate) fn read(bytes: &[u8], place: Place) -> Found<'_> {
    let offset = (place.offset as usize).min(bytes.len());
    read_from(&bytes[offset..], place)
}

/// Reads what lies at `place`, where `rest` begins.
pub(crate) fn read_from(rest: &[u8], place: Place) -> Found<'_> {
    let Some(header) = header_of(rest, place) else {
        return match rest.get(..UNIT) {
            None if all_zero(rest) => Found::Empty,
            None => Found::Torn,
            Some(header) if all_zero(header) => Found::Empty,
            // Cut in the header: nothing can stand behind it.
            Some(header) if header[63] == 0 && all_zero(&rest[UNIT..]) => Found::Torn,
            Some(_) => Found::Damaged("a record's header has a wrong checksum"),
        };
    };
    let end = UNIT + header.payload_bytes as usize;
    let Some(record) = rest.get(..=end) else { return Found::Torn };
    let payload = &record[UNIT..end];
    if record[end] == END_MARK && xxh3_64_with_seed(payload, place.seed()) == header.checksum {
        return Found::Record(header, payload);
    }
    let unwritten = zero_sectors(record, place) > header.zero_sectors;
    if record[end] == 0 || unwritten { Found::Torn } else { Found::Damaged("a record has a wrong checksum") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { store: StoreId(7 << 70 | 3), segment: 2, offset: 128 }
    }

    fn segment(payload: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        encode(payload, &mut record);
        let head = Head {
            kind: Kind::Entries,
            sequence: 9,
            synced: 8,
            first: Number(5),
            last: Number(6),
            term: Term(4),
            held: Number(3),
        };
        finish(&head, place(), &mut record);
        let mut bytes = vec![0; 128];
        bytes.extend(record);
        bytes.resize(8_192, 0);
        bytes
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_at_its_place_alone() {
        let bytes = segment(&[1; 1_000]);
        let Found::Record(header, payload) = read(&bytes, place()) else { panic!("no record") };
        assert_eq!((header.sequence, header.synced, header.term), (9, 8, Term(4)));
        assert_eq!((header.first, header.last, header.held), (Number(5), Number(6), Number(3)));
        assert_eq!(postcard::from_bytes::<Vec<u8>>(payload).unwrap(), [1; 1_000]);
        for other in [Place { segment: 3, ..place() }, Place { store: StoreId(1), ..place() }] {
            assert!(matches!(read(&bytes, other), Found::Damaged(_)));
        }
    }

    #[test]
    fn zeros_of_the_payload_are_not_taken_for_a_torn_record() {
        let mut payload = vec![0xEE; 4_000];
        payload[600..2_300].fill(0);
        let whole = segment(&payload);
        assert!(matches!(read(&whole, place()), Found::Record(..)));
        let end = 128 + UNIT + 4_002 + 1;
        for byte in 128..end {
            let mut bytes = whole.clone();
            bytes[byte] ^= 4;
            assert!(matches!(read(&bytes, place()), Found::Damaged(_)), "byte {byte}");
        }
        for sector in (512..end).step_by(512) {
            let mut bytes = whole.clone();
            bytes[sector..(sector + 512).min(end)].fill(0);
            let zero_before = whole[sector..sector + 512].iter().all(|byte| *byte == 0);
            assert_eq!(matches!(read(&bytes, place()), Found::Torn), !zero_before, "sector at {sector}");
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_and_every_cut_is_a_torn_record() {
        let whole = segment(&[0xEE; 1_200]);
        let end = 128 + UNIT + 1_202 + 1;
        for bit in 128 * 8..end * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(read(&bytes, place()), Found::Damaged(_)),
                "bit {bit}: {:?}",
                read(&bytes, place())
            );
        }
        for cut in 129..end {
            let mut bytes = whole.clone();
            bytes[cut..].fill(0);
            assert!(
                matches!(read(&bytes, place()), Found::Torn),
                "zero from {cut}: {:?}",
                read(&bytes, place())
            );
            bytes.truncate(cut);
            assert!(
                matches!(read(&bytes, place()), Found::Torn),
                "cut at {cut}: {:?}",
                read(&bytes, place())
            );
        }
        for sector in [512, 1_024] {
            let mut bytes = whole.clone();
            bytes[sector..(sector + 512).min(end)].fill(0);
            assert!(matches!(read(&bytes, place()), Found::Torn), "sector at {sector}");
        }
    }
}
