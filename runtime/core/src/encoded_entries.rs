//! Entries as the redo log and the recent stream hold them: encoded once, where they are made, those of a batch in few pieces
//! of memory, shared from there.
//!
//! An entry in its parts is ten pieces of memory. One piece for each of them would still be made, counted and let go for each
//! event, in memory that is in no cache by then; whoever keeps many entries keeps batches.

use std::sync::Arc;

use serde::Serialize;

use crate::entry::{Control, Entry, EntryBody};
use crate::event::{Encoding, EventId, Outcome};
use crate::ids::{Micros, Number, Term};
use crate::sessions::Recorded;
use crate::updates::Updates;

/// What a piece costs beside its bytes; an estimate for bounds, in bytes.
const OVERHEAD_BYTES: usize = 80;
/// What an entry costs beside its encoding: where that ends, in bytes.
const END_BYTES: usize = size_of::<u32>();
/// Beyond so many bytes no further entry goes into the same piece. Pieces are of many sizes; small ones leave small holes.
const PIECE_BYTES: usize = 8 << 10;
/// How much room for a piece on its way is kept, in bytes.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// Appends the encoding of `value` to `bytes`.
///
/// # Panics
/// When it can't be encoded, as nothing of what the database is made of.
pub fn encode_onto(value: &(impl Serialize + ?Sized), bytes: &mut Vec<u8>) {
    struct Tail<'a>(&'a mut Vec<u8>);
    impl postcard::ser_flavors::Flavor for Tail<'_> {
        type Output = ();
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            // Most numbers are one byte, for which a copy of any length costs more than the byte.
            match bytes {
                [byte] => self.0.push(*byte),
                bytes => self.0.extend_from_slice(bytes),
            }
            Ok(())
        }
        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    postcard::serialize_with_flavor(value, Tail(bytes)).expect("what the database is made of can be encoded");
}

/// A procedure's entry but for what is recorded of it and its updates, lent.
#[derive(Clone, Copy, Debug)]
pub struct Ran<'a> {
    /// The term in which it was made.
    pub term: Term,
    /// The time that its procedure saw (R33).
    pub time: Micros,
    /// The event.
    pub event: &'a EventId,
    /// Replies of its session below this are no longer needed.
    pub awaited_from: u64,
    /// The procedure's name.
    pub procedure: &'a str,
}

/// What an [`Entry`] of a procedure begins with, up to its updates.
#[derive(Serialize)]
struct Head<'a> {
    number: Number,
    term: Term,
    time: Micros,
    body: HeadBody<'a>,
}

/// The first of an [`EntryBody`]'s kinds, without its last part.
#[derive(Serialize)]
enum HeadBody<'a> {
    Procedure {
        event: &'a EventId,
        awaited_from: u64,
        encoding: Encoding,
        procedure: &'a str,
        outcome: &'a Outcome,
    },
}

