//! What an active says of its procedures to its standby: the course of each, unit by unit.

use lockstep_core::entry::Op;
use lockstep_core::event::Outcome;
use lockstep_core::message::{Begin, PeerMessage, PlainBody};
use serde::{Deserialize, Serialize};

/// A frame of a procedure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Traced {
    /// One that acts on the world is about to begin; its intent has a number of its own.
    Intent,
    /// It begins.
    Begin {
        /// Its name.
        procedure: String,
        /// Its units are shipped.
        shipped: bool,
    },
    /// A unit that acts on the world is about to begin.
    UnitBegins,
    /// A unit is done.
    Unit {
        /// Its name; none when it ran in lock step.
        name: Option<String>,
        /// The digest of what it did.
        digest: u64,
        /// What it did, when it was shipped.
        updates: Vec<Op>,
    },
    /// It has ended well.
    End {
        /// The digest of the reply.
        digest: u64,
    },
    /// It was refused or has faulted.
    Abort(Outcome),
}

impl Traced {
    /// What `message` says of a procedure, if it is about one.
    pub(crate) fn of(message: &PeerMessage) -> Option<Self> {
        match message {
            PeerMessage::Plain { body: PlainBody::Intent(_), .. } => Some(Traced::Intent),
            PeerMessage::UnitBegins { .. } => Some(Traced::UnitBegins),
            PeerMessage::Begin(Begin { event, shipped, .. }) => {
                Some(Traced::Begin { procedure: event.procedure.as_str().into(), shipped: *shipped })
            }
            PeerMessage::StepUp { digest, unit, .. } => Some(Traced::Unit {
                name: unit.as_ref().map(|unit| unit.name.to_string()),
                digest: *digest,
                updates: unit.iter().flat_map(|unit| unit.updates.iter()).map(Op::from).collect(),
            }),
            PeerMessage::EndProcedure { digest, .. } => Some(Traced::End { digest: *digest }),
            PeerMessage::Abort { outcome, .. } => Some(Traced::Abort((**outcome).clone())),
            _ => None,
        }
    }
}
