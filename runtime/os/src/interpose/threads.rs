//! `pthread_create`: which threads live, and at which address each began.
//!
//! Invariant: a thread counts as alive from before the real call until the kernel no longer knows its
//! id; its thread-local destructors run in between.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::AtomicPtr;

use super::slots::{Slot, SlotTable};
use super::{lies_in, next_symbol, thread_exists, thread_name};

/// How many threads can be noted at a time.
pub(super) const SLOTS: usize = 4096;

static THREADS: SlotTable<SLOTS> = SlotTable::new();
static REAL_CREATE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

const START: usize = 0;
const ARGUMENT: usize = 1;
/// The kernel's id of the thread; 0 until it has begun.
const TID: usize = 2;

type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;
type Create =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Start, *mut c_void) -> c_int;

/// A thread that began in a library and that still lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveThread {
    /// The kernel's id; 0 when it has not begun yet.
    pub tid: i32,
    /// The address of the function that it began with.
    pub start: usize,
    /// Its name, as `ps -L` shows it.
    pub name: String,
}

/// The live threads that began at an address in `range`.
#[must_use]
pub fn live_threads_in(range: &Range<usize>) -> Vec<LiveThread> {
    THREADS.free_where(is_gone);
    THREADS
        .in_use()
        .filter(|slot| lies_in(range, slot.word(START)))
        .map(|slot| {
            let tid = slot.word(TID) as i32;
            LiveThread { tid, start: slot.word(START), name: thread_name(tid) }
        })
        .collect()
}

pub(super) fn untracked() -> usize {
    THREADS.refused()
}

fn is_gone(slot: &Slot) -> bool {
    let tid = slot.word(TID) as i32;
    tid != 0 && !thread_exists(tid)
}

/// Runs on the new thread, in place of the function that was asked for.
unsafe extern "C-unwind" fn begin(slot: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` below passes a slot of the static table, which this thread alone uses now.
    let slot = unsafe { &*slot.cast::<Slot>() };
    // SAFETY: gettid has no preconditions.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as usize;
    // The kernel gave this id anew, so an older note of it is of a thread that is gone.
    THREADS.free_where(|other| other.word(TID) == tid);
    slot.set_word(TID, tid);
    let argument = slot.word(ARGUMENT) as *mut c_void;
    // SAFETY: the word was written from a function pointer of this very type.
    let start: Start = unsafe { std::mem::transmute::<usize, Start>(slot.word(START)) };
    // SAFETY: this is the call that the caller of `pthread_create` asked for.
    let result = unsafe { start(argument) };
    slot.leave();
    result
}

/// Stands before libc's `pthread_create`: notes where the thread begins, and passes the call on.
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    let real = next_symbol(&REAL_CREATE, c"pthread_create");
    // SAFETY: libc's function of that name has this type.
    let real: Create = unsafe { std::mem::transmute::<*mut c_void, Create>(real) };
    let words = [start as *const () as usize, argument as usize, 0, 0];
    let Some(slot) = THREADS.take(words, is_gone) else {
        // SAFETY: passed on as it came.
        return unsafe { real(thread, attributes, start, argument) };
    };
    let slot_address = std::ptr::from_ref(slot).cast_mut().cast::<c_void>();
    // SAFETY: the slot is static; `begin` makes the call that was asked for.
    let result = unsafe { real(thread, attributes, begin, slot_address) };
    if result != 0 {
        slot.free();
    }
    result
}
