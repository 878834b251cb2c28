//! Frames, bounds and the binary event protocol of Lockstep.
//!
//! Knows nothing of engines: [`frame`] carries any serde type, [`events`] is what clients and processors say to each
//! other, [`borrowed`] the same without copies. `docs/events-protocol.md` describes it for authors of other clients.
//! Network input is hostile: every length is bounded before anything is allocated for it.
#![forbid(unsafe_code)]

pub mod borrowed;
pub mod events;
pub mod frame;
