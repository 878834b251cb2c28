//! Input events and what their senders are told.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::ids::{GroupName, Micros, Number, SessionId};
use crate::shared_bytes::SharedBytes;

/// Who an event is, for ever: a repeat of an id gets the recorded reply (R12).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventId {
    /// Number `number` of a client's session.
    Numbered {
        /// The session.
        session: SessionId,
        /// From 1, in the order in which the client made them.
        number: u64,
    },
    /// A key of the client's own choice (HTTP's `Idempotency-Key`), remembered for a time of the stream.
    Keyed {
        /// At most [`KEY_BYTES_MAX`] bytes.
        key: String,
    },
    /// A timer of the group's own fired (R34). No client can send one.
    Timer {
        /// The timer's key.
        key: String,
        /// When it was due.
        due: Micros,
    },
    /// A message of another group, or of this one to itself (R34). No client can send one.
    Message {
        /// The sender.
        from: GroupName,
        /// Its place in the channel, from 1.
        number: u64,
    },
}

impl EventId {
    /// Whether the runtime itself made it: a timer's or a message's. Nobody waits for its answer.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self, EventId::Timer { .. } | EventId::Message { .. })
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EventId::Numbered { session, number } => write!(f, "event {number} of session {session}"),
            EventId::Keyed { key } => write!(f, "the event with the key `{key}`"),
            EventId::Timer { key, .. } => write!(f, "timer `{key}`"),
            EventId::Message { from, number } => write!(f, "message {number} of {from}"),
        }
    }
}

/// The longest key of [`EventId::Keyed`], and the longest partition key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// How control parameters came and how the reply is to be encoded (R13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// `postcard` of the procedure's own types.
    Postcard,
    /// JSON of the procedure's own types.
    Json,
}

/// What triggers a procedure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// The lowest number of its session whose answer the client still awaits; 0 for keyed events.
    pub awaited_from: u64,
    /// The procedure's name.
    pub procedure: SmolStr,
    /// How `parameters` are encoded and the reply is to be.
    pub encoding: Encoding,
    /// Control parameters: small, decide what happens.
    #[serde(with = "crate::bytes")]
    pub parameters: Vec<u8>,
    /// Ancillary data, perhaps large.
    #[serde(with = "crate::bytes")]
    pub body: Vec<u8>,
}

impl Event {
    /// The same, its body withheld (R18).
    #[must_use]
    pub fn without_body(&self) -> Self {
        let Event { id, awaited_from, procedure, encoding, parameters, body: _ } = self;
        Event {
            id: id.clone(),
            awaited_from: *awaited_from,
            procedure: procedure.clone(),
            encoding: *encoding,
            parameters: parameters.clone(),
            body: Vec::new(),
        }
    }
}

/// What a client asks of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Open a session; answered with [`Answer::SessionOpened`].
    OpenSession,
    /// Run an event, or get its recorded reply.
    Submit(Event),
    /// The same, with the event's partition key, which says in which partition it is to run (R1).
    SubmitByKey {
        /// 1 to [`KEY_BYTES_MAX`] bytes; see [`crate::partition`].
        key: String,
        /// The event.
        event: Event,
    },
}

impl Request {
    /// About how many bytes it takes while it waits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let event = match self {
            Request::OpenSession => return size_of::<Self>(),
            Request::Submit(event) | Request::SubmitByKey { event, .. } => event,
        };
        size_of::<Self>() + event.procedure.len() + event.parameters.len() + event.body.len()
    }
}

/// The application's own "no". Recorded like a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A short word of the application's, such as `too-little`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What went wrong in a work unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// The unit panicked.
    Panic,
    /// The unit returned an error that is not a refusal.
    Error,
    /// The unit returned after its deadline.
    Deadline,
    /// The unit broke the contract: wrote in a read-only procedure, or its output is over a bound.
    Contract,
    /// The unit killed its processor by a signal; the event does not run again under that plugin (R21).
    Killed,
    /// The unit did not return (R23); the event does not run again under that plugin.
    Hung,
    /// The event was under way at two deaths that left no note; it does not run again under that plugin.
    Quarantined,
}

/// The runtime's "this went wrong". Recorded like a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// The work unit's name.
    pub unit: String,
    /// Message and location.
    pub message: String,
}

/// How a numbered event ended; recorded and replicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It ran to its end.
    Committed {
        /// The reply, encoded once.
        #[serde(with = "crate::bytes")]
        reply: SharedBytes,
    },
    /// The application refused.
    Refused(Refusal),
    /// A unit faulted.
    Faulted(Fault),
}

/// Why an event was turned away without being run. Not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// The application has no such procedure.
    UnknownProcedure,
    /// The control parameters could not be decoded; says where and why.
    MalformedParameters(String),
    /// Parameters or body are over the bound.
    TooLarge {
        /// The bound, in bytes.
        bytes_max: u64,
    },
    /// The session does not exist, or was dropped to make room.
    UnknownSession,
    /// The client had said that it has this answer already.
    AlreadyAnswered,
    /// More events are unanswered than the session's window holds.
    WindowFull {
        /// The window, in events.
        window: u64,
    },
    /// A repeat asked for another encoding than the recorded reply has (R13).
    EncodingConflict,
    /// A procedure that only the new version has is served once the upgrade is through (R32).
    NotEnabled,
    /// The running version does not have the procedure any more: an upgrade has retired it (R32).
    Retired,
    /// The application has several partitions, and the event has no partition key (R1).
    KeyMissing {
        /// How many there are.
        partitions: u16,
    },
    /// The event's partition key belongs to another partition (R1).
    WrongPartition {
        /// To which.
        partition: u16,
        /// Of how many.
        partitions: u16,
    },
    /// The rows take all the memory that they may, and the event would add to them. The same event may come again once
    /// there is room.
    NoRoom {
        /// How much they may take, in bytes.
        bytes_max: u64,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The session is open.
    SessionOpened {
        /// Its id.
        session: SessionId,
    },
    /// The event ended; the same answer every time it is asked again.
    Ended {
        /// Its number; for a read, the number that it was computed at.
        number: Number,
        /// How.
        outcome: Outcome,
    },
    /// Not run, or not known to have run: ask again with the same id. Never recorded.
    Retry {
        /// A sentence for people.
        reason: String,
    },
    /// Not run and will not be.
    Rejected(Rejection),
}
