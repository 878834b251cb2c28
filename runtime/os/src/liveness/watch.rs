//! The partner's side: a thread blocked on the mutex.
//!
//! Invariant: the callback runs at most once, and not after the watch was dropped.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::page::{Acquired, Incarnation, Page};

/// A blocked wait is cut into pieces of this length only to see a cancelled watch; a death within a piece
/// wakes it at once.
const SLICE: Duration = Duration::from_millis(200);
const STACK_BYTES: usize = 256 * 1024;

/// How a holder of a liveness mutex ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Died {
    /// Its process died while it held the mutex.
    OwnerDied {
        /// The process.
        pid: u32,
    },
    /// It let the mutex go in an orderly way.
    Released,
    /// Nobody held the mutex when the watch began, or it cannot be watched: it says nothing.
    Absent,
}

type Callback = Box<dyn FnOnce(Died) + Send>;

/// A watch on the holder of a store's liveness mutex. Dropped, it is cancelled: the callback will not run;
/// its thread ends a little later.
pub struct LivenessWatch {
    callback: Arc<Mutex<Option<Callback>>>,
}

impl fmt::Debug for LivenessWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LivenessWatch").finish_non_exhaustive()
    }
}

impl LivenessWatch {
    /// Watches whoever holds the mutex of this store now. `on_died` is called on the watching thread, and
    /// must only hand the word on.
    pub fn spawn(store_name: &str, on_died: impl FnOnce(Died) + Send + 'static) -> io::Result<Self> {
        let page = Page::open(store_name)?;
        // Looked at here, not on the thread: whoever holds it now is watched, however late the thread starts.
        let holder = page.as_ref().map(Page::incarnation);
        let callback: Arc<Mutex<Option<Callback>>> = Arc::new(Mutex::new(Some(Box::new(on_died))));
        let watched = Arc::clone(&callback);
        std::thread::Builder::new().name("liveness-watch".to_owned()).stack_size(STACK_BYTES).spawn(
            move || {
                let watched_page = page.as_ref().zip(holder);
                let Some(ending) = watch(watched_page, || lock(&watched).is_none()) else { return };
                let callback = lock(&watched).take();
                if let Some(callback) = callback {
                    callback(ending);
                }
            },
        )?;
        Ok(Self { callback })
    }
}

impl Drop for LivenessWatch {
    fn drop(&mut self) {
        drop(lock(&self.callback).take());
    }
}

fn lock(callback: &Mutex<Option<Callback>>) -> std::sync::MutexGuard<'_, Option<Callback>> {
    callback.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the end of the holder; none when cancelled.
fn watch(page: Option<(&Page, Incarnation)>, is_cancelled: impl Fn() -> bool) -> Option<Died> {
    let Some((page, Incarnation::Held { number, pid })) = page else { return Some(Died::Absent) };
    loop {
        let acquired = page.acquire_within(SLICE);
        let now = page.incarnation();
        if let Ok(Acquired::Mine) = acquired {
            page.release();
        }
        let ending = match (now, acquired) {
            (_, Err(_)) => Some(Died::Absent),
            // Its mark stands, though the mutex was to be had.
            (Incarnation::Held { number: held, .. }, Ok(Acquired::Mine)) if held == number => {
                Some(Died::OwnerDied { pid })
            }
            (Incarnation::Held { number: held, .. }, Ok(Acquired::Others)) if held == number => None,
            // Another took the very same page over. A release would have taken the page's name away, and
            // nobody holds a page without a name.
            (Incarnation::Held { .. }, Ok(_)) => Some(Died::OwnerDied { pid }),
            (Incarnation::Free { .. }, Ok(_)) => Some(Died::Released),
        };
        if ending.is_some() {
            return ending;
        }
        if is_cancelled() {
            return None;
        }
    }
}