/// Entries on their way into one piece: they follow one another, and are of one term.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    first: Number,
    term: Term,
    has_controls: bool,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Gathered {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes their encodings have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The first one's number, if there is one.
    #[must_use]
    pub fn first(&self) -> Option<Number> {
        (!self.is_empty()).then_some(self.first)
    }

    /// The last one's number, if there is one.
    #[must_use]
    pub fn last(&self) -> Option<Number> {
        (!self.is_empty()).then(|| self.first.plus(self.ends.len() as u64 - 1))
    }

    /// Encodes and adds `entry`; gives those before it when it does not go into one piece with them.
    ///
    /// # Panics
    /// When it is not the next one.
    #[must_use]
    pub fn push(&mut self, entry: &Entry<impl Serialize>) -> Option<EncodedEntries> {
        let full = self.begin(entry.number, entry.term);
        self.has_controls |= matches!(entry.body, EntryBody::Control(_));
        encode_onto(entry, &mut self.bytes);
        self.end();
        full
    }

    /// As [`push`](Self::push), of a procedure's entry in its parts.
    ///
    /// # Panics
    /// As `push`.
    #[must_use]
    pub fn push_ran(
        &mut self,
        ran: &Ran<'_>,
        recorded: &Recorded,
        updates: &Updates,
    ) -> Option<EncodedEntries> {
        let Ran { term, time, event, awaited_from, procedure } = *ran;
        let Recorded { number, encoding, ref outcome } = *recorded;
        let full = self.begin(number, term);
        let body = HeadBody::Procedure { event, awaited_from, encoding, procedure, outcome };
        encode_onto(&Head { number, term, time, body }, &mut self.bytes);
        updates.encode_onto(&mut self.bytes);
        self.end();
        full
    }

    fn begin(&mut self, number: Number, term: Term) -> Option<EncodedEntries> {
        if let Some(last) = self.last() {
            assert_eq!(number, last.next(), "entries follow one another");
        }
        let full = if self.term != term || self.bytes.len() >= PIECE_BYTES { self.seal() } else { None };
        if self.is_empty() {
            (self.first, self.term) = (number, term);
        }
        full
    }

    fn end(&mut self) {
        self.ends.push(u32::try_from(self.bytes.len()).expect("an entry has a bound"));
    }

    /// The entry `number`, if it is among these.
    #[must_use]
    pub fn get(&self, number: Number) -> Option<Entry> {
        let at = usize::try_from(number.0.checked_sub(self.first.0)?).ok()?;
        let end = *self.ends.get(at)? as usize;
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(decode(&self.bytes[begin..end]))
    }

    /// All of them in one piece, and none is left here; none when there was none.
    pub fn seal(&mut self) -> Option<EncodedEntries> {
        let (first, term) = (self.first()?, self.term);
        let (count, encoded) = (self.ends.len(), self.bytes.len());
        self.ends.iter().for_each(|end| self.bytes.extend_from_slice(&end.to_le_bytes()));
        let bytes = self.bytes.as_slice().into();
        let has_controls = std::mem::take(&mut self.has_controls);
        self.bytes.clear();
        self.bytes.shrink_to(BUFFER_BYTES_KEPT);
        self.ends.clear();
        Some(EncodedEntries { first, count, term, has_controls, encoded, bytes })
    }
}

/// Entries that follow one another, of one term, in postcard. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEntries {
    first: Number,
    count: usize,
    term: Term,
    has_controls: bool,
    /// How many of the bytes are entries, those that were cut off with them; behind them stands where each of them ends.
    encoded: usize,
    bytes: Arc<[u8]>,
}

impl EncodedEntries {
    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The first one's number.
    #[must_use]
    pub fn first(&self) -> Number {
        self.first
    }

    /// The last one's number.
    #[must_use]
    pub fn last(&self) -> Number {
        self.first.plus(self.count as u64 - 1)
    }

    /// The term in which they were made.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Where the encoding of the one at `at` ends.
    fn end(&self, at: usize) -> usize {
        let end = self.bytes[self.encoded + at * END_BYTES..].first_chunk().expect("each has an end");
        u32::from_le_bytes(*end) as usize
    }

    fn entry(&self, at: usize) -> Entry {
        let begin = at.checked_sub(1).map_or(0, |before| self.end(before));
        decode(&self.bytes[begin..self.end(at)])
    }

    /// The entry `number`, if it is among these.
    #[must_use]
    pub fn get(&self, number: Number) -> Option<Entry> {
        let at = usize::try_from(number.0.checked_sub(self.first.0)?).ok()?;
        (at < self.count).then(|| self.entry(at))
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        (0..self.count).map(|at| self.entry(at))
    }

    /// What the runtime itself has put into the stream among them; others are not decoded for it.
    pub fn controls(&self) -> impl Iterator<Item = (Number, Control)> {
        let looked_at = if self.has_controls { self.count } else { 0 };
        (0..looked_at).filter_map(|at| {
            let entry = self.entry(at);
            match entry.body {
                EntryBody::Control(control) => Some((entry.number, control)),
                _ => None,
            }
        })
    }

    /// Their encodings, one behind the other.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.end(self.count - 1)]
    }

    /// About how many bytes they take in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.bytes.len()
    }

    /// Forgets those after `last`; false when none is left, and then this is of no more use.
    #[must_use]
    pub fn cut_back(&mut self, last: Number) -> bool {
        let left = usize::try_from((last.0 + 1).saturating_sub(self.first.0)).unwrap_or(usize::MAX);
        self.count = self.count.min(left);
        self.count > 0
    }
}

/// # Panics
/// When the bytes are none of an entry's: they are made here alone.
fn decode(bytes: &[u8]) -> Entry {
    postcard::from_bytes(bytes).expect("our own entries can be decoded")
}

