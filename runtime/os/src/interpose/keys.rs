//! `pthread_key_create` and `pthread_key_delete`: which keys have a destructor in which library.
//!
//! A Rust library takes a key and never gives it back; a process has 1,024. The loader deletes those of
//! a library just before it closes it, also because a destructor that is gone must not be called.
//!
//! Invariant: the table is indexed by the key itself, so that no note is ever out of step with libc.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::{lies_in, next_symbol};

/// glibc's `PTHREAD_KEYS_MAX`.
const KEYS: usize = 1024;

/// The address of each key's destructor; 0 where there is none.
static DESTRUCTORS: [AtomicUsize; KEYS] = [const { AtomicUsize::new(0) }; KEYS];
static REAL_CREATE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
static REAL_DELETE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

type Destructor = unsafe extern "C" fn(*mut c_void);
type Create = unsafe extern "C" fn(*mut libc::pthread_key_t, Option<Destructor>) -> c_int;
type Delete = unsafe extern "C" fn(libc::pthread_key_t) -> c_int;

/// The keys whose destructor lies in `range`.
#[must_use]
pub fn keys_in(range: &Range<usize>) -> Vec<libc::pthread_key_t> {
    DESTRUCTORS
        .iter()
        .zip(0..)
        .filter(|(destructor, _)| {
            let address = destructor.load(Ordering::Acquire);
            address != 0 && lies_in(range, address)
        })
        .map(|(_, key)| key)
        .collect()
}

/// Deletes the keys whose destructor lies in `range`, and says how many. Their values are dropped
/// without a call, so the threads that set them must be gone, or must not matter.
pub fn delete_keys_in(range: &Range<usize>) -> usize {
    let keys = keys_in(range);
    for key in &keys {
        // SAFETY: the key was created and not deleted: the table follows both calls.
        let result = unsafe { pthread_key_delete(*key) };
        debug_assert_eq!(result, 0, "the table follows libc");
    }
    keys.len()
}

/// Stands before libc's `pthread_key_create`: notes the destructor.
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_key_create(
    key: *mut libc::pthread_key_t,
    destructor: Option<Destructor>,
) -> c_int {
    let real = next_symbol(&REAL_CREATE, c"pthread_key_create");
    // SAFETY: libc's function of that name has this type.
    let real: Create = unsafe { std::mem::transmute::<*mut c_void, Create>(real) };
    // SAFETY: passed on as it came.
    let result = unsafe { real(key, destructor) };
    if result == 0 {
        // SAFETY: libc has just written the key there.
        let key = unsafe { *key };
        if let Some(note) = DESTRUCTORS.get(key as usize) {
            note.store(destructor.map_or(0, |function| function as *const () as usize), Ordering::Release);
        }
    }
    result
}

/// Stands before libc's `pthread_key_delete`: forgets the destructor.
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_key_delete(key: libc::pthread_key_t) -> c_int {
    let real = next_symbol(&REAL_DELETE, c"pthread_key_delete");
    // SAFETY: libc's function of that name has this type.
    let real: Delete = unsafe { std::mem::transmute::<*mut c_void, Delete>(real) };
    // Forgotten first: once libc has it back, another thread may be given the same key.
    let destructor = DESTRUCTORS.get(key as usize).map(|note| note.swap(0, Ordering::AcqRel));
    // SAFETY: passed on as it came.
    let result = unsafe { real(key) };
    if result != 0
        && let (Some(note), Some(destructor)) = (DESTRUCTORS.get(key as usize), destructor)
    {
        note.store(destructor, Ordering::Release);
    }
    result
}
