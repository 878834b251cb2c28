//! Interposers of three functions of libc, exported from the host's own binary, by which the loader
//! learns what a library has left in this process: its live threads, the `pthread` keys whose destructors
//! lie in it, and the thread-local destructors that are still to run and that pin it.
//!
//! The dynamic linker binds a plugin's calls to the executable first, so the functions here are the ones
//! that a plugin calls; they keep a note and pass the call on. They allocate nothing and take no lock, because
//! an allocator may itself call them while it starts.
//!
//! Deliberately absent: C11 `thrd_create` and a raw `clone`, which no Rust code uses; keys without a
//! destructor, which nothing can be told about.
//!
//! Invariant: a thread is taken for gone only once the kernel no longer knows its id. When a table is
//! full, the call is passed on unnoted and counted in [`untracked`]; such a process proves nothing any
//! more, and the loader keeps its libraries.

mod keys;
mod slots;
mod thread_locals;
mod threads;

use std::ffi::{CStr, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, Ordering};

pub use keys::{delete_keys_in, keys_in};
pub use thread_locals::{PendingDestructor, pending_destructors_in};
pub use threads::{LiveThread, live_threads_in};

/// How many calls were passed on unnoted because a table was full. Zero in any sane process.
#[must_use]
pub fn untracked() -> usize {
    threads::untracked() + thread_locals::untracked()
}

/// How many `pthread` keys of this process have a destructor, over all libraries.
#[must_use]
pub fn key_count() -> usize {
    keys_in(&(0..usize::MAX)).len()
}

/// Makes the linker take the interposers into this binary, and says whether a library that is loaded
/// now would really be bound to them. A host calls it before its first plugin; `false` means that nothing
/// could be said about a plugin's threads, and that no plugin may be loaded.
#[must_use]
pub fn ensure_linked() -> bool {
    let ours: [(&CStr, usize); 4] = [
        (c"pthread_create", threads::pthread_create as *const () as usize),
        (c"pthread_key_create", keys::pthread_key_create as *const () as usize),
        (c"pthread_key_delete", keys::pthread_key_delete as *const () as usize),
        (c"__cxa_thread_atexit_impl", thread_locals::__cxa_thread_atexit_impl as *const () as usize),
    ];
    ours.iter().all(|(name, address)| {
        // SAFETY: dlsym with a valid C string only looks a name up.
        let bound = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        bound as usize == *address
    })
}

/// The address of the function that we stand before, looked up once.
fn next_symbol(cache: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let cached = cache.load(Ordering::Acquire);
    if !cached.is_null() {
        return cached;
    }
    // SAFETY: dlsym with a valid C string only looks a name up.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        // glibc has all of them; without the real function nothing can go on.
        // SAFETY: abort has no preconditions.
        unsafe { libc::abort() }
    }
    cache.store(found, Ordering::Release);
    found
}

/// The name of a thread of this process, for messages.
fn thread_name(tid: i32) -> String {
    std::fs::read_to_string(format!("/proc/self/task/{tid}/comm"))
        .map(|name| name.trim_end().to_owned())
        .unwrap_or_else(|_| "?".to_owned())
}

/// Whether the kernel still knows a thread of this process.
fn thread_exists(tid: i32) -> bool {
    // SAFETY: signal 0 delivers nothing; it only asks.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, 0) };
    result == 0
}

fn lies_in(range: &Range<usize>, address: usize) -> bool {
    range.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_binary_exports_the_interposers() {
        assert!(ensure_linked());
        assert_eq!(untracked(), 0);
    }

    #[test]
    fn a_thread_of_ours_is_known_while_it_lives_and_not_after() {
        assert!(ensure_linked());
        let everything = 0..usize::MAX;
        let (tid_tx, tid_rx) = std::sync::mpsc::channel();
        let (end_tx, end_rx) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("known-by-name".into())
            .spawn(move || {
                // SAFETY: gettid has no preconditions.
                tid_tx.send(unsafe { libc::syscall(libc::SYS_gettid) } as i32).expect("the test listens");
                let _ = end_rx.recv();
            })
            .expect("a thread starts");
        let tid = tid_rx.recv().expect("the thread says its id");
        let found = live_threads_in(&everything).into_iter().find(|thread| thread.tid == tid);
        assert_eq!(found.expect("the thread is known").name, "known-by-name");
        assert!(live_threads_in(&(0..1)).is_empty());
        drop(end_tx);
        thread.join().expect("the thread ends");
        while thread_exists(tid) {
            std::thread::yield_now();
        }
        assert!(live_threads_in(&everything).iter().all(|thread| thread.tid != tid));
    }

    #[test]
    fn many_threads_do_not_fill_the_table() {
        assert!(ensure_linked());
        for _ in 0..(threads::SLOTS + 500) {
            std::thread::spawn(|| {}).join().expect("the thread ends");
        }
        assert_eq!(untracked(), 0);
    }

    #[test]
    fn a_key_is_known_by_its_destructor_and_can_be_deleted() {
        unsafe extern "C" fn destructor(_: *mut c_void) {}
        let address = destructor as *const () as usize;
        let around = address..address + 1;
        let mut key = 0;
        // SAFETY: `key` is valid for writes; the destructor has the right signature.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(destructor)) }, 0);
        assert_eq!(keys_in(&around), vec![key]);
        assert_eq!(delete_keys_in(&around), 1);
        assert!(keys_in(&around).is_empty());
        // SAFETY: asking for a deleted key is answered with null.
        assert!(unsafe { libc::pthread_getspecific(key) }.is_null());
    }

    #[test]
    fn a_thread_local_with_drop_is_pending_until_its_thread_ends() {
        struct Noisy;
        impl Drop for Noisy {
            fn drop(&mut self) {}
        }
        thread_local!(static NOISY: Noisy = const { Noisy });
        let (tid_tx, tid_rx) = std::sync::mpsc::channel();
        let (end_tx, end_rx) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            NOISY.with(|_| {});
            // SAFETY: gettid has no preconditions.
            tid_tx.send(unsafe { libc::syscall(libc::SYS_gettid) } as i32).expect("the test listens");
            let _ = end_rx.recv();
        });
        let tid = tid_rx.recv().expect("the thread says its id");
        assert!(pending_destructors_in(&(0..usize::MAX)).iter().any(|pending| pending.tid == tid));
        drop(end_tx);
        thread.join().expect("the thread ends");
        assert!(pending_destructors_in(&(0..usize::MAX)).iter().all(|pending| pending.tid != tid));
    }
}
