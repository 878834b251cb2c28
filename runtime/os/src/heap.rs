//! The heap of a host: mimalloc, in huge pages. Tables live in it, look-ups in them miss fewer translations, and after a
//! death the kernel gives the memory back in a tenth of the time, so that what it held is free soon. What is freed goes back to
//! the kernel in whole huge pages alone: one that is given back in part is many small ones from then on, and a translation of
//! those costs a virtual machine a walk through two sets of tables. It was a tenth of what a transfer costs.
//!
//! Its crate for Rust asks for an alignment with every allocation, which takes mimalloc's longer way; nearly everything is
//! aligned to a word, which each of its blocks is.
//!
//! Deliberately absent: the choice of it, which is the program's (`#[global_allocator]`). Where a program has another one,
//! [`set_up`] does nothing.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mi;

/// What every block of mimalloc is aligned to, in bytes, as long as it is as large as that.
const WORD: usize = size_of::<usize>();

/// mimalloc as a program's allocator.
#[derive(Debug, Default)]
pub struct Heap;

fn is_of_words(layout: &Layout) -> bool {
    layout.align() <= WORD && layout.align() <= layout.size()
}

// SAFETY: mimalloc gives blocks that do not overlap and stay until they are freed, and never unwinds. Each block is aligned
// to a word, so `is_of_words` layouts are served; the others ask for their alignment. A block is freed and resized by the
// functions of the same allocator, whichever of them made it.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and any power of two are valid arguments.
        unsafe {
            if is_of_words(&layout) {
                mi::mi_malloc(layout.size()).cast()
            } else {
                mi::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe {
            if is_of_words(&layout) {
                mi::mi_zalloc(layout.size()).cast()
            } else {
                mi::mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller vouches that the block is of this allocator and is not used any more.
        unsafe { mi::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`; and as in `alloc`, as long as the new size is a word or more.
        unsafe {
            if layout.align() <= WORD && layout.align() <= size {
                mi::mi_realloc(block.cast(), size).cast()
            } else {
                mi::mi_realloc_aligned(block.cast(), size, layout.align()).cast()
            }
        }
    }
}

/// After how many milliseconds memory goes back to the kernel: mimalloc's `mi_option_purge_delay`, to which its crate for Rust
/// gives no name.
const PURGE_DELAY: mi::mi_option_t = 15;
/// Whether huge pages are used (1), and kept whole (2): its `mi_option_allow_thp`.
const ALLOW_THP: mi::mi_option_t = 43;
/// Longer than what is freed takes to be wanted again, if it is.
const PURGE_DELAY_MS: std::ffi::c_long = 10;

/// Asks for memory in huge pages from here on, which are kept whole. To be called first in `main`.
pub fn set_up() {
    // SAFETY: setting an option has no preconditions; the options' numbers are the library's own.
    unsafe {
        mi::mi_option_set_enabled(mi::mi_option_large_os_pages, true);
        mi::mi_option_set(ALLOW_THP, 2);
        mi::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
    }
}

/// Gives what was freed some time ago back to the kernel. Whoever allocates does it now and then; where nobody does, somebody
/// has to ask for it.
pub fn give_back() {
    // SAFETY: it has no preconditions, and touches the calling thread's blocks and free memory alone.
    unsafe { mi::mi_collect(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_without_a_name_are_those_that_are_meant() {
        // SAFETY: reading an option has no preconditions.
        let defaults = unsafe { [PURGE_DELAY, ALLOW_THP].map(|option| mi::mi_option_get(option)) };
        assert_eq!(defaults, [1_000, 1], "other numbers mean that the options were numbered anew");
        give_back();
    }

    #[test]
    fn blocks_are_aligned_and_keep_their_bytes_when_they_grow() {
        for align in [1, 2, 8, 16, 64, 4096] {
            for size in [1, 3, 8, 24, 40, 1_000, 100_000] {
                let layout = Layout::from_size_align(size, align).expect("a layout");
                // SAFETY: the sizes are not zero; each block is freed once, with the layout that it has.
                unsafe {
                    let block = Heap.alloc_zeroed(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align), "{size} to {align}");
                    assert!((0..size).all(|at| *block.add(at) == 0));
                    block.write_bytes(7, size);
                    let grown = Heap.realloc(block, layout, size * 3);
                    assert!(
                        !grown.is_null() && grown.addr().is_multiple_of(align),
                        "{size} to {align}, grown"
                    );
                    assert!((0..size).all(|at| *grown.add(at) == 7));
                    Heap.dealloc(grown, Layout::from_size_align(size * 3, align).expect("a layout"));
                    let plain = Heap.alloc(layout);
                    assert!(plain.addr().is_multiple_of(align));
                    Heap.dealloc(plain, layout);
                }
            }
        }
    }
}
