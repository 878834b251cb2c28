//! The world outside of the simulated processors: a log of what their work units did to it and took back (R19). It is of
//! no processor, so no death and no lost disk takes anything from it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One thing that was done to the world, or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The event's own id.
    pub id: u64,
    /// What: `send` or `stamp`, in this order within an event.
    pub what: &'static str,
    /// It was taken back, whether or not it had been done.
    pub undone: bool,
}

/// The log; all clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Deeds(Arc<Mutex<Vec<Deed>>>);

impl Deeds {
    /// Adds a line.
    pub fn add(&self, id: u64, what: &'static str, undone: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Deed { id, what, undone });
    }

    /// The lines from `from` on.
    #[must_use]
    pub fn from(&self, from: usize) -> Vec<Deed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[from..].to_vec()
    }

    /// By event, what stands: everything that was ever touched has a place in it.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<u64, Vec<&'static str>> {
        let mut standing: BTreeMap<u64, Vec<&'static str>> = BTreeMap::new();
        for deed in self.from(0) {
            let stands = standing.entry(deed.id).or_default();
            stands.retain(|what| *what != deed.what);
            if !deed.undone {
                stands.push(deed.what);
            }
        }
        standing
    }
}
