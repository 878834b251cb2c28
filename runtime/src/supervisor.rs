//! What the service manager is told (`sd_notify`): that the processors of this process are ready, how they do, that they
//! end, and that they live. Nothing is told where the environment names no socket.
//!
//! Invariant: of several processors in a process the manager hears "ready" once all are, "it lives" only as long as the
//! main threads of all turn, and "it ends" with the first one.
//! Deliberately absent: a reload; the configuration is read once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How often a main thread says that it turns.
pub const BEAT: Duration = Duration::from_millis(50);

/// The process, as its service manager sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// A sign of life is sent about so often; never where nobody waits for one.
    every: Option<Duration>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Processors that are not ready yet.
    waiting: usize,
    stopping: bool,
    pulses: Vec<(Arc<AtomicU64>, u64)>,
    told_at: Instant,
    /// By processor.
    words: BTreeMap<String, String>,
}

/// One main thread's.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// It turns.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl State {
    fn new(processors: usize, now: Instant) -> Self {
        State {
            waiting: processors,
            stopping: false,
            pulses: Vec::new(),
            told_at: now,
            words: BTreeMap::new(),
        }
    }

    /// Whether a sign of life is to be sent: in time, and if all have turned since the last one.
    fn is_due(&mut self, every: Duration, now: Instant) -> bool {
        if now.saturating_duration_since(self.told_at) < every {
            return false;
        }
        let turns = |(pulse, seen): &(Arc<AtomicU64>, u64)| pulse.load(Ordering::Relaxed) != *seen;
        // While it ends, threads are waited for; the manager has a time-out of its own for that.
        if !self.stopping && !self.pulses.iter().all(turns) {
            return false;
        }
        self.told_at = now;
        self.pulses.iter_mut().for_each(|(pulse, seen)| *seen = pulse.load(Ordering::Relaxed));
        true
    }
}

impl Supervisor {
    /// For a process with so many processors, as the environment has it.
    #[must_use]
    pub fn of_process(processors: usize) -> Self {
        // Twice in the time that the manager waits, as it wants it.
        let every = sd_notify::watchdog_enabled().map(|time| time / 2);
        let state = State::new(processors, Instant::now());
        Supervisor { every, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A main thread that is to be watched from now on.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        let pulse = Arc::new(AtomicU64::new(1));
        self.state().pulses.push((pulse.clone(), 0));
        Pulse(pulse)
    }

    /// A processor serves.
    pub fn ready(&self) {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_sub(1);
        if state.waiting == 0 {
            tell(NotifyState::Ready);
        }
    }

    /// What the processor `node` does, in a few words; told when it is something new.
    pub fn status(&self, node: &str, words: &str) {
        let mut state = self.state();
        if state.words.get(node).is_some_and(|known| known == words) {
            return;
        }
        state.words.insert(node.to_owned(), words.to_owned());
        let all: Vec<String> = state.words.iter().map(|(node, words)| format!("{node}: {words}")).collect();
        tell(NotifyState::Status(&all.join("; ")));
    }

    /// A processor ends.
    pub fn stopping(&self) {
        if !std::mem::replace(&mut self.state().stopping, true) {
            tell(NotifyState::Stopping);
        }
    }

    /// The watchdog's thread looks: the sign of life is sent if it is due.
    pub fn look(&self) {
        if self.every.is_some_and(|every| self.state().is_due(every, Instant::now())) {
            tell(NotifyState::Watchdog);
        }
    }
}

fn tell(word: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[word]) {
        tracing::debug!(%error, "the service manager can't be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_main_thread_that_stands_still_silences_the_process() {
        let begun = Instant::now();
        let every = Duration::from_secs(1);
        let supervisor = Supervisor { every: Some(every), state: Arc::new(Mutex::new(State::new(2, begun))) };
        let (one, other) = (supervisor.pulse(), supervisor.pulse());
        let due = |after_s| supervisor.state().is_due(every, begun + Duration::from_secs(after_s));
        assert!(!due(0), "too early");
        assert!(due(1), "both have begun");
        one.beat();
        assert!(!due(2), "the other one stands still");
        other.beat();
        assert!(due(3), "now both have turned");
        assert!(!due(4));
        supervisor.state().stopping = true;
        assert!(due(5), "who ends need not turn");
    }
}
