//! What was moved, for the log: threads add to two atomics through a thread-local that does so every so often and when
//! it is dropped; a thread of the plugin's own looks at them now and then, and is joined at the end.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lockstep_plugin_api::Error;

const ADD_AFTER: u64 = 1_024;
const LOOK_EVERY: Duration = Duration::from_secs(10);

static MOVES: AtomicU64 = AtomicU64::new(0);
static CENTS: AtomicU64 = AtomicU64::new(0);

/// Who watches: how many want it watched, and the thread that does.
struct Watch {
    wanted_by: usize,
    thread: Option<JoinHandle<()>>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch { wanted_by: 0, thread: None });
static CHANGED: Condvar = Condvar::new();

#[derive(Default)]
struct Pocket {
    moves: u64,
    cents: u64,
}

impl Pocket {
    fn empty(&mut self) {
        MOVES.fetch_add(std::mem::take(&mut self.moves), Ordering::Relaxed);
        CENTS.fetch_add(std::mem::take(&mut self.cents), Ordering::Relaxed);
    }
}

impl Drop for Pocket {
    fn drop(&mut self) {
        self.empty();
    }
}

thread_local! {
    static POCKET: RefCell<Pocket> = RefCell::default();
}

fn watch() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look() {
    let mut watch = watch();
    while watch.wanted_by > 0 {
        let (cents, moves) = (CENTS.load(Ordering::Relaxed), MOVES.load(Ordering::Relaxed));
        tracing::debug!(moves, cents, "moved so far");
        watch = CHANGED.wait_timeout(watch, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Begins to watch, or is one more who wants it.
///
/// # Errors
/// When the thread can't be started.
pub fn start() -> std::io::Result<()> {
    let mut watch = watch();
    if watch.wanted_by == 0 {
        let thread = std::thread::Builder::new().name("ledger-tally".into()).spawn(look)?;
        watch.thread = Some(thread);
    }
    watch.wanted_by += 1;
    Ok(())
}

/// Wants it no longer; the last one joins the thread. Returns how many moves and cents were counted by then.
pub fn stop() -> (u64, u64) {
    POCKET.with_borrow_mut(Pocket::empty);
    let mut watch = watch();
    watch.wanted_by = watch.wanted_by.saturating_sub(1);
    let thread = if watch.wanted_by == 0 { watch.thread.take() } else { None };
    drop(watch);
    if let Some(thread) = thread {
        CHANGED.notify_all();
        // It has nothing to say; if it panicked, the log has that.
        let _ = thread.join();
    }
    (MOVES.load(Ordering::Relaxed), CENTS.load(Ordering::Relaxed))
}

/// The first thing done: [`start`].
///
/// # Errors
/// When the thread can't be started.
pub fn on_start() -> Result<(), Error> {
    start().map_err(Error::new)
}

/// The last thing done: [`stop`].
///
/// # Errors
/// Never; it is what `application!` asks for.
pub fn on_shutdown() -> Result<(), Error> {
    stop();
    Ok(())
}

/// Counts a move.
pub fn moved(cents: u64) {
    POCKET.with_borrow_mut(|pocket| {
        pocket.moves += 1;
        pocket.cents = pocket.cents.wrapping_add(cents);
        if pocket.moves >= ADD_AFTER {
            pocket.empty();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_leaves_its_count_and_the_watch_ends_with_the_last_who_wants_it() {
        start().expect("a thread");
        start().expect("a second one who wants it");
        std::thread::spawn(|| (0..3).for_each(|_| moved(5))).join().expect("counted");
        assert_eq!(stop(), (3, 15));
        assert!(watch().thread.is_some());
        assert_eq!(stop(), (3, 15));
        assert!(watch().thread.is_none());
    }
}
