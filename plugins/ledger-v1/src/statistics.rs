//! A count of what was transferred, for the log. It never decides anything: losing a count loses a line of log.
//!
//! Work units count in a thread-local; every so often, and when their thread ends, the count goes over a bounded
//! channel to a thread of the plugin's own, which is started with the plugin and joined before it is unloaded. A full
//! channel is not waited for: the count is kept and goes with the next one.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use lockstep_plugin_api::Error;

/// After how many transfers a thread hands its count over.
const HAND_OVER_AFTER: u64 = 4_096;
/// How many counts may wait for the statistics thread.
const WAITING_MAX: usize = 16;

/// What was transferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many transfers.
    pub transfers: u64,
    /// How many cents.
    pub cents: u128,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.transfers += other.transfers;
        self.cents += other.cents;
    }
}

enum Word {
    Count(Count),
    Stop,
}

struct Collector {
    /// How many started it and did not stop it yet: both engines of a processor may use one copy of this code.
    users: usize,
    sender: SyncSender<Word>,
    thread: JoinHandle<Count>,
}

static COLLECTOR: Mutex<Option<Collector>> = Mutex::new(None);

/// A thread's count, handed over when the thread ends.
#[derive(Default)]
struct Own {
    count: Count,
    sender: Option<SyncSender<Word>>,
}

impl Own {
    fn hand_over(&mut self) {
        if self.count == Count::default() {
            return;
        }
        let sender = match &self.sender {
            Some(sender) => sender,
            None => match &*collector() {
                Some(collector) => self.sender.insert(collector.sender.clone()),
                None => return,
            },
        };
        match sender.try_send(Word::Count(self.count)) {
            Ok(()) => self.count = Count::default(),
            // Perhaps the collector was stopped and another one started: that one is asked next time.
            Err(_) => self.sender = None,
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.hand_over();
    }
}

thread_local! {
    static OWN: RefCell<Own> = RefCell::default();
}

fn collector() -> MutexGuard<'static, Option<Collector>> {
    COLLECTOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect(receiver: &Receiver<Word>) -> Count {
    let mut all = Count::default();
    while let Ok(Word::Count(count)) = receiver.recv() {
        all.add(count);
        tracing::trace!(transfers = all.transfers, cents = all.cents, "transferred so far");
    }
    all
}

/// Starts the statistics thread, or counts one more user of it.
///
/// # Errors
/// When the thread can't be started.
pub fn start() -> std::io::Result<()> {
    let mut running = collector();
    if let Some(collector) = &mut *running {
        collector.users += 1;
        return Ok(());
    }
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let thread =
        std::thread::Builder::new().name("ledger-statistics".into()).spawn(move || collect(&receiver))?;
    *running = Some(Collector { users: 1, sender, thread });
    Ok(())
}

/// Joins the statistics thread when its last user stops. Returns what it counted, if it was this one.
pub fn stop() -> Option<Count> {
    // This thread's count goes first; that of a thread that works on is lost, which only the log would notice.
    OWN.with_borrow_mut(|own| {
        own.hand_over();
        own.sender = None;
    });
    let mut running = collector();
    let users = running.as_mut().map(|collector| {
        collector.users -= 1;
        collector.users
    });
    if users != Some(0) {
        return None;
    }
    let Collector { sender, thread, .. } = running.take()?;
    drop(running);
    // It may wait for room, which the thread makes. An error means that the thread has ended, which joining finds.
    let _ = sender.send(Word::Stop);
    let count = thread.join().ok()?;
    tracing::debug!(
        transfers = count.transfers,
        cents = count.cents,
        "transferred by this copy of the plugin"
    );
    Some(count)
}

/// What is done before the first event: [`start`].
///
/// # Errors
/// When the thread can't be started.
pub fn on_start() -> Result<(), Error> {
    start().map_err(Error::new)
}

/// What is done after the last event: [`stop`].
///
/// # Errors
/// Never; it is what `application!` asks for.
pub fn on_shutdown() -> Result<(), Error> {
    stop();
    Ok(())
}

/// Counts a transfer.
pub fn transferred(cents: u64) {
    OWN.with_borrow_mut(|own| {
        own.count.add(Count { transfers: 1, cents: u128::from(cents) });
        if own.count.transfers.is_multiple_of(HAND_OVER_AFTER) {
            own.hand_over();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_arrives_and_the_thread_is_joined_by_its_last_user() {
        start().expect("a thread");
        start().expect("a second user");
        let worker = std::thread::spawn(|| (0..5_000).for_each(|_| transferred(2)));
        worker.join().expect("counted");
        transferred(1);
        assert_eq!(stop(), None);
        let counted = stop().expect("the last user joins the thread");
        assert_eq!(counted, Count { transfers: 5_001, cents: 10_001 });
        assert!(collector().is_none());
    }
}
