//! The recent stream: entries kept in memory for a returning standby, within a bound of bytes (R25).

use std::collections::VecDeque;

use crate::encoded_entries::{EncodedEntries, Gathered, Ran};
use crate::entry::Entry;
use crate::ids::Number;
use crate::sessions::Recorded;
use crate::updates::Updates;

/// The latest entries, without holes: piece by piece, as they were made.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    pieces: VecDeque<EncodedEntries>,
    /// Those behind all pieces, which the store has not been given yet.
    gathered: Gathered,
    bytes: usize,
    bytes_max: usize,
    /// Entries from here on are on their way to a returning standby, and stay although the bound is passed.
    kept_from: Option<Number>,
}

/// A standby that needs more than this beyond its copy is not waited for: it gets another copy. The intake slows down
/// at half of it.
const KEPT_BYTES_MAX: usize = 256 << 20;

impl Recent {
    /// Starts with what the store found.
    #[must_use]
    pub fn new(pieces: Vec<EncodedEntries>, bytes_max: usize) -> Self {
        let mut recent = Recent { bytes_max, ..Recent::default() };
        pieces.into_iter().for_each(|piece| recent.add(piece));
        recent
    }

    /// Gathers the next entry. Gives the piece that this has ended, if it has, for the store.
    #[must_use]
    pub fn push(&mut self, entry: &Entry) -> Option<EncodedEntries> {
        self.expect(entry.number);
        let full = self.gathered.push(entry);
        self.added(full)
    }

    /// As [`push`](Self::push), of a procedure's entry in its parts.
    #[must_use]
    pub fn push_ran(
        &mut self,
        ran: &Ran<'_>,
        recorded: &Recorded,
        updates: &Updates,
    ) -> Option<EncodedEntries> {
        self.expect(recorded.number);
        let full = self.gathered.push_ran(ran, recorded, updates);
        self.added(full)
    }

    fn expect(&self, number: Number) {
        if let Some(last) = self.last() {
            assert_eq!(number, last.next(), "the recent stream has no holes");
        }
    }

    /// Ends a piece of the stream, if anything was gathered, and gives it, for the store; drops the oldest ones beyond the
    /// bound.
    #[must_use]
    pub fn seal(&mut self) -> Option<EncodedEntries> {
        let piece = self.gathered.seal();
        self.added(piece)
    }

    fn added(&mut self, piece: Option<EncodedEntries>) -> Option<EncodedEntries> {
        piece.inspect(|piece| self.add(piece.clone()))
    }

