//! The allocator of a loaded plugin. A plugin has its own copy of the standard library, so its heap can be told from
//! the host's. What its statics still hold when it is unloaded is dropped by nobody: a static `Regex` would cost a
//! megabyte a swap. So all blocks stand in a list, and `purge` gives back those that are left.
//!
//! Deliberately absent: blocks that C code of the plugin asked `malloc` for; and a pool of its own: blocks come from the
//! system's allocator.
//!
//! Invariants: a block stands in the list from before the caller has it until it is given back; the list is touched
//! under the lock alone, and nothing under the lock allocates, panics or waits for anything else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The system's allocator, keeping a list. `export_application!` makes it the plugin's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listed;

/// What stands before each block.
#[repr(C, align(16))]
struct Header {
    before: *mut Header,
    after: *mut Header,
    /// As the block was asked for.
    size: usize,
    align: usize,
}

const HEADER_BYTES: usize = size_of::<Header>();

/// All blocks, newest first.
struct List {
    locked: AtomicBool,
    first: UnsafeCell<*mut Header>,
}

// SAFETY: `first` and the headers' links are touched under the lock alone.
unsafe impl Sync for List {}

static LIST: List = List { locked: AtomicBool::new(false), first: UnsafeCell::new(null_mut()) };
/// Written under the lock, read without.
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

