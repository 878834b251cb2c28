//! The allocator of a plugin file: the system's, with a count of the bytes that live.
//!
//! A plugin has its own copy of the standard library, so its heap can be told from the host's. What its statics still
//! hold when it is unloaded is never dropped by anybody: the count tells the host how much that is.
//!
//! Deliberately absent: freeing that rest. It would need a list of all blocks, and with it a lock in every allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting. `export_application!` makes it the plugin's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

fn grew(bytes: usize) {
    LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed);
}

fn shrank(bytes: usize) {
    LIVE_BYTES.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: every call goes on to the system's allocator as it came; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            grew(layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            grew(layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and the block came from the system's allocator.
        unsafe { System.dealloc(block, layout) };
        shrank(layout.size());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`.
        let moved = unsafe { System.realloc(block, layout, new_size) };
        if !moved.is_null() {
            grew(new_size);
            shrank(layout.size());
        }
        moved
    }
}

/// How many bytes live on the plugin's heap.
pub(crate) fn live_bytes() -> usize {
    LIVE_BYTES.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_is_counted() {
        let (small, large) =
            (Layout::from_size_align(100, 8).unwrap(), Layout::from_size_align(300, 8).unwrap());
        let before = live_bytes();
        // SAFETY: layouts are not empty, each block is freed once with the layout that it has.
        unsafe {
            let block = Counting.alloc(small);
            assert_eq!(live_bytes(), before + 100);
            let block = Counting.realloc(block, small, 300);
            assert_eq!(live_bytes(), before + 300);
            Counting.dealloc(block, large);
        }
        assert_eq!(live_bytes(), before);
    }
}
