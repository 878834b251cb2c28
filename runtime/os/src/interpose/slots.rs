//! A fixed table of notes that is written without a lock and without the allocator.
//!
//! Deliberately absent: growth. A full table says so, and the caller counts it.
//!
//! Invariant: a slot's state word carries a generation, so that a slot freed and taken again is never
//! mistaken for the one that was looked at.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Nobody's.
const FREE: u64 = 0;
/// Taken and filled.
const USED: u64 = 1;
/// The caller is done with it, but it may not be given away before its thread is gone.
const LEAVING: u64 = 2;
/// Taken; its words are still another note's, so nobody may judge it by them.
const CLAIMED: u64 = 3;
const PHASE: u64 = 3;

/// How many words a note has.
pub(super) const WORDS: usize = 4;

pub(super) struct Slot {
    state: AtomicU64,
    pub(super) words: [AtomicUsize; WORDS],
}

impl Slot {
    const fn new() -> Self {
        Self { state: AtomicU64::new(FREE), words: [const { AtomicUsize::new(0) }; WORDS] }
    }

    pub(super) fn word(&self, index: usize) -> usize {
        self.words[index].load(Ordering::Acquire)
    }

    pub(super) fn set_word(&self, index: usize, value: usize) {
        self.words[index].store(value, Ordering::Release);
    }

    /// Gives the slot back.
    pub(super) fn free(&self) {
        let state = self.state.load(Ordering::Acquire);
        self.state.store(next_generation(state), Ordering::Release);
    }

    /// Marks the slot as given back once its thread is gone.
    pub(super) fn leave(&self) {
        let state = self.state.load(Ordering::Acquire);
        self.state.store((state & !PHASE) | LEAVING, Ordering::Release);
    }
}

fn holds_a_note(state: u64) -> bool {
    matches!(state & PHASE, USED | LEAVING)
}

fn next_generation(state: u64) -> u64 {
    ((state & !PHASE).wrapping_add(PHASE + 1)) | FREE
}

pub(super) struct SlotTable<const N: usize> {
    slots: [Slot; N],
    /// One past the highest slot ever taken, so that a look at all need not touch the rest.
    high_water: AtomicUsize,
    refused: AtomicUsize,
}

impl<const N: usize> SlotTable<N> {
    pub(super) const fn new() -> Self {
        Self {
            slots: [const { Slot::new() }; N],
            high_water: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }
    }

    /// Takes a free slot and fills it; `is_gone` is asked about the notes of slots that might be taken back.
    pub(super) fn take(
        &'static self,
        words: [usize; WORDS],
        is_gone: impl Fn(&Slot) -> bool,
    ) -> Option<&'static Slot> {
        for (index, slot) in self.slots.iter().enumerate() {
            let mut state = slot.state.load(Ordering::Acquire);
            if state & PHASE == LEAVING && is_gone(slot) {
                let freed = next_generation(state);
                if slot.state.compare_exchange(state, freed, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    state = freed;
                }
            }
            if state & PHASE != FREE {
                continue;
            }
            let claimed = (state & !PHASE) | CLAIMED;
            if slot.state.compare_exchange(state, claimed, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                for (word, value) in slot.words.iter().zip(words) {
                    word.store(value, Ordering::Release);
                }
                slot.state.store((state & !PHASE) | USED, Ordering::Release);
                self.high_water.fetch_max(index + 1, Ordering::AcqRel);
                return Some(slot);
            }
        }
        self.refused.fetch_add(1, Ordering::AcqRel);
        None
    }

    /// Frees the slots that `condition` holds for, used or leaving, unless they changed meanwhile.
    pub(super) fn free_where(&self, condition: impl Fn(&Slot) -> bool) {
        for slot in self.in_use() {
            let state = slot.state.load(Ordering::Acquire);
            if holds_a_note(state) && condition(slot) {
                let _ = slot.state.compare_exchange(
                    state,
                    next_generation(state),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
            }
        }
    }

    /// The slots that hold a note now.
    pub(super) fn in_use(&self) -> impl Iterator<Item = &Slot> {
        let high_water = self.high_water.load(Ordering::Acquire);
        self.slots[..high_water].iter().filter(|slot| holds_a_note(slot.state.load(Ordering::Acquire)))
    }

    /// How often there was no slot.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_refuses_and_counts_and_takes_back_what_is_gone() {
        static TABLE: SlotTable<2> = SlotTable::new();
        let first = TABLE.take([1, 0, 0, 0], |_| false).expect("room for the first");
        let second = TABLE.take([2, 0, 0, 0], |_| false).expect("room for the second");
        assert!(TABLE.take([3, 0, 0, 0], |_| true).is_none(), "a used slot is never taken back");
        assert_eq!(TABLE.refused(), 1);
        first.leave();
        assert!(TABLE.take([3, 0, 0, 0], |slot| slot.word(0) != 1).is_none());
        let third = TABLE.take([3, 0, 0, 0], |slot| slot.word(0) == 1).expect("the first is gone");
        assert_eq!(third.word(0), 3);
        second.free();
        assert_eq!(TABLE.in_use().count(), 1);
    }
}
