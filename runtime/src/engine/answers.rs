//! Between the words of the event protocol and the core's.
//!
//! Moves, never copies: parameters and replies pass through as they are. Each rejection gets its code here.

use lockstep_core::event::{Answer, Encoding, Event, EventId, FaultKind, Outcome, Rejection, Request};
use lockstep_core::ids::SessionId;
use lockstep_wire::events;

// One bound, in the protocol's words and in the core's.
const _: () = assert!(events::KEY_BYTES_MAX == lockstep_core::event::KEY_BYTES_MAX);

/// The core's request for a client's event; without a partition key when `key` is empty.
#[must_use]
pub fn request_of(key: String, event: events::Event) -> Request {
    let id = match event.id {
        events::EventId::Numbered { session, number } => {
            EventId::Numbered { session: SessionId(session), number }
        }
        events::EventId::Keyed { key } => EventId::Keyed { key },
    };
    let encoding = match event.encoding {
        events::Encoding::Postcard => Encoding::Postcard,
        events::Encoding::Json => Encoding::Json,
    };
    let event = Event {
        id,
        awaited_from: event.awaited_from,
        procedure: event.procedure.into(),
        encoding,
        parameters: event.parameters,
        body: event.body,
    };
    by_key(key, event)
}

/// The request for an event with this partition key; an empty one is none.
#[must_use]
pub fn by_key(key: String, event: Event) -> Request {
    if key.is_empty() { Request::Submit(event) } else { Request::SubmitByKey { key, event } }
}

/// A work unit faulted; the procedure was rolled back on both sides.
pub const FAULTED: &str = "LS0209";

/// The word for a kind of fault.
#[must_use]
pub fn fault_word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Panic => "panic",
        FaultKind::Error => "error",
        FaultKind::Deadline => "deadline",
        FaultKind::Contract => "contract",
        FaultKind::Killed => "killed",
        FaultKind::Hung => "hung",
        FaultKind::Quarantined => "quarantined",
    }
}

/// The code of a rejection and a sentence with what to do next.
#[must_use]
pub fn rejection_words(rejection: Rejection) -> (&'static str, String) {
    match rejection {
        Rejection::UnknownProcedure => {
            ("LS0201", "the application has no such procedure; `GET /` lists those it has".into())
        }
        Rejection::MalformedParameters(what) => (
            "LS0202",
            format!("the control parameters can't be decoded: {what}; correct them and send a new event"),
        ),
        Rejection::TooLarge { bytes_max } => {
            ("LS0203", format!("parameters or body are over the bound of {bytes_max} bytes; send less"))
        }
        Rejection::UnknownSession => (
            events::UNKNOWN_SESSION,
            "the session does not exist, or was dropped to make room; open a new one".into(),
        ),
        Rejection::AlreadyAnswered => {
            ("LS0205", "the client had said that it has this answer already; it is no longer kept".into())
        }
        Rejection::WindowFull { window } => (
            "LS0206",
            format!("{window} events of the session are unanswered; wait for answers before sending more"),
        ),
        Rejection::EncodingConflict => (
            "LS0207",
            "the recorded reply is in another encoding; repeat the event in the encoding it had".into(),
        ),
        Rejection::NotEnabled => (
            "LS0208",
            "the procedure is new, and served once the upgrade to its version is through; send a new event then".into(),
        ),
        Rejection::Retired => (
            "LS0213",
            "an upgrade has retired the procedure; `GET /` lists those that the application has".into(),
        ),
        Rejection::KeyMissing { partitions } => (
            "LS0211",
            format!(
                "the application has {partitions} partitions, and the event has no partition key; send one, over HTTP \
                 in `Lockstep-Key`"
            ),
        ),
        Rejection::WrongPartition { partition, partitions } => (
            "LS0212",
            format!(
                "the event's partition key belongs to partition {partition} of {partitions}; send it there under an id \
                 of that partition"
            ),
        ),
        Rejection::NoRoom { bytes_max } => (
            events::NO_ROOM,
            format!(
                "the rows take all the memory that they may, {} MB, and this event would add to them; reads, and events \
                 that free rows, are served. Send it again, under the same id, once there is room, or let operators \
                 raise `rows_mb`",
                bytes_max >> 20
            ),
        ),
    }
}

/// A client's reply for the core's answer.
#[must_use]
pub fn reply_of(answer: Answer) -> events::Reply {
    match answer {
        Answer::SessionOpened { session } => events::Reply::SessionOpened { session: session.0 },
        Answer::Ended { number, outcome } => {
            let sequence = number.0;
            match outcome {
                Outcome::Committed { reply } => events::Reply::Committed { sequence, reply: reply.to_vec() },
                Outcome::Refused(refusal) => {
                    events::Reply::Refused { sequence, code: refusal.code, message: refusal.message }
                }
                Outcome::Faulted(fault) => events::Reply::Faulted {
                    sequence,
                    kind: fault_word(fault.kind).into(),
                    unit: fault.unit,
                    message: fault.message,
                },
            }
        }
        Answer::Retry { reason } => events::Reply::Retry { reason },
        Answer::Rejected(rejection) => {
            let (code, message) = rejection_words(rejection);
            events::Reply::Rejected { code: code.into(), message }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_has_a_code_of_its_own() {
        let all = [
            Rejection::UnknownProcedure,
            Rejection::MalformedParameters("x".into()),
            Rejection::TooLarge { bytes_max: 1 },
            Rejection::UnknownSession,
            Rejection::AlreadyAnswered,
            Rejection::WindowFull { window: 1 },
            Rejection::EncodingConflict,
            Rejection::NotEnabled,
            Rejection::Retired,
            Rejection::KeyMissing { partitions: 2 },
            Rejection::WrongPartition { partition: 1, partitions: 2 },
            Rejection::NoRoom { bytes_max: 1 },
        ];
        let count = all.len();
        let codes: std::collections::BTreeSet<_> =
            all.into_iter().map(|each| rejection_words(each).0).collect();
        assert_eq!(codes.len(), count);
    }
}
