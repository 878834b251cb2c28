//! The messages of the event protocol over borrowed bytes: the same encoding as [`crate::events`], without a copy of each
//! name, parameter and reply. Tests hold the two forms together.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::events::Encoding;

/// Bytes that are written and read at once, not one by one; encoded like a `Vec<u8>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Bytes)
    }
}

/// [`crate::events::ClientMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientFrame<'a> {
    /// First on a connection.
    Hello {
        /// The client's protocol version.
        protocol: (u16, u16),
        /// The application that it wants.
        application: &'a str,
        /// The partition of it.
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
        /// The event's partition key.
        key: &'a str,
        /// The event.
        #[serde(borrow)]
        event: EventFrame<'a>,
    },
}

/// [`crate::events::EventId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdFrame<'a> {
    /// A number of a session.
    Numbered {
        /// The session.
        session: u64,
        /// The number, from 1.
        number: u64,
    },
    /// A key of the client's choice.
    Keyed {
        /// At most 128 bytes.
        key: &'a str,
    },
}

/// [`crate::events::Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFrame<'a> {
    /// Its id.
    #[serde(borrow)]
    pub id: IdFrame<'a>,
    /// The lowest number of its session whose answer is still awaited.
    pub awaited_from: u64,
    /// The procedure.
    pub procedure: &'a str,
    /// How `parameters` are encoded and the reply is to be.
    pub encoding: Encoding,
    /// Control parameters.
    #[serde(borrow)]
    pub parameters: Bytes<'a>,
    /// Ancillary data.
    #[serde(borrow)]
    pub body: Bytes<'a>,
}

/// [`crate::events::ServerMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerFrame<'a> {
    /// Answer to `Hello`, and again whenever it changes.
    Serving {
        /// The processor's protocol version.
        protocol: (u16, u16),
        /// The processor.
        node: &'a str,
        /// Whether it is the active one.
        active: bool,
        /// The term.
        term: u64,
        /// The version that it runs.
        version: &'a str,
        /// How many partitions the application has.
        partitions: u16,
    },
    /// The connection is of no use.
    Refused {
        /// A code such as `LS0301`.
        code: &'a str,
        /// A sentence.
        message: &'a str,
    },
    /// Answer to a request.
    Answer {
        /// The request's ticket.
        ticket: u64,
        /// The answer.
        #[serde(borrow)]
        reply: ReplyFrame<'a>,
    },
}