    /// Whether all that was gathered was sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.gathered.is_empty()
    }

    fn add(&mut self, piece: EncodedEntries) {
        if let Some(last) = self.pieces.back() {
            assert_eq!(piece.first(), last.last().next(), "the recent stream has no holes");
        }
        self.bytes += piece.memory_bytes();
        self.pieces.push_back(piece);
        self.trim();
    }

    /// Keeps entries from `number` on, or no more than the bound allows.
    pub fn keep_from(&mut self, number: Option<Number>) {
        if self.kept_from != number {
            self.kept_from = number;
            self.trim();
        }
    }

    /// Whether what is kept for a copy takes so much that it may soon have to go.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.kept_from.is_some() && self.bytes > self.bytes_max.max(KEPT_BYTES_MAX / 2)
    }

    /// The last piece always stays.
    fn trim(&mut self) {
        while self.bytes > self.bytes_max
            && self.pieces.len() > 1
            && let Some(oldest) = self.pieces.front()
        {
            let kept = self.kept_from.is_some_and(|from| oldest.last() >= from);
            if kept && self.bytes <= self.bytes_max.max(KEPT_BYTES_MAX) {
                return;
            }
            self.bytes -= oldest.memory_bytes();
            self.pieces.pop_front();
        }
    }

    /// The oldest number that is kept.
    #[must_use]
    pub fn first(&self) -> Option<Number> {
        self.pieces.front().map(EncodedEntries::first).or_else(|| self.gathered.first())
    }

    fn last(&self) -> Option<Number> {
        self.gathered.last().or_else(|| self.pieces.back().map(EncodedEntries::last))
    }

    /// The entry `number`, if it is kept.
    #[must_use]
    pub fn get(&self, number: Number) -> Option<Entry> {
        let before = self.pieces.partition_point(|piece| piece.first() <= number);
        let sealed = before.checked_sub(1).and_then(|at| self.pieces[at].get(number));
        sealed.or_else(|| self.gathered.get(number))
    }

    /// Whether a store that ends at `last` can be served from here up to `end`.
    #[must_use]
    pub fn reaches(&self, last: Number, end: Number) -> bool {
        let next = last.next();
        last >= end
            || (self.first().is_some_and(|first| first <= next)
                && self.last().is_some_and(|last| next <= last))
    }

    /// Forgets everything after `last`.
    ///
    /// # Panics
    /// When something was gathered that the store was not given: it would be given what is cut off.
    pub fn cut_back(&mut self, last: Number) {
        assert!(self.is_sealed(), "the store has all entries before some are cut off");
        while let Some(mut piece) = self.pieces.pop_back() {
            if piece.cut_back(last) {
                return self.pieces.push_back(piece);
            }
            self.bytes -= piece.memory_bytes();
        }
    }

    /// Forgets everything: the database was replaced.
    pub fn clear(&mut self) {
        assert!(self.is_sealed(), "the store has all entries before it is replaced");
        self.pieces.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryBody;
    use crate::ids::{Micros, Term};

    const PIECE: u64 = 16;

    fn push(recent: &mut Recent, number: u64) {
        let body = EntryBody::OpenSession;
        let full = recent.push(&Entry { number: Number(number), term: Term(1), time: Micros(number), body });
        assert_eq!(full, None);
        if number % PIECE == PIECE - 1 {
            assert_eq!(recent.seal().map(|piece| piece.last()), Some(Number(number)));
        }
    }

    /// Pieces are inside: whatever their ends, the stream is one.
    #[test]
    fn each_entry_is_found_across_pieces_until_it_is_dropped_or_cut_off() {
        let (first, last) = (PIECE * 10, PIECE * 14 + 3);
        let mut recent = Recent::new(Vec::new(), usize::MAX);
        (first..=last).for_each(|number| push(&mut recent, number));
        let found = |recent: &Recent| -> Vec<u64> {
            let numbers = first - 1..=last + PIECE;
            numbers
                .filter(|number| recent.get(Number(*number)).is_some_and(|entry| entry.number.0 == *number))
                .collect()
        };
        assert!(found(&recent) == (first..=last).collect::<Vec<_>>() && !recent.is_sealed());
        assert!(recent.seal().is_some() && recent.is_sealed());
        let cut = last - PIECE - 1;
        recent.cut_back(Number(cut));
        assert_eq!(found(&recent), (first..=cut).collect::<Vec<_>>());
        let each = recent.bytes / recent.pieces.len();
        recent.bytes_max = each * 7 / 2;
        push(&mut recent, cut + 1);
        assert_eq!(recent.first(), Some(Number(first)), "what is gathered takes no room yet");
        assert!(recent.seal().is_some());
        let kept = first + PIECE;
        assert_eq!(found(&recent), (kept..=cut + 1).collect::<Vec<_>>());
        assert_eq!(recent.first(), Some(Number(kept)));
        assert!(
            recent.reaches(Number(kept - 1), Number(cut + 1))
                && !recent.reaches(Number(kept - 2), Number(cut + 1))
        );
        recent.keep_from(Some(Number(kept + 1)));
        recent.bytes_max = 0;
        push(&mut recent, cut + 2);
        assert!(recent.seal().is_some());
        assert_eq!(recent.first(), Some(Number(kept)), "what is on its way stays, and its piece");
        recent.keep_from(None);
        assert_eq!(found(&recent), [cut + 2], "and the last piece stays always");
    }
}
