//! The recent stream: entries kept in memory for a returning standby, within a bound of bytes (R25).

use std::collections::VecDeque;

use crate::encoded_entry::EncodedEntry;
use crate::entry::Entry;
use crate::ids::Number;

/// The latest entries, without holes.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    entries: VecDeque<EncodedEntry>,
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
    pub fn new(entries: Vec<EncodedEntry>, bytes_max: usize) -> Self {
        let mut recent = Recent { entries: VecDeque::new(), bytes: 0, bytes_max, kept_from: None };
        entries.into_iter().for_each(|entry| recent.push(entry));
        recent
    }

    /// Adds the next entry and drops the oldest ones beyond the bound.
    pub fn push(&mut self, entry: EncodedEntry) {
        if let Some(last) = self.entries.back() {
            assert_eq!(entry.number, last.number.next(), "the recent stream has no holes");
        }
        self.bytes += entry.memory_bytes();
        self.entries.push_back(entry);
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
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            let kept = self.kept_from.is_some_and(|from| self.entries[0].number >= from);
            if kept && self.bytes <= self.bytes_max.max(KEPT_BYTES_MAX) {
                return;
            }
            let oldest = self.entries.pop_front().expect("there is more than one");
            self.bytes -= oldest.memory_bytes();
        }
    }

    /// The oldest number that is kept.
    #[must_use]
    pub fn first(&self) -> Option<Number> {
        self.entries.front().map(|entry| entry.number)
    }

    /// The entry `number`, if it is kept.
    #[must_use]
    pub fn get(&self, number: Number) -> Option<Entry> {
        self.place(number).map(|at| self.entries[at].decode())
    }

    fn place(&self, number: Number) -> Option<usize> {
        let first = self.entries.front()?.number;
        let at = usize::try_from(number.0.checked_sub(first.0)?).ok()?;
        (at < self.entries.len()).then_some(at)
    }

    /// Whether a store that ends at `last` can be served from here up to `end`.
    #[must_use]
    pub fn reaches(&self, last: Number, end: Number) -> bool {
        last >= end || self.place(last.next()).is_some()
    }

    /// Forgets everything after `last`.
    pub fn cut_back(&mut self, last: Number) {
        while self.entries.back().is_some_and(|entry| entry.number > last) {
            let gone = self.entries.pop_back().expect("there is a last one");
            self.bytes -= gone.memory_bytes();
        }
    }

    /// Forgets everything: the database was replaced.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}