impl From<&Entry> for EncodedEntries {
    fn from(entry: &Entry) -> Self {
        let mut gathered = Gathered::default();
        assert!(gathered.push(entry).is_none(), "there was none before it");
        gathered.seal().expect("there is one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Op;
    use crate::ids::TableId;

    #[test]
    fn updates_beside_an_entry_are_encoded_as_its_own() {
        let op = |at: u32| Op { table: TableId(at << 7), key: vec![1; at as usize].into(), value: None };
        let ops = |count: u32| -> Vec<Op> { (0..count).map(op).collect() };
        let (event, outcome) =
            (EventId::Keyed { key: "k".into() }, Outcome::Committed { reply: [1, 2].into() });
        let (number, term, time) = (Number(300), Term(2), Micros(5));
        let (awaited_from, encoding, procedure) = (7, Encoding::Json, "transfer");
        let entry = |ops| {
            let (event, outcome, procedure) = (event.clone(), outcome.clone(), procedure.into());
            let body = EntryBody::Procedure { event, awaited_from, encoding, procedure, outcome, ops };
            Entry { number, term, time, body }
        };
        let ran = Ran { term, time, event: &event, awaited_from, procedure };
        let recorded = Recorded { number, encoding, outcome: outcome.clone() };
        for count in [0, 1, 127, 128, 200] {
            let mut gathered = Gathered::default();
            let full = gathered.push_ran(&ran, &recorded, &ops(count).iter().map(Op::lent).collect());
            assert_eq!(full, None);
            assert_eq!(gathered.seal(), Some(EncodedEntries::from(&entry(ops(count)))));
        }
    }

    /// Of different lengths, the third of them the runtime's own.
    fn entry(number: u64) -> Entry {
        let feature = "f".repeat(number as usize % 7);
        let body = match number % 5 {
            3 => EntryBody::Control(Control::Disable { feature }),
            _ => EntryBody::OpenSession,
        };
        Entry { number: Number(number), term: Term(4), time: Micros(number << number), body }
    }

    #[test]
    fn each_is_found_before_and_after_they_are_sealed_and_what_is_cut_off_is_not() {
        let (first, last) = (10, 31);
        let mut gathered = Gathered::default();
        assert!((gathered.first(), gathered.seal()) == (None, None));
        (first..=last).for_each(|number| assert_eq!(gathered.push(&entry(number)), None));
        let found = |get: &dyn Fn(Number) -> Option<Entry>| -> Vec<Entry> {
            (first - 2..=last + 2).filter_map(|number| get(Number(number))).collect()
        };
        let all: Vec<Entry> = (first..=last).map(entry).collect();
        assert_eq!(found(&|number| gathered.get(number)), all);
        assert_eq!((gathered.first(), gathered.last()), (Some(Number(first)), Some(Number(last))));
        let mut later = gathered.clone();
        let of_a_later_term = Entry { term: Term(5), ..entry(last + 1) };
        let full = later.push(&of_a_later_term);
        assert!(later.seal() == Some(EncodedEntries::from(&of_a_later_term)));
        let mut sealed = gathered.seal().expect("there are some");
        assert!(gathered.is_empty() && full == Some(sealed.clone()));
        for end in (first..=last).rev() {
            assert!(sealed.cut_back(Number(end)));
            let left = &all[..(end + 1 - first) as usize];
            assert!(found(&|number| sealed.get(number)) == left && sealed.iter().eq(left.iter().cloned()));
            let encoded: Vec<u8> =
                left.iter().flat_map(|entry| postcard::to_allocvec(entry).unwrap()).collect();
            assert!(sealed.as_bytes() == encoded);
            assert_eq!((sealed.first(), sealed.last()), (Number(first), Number(end)));
            let controls = left.iter().filter(|entry| entry.number.0 % 5 == 3).map(|entry| entry.number);
            assert!(sealed.controls().map(|(number, _)| number).eq(controls));
        }
        assert!(!sealed.cut_back(Number(first - 1)));
    }

    #[test]
    fn a_piece_that_is_long_enough_takes_no_more() {
        let entry = |number| Entry { number: Number(number), ..entry(1) };
        let (mut gathered, mut number) = (Gathered::default(), 1);
        while gathered.bytes() < PIECE_BYTES {
            assert_eq!(gathered.push(&entry(number)), None);
            number += 1;
        }
        let full = gathered.push(&entry(number)).expect("what came before");
        assert_eq!((full.first(), full.last()), (Number(1), Number(number - 1)));
        assert_eq!((gathered.first(), gathered.last()), (Some(Number(number)), Some(Number(number))));
    }
}
