//! The client library of Lockstep.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! #[derive(serde::Serialize)]
//! struct Transfer { from: String, to: String, cents: u64 }
//!
//! let ledger = lockstep_client::connect(["127.0.0.1:7102", "127.0.0.1:7202"]).application("ledger").await?;
//! let transfer = Transfer { from: "alice".into(), to: "bob".into(), cents: 250 };
//! let entry: u64 = ledger.call("transfer", &transfer).await?;
//! # Ok(()) }
//! ```
//!
//! A [`Client`] keeps a connection to each processor of a pair and one session. Every call is one event with one id;
//! it is sent again under that id, at whichever processor serves, until it is answered or past its deadline (R12).
//!
//! - [`exchange`] is the protocol as a state machine: bytes in, bytes out, no sockets and no clock.
//! - [`raw`] drives it over TCP for a [`raw::Source`] of requests: what a load generator uses.
//! - [`Client`] is a cloneable handle on a driver in a task of its own.
//!
//! Deliberately absent: pools of connections, request hedging, and any renumbering of an event whose fate is unknown.
#![forbid(unsafe_code)]

mod client;
mod counts;
mod error;
pub mod exchange;
mod link;
pub mod raw;

pub use client::{Client, Connect, connect};
pub use counts::{ConnectionDropped, Counts};
pub use error::CallError;
pub use lockstep_wire::events::{Encoding, NO_ROOM};

/// A procedure ran to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its place in the stream; for a read, the place that it was computed at.
    pub sequence: u64,
    /// The reply, in the encoding that the event asked for.
    pub bytes: Vec<u8>,
}
