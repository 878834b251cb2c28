//! What clients and processors say to each other over the binary event protocol.
//!
//! A client connects to both processors, says [`ClientMessage::Hello`] on each, opens one session and numbers its
//! events from 1. It may have many events under way. A request's `ticket` is the client's and comes back with the
//! answer; answers come in any order. After a lost connection, a [`Reply::Retry`] or a [`ServerMessage::Serving`] that
//! names a higher term it sends what is unanswered again, under the same ids, to whichever processor serves.

use serde::{Deserialize, Serialize};

/// The version of this protocol; a processor refuses another major version.
pub const PROTOCOL: (u16, u16) = (1, 0);
/// The largest control parameters, in bytes.
pub const PARAMETERS_BYTES_MAX: usize = 64 << 10;
/// The largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// The longest key, of an event or of a partition, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// The code of [`Reply::Rejected`] that says that the session does not exist, or was dropped to make room.
pub const UNKNOWN_SESSION: &str = "LS0204";
/// The code of [`Reply::Rejected`] that says that the rows take all the memory that they may: the one rejection after which
/// the same event, under the same id, is taken once there is room.
pub const NO_ROOM: &str = "LS0214";

/// From a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// First on a connection.
    Hello {
        /// The client's protocol version.
        protocol: (u16, u16),
        /// The application that it wants.
        application: String,
        /// The partition of it, from 0 (R1). Where there are several, `Serving` says how many.
        partition: u16,
    },
    /// Open a session.
    OpenSession {
        /// Comes back with the answer.
        ticket: u64,
    },
    /// Run an event, or get its recorded reply.
    Submit {
        /// Comes back with the answer.
        ticket: u64,
        /// The event's partition key: where the application has several partitions, it says which one the event belongs
        /// to. At most 128 bytes; empty where there is one partition.
        key: String,
        /// The event.
        event: Event,
    },
}

/// Who an event is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventId {
    /// Number `number` (from 1) of session `session`.
    Numbered {
        /// The session.
        session: u64,
        /// The number.
        number: u64,
    },
    /// A key of the client's choice, remembered for ten minutes of the stream's time.
    Keyed {
        /// At most 128 bytes.
        key: String,
    },
}

/// How control parameters and the reply are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// `postcard` of the procedure's types.
    Postcard,
    /// JSON.
    Json,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// The lowest number of its session whose answer the client still awaits; 0 for keyed events.
    pub awaited_from: u64,
    /// The procedure.
    pub procedure: String,
    /// How `parameters` are encoded and the reply is to be.
    pub encoding: Encoding,
    /// Control parameters.
    #[serde(with = "serde_bytes")]
    pub parameters: Vec<u8>,
    /// Ancillary data.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// From a processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// Answer to `Hello`, and again whenever it changes.
    Serving {
        /// The processor's protocol version.
        protocol: (u16, u16),
        /// The processor.
        node: String,
        /// Whether this processor is the active one.
        active: bool,
        /// The term; the highest one says the truth.
        term: u64,
        /// The version that this processor runs.
        version: String,
        /// How many partitions the application has.
        partitions: u16,
    },
    /// The connection is of no use; it is closed after this.
    Refused {
        /// A code such as `LS0301`.
        code: String,
        /// A sentence, with what to do next.
        message: String,
    },
    /// Answer to a request.
    Answer {
        /// The request's ticket.
        ticket: u64,
        /// The answer.
        reply: Reply,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The session is open.
    SessionOpened {
        /// Its id.
        session: u64,
    },
    /// The procedure ran; the same every time it is asked again.
    Committed {
        /// Its place in the stream.
        sequence: u64,
        /// The reply in the event's encoding.
        #[serde(with = "serde_bytes")]
        reply: Vec<u8>,
    },
    /// The application refused; the same every time it is asked again.
    Refused {
        /// Its place in the stream.
        sequence: u64,
        /// The application's word.
        code: String,
        /// A sentence.
        message: String,
    },
    /// It went wrong; the same every time it is asked again.
    Faulted {
        /// Its place in the stream.
        sequence: u64,
        /// `panic`, `error`, `deadline` or `contract`.
        kind: String,
        /// The work unit.
        unit: String,
        /// Message and location.
        message: String,
    },
    /// Not known to have run: send it again under the same id.
    Retry {
        /// Why.
        reason: String,
    },
    /// Not run and will not be under this id, but for [`NO_ROOM`].
    Rejected {
        /// A code such as `LS0201`.
        code: String,
        /// A sentence, with what to do next.
        message: String,
    },
}
