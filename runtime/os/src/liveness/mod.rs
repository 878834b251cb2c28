//! The liveness mutex: how a partner on the same machine learns of a death within a few milliseconds,
//! whatever the dead process's size.
//!
//! A robust, process-shared mutex lies in a small file in `/dev/shm`, named by the boot and the store. A thread of the
//! processor that does nothing else holds it for life. When that process dies, the kernel hands the mutex to
//! a waiter *before* it frees the memory.
//!
//! Deliberately absent: any use of it as proof. A stopped process holds its mutex, a machine that lost its power
//! releases none; so it is a hint to act (R6), and the arbiter's record decides.
//!
//! Invariants:
//! - Whether a holder died or let go is told from a word in the page, which the holder alone writes while
//!   it has the mutex; so it does not matter which of several waiters the kernel wakes first.
//! - A waiter that gets the mutex gives it back at once, made consistent if its owner died.
//! - The file does not outlive the boot: a mutex copied while held blocks for ever.

mod lock;
mod page;
mod watch;

use std::io;

pub use lock::LivenessLock;
pub use watch::{Died, LivenessWatch};

use page::{Acquired, Incarnation, Page};

/// Whether a process holds the liveness mutex of this store now. It may be stopped or hung all the same.
pub fn is_living(store_name: &str) -> io::Result<bool> {
    let Some(page) = Page::open(store_name)? else { return Ok(false) };
    match page.try_acquire()? {
        Acquired::Mine => {
            page.release();
            Ok(false)
        }
        // A watcher may have it for a moment; then the word tells.
        Acquired::Others => Ok(matches!(page.incarnation(), Incarnation::Held { .. })),
    }
}

#[cfg(test)]
mod tests;
