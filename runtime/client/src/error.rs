//! What a call may end with, other than a reply. The application's own "no" and the runtime's "this went wrong" are
//! never mixed up.

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The application's own "no". A repeat of the event gets the same.
    #[error("refused: {message} ({code})")]
    Refused {
        /// The refusal's place in the stream.
        sequence: u64,
        /// The application's word.
        code: String,
        /// A sentence.
        message: String,
    },
    /// The procedure went wrong; nothing of it is left. A repeat of the event gets the same.
    #[error("work unit `{unit}` failed ({kind}): {message}")]
    Faulted {
        /// The fault's place in the stream.
        sequence: u64,
        /// `panic`, `error`, `deadline` or `contract`.
        kind: String,
        /// The work unit.
        unit: String,
        /// Message and location.
        message: String,
    },
    /// Not run, and will not be under this id. After [`NO_ROOM`](crate::NO_ROOM) the same call may be made
    /// again, later.
    #[error("{code}: {message}")]
    Rejected {
        /// A code such as `LS0201`.
        code: String,
        /// A sentence, with what to do next.
        message: String,
    },
    /// No answer by the deadline. If `sent`, it may have run or may still run.
    #[error("LS0220: no answer by the deadline; {}", if *.sent {
        "the event was sent, so whether it ran is not known: ask the application before making a new event"
    } else {
        "no processor could be reached, the event has not run: check the addresses and `lockstep status`"
    })]
    Deadline {
        /// Whether it had left this process.
        sent: bool,
    },
    /// The session is no longer known to the pair: it was silent for too long.
    #[error("LS0221: the session has expired; {}", if *.fate_unknown {
        "this event was sent before, so whether it ran is not known: ask the application before making a new event"
    } else {
        "this event has not run: call again, a new session is opened"
    })]
    SessionLost {
        /// Whether the event may have run.
        fate_unknown: bool,
    },
    /// No processor wants this client.
    #[error("{code}: {message}")]
    ConnectionRefused {
        /// A code such as `LS0301`.
        code: String,
        /// A sentence, with what to do next.
        message: String,
    },
    /// The control parameters can't be encoded, or are over the bound.
    #[error("LS0222: the event can't be sent: {0}")]
    NotSendable(String),
    /// The procedure ran, but its reply is not of the type that was asked for.
    #[error("LS0223: event {sequence} ran, but its reply is of another type: {message}")]
    ReplyType {
        /// Its place in the stream.
        sequence: u64,
        /// What the decoder says.
        message: String,
    },
    /// The client is closed.
    #[error("LS0224: the client is closed")]
    Closed,
}
