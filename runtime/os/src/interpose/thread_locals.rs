//! `__cxa_thread_atexit_impl`: which thread-local destructors are still to run. glibc does not unmap a
//! library while there is one; here it gets the name of the thread that holds it.
//!
//! Invariant: a note goes only after the destructor has run, so that an empty answer means that none
//! will run any more.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::AtomicPtr;

use super::slots::{Slot, SlotTable};
use super::{lies_in, next_symbol, thread_exists, thread_name};

const SLOTS: usize = 16_384;

static PENDING: SlotTable<SLOTS> = SlotTable::new();
static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

const DESTRUCTOR: usize = 0;
const OBJECT: usize = 1;
/// An address in the library that registered it.
const LIBRARY: usize = 2;
const TID: usize = 3;

type Destructor = unsafe extern "C-unwind" fn(*mut c_void);
type Register = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> c_int;

/// A thread-local destructor that is still to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDestructor {
    /// The thread that will run it.
    pub tid: i32,
    /// That thread's name.
    pub name: String,
    /// The address of the destructor.
    pub destructor: usize,
}

/// The destructors still to run that lie in `range`, or that a library there registered.
#[must_use]
pub fn pending_destructors_in(range: &Range<usize>) -> Vec<PendingDestructor> {
    PENDING.free_where(is_gone);
    PENDING
        .in_use()
        .filter(|slot| lies_in(range, slot.word(LIBRARY)) || lies_in(range, slot.word(DESTRUCTOR)))
        .map(|slot| {
            let tid = slot.word(TID) as i32;
            PendingDestructor { tid, name: thread_name(tid), destructor: slot.word(DESTRUCTOR) }
        })
        .collect()
}

pub(super) fn untracked() -> usize {
    PENDING.refused()
}

/// A thread that the kernel ended on its way (a cancelled one) leaves its notes behind.
fn is_gone(slot: &Slot) -> bool {
    let tid = slot.word(TID) as i32;
    tid != 0 && !thread_exists(tid)
}

unsafe extern "C-unwind" fn run(slot: *mut c_void) {
    // SAFETY: the interposer below passes a slot of the static table, which is used until it is freed here.
    let slot = unsafe { &*slot.cast::<Slot>() };
    let object = slot.word(OBJECT) as *mut c_void;
    // SAFETY: the word was written from a function pointer of this very type.
    let destructor: Destructor = unsafe { std::mem::transmute::<usize, Destructor>(slot.word(DESTRUCTOR)) };
    // SAFETY: this is the call that was registered.
    unsafe { destructor(object) };
    slot.free();
}

/// Stands before glibc's `__cxa_thread_atexit_impl`: notes the destructor, and passes the call on.
///
/// # Safety
/// As for glibc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __cxa_thread_atexit_impl(
    destructor: Destructor,
    object: *mut c_void,
    library: *mut c_void,
) -> c_int {
    let real = next_symbol(&REAL, c"__cxa_thread_atexit_impl");
    // SAFETY: glibc's function of that name has this type.
    let real: Register = unsafe { std::mem::transmute::<*mut c_void, Register>(real) };
    // SAFETY: gettid has no preconditions.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as usize;
    let words = [destructor as *const () as usize, object as usize, library as usize, tid];
    let Some(slot) = PENDING.take(words, is_gone) else {
        // SAFETY: passed on as it came.
        return unsafe { real(destructor, object, library) };
    };
    let slot_address = std::ptr::from_ref(slot).cast_mut().cast::<c_void>();
    // SAFETY: the slot is static; `library` still names the library that glibc must keep.
    let result = unsafe { real(run, slot_address, library) };
    if result != 0 {
        slot.free();
    }
    result
}
