//! Events that are wrong, over the binary protocol and over HTTP. Whoever sends them is told; everybody else goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lockstep_client::{CallError, Encoding};
use lockstep_core::command::Role;
use lockstep_wire::events::{ClientMessage, Event, EventId, PROTOCOL, Reply, ServerMessage};
use lockstep_wire::frame::{self, EVENT_FRAME_BYTES_MAX};
use rig::clients::ClientThread;
use rig::ledger::{self, Call};

use crate::{assert_serves_and_holds, pair};

/// Where accounts begin that the audited load does not know of; they hold nothing.
const OTHERS: u32 = 900_000;

/// A connection on which anything may be sent.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

impl Raw {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut raw = Raw { stream, input: Vec::new() };
        raw.write(&ClientMessage::Hello { protocol: PROTOCOL, application: "ledger".into(), partition: 0 });
        assert!(matches!(raw.read(), Some(ServerMessage::Serving { .. })));
        raw
    }

    pub(crate) fn write(&mut self, message: &ClientMessage) {
        let mut bytes = Vec::new();
        frame::encode(message, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next message; `None` at the connection's end.
    pub(crate) fn read(&mut self) -> Option<ServerMessage> {
        loop {
            if let Some((payload, length)) = frame::split(&self.input, EVENT_FRAME_BYTES_MAX).unwrap() {
                let message = frame::decode(payload).unwrap();
                self.input.drain(..length);
                return Some(message);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.input.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn answer(&mut self) -> Reply {
        loop {
            match self.read() {
                Some(ServerMessage::Answer { reply, .. }) => return reply,
                Some(ServerMessage::Serving { .. }) => {}
                other => panic!("not an answer: {other:?}"),
            }
        }
    }
}

/// Status and body of an HTTP request with JSON.
pub(crate) fn http(address: &str, path: &str, body: &[u8]) -> (u16, String) {
    http_as("application/json", address, path, body)
}

/// Status and body of an HTTP request.
fn http_as(kind: &str, address: &str, path: &str, body: &[u8]) -> (u16, String) {
    let answer = try_http(kind, address, path, body).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no HTTP answer: {answer}")), answer)
}

/// What comes back when `body` is posted; nothing, or an error, from a processor that has just died.
pub(crate) fn try_http(kind: &str, address: &str, path: &str, body: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    // A body that is too large may be refused while it is being sent.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_client_hears_soon_that_nobody_serves() {
    let (_directory, mut pair) = pair();
    let active = pair.active().unwrap();
    pair.lockstep(&["isolate", "ledger"]).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_until("the standby out of the record", Duration::from_secs(20), |group| {
        Ok(group.members.iter().filter(|member| member.in_sync).count() == 1)
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
    pair.node_mut(active).kill();
    pair.node_mut(active).wait_gone().unwrap();
    let begun = std::time::Instant::now();
    let (status, answer) =
        http(&pair.node(1 - active).ready().http, "/ledger/balance", br#"{"account":"x"}"#);
    assert!(status == 503 && answer.contains("LS0320"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // It does not say that the dead one serves.
    let group = pair.group(1 - active).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(group.members.iter().all(|member| member.role != Role::Active || !member.connected), "{group:?}");
}

#[test]
fn wrong_events_are_answered_and_nobody_else_notices() {
    let (_directory, pair) = pair();
    let thread = ClientThread::new().unwrap();
    let client = thread.connect(lockstep_client::connect(pair.events())).unwrap();
    let call = |procedure, parameters| {
        let call = Call { procedure, encoding: Encoding::Postcard, parameters };
        thread.call(&client, call).wait().unwrap()
    };
    // Unknown and malformed.
    let error = call("no_such_procedure", vec![]).unwrap_err();
    assert!(matches!(&error, CallError::Rejected { code, .. } if code == "LS0201"), "{error}");
    let error = call("transfer", vec![0xff; 3]).unwrap_err();
    assert!(
        matches!(&error, CallError::Rejected { code, message } if code == "LS0202" && !message.is_empty())
    );
    // The session goes on.
    let opened = thread.call(&client, ledger::open_accounts(OTHERS, 1, 0)).wait().unwrap();
    assert!(opened.is_ok(), "{opened:?}");

    for address in pair.events() {
        // Too large, within the bound of a frame: answered, and the connection goes on.
        let mut raw = Raw::connect(&address);
        raw.write(&ClientMessage::OpenSession { ticket: 1 });
        let Reply::SessionOpened { session } = raw.answer() else { panic!("no session") };
        let submit = |number, parameters| ClientMessage::Submit {
            ticket: 2,
            key: String::new(),
            event: Event {
                id: EventId::Numbered { session, number },
                awaited_from: 1,
                procedure: "transfer".into(),
                encoding: Encoding::Postcard,
                parameters,
                body: vec![],
            },
        };
        raw.write(&submit(1, vec![0; 100_000]));
        let reply = raw.answer();
        assert!(matches!(&reply, Reply::Rejected { code, .. } if code == "LS0203"), "{reply:?}");
        raw.write(&submit(2, vec![0xff; 3]));
        let reply = raw.answer();
        assert!(matches!(&reply, Reply::Rejected { code, .. } if code == "LS0202"), "{reply:?}");
        // A frame over the bound: told why, then closed.
        raw.stream.write_all(&[0xff; 8]).unwrap();
        let refused = raw.read();
        assert!(
            matches!(&refused, Some(ServerMessage::Refused { code, .. }) if code == "LS0302"),
            "{refused:?}"
        );
        assert_eq!(raw.read(), None);
    }
    let again = thread.call(&client, ledger::open_accounts(OTHERS + 1, 1, 0)).wait().unwrap();
    assert!(again.is_ok(), "{again:?}");
    assert!(client.counts().connections_dropped.is_empty(), "{:?}", client.counts());

    for at in 0..2 {
        let address = &pair.node(at).ready().http;
        let (status, answer) = http(address, "/ledger/no_such_procedure", b"{}");
        assert!(status == 404 && answer.contains("LS0201"), "{answer}");
        let (status, answer) = http(address, "/ledger/transfer", b"{\"from\": 1");
        assert!(status == 400 && answer.contains("LS0202"), "{answer}");
        let (status, answer) = http(address, "/ledger/transfer", &vec![b' '; 3 << 20]);
        assert!(status == 413, "{answer}");
        // R18: forms carry parameters and a body.
        for (part, wanted) in [("parameters", "LS0202"), ("file", "LS0322")] {
            let form = format!(
                "--x\r\nContent-Disposition: form-data; name=\"{part}\"\r\n\r\n{{\"from\": 1\r\n--x--\r\n"
            );
            let kind = "multipart/form-data; boundary=x";
            let (status, answer) = http_as(kind, address, "/ledger/transfer", form.as_bytes());
            assert!(status == 400 && answer.contains(wanted), "{answer}");
        }
        // The parser of forms panics at this one, were it asked.
        let (kind, form) = ("multipart/form-data; boundary=x", b"\n--x\r\n\r\n\r\n--x--\r\n");
        let (status, answer) = http_as(kind, address, "/ledger/transfer", form);
        assert!(status == 400 && answer.contains("LS0322"), "{answer}");
    }
    drop((client, thread));
    assert_serves_and_holds(pair);
}
