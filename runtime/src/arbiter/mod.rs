//! The arbiter: the third party that keeps each group's record of who is active and who is in sync (R2 to R7).
//!
//! Here is the local one, for processors on one machine: files in a directory that both can reach. It also tells
//! processors where their partner listens, when that is not configured. Deliberately absent: liveness, which is only
//! a hint and none of the record's business.

mod error;
mod local;
pub mod nodes;

pub use error::ArbiterError;
pub(crate) use error::UNREACHABLE;
pub use local::{LocalArbiter, Prepared};
