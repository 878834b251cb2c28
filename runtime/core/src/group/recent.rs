//! The recent stream: entries kept in memory for a returning standby, within a bound of bytes (R25).

use std::collections::VecDeque;

use crate::encoded_entry::EncodedEntry;
use crate::entry::Entry;
use crate::ids::Number;

/// The latest entries, without holes.
///
/// They stand in blocks: one piece for all would be copied whenever it grows, and at millions of entries that is a stall that
/// clients see.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// All but the first and the last one are full; none is empty.
    blocks: VecDeque<VecDeque<EncodedEntry>>,
    bytes: usize,
    bytes_max: usize,
    /// Entries from here on are on their way to a returning standby, and stay although the bound is passed.
    kept_from: Option<Number>,
}

/// A standby that needs more than this beyond its copy is not waited for: it gets another copy. The intake slows down
/// at half of it.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// How many entries a block takes.
const BLOCK: usize = 1_024;

impl Recent {
    /// Starts with what the store found.
    #[must_use]
    pub fn new(entries: Vec<EncodedEntry>, bytes_max: usize) -> Self {
        let mut recent = Recent { bytes_max, ..Recent::default() };
        entries.into_iter().for_each(|entry| recent.push(entry));
        recent
    }

    /// Adds the next entry and drops the oldest ones beyond the bound.
    pub fn push(&mut self, entry: EncodedEntry) {
        if let Some(last) = self.last() {
            assert_eq!(entry.number, last.number.next(), "the recent stream has no holes");
        }
        self.bytes += entry.memory_bytes();
        if self.blocks.back().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push_back(VecDeque::with_capacity(BLOCK));
        }
        self.blocks.back_mut().expect("there is a block").push_back(entry);
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

    fn trim(&mut self) {
        while self.bytes > self.bytes_max
            && let (Some(first), Some(last)) = (self.first(), self.last())
            && first != last.number
        {
            let kept = self.kept_from.is_some_and(|from| first >= from);
            if kept && self.bytes <= self.bytes_max.max(KEPT_BYTES_MAX) {
                return;
            }
            let block = self.blocks.front_mut().expect("there is a first one");
            let oldest = block.pop_front().expect("no block is empty");
            if block.is_empty() {
                self.blocks.pop_front();
            }
            self.bytes -= oldest.memory_bytes();
        }
    }

    /// The oldest number that is kept.
    #[must_use]
    pub fn first(&self) -> Option<Number> {
        self.blocks.front()?.front().map(|entry| entry.number)
    }

    fn last(&self) -> Option<&EncodedEntry> {
        self.blocks.back()?.back()
    }

    /// The entry `number`, if it is kept.
    #[must_use]
    pub fn get(&self, number: Number) -> Option<Entry> {
        self.find(number).map(EncodedEntry::decode)
    }

    fn find(&self, number: Number) -> Option<&EncodedEntry> {
        let before = self.blocks.partition_point(|block| block[0].number <= number);
        let block = self.blocks.get(before.checked_sub(1)?)?;
        block.get(usize::try_from(number.0 - block[0].number.0).ok()?)
    }

    /// Whether a store that ends at `last` can be served from here up to `end`.
    #[must_use]
    pub fn reaches(&self, last: Number, end: Number) -> bool {
        last >= end || self.find(last.next()).is_some()
    }

    /// Forgets everything after `last`.
    pub fn cut_back(&mut self, last: Number) {
        while self.last().is_some_and(|entry| entry.number > last) {
            let block = self.blocks.back_mut().expect("there is a last one");
            let gone = block.pop_back().expect("no block is empty");
            if block.is_empty() {
                self.blocks.pop_back();
            }
            self.bytes -= gone.memory_bytes();
        }
    }

    /// Forgets everything: the database was replaced.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryBody;
    use crate::ids::{Micros, Term};

    fn entry(number: u64) -> EncodedEntry {
        let body = EntryBody::OpenSession;
        EncodedEntry::from(&Entry { number: Number(number), term: Term(1), time: Micros(number), body })
    }

    /// Blocks are inside: whatever their ends, the stream is one.
    #[test]
    fn each_entry_is_found_across_blocks_until_it_is_dropped_or_cut_off() {
        // Numbers of two bytes each, so that all entries take the same room.
        let (first, last) = (1_000, 1_000 + 3 * BLOCK as u64);
        let each = entry(last).memory_bytes();
        let mut recent = Recent::new((first..=last).map(entry).collect(), usize::MAX);
        let found = |recent: &Recent| -> Vec<u64> {
            let numbers = first - 1..=last + 1;
            numbers
                .filter(|number| recent.get(Number(*number)).is_some_and(|entry| entry.number.0 == *number))
                .collect()
        };
        assert_eq!(found(&recent), (first..=last).collect::<Vec<_>>());
        let cut = last - BLOCK as u64 - 1;
        recent.cut_back(Number(cut));
        assert_eq!(found(&recent), (first..=cut).collect::<Vec<_>>());
        assert_eq!(recent.bytes, (cut - first + 1) as usize * each);
        recent.bytes_max = (BLOCK + 1) * each;
        recent.push(entry(cut + 1));
        let kept = cut + 1 - BLOCK as u64;
        assert_eq!(found(&recent), (kept..=cut + 1).collect::<Vec<_>>());
        assert_eq!(recent.first(), Some(Number(kept)));
        assert!(
            recent.reaches(Number(kept - 1), Number(cut + 1))
                && !recent.reaches(Number(kept - 2), Number(cut + 1))
        );
        recent.keep_from(Some(Number(kept)));
        recent.bytes_max = 0;
        recent.push(entry(cut + 2));
        assert_eq!(recent.first(), Some(Number(kept)), "what is on its way stays");
        recent.keep_from(None);
        assert_eq!(found(&recent), [cut + 2], "and the last one stays always");
    }
}
