//! What clients and processors say to each other: frames, messages in both forms, and the client's half of a conversation.

use std::time::{Duration, Instant};

use lockstep_client::exchange::{Exchange, Request};
use lockstep_wire::borrowed::{ClientFrame, ServerFrame};
use lockstep_wire::events::{ClientMessage, Encoding, Event, EventId, PROTOCOL, Reply, ServerMessage};
use lockstep_wire::frame::{self, EVENT_FRAME_BYTES_MAX, HEADER_BYTES, LINK_FRAME_BYTES_MAX};
use serde::{Serialize, Serializer};

use crate::{Target, rounds};

pub const CLIENT_FRAME: Target = Target {
    name: "client-frame",
    reads: "a message from a client, over TCP; owned and borrowed",
    run: client_frame,
    seeds: || client_messages().iter().map(rounds::encoded).collect(),
};

pub const SERVER_FRAME: Target = Target {
    name: "server-frame",
    reads: "a message from a processor, in the client library; owned and borrowed",
    run: server_frame,
    seeds: || server_messages().iter().map(rounds::encoded).collect(),
};

pub const FRAME_STREAM: Target = Target {
    name: "frame-stream",
    reads: "lengths and checksums of frames, on every connection",
    run: frame_stream,
    seeds: frame_streams,
};

pub const CLIENT_EXCHANGE: Target = Target {
    name: "client-exchange",
    reads: "a whole conversation, in the client library: answers that come in any order, twice, or to nothing",
    run: client_exchange,
    seeds: conversations,
};

fn client_messages() -> Vec<ClientMessage> {
    let event = |id, encoding| Event {
        id,
        awaited_from: 7,
        procedure: "transfer".into(),
        encoding,
        parameters: b"{\"from\":\"alice\"}".to_vec(),
        body: vec![0, 255, 3],
    };
    let keyed = event(EventId::Keyed { key: "order-7".into() }, Encoding::Json);
    let numbered = event(EventId::Numbered { session: 300, number: 9 }, Encoding::Postcard);
    vec![
        ClientMessage::Hello { protocol: PROTOCOL, application: "ledger".into(), partition: 3 },
        ClientMessage::OpenSession { ticket: 1 << 40 },
        ClientMessage::Submit { ticket: 5, key: "alice".into(), event: keyed },
        ClientMessage::Submit { ticket: 6, key: String::new(), event: numbered },
    ]
}

fn server_messages() -> Vec<ServerMessage> {
    let text = |text: &str| text.to_owned();
    let replies = [
        Reply::SessionOpened { session: 9 },
        Reply::Committed { sequence: 300, reply: vec![1, 200, 3] },
        Reply::Refused { sequence: 1, code: text("too-little"), message: text("it holds less") },
        Reply::Faulted { sequence: 2, kind: text("panic"), unit: text("debit"), message: text("at a:1") },
        Reply::Retry { reason: text("not in service") },
        Reply::Rejected { code: text("LS0204"), message: text("no such session") },
    ];
    let answers = replies.into_iter().map(|reply| ServerMessage::Answer { ticket: (1 << 40) | 1, reply });
    let serving = |active, term, partitions| ServerMessage::Serving {
        protocol: PROTOCOL,
        node: text("a"),
        active,
        term,
        version: text("1.4.0"),
        partitions,
    };
    [serving(true, 5, 1), serving(false, 0, 4)]
        .into_iter()
        .chain([ServerMessage::Refused { code: text("LS0301"), message: text("another protocol") }])
        .chain(answers)
        .collect()
}

fn client_frame(bytes: &[u8]) -> bool {
    let owned = rounds::postcard::<ClientMessage>(bytes);
    let borrowed = frame::decode::<ClientFrame<'_>>(bytes).ok();
    // Both forms read the same, or neither reads anything.
    assert_eq!(owned.as_ref().map(rounds::encoded), borrowed.as_ref().map(rounds::encoded));
    owned.is_some()
}

