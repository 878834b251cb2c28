//! Unit tests of plugins: both engines in memory, on the author's desk.
//!
//! A [`Pair`] runs an application, linked into the test, in the very same core that processors run: an active and a
//! standby, two versions of the application if so wished. No processes, no sockets, no files; a test takes
//! milliseconds and repeats itself exactly.
//!
//! ```
//! use lockstep_test_kit::{Pair, call, example};
//!
//! // A crash after any work unit changes nothing.
//! Pair::of(example::application())
//!     .given([call("add", &("eggs", 3u64))])
//!     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)))
//!     .same_outcome_everywhere();
//!
//! // The same event does the same on every run.
//! Pair::of(example::application()).deterministic(call("add", &("eggs", 4u64)));
//!
//! // Rows can be looked at.
//! let mut pair = Pair::of(example::application());
//! assert_eq!(pair.run(call("add", &("eggs", 4u64))).reply::<u64>(), 4);
//! assert_eq!(pair.rows(&example::COUNTS), [("eggs".to_string(), 4)]);
//! ```
//!
//! Everything that is not as it should be is a panic whose message names procedure, work unit and what differed.
//!
//! Deliberately absent: plugin files, loading and unloading (`lockstep plugin check`), traffic, real time, faults but
//! the death of the active.
#![forbid(unsafe_code)]

mod answer;
mod call;
mod crashes;
mod desk;
mod determinism;
pub mod example;
mod fresh;
mod hints;
mod linked;
mod pair;
mod posted;
mod rows;
mod trace;
mod upgrade;
mod versions;

pub use answer::Answer;
pub use call::{Call, call};
pub use crashes::{Crash, Crashes, Takeover};
pub use pair::Pair;
pub use posted::Message;
pub use versions::Versions;