impl List {
    /// The lock is held for some instructions, and nearly always by the one thread that runs the plugin: it spins, and
    /// lets others run when its holder was stopped on the way.
    fn locked<R>(&self, work: impl FnOnce(&mut *mut Header) -> R) -> R {
        let mut tries = 0_u32;
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            tries = tries.wrapping_add(1);
            if tries.is_multiple_of(64) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        // SAFETY: the lock makes this the only reference.
        let result = work(unsafe { &mut *self.first.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    /// # Safety
    /// `header` must be valid, filled but for its links, and in no list.
    unsafe fn insert(&self, header: *mut Header) {
        self.locked(|first| {
            // SAFETY: the caller vouches for `header`; those in the list are valid.
            unsafe {
                (*header).before = null_mut();
                (*header).after = *first;
                if !first.is_null() {
                    (**first).before = header;
                }
                count((*header).size, 0);
            }
            *first = header;
        });
    }

    /// # Safety
    /// `header` must be in the list.
    unsafe fn remove(&self, header: *mut Header) {
        self.locked(|first| {
            // SAFETY: those in the list are valid, and so are the ones that they name.
            unsafe {
                let Header { before, after, size, .. } = header.read();
                if before.is_null() {
                    *first = after;
                } else {
                    (*before).after = after;
                }
                if !after.is_null() {
                    (*after).before = before;
                }
                count(0, size);
            }
        });
    }

    /// Takes the newest out.
    fn take(&self) -> Option<NonNull<Header>> {
        let newest = self.locked(|first| *first);
        let newest = NonNull::new(newest)?;
        // SAFETY: it is in the list; by the contract of `purge` nobody else touches the list meanwhile.
        unsafe { self.remove(newest.as_ptr()) };
        Some(newest)
    }
}

fn count(more: usize, less: usize) {
    LIVE_BYTES.store(LIVE_BYTES.load(Ordering::Relaxed) + more - less, Ordering::Relaxed);
}

/// Where the block lies within what is asked of the system, and that request; nothing for one past all bounds.
fn request(size: usize, align: usize) -> Option<(usize, Layout)> {
    let offset = HEADER_BYTES.max(align);
    let layout = Layout::from_size_align(size.checked_add(offset)?, align.max(align_of::<Header>())).ok()?;
    Some((offset, layout))
}

/// Makes a block of what the system gave.
///
/// # Safety
/// `given` must be null or have room for `offset` bytes and the block.
unsafe fn handed_out(given: *mut u8, offset: usize, layout: Layout) -> *mut u8 {
    if given.is_null() {
        return given;
    }
    // SAFETY: `offset` is at least a header and at most what was asked for before the block; it is a multiple of the
    // header's alignment, as is what was given.
    unsafe {
        let block = given.add(offset);
        let header = block.sub(HEADER_BYTES).cast::<Header>();
        header.write(Header {
            before: null_mut(),
            after: null_mut(),
            size: layout.size(),
            align: layout.align(),
        });
        LIST.insert(header);
        block
    }
}

/// Gives a block's memory back to the system.
///
/// # Safety
/// It must have been handed out with this layout, and be in the list no more.
unsafe fn give_back(block: *mut u8, size: usize, align: usize) {
    if let Some((offset, whole)) = request(size, align) {
        // SAFETY: it was asked for with this very layout, `offset` before the block.
        unsafe { System.dealloc(block.sub(offset), whole) };
    }
}

// SAFETY: each block is part of one of the system's, at an offset that keeps its alignment and leaves room for its
// header; nothing here panics or allocates otherwise.
unsafe impl GlobalAlloc for Listed {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((offset, whole)) = request(layout.size(), layout.align()) else { return null_mut() };
        // SAFETY: the layout has a size, that of the header at least; what is given is as long.
        unsafe { handed_out(System.alloc(whole), offset, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((offset, whole)) = request(layout.size(), layout.align()) else { return null_mut() };
        // SAFETY: as for `alloc`; the header is written before the block, which stays zeroed.
        unsafe { handed_out(System.alloc_zeroed(whole), offset, layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from here, so its header stands before it, and is in the list.
        unsafe {
            LIST.remove(block.sub(HEADER_BYTES).cast());
            give_back(block, layout.size(), layout.align());
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (Some((offset, whole)), Some((_, larger))) =
            (request(layout.size(), layout.align()), request(new_size, layout.align()))
        else {
            return null_mut();
        };
        // SAFETY: as for `dealloc`: it leaves the list while it may move. Where the system has no room the old block is
        // as it was, and goes back into the list. The new layout has the old one's alignment.
        unsafe {
            let header = block.sub(HEADER_BYTES).cast::<Header>();
            LIST.remove(header);
            let moved = System.realloc(block.sub(offset), whole, larger.size());
            if moved.is_null() {
                LIST.insert(header);
                return moved;
            }
            let layout = Layout::from_size_align_unchecked(new_size, layout.align());
            handed_out(moved, offset, layout)
        }
    }
}

/// How many bytes live on the plugin's heap.
pub(crate) fn live_bytes() -> usize {
    LIVE_BYTES.load(Ordering::Relaxed)
}

/// Gives back every block that is left, and says how many bytes that was.
///
/// # Safety
/// No code of the plugin runs now or later, and nobody uses a block of its heap.
pub(crate) unsafe fn purge() -> usize {
    let mut bytes = 0;
    while let Some(header) = LIST.take() {
        // SAFETY: it was in the list, so it stands before a block of that layout; nobody uses it any more.
        unsafe {
            let Header { size, align, .. } = header.read();
            give_back(header.as_ptr().cast::<u8>().add(HEADER_BYTES), size, align);
            bytes += size;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// The list is one for the whole program: its tests take turns.
    fn turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn what_lives_is_counted() {
        let _turn = turn();
        let before = live_bytes();
        // SAFETY: layouts are not empty, each block is freed once with the layout that it has.
        unsafe {
            let block = Listed.alloc(layout(100, 8));
            assert_eq!(live_bytes(), before + 100);
            let block = Listed.realloc(block, layout(100, 8), 300);
            assert_eq!(live_bytes(), before + 300);
            Listed.dealloc(block, layout(300, 8));
        }
        assert_eq!(live_bytes(), before);
    }

    #[test]
    fn blocks_are_aligned_keep_their_bytes_and_are_zeroed_where_that_was_asked_for() {
        let _turn = turn();
        for align in [1, 8, 16, 32, 64, 4096] {
            for size in [1, 15, 16, 100, 5000] {
                // SAFETY: as above; within the block, which is as long.
                unsafe {
                    let block = Listed.alloc_zeroed(layout(size, align));
                    assert_eq!(block.addr() % align, 0, "{size} bytes aligned to {align}");
                    assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == 0));
                    std::slice::from_raw_parts_mut(block, size).fill(7);
                    let longer = Listed.realloc(block, layout(size, align), size * 3);
                    assert_eq!(longer.addr() % align, 0, "{size} bytes aligned to {align}, made longer");
                    assert!(std::slice::from_raw_parts(longer, size).iter().all(|byte| *byte == 7));
                    Listed.dealloc(longer, layout(size * 3, align));
                }
            }
        }
        assert!(request(usize::MAX - 8, 8).is_none(), "past all bounds");
    }

    #[test]
    fn what_is_left_is_given_back_in_one_go() {
        let _turn = turn();
        // SAFETY: the layouts are not empty; the first is freed with its layout, the others by the purge, and none is
        // used after.
        unsafe {
            let freed = Listed.alloc(layout(10, 1));
            Listed.alloc(layout(1000, 64));
            Listed.alloc(layout(20, 8));
            Listed.dealloc(freed, layout(10, 1));
            assert_eq!(purge(), 1020);
            assert_eq!(live_bytes(), 0);
            assert_eq!(purge(), 0);
        }
    }

    #[test]
    fn threads_share_the_list() {
        let _turn = turn();
        let before = live_bytes();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for size in 1..2_000 {
                        // SAFETY: as above.
                        unsafe {
                            let (one, two) = (Listed.alloc(layout(size, 8)), Listed.alloc(layout(size, 16)));
                            Listed.dealloc(one, layout(size, 8));
                            Listed.dealloc(two, layout(size, 16));
                        }
                    }
                });
            }
        });
        assert_eq!(live_bytes(), before);
    }
}
