//! Pauses in which no checkpoint is made: whoever reads the files of a store that is in use needs one, because a checkpoint
//! changes its file in place and removes redo segments. The redo log goes on meanwhile.
//!
//! Invariant: while a [`Pause`] lives no checkpoint is under way, and none begins.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::background::Hub;

#[derive(Debug, Default)]
struct State {
    pauses: usize,
    making: bool,
}

/// Who may do what to the checkpoint's file.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    state: Mutex<State>,
    changed: Condvar,
}

/// A checkpoint is being made while this lives.
#[derive(Debug)]
pub(crate) struct Making<'a>(&'a Quiet);

impl Quiet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a checkpoint; `None` during a pause.
    pub fn make(&self) -> Option<Making<'_>> {
        let mut state = self.state();
        if state.pauses > 0 {
            return None;
        }
        state.making = true;
        Some(Making(self))
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.state().making = false;
        self.0.changed.notify_all();
    }
}

/// The way to pauses of one store's checkpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Checkpoints(pub(crate) Arc<Hub>);

impl Checkpoints {
    /// Waits until no checkpoint is under way, and keeps any from being made as long as what it returns lives.
    #[must_use]
    pub fn pause(&self) -> Pause {
        let quiet = self.0.quiet();
        let mut state = quiet.state();
        state.pauses += 1;
        drop(quiet.changed.wait_while(state, |state| state.making));
        Pause(self.0.clone())
    }
}

/// No checkpoint is made while this lives.
#[derive(Debug)]
pub struct Pause(Arc<Hub>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.quiet().state().pauses -= 1;
        // What has become due meanwhile.
        self.0.notify();
    }
}