fn server_frame(bytes: &[u8]) -> bool {
    let owned = rounds::postcard::<ServerMessage>(bytes);
    let borrowed = frame::decode::<ServerFrame<'_>>(bytes).ok();
    assert_eq!(owned.as_ref().map(rounds::encoded), borrowed.as_ref().map(rounds::encoded));
    owned.is_some()
}

/// Bytes that are written as they are, whatever message they may be.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

fn frame_streams() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    client_messages().iter().for_each(|message| frame::encode(message, &mut stream));
    let mut one = Vec::new();
    frame::encode(&Raw(&[]), &mut one);
    vec![stream, one]
}

fn frame_stream(bytes: &[u8]) -> bool {
    let mut taken = 0;
    for bytes_max in [EVENT_FRAME_BYTES_MAX, LINK_FRAME_BYTES_MAX] {
        let mut at = 0;
        while let Ok(Some((payload, length))) = frame::split(&bytes[at..], bytes_max) {
            assert_eq!(length, HEADER_BYTES + payload.len());
            assert!(payload.len() <= bytes_max);
            let mut again = Vec::new();
            frame::encode(&Raw(payload), &mut again);
            assert_eq!(again, bytes[at..at + length], "a frame has one form");
            for cut in [at, at + length / 2, at + length - 1] {
                assert_eq!(frame::split(&bytes[at..cut], bytes_max), Ok(None), "half a frame is awaited");
            }
            at += length;
        }
        taken = at;
    }
    taken > 0
}

/// Steps of a conversation, one byte each; what comes on a link is its length and its bytes.
fn conversations() -> Vec<Vec<u8>> {
    let mut orderly = vec![0, 3, 3];
    let mut all = vec![0, 1, 3];
    for message in server_messages() {
        let payload = rounds::encoded(&message);
        for steps in [&mut orderly, &mut all] {
            steps.push(4);
            steps.push(payload.len() as u8);
            steps.extend(&payload);
            steps.push(5);
        }
        all.extend([3, 2, 0, 6]);
    }
    vec![orderly, all]
}

fn client_exchange(bytes: &[u8]) -> bool {
    let addresses = ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    let mut exchange = Exchange::new("ledger".into(), 0, &addresses, 8);
    let (mut now, mut asked, mut answered, mut heard) = (Instant::now(), 0, 0, false);
    let mut rest = bytes.iter();
    while let Some(step) = rest.next() {
        let link = usize::from(step >> 7);
        match step & 7 {
            0 => exchange.connected(link, now),
            1 => exchange.connected(1 - link, now),
            2 => exchange.dropped(link, "cut".into(), now),
            3 if exchange.has_room() => {
                asked += 1;
                let request = Request {
                    tag: asked,
                    key: "".into(),
                    procedure: "transfer".into(),
                    encoding: Encoding::Json,
                    parameters: b"{}".to_vec(),
                    body: Vec::new(),
                    deadline: Duration::from_secs(3),
                };
                exchange.submit(request, now);
            }
            4 => {
                let length = rest.next().map_or(0, |length| usize::from(*length)).min(rest.len());
                let (payload, behind) = rest.as_slice().split_at(length);
                rest = behind.iter();
                let mut came = Vec::new();
                frame::encode(&Raw(payload), &mut came);
                match exchange.received(link, &came, now) {
                    Ok(taken) => {
                        assert_eq!(taken, came.len());
                        heard = true;
                    }
                    Err(why) => exchange.dropped(link, why, now),
                }
            }
            5 => exchange.turn(now),
            6 => {
                now += Duration::from_millis(400);
                exchange.turn(now);
            }
            _ => {
                let length = rest.len().min(16);
                let (raw, behind) = rest.as_slice().split_at(length);
                rest = behind.iter();
                if let Ok(taken) = exchange.received(link, raw, now) {
                    assert!(taken <= raw.len());
                }
            }
        }
        answered += exchange.drain_answers().count() as u64;
        assert!(exchange.under_way() <= 8);
        assert_eq!(answered + exchange.under_way() as u64, asked, "each is answered once, or under way");
        for link in 0..exchange.link_count() {
            exchange.output(link).clear();
        }
    }
    heard
}
