//! The holder's side: a thread that takes the mutex and does nothing else until it is told to let go.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::page::{Acquired, Incarnation, Page};

/// How long a holder waits for those that have the mutex only for a moment, before it takes it for held.
const PATIENCE: Duration = Duration::from_millis(500);
const STACK_BYTES: usize = 64 * 1024;

/// The liveness mutex of a store, held by a thread of its own while this lives. Dropped, it is let go and
/// its file removed; watchers are told that it was released, not that anyone died.
#[derive(Debug)]
pub struct LivenessLock {
    release: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LivenessLock {
    /// Takes the mutex of this store for life. `WouldBlock` when another living process holds it.
    pub fn hold(store_name: &str) -> io::Result<Self> {
        let store_name = store_name.to_owned();
        let (ready_tx, ready_rx) = channel();
        let (release, release_rx) = channel();
        let thread = std::thread::Builder::new()
            .name("liveness".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || hold_on_this_thread(&store_name, &ready_tx, &release_rx))?;
        let mut lock = Self { release: Some(release), thread: Some(thread) };
        match ready_rx.recv() {
            Ok(Ok(())) => Ok(lock),
            Ok(Err(error)) => {
                lock.let_go();
                Err(error)
            }
            Err(_) => Err(io::Error::other("the thread that holds the liveness mutex ended at once")),
        }
    }

    fn let_go(&mut self) {
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            // Its panic would have been ours to see through the channel already.
            let _ = thread.join();
        }
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        self.let_go();
    }
}

fn hold_on_this_thread(store_name: &str, ready: &Sender<io::Result<()>>, release: &Receiver<()>) {
    let page = match acquire(store_name) {
        Ok(page) => page,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    page.mark_held();
    let _ = ready.send(Ok(()));
    // Nothing is ever sent: the channel closes when the lock is dropped.
    let _ = release.recv();
    page.unlink();
    page.mark_released();
    page.release();
}

fn acquire(store_name: &str) -> io::Result<Page> {
    loop {
        let page = Page::open_or_create(store_name)?;
        match page.acquire_within(PATIENCE)? {
            Acquired::Mine if page.is_linked()? => return Ok(page),
            // The one before let go and took the file with it, between our opening and our locking.
            Acquired::Mine => page.release(),
            Acquired::Others => {
                let holder = match page.incarnation() {
                    Incarnation::Held { pid, .. } => format!(" (process {pid})"),
                    Incarnation::Free { .. } => String::new(),
                };
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    format!("another living process{holder} holds the liveness mutex of store {store_name}"),
                ));
            }
        }
    }
}
