//! The books on the libraries of this process: which were opened, which are kept and why.
//!
//! Deliberately absent: an answer to "is it mapped" from these books; the dynamic linker is asked each time.
//!
//! Invariant: a library leaves the books only when the linker no longer lists it.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::loaded::{Life, Use};
use crate::mapped::mapped_objects;
use crate::opened::{Cleared, Opened};
use crate::{PluginHash, Reason};

/// The start of the name of every library that was opened from a descriptor.
const OPENED_FROM_DESCRIPTOR: &str = "/proc/self/fd/";

/// A library that stays mapped although nothing is to use it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLibrary {
    /// Which: counted from 1 over all libraries that this process opened.
    pub id: u64,
    /// Whose.
    pub hash: PluginHash,
    /// How much address space it takes.
    pub bytes: u64,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// A plugin's library that the dynamic linker lists now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedPlugin {
    /// Whose; none for a library that was opened from a descriptor by somebody else.
    pub hash: Option<PluginHash>,
    /// Where it lies.
    pub range: Range<usize>,
    /// It is kept, and no longer in use.
    pub is_kept: bool,
}

struct Known {
    name: String,
    base: usize,
    hash: PluginHash,
}

struct Kept {
    opened: Opened,
    /// None for a library whose root module was refused.
    use_: Option<Arc<Use>>,
    reasons: Vec<Reason>,
}

struct Books {
    known: Vec<Known>,
    kept: Vec<Kept>,
}

static BOOKS: Mutex<Books> = Mutex::new(Books { known: Vec::new(), kept: Vec::new() });

fn books() -> MutexGuard<'static, Books> {
    BOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn note_opened(opened: &Opened) {
    let known = Known { name: opened.name().to_owned(), base: opened.range().start, hash: opened.hash };
    books().known.push(known);
}

/// Closes a library, or keeps it with the reasons.
pub(crate) fn close(
    opened: Opened,
    use_: Option<Arc<Use>>,
    patience: Duration,
) -> Result<Cleared, KeptLibrary> {
    if let Some(reason) = use_.as_ref().and_then(reason_of_the_host) {
        return Err(keep(opened, use_, vec![reason]));
    }
    let module = use_.as_ref().map(|use_| use_.module);
    let (name, base) = (opened.name().to_owned(), opened.range().start);
    match opened.close(module, patience) {
        Ok(cleared) => {
            books().known.retain(|known| known.name != name || known.base != base);
            Ok(cleared)
        }
        Err((opened, reasons)) => Err(keep(*opened, use_, reasons)),
    }
}

/// What of the host's own doing keeps it. The caller has given up its own share of `use_`.
fn reason_of_the_host(use_: &Arc<Use>) -> Option<Reason> {
    match Arc::strong_count(use_) - 1 {
        0 if use_.is(Life::Started) => Some(Reason::NotShutDown),
        0 => None,
        leases => Some(Reason::InUse { leases }),
    }
}

/// Remembers a library as kept.
pub(crate) fn keep(opened: Opened, use_: Option<Arc<Use>>, reasons: Vec<Reason>) -> KeptLibrary {
    let kept = Kept { opened, use_, reasons };
    let told = tell(&kept);
    for reason in &told.reasons {
        tracing::debug!(plugin = %told.hash.short(), bytes = told.bytes, "the library stays mapped: {reason}");
    }
    books().kept.push(kept);
    told
}

fn tell(kept: &Kept) -> KeptLibrary {
    let bytes = kept.opened.range().len() as u64;
    KeptLibrary { id: kept.opened.id, hash: kept.opened.hash, bytes, reasons: kept.reasons.clone() }
}

/// The libraries that stay mapped although nothing is to use them any more, and why.
#[must_use]
pub fn kept() -> Vec<KeptLibrary> {
    books().kept.iter().map(tell).collect()
}

/// How many libraries stay mapped although nothing is to use them any more, and how much address space they take.
#[must_use]
pub fn kept_total() -> (usize, u64) {
    let books = books();
    (books.kept.len(), books.kept.iter().map(|kept| kept.opened.range().len() as u64).sum())
}

/// Tries again to unload the kept libraries whose reasons may have passed, and says which are gone now, by their ids. On
/// a thread that ends soon.
pub fn retry_kept() -> Vec<u64> {
    let candidates: Vec<Kept> = {
        let mut books = books();
        let all = std::mem::take(&mut books.kept);
        let (candidates, stay) = all.into_iter().partition(|kept| kept.reasons.iter().all(Reason::may_pass));
        books.kept = stay;
        candidates
    };
    candidates
        .into_iter()
        .filter_map(|kept| {
            let id = kept.opened.id;
            close(kept.opened, kept.use_, Duration::ZERO).ok().map(|_| id)
        })
        .collect()
}

/// The plugins' libraries that the dynamic linker lists now.
#[must_use]
pub fn mapped_plugins() -> Vec<MappedPlugin> {
    let objects = mapped_objects();
    let books = books();
    objects
        .into_iter()
        .filter(|object| object.name.starts_with(OPENED_FROM_DESCRIPTOR))
        .map(|object| {
            let is_this = |known: &&Known| known.name == object.name && known.base == object.range.start;
            let hash = books.known.iter().find(is_this).map(|known| known.hash);
            let is_kept = books.kept.iter().any(|kept| kept.opened.range() == object.range);
            MappedPlugin { hash, range: object.range, is_kept }
        })
        .collect()
}

/// Whether a library with this hash is mapped, in use or kept.
#[must_use]
pub fn is_mapped(hash: PluginHash) -> bool {
    mapped_plugins().iter().any(|plugin| plugin.hash == Some(hash))
}