/// [`crate::events::Reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplyFrame<'a> {
    /// The session is open.
    SessionOpened {
        /// Its id.
        session: u64,
    },
    /// The procedure ran.
    Committed {
        /// Its place in the stream.
        sequence: u64,
        /// The reply.
        #[serde(borrow)]
        reply: Bytes<'a>,
    },
    /// The application refused.
    Refused {
        /// Its place in the stream.
        sequence: u64,
        /// The application's word.
        code: &'a str,
        /// A sentence.
        message: &'a str,
    },
    /// It went wrong.
    Faulted {
        /// Its place in the stream.
        sequence: u64,
        /// Its kind.
        kind: &'a str,
        /// The work unit.
        unit: &'a str,
        /// Message and location.
        message: &'a str,
    },
    /// Not known to have run: send it again under the same id.
    Retry {
        /// Why.
        reason: &'a str,
    },
    /// Not run and will not be under this id.
    Rejected {
        /// A code such as `LS0201`.
        code: &'a str,
        /// A sentence.
        message: &'a str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{ClientMessage, Event, EventId, PROTOCOL, Reply, ServerMessage};
    use crate::frame::decode;

    /// Both forms have the same bytes, and the borrowed one is read from them.
    fn assert_same<'a, B: Serialize + Deserialize<'a> + PartialEq + std::fmt::Debug>(
        borrowed: B,
        owned: &impl Serialize,
        bytes: &'a mut Vec<u8>,
    ) {
        *bytes = postcard::to_stdvec(owned).unwrap();
        assert_eq!(postcard::to_stdvec(&borrowed).unwrap(), *bytes);
        let bytes: &'a Vec<u8> = bytes;
        assert_eq!(decode::<B>(bytes).unwrap(), borrowed);
    }

    #[test]
    fn a_clients_messages_are_the_same_bytes() {
        let hello = ClientMessage::Hello { protocol: PROTOCOL, application: "ledger".into(), partition: 3 };
        let borrowed = ClientFrame::Hello { protocol: PROTOCOL, application: "ledger", partition: 3 };
        assert_same(borrowed, &hello, &mut Vec::new());
        let open = ClientMessage::OpenSession { ticket: 300 };
        assert_same(ClientFrame::OpenSession { ticket: 300 }, &open, &mut Vec::new());
        let parameters: Vec<u8> = (0..=255).collect();
        let ids = [
            (
                EventId::Numbered { session: 1000, number: 2000 },
                IdFrame::Numbered { session: 1000, number: 2000 },
            ),
            (EventId::Keyed { key: "7f3a".into() }, IdFrame::Keyed { key: "7f3a" }),
        ];
        let encodings = [Encoding::Postcard, Encoding::Json];
        for ((owned, id), encoding) in
            ids.iter().flat_map(|ids| encodings.map(|encoding| (ids.clone(), encoding)))
        {
            let event = Event {
                id: owned,
                awaited_from: 1990,
                procedure: "transfer".into(),
                encoding,
                parameters: parameters.clone(),
                body: vec![7; 300],
            };
            let submit = ClientMessage::Submit { ticket: 1 << 40, key: "alice".into(), event };
            let event = EventFrame {
                id,
                awaited_from: 1990,
                procedure: "transfer",
                encoding,
                parameters: Bytes(&parameters),
                body: Bytes(&[7; 300]),
            };
            let borrowed = ClientFrame::Submit { ticket: 1 << 40, key: "alice", event };
            assert_same(borrowed, &submit, &mut Vec::new());
        }
    }

    #[test]
    fn a_processors_messages_are_the_same_bytes() {
        let text = || "x".to_string();
        let serving = ServerMessage::Serving {
            protocol: PROTOCOL,
            node: "a".into(),
            active: true,
            term: 5,
            version: "1.0.0".into(),
            partitions: 4,
        };
        let borrowed = ServerFrame::Serving {
            protocol: PROTOCOL,
            node: "a",
            active: true,
            term: 5,
            version: "1.0.0",
            partitions: 4,
        };
        assert_same(borrowed, &serving, &mut Vec::new());
        let refused = ServerMessage::Refused { code: text(), message: text() };
        assert_same(ServerFrame::Refused { code: "x", message: "x" }, &refused, &mut Vec::new());
        let replies = [
            (Reply::SessionOpened { session: 9 }, ReplyFrame::SessionOpened { session: 9 }),
            (
                Reply::Committed { sequence: 300, reply: vec![1, 200, 3] },
                ReplyFrame::Committed { sequence: 300, reply: Bytes(&[1, 200, 3]) },
            ),
            (
                Reply::Refused { sequence: 1, code: text(), message: text() },
                ReplyFrame::Refused { sequence: 1, code: "x", message: "x" },
            ),
            (
                Reply::Faulted { sequence: 2, kind: text(), unit: text(), message: text() },
                ReplyFrame::Faulted { sequence: 2, kind: "x", unit: "x", message: "x" },
            ),
            (Reply::Retry { reason: text() }, ReplyFrame::Retry { reason: "x" }),
            (
                Reply::Rejected { code: text(), message: text() },
                ReplyFrame::Rejected { code: "x", message: "x" },
            ),
        ];
        for (owned, reply) in replies {
            let owned = ServerMessage::Answer { ticket: 77, reply: owned };
            assert_same(ServerFrame::Answer { ticket: 77, reply }, &owned, &mut Vec::new());
        }
        let left_over = [postcard::to_stdvec(&refused).unwrap(), vec![0]].concat();
        assert!(decode::<ServerFrame<'_>>(&left_over).is_err());
    }
}
