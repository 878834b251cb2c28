//! Why a library stays mapped: readable, with a code, and with the thread's name where there is one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Obstacle;

/// Why a library was not unmapped. The swap was made all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The host still uses it.
    InUse {
        /// How many leases are out.
        leases: usize,
    },
    /// A thread that it started still runs.
    ThreadAlive {
        /// The kernel's id of the thread.
        tid: i32,
        /// The thread's name.
        name: String,
    },
    /// A thread will still run a destructor of it.
    PinnedByThread {
        /// The kernel's id of the thread.
        tid: i32,
        /// The thread's name.
        name: String,
    },
    /// The dynamic linker never unmaps it; known from the file before it was loaded.
    Marked {
        /// What marks it.
        obstacle: Obstacle,
    },
    /// `dlclose` failed.
    NotClosed {
        /// The linker's own words.
        detail: String,
    },
    /// `dlclose` was content, and yet it is still there.
    StillMapped,
    /// A table of the interposers was full, so nobody knows what runs.
    Untracked {
        /// How many calls were not noted.
        calls: usize,
    },
    /// An entry panicked on the way out.
    PanickedOnTheWayOut {
        /// Which entry.
        entry: String,
        /// The panic's message.
        detail: String,
    },
    /// It was started and never shut down.
    NotShutDown,
    /// Its generation's thread hangs in it and was given up, or nobody asked for the unload.
    Abandoned,
}

impl Reason {
    /// The stable code, `LS04xx`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "LS0450",
            Self::ThreadAlive { .. } => "LS0451",
            Self::PinnedByThread { .. } => "LS0452",
            Self::Marked { .. } => "LS0453",
            Self::NotClosed { .. } => "LS0454",
            Self::StillMapped => "LS0455",
            Self::Untracked { .. } => "LS0456",
            Self::PanickedOnTheWayOut { .. } => "LS0457",
            Self::Abandoned => "LS0458",
            Self::NotShutDown => "LS0459",
        }
    }

    /// Whether it may pass by itself, so that a later try is worth making.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::InUse { .. } | Self::ThreadAlive { .. } | Self::PinnedByThread { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::InUse { leases } => {
                write!(f, "the host still uses it ({leases} leases); stop its groups first")
            }
            Self::ThreadAlive { tid, name } => write!(
                f,
                "its thread \"{name}\" (tid {tid}) still runs; let the plugin join its threads before an event ends, or in its shutdown"
            ),
            Self::PinnedByThread { tid, name } => write!(
                f,
                "thread \"{name}\" (tid {tid}) will still run a thread-local destructor of it; it passes when that thread ends"
            ),
            Self::Marked { obstacle } => {
                write!(f, "{obstacle}; link it without that mark, or restart the host when memory runs short")
            }
            Self::NotClosed { detail } => {
                write!(f, "the dynamic linker does not close it: {detail}; restart the host when memory runs short")
            }
            Self::StillMapped => f.write_str(
                "the dynamic linker closed it and yet keeps it mapped; see that no other library depends on it",
            ),
            Self::Untracked { calls } => write!(
                f,
                "{calls} threads or destructors of this process could not be noted, so nothing is known of those left; restart the host at its next switchover"
            ),
            Self::PanickedOnTheWayOut { entry, detail } => {
                write!(f, "it panicked in {entry} ({detail}), so its state is unknown; mend the plugin")
            }
            Self::NotShutDown => f.write_str(
                "it was started and its shutdown was not called; this is a fault of the host, report it",
            ),
            Self::Abandoned => f.write_str(
                "it was given up without an unload, for its thread hangs in it; restart the host at its next switchover",
            ),
        }
    }
}
