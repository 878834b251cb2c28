//! The messages of the event protocol over borrowed bytes: the same encoding as `lockstep_wire::events`, without a
//! copy of every procedure name, parameter and reply. Tests hold the two forms together.

use lockstep_wire::events::Encoding;
use serde::{Deserialize, Serialize, Serializer};

/// Bytes that are written at once, not one by one; encoded like a `Vec<u8>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// `lockstep_wire::events::ClientMessage`.
#[derive(Serialize)]
pub(crate) enum ClientFrame<'a> {
    Hello { protocol: (u16, u16), application: &'a str, partition: u16 },
    OpenSession { ticket: u64 },
    Submit { ticket: u64, key: &'a str, event: EventFrame<'a> },
}

/// `lockstep_wire::events::EventId`; this library numbers all of its events.
#[derive(Serialize)]
pub(crate) enum IdFrame {
    Numbered { session: u64, number: u64 },
}

/// `lockstep_wire::events::Event`.
#[derive(Serialize)]
pub(crate) struct EventFrame<'a> {
    pub id: IdFrame,
    pub awaited_from: u64,
    pub procedure: &'a str,
    pub encoding: Encoding,
    pub parameters: Bytes<'a>,
    pub body: Bytes<'a>,
}

/// `lockstep_wire::events::ServerMessage`.
#[derive(Debug, Deserialize)]
pub(crate) enum ServerFrame<'a> {
    Serving {
        protocol: (u16, u16),
        node: &'a str,
        active: bool,
        term: u64,
        version: &'a str,
        partitions: u16,
    },
    Refused {
        code: &'a str,
        message: &'a str,
    },
    Answer {
        ticket: u64,
        #[serde(borrow)]
        reply: ReplyFrame<'a>,
    },
}

/// `lockstep_wire::events::Reply`.
#[derive(Debug, Deserialize)]
pub(crate) enum ReplyFrame<'a> {
    SessionOpened { session: u64 },
    Committed { sequence: u64, reply: &'a [u8] },
    Refused { sequence: u64, code: &'a str, message: &'a str },
    Faulted { sequence: u64, kind: &'a str, unit: &'a str, message: &'a str },
    Retry { reason: &'a str },
    Rejected { code: &'a str, message: &'a str },
}

/// The message of a payload; nothing may be left over.
pub(crate) fn decode(payload: &[u8]) -> Result<ServerFrame<'_>, String> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_wire::events::{ClientMessage, Event, EventId, PROTOCOL, Reply, ServerMessage};
    use lockstep_wire::frame;

    use super::*;

    fn framed<T: Serialize>(message: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::encode(message, &mut bytes);
        bytes
    }

    #[test]
    fn borrowed_and_owned_requests_are_the_same_bytes() {
        let owned = ClientMessage::Hello { protocol: PROTOCOL, application: "ledger".into(), partition: 3 };
        let borrowed = ClientFrame::Hello { protocol: PROTOCOL, application: "ledger", partition: 3 };
        assert_eq!(framed(&borrowed), framed(&owned));
        assert_eq!(
            framed(&ClientFrame::OpenSession { ticket: 300 }),
            framed(&ClientMessage::OpenSession { ticket: 300 })
        );
        for encoding in [Encoding::Postcard, Encoding::Json] {
            let owned = ClientMessage::Submit {
                ticket: 1 << 40,
                key: "alice".into(),
                event: Event {
                    id: EventId::Numbered { session: 1000, number: 2000 },
                    awaited_from: 1990,
                    procedure: "transfer".into(),
                    encoding,
                    parameters: (0..=255).collect(),
                    body: vec![7; 300],
                },
            };
            let parameters: Vec<u8> = (0..=255).collect();
            let borrowed = ClientFrame::Submit {
                ticket: 1 << 40,
                key: "alice",
                event: EventFrame {
                    id: IdFrame::Numbered { session: 1000, number: 2000 },
                    awaited_from: 1990,
                    procedure: "transfer",
                    encoding,
                    parameters: Bytes(&parameters),
                    body: Bytes(&[7; 300]),
                },
            };
            assert_eq!(framed(&borrowed), framed(&owned));
        }
    }

    #[test]
    fn every_answer_is_read_as_it_was_written() {
        let text = || "x".to_string();
        let replies = [
            Reply::SessionOpened { session: 9 },
            Reply::Committed { sequence: 300, reply: vec![1, 200, 3] },
            Reply::Refused { sequence: 1, code: text(), message: text() },
            Reply::Faulted { sequence: 2, kind: text(), unit: text(), message: text() },
            Reply::Retry { reason: text() },
            Reply::Rejected { code: text(), message: text() },
        ];
        for reply in replies {
            let payload =
                postcard::to_stdvec(&ServerMessage::Answer { ticket: 77, reply: reply.clone() }).unwrap();
            let ServerFrame::Answer { ticket: 77, reply: read } = decode(&payload).unwrap() else {
                panic!("not an answer")
            };
            let same = match (&read, &reply) {
                (ReplyFrame::SessionOpened { session: a }, Reply::SessionOpened { session: b }) => a == b,
                (ReplyFrame::Committed { sequence, reply }, Reply::Committed { sequence: s, reply: r }) => {
                    sequence == s && reply == r
                }
                (ReplyFrame::Refused { sequence: 1, code: "x", message: "x" }, Reply::Refused { .. })
                | (
                    ReplyFrame::Faulted { sequence: 2, kind: "x", unit: "x", message: "x" },
                    Reply::Faulted { .. },
                )
                | (ReplyFrame::Retry { reason: "x" }, Reply::Retry { .. })
                | (ReplyFrame::Rejected { code: "x", message: "x" }, Reply::Rejected { .. }) => true,
                _ => false,
            };
            assert!(same, "{read:?} and {reply:?}");
        }
        let serving = ServerMessage::Serving {
            protocol: PROTOCOL,
            node: "a".into(),
            active: true,
            term: 5,
            version: "1.0.0".into(),
            partitions: 4,
        };
        let payload = postcard::to_stdvec(&serving).unwrap();
        assert!(matches!(
            decode(&payload),
            Ok(ServerFrame::Serving { node: "a", active: true, term: 5, partitions: 4, .. })
        ));
        assert!(decode(&[payload, vec![0]].concat()).is_err());
    }
}
