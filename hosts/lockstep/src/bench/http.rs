//! A connection over HTTP/1.1, kept alive: one event at a time, sent again under its `Idempotency-Key` until it has an
//! answer. After a failure it goes to the other processor.

use std::net::SocketAddr;
use std::rc::Rc;

use rustix::event::epoll::EventFlags;

use super::board::{AGAIN_AFTER_NS, Board, Connection, DIAL_AFTER_MAX_NS, DIAL_AFTER_NS};
use super::error::Wrong;
use super::events::Event;
use super::figures::Outcome;
use super::socket::Socket;
use super::template::digits;

/// The most headers of an answer.
const HEADERS_MAX: usize = 32;
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Separates the parts of a form. A body made here never has it.
const BOUNDARY: &str = "lockstep-bench-part";

/// A connection.
pub struct Http {
    /// What stands before `Idempotency-Key`s: the same in a run, another one in each.
    run: Rc<str>,
    application: Rc<str>,
    token: u64,
    addresses: Rc<[SocketAddr]>,
    /// Which of them is used.
    at: usize,
    socket: Option<Socket>,
    /// It has answered something.
    worked: bool,
    dial_at_ns: u64,
    dial_after_ns: u64,
    event: Option<Event>,
    /// The event is to be sent again, and when.
    again_at_ns: Option<u64>,
    spare: Option<Event>,
}

/// What an answer says of its event.
pub(crate) enum Said {
    Answered(Outcome, String),
    Again,
    Wrong(Wrong),
}

impl Http {
    /// To these processors, the first one preferred.
    pub fn new(run: Rc<str>, application: Rc<str>, addresses: Rc<[SocketAddr]>, token: u64) -> Self {
        Http {
            run,
            application,
            token,
            addresses,
            at: 0,
            socket: None,
            worked: false,
            dial_at_ns: 0,
            dial_after_ns: DIAL_AFTER_NS,
            event: None,
            again_at_ns: None,
            spare: None,
        }
    }

    /// The connection is of no use: the next one goes to the other processor.
    fn drop_socket(&mut self, board: &mut Board) {
        self.socket = None;
        if std::mem::take(&mut self.worked) {
            board.lost += 1;
        }
        self.at = (self.at + 1) % self.addresses.len();
        self.dial_at_ns = board.clock.now_ns() + self.dial_after_ns;
        self.dial_after_ns = (self.dial_after_ns * 2).min(DIAL_AFTER_MAX_NS);
        self.again_at_ns = self.event.is_some().then_some(0);
    }

    fn dial(&mut self, board: &mut Board) {
        match Socket::connect(self.addresses[self.at], &board.epoll, self.token) {
            Ok(socket) => self.socket = Some(socket),
            Err(error @ (rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)) => board.fail(error.into()),
            Err(_) => self.drop_socket(board),
        }
    }

    fn send(&mut self, board: &Board) {
        let (Some(event), Some(socket)) = (&self.event, &mut self.socket) else { return };
        let out = &mut socket.outgoing;
        for part in
            ["POST /", &self.application, "/", &board.what.procedure, " HTTP/1.1\r\nHost: lockstep\r\n"]
        {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"Idempotency-Key: ");
        out.extend_from_slice(self.run.as_bytes());
        digits(event.seq, out);
        if !event.key.is_empty() {
            out.extend_from_slice(b"\r\nLockstep-Key: ");
            out.extend_from_slice(&event.key);
        }
        out.extend_from_slice(b"\r\nContent-Type: ");
        if board.what.body.is_empty() {
            out.extend_from_slice(b"application/json\r\nContent-Length: ");
            digits(event.parameters.len() as u64, out);
            out.extend_from_slice(b"\r\n\r\n");
            out.extend_from_slice(&event.parameters);
        } else {
            let boundary = BOUNDARY;
            let part = |name: &str| {
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n")
            };
            let (parameters, body) = (part("parameters"), part("body"));
            let end = format!("\r\n--{boundary}--\r\n");
            let parts: [&[u8]; 6] = [
                parameters.as_bytes(),
                &event.parameters,
                b"\r\n",
                body.as_bytes(),
                &board.what.body,
                end.as_bytes(),
            ];
            out.extend_from_slice(b"multipart/form-data; boundary=");
            out.extend_from_slice(boundary.as_bytes());
            out.extend_from_slice(b"\r\nContent-Length: ");
            digits(parts.iter().map(|part| part.len() as u64).sum(), out);
            out.extend_from_slice(b"\r\n\r\n");
            parts.iter().for_each(|part| out.extend_from_slice(part));
        }
    }

    /// Takes the answer, once it is whole.
    fn take(&mut self, board: &mut Board) {
        let Some(socket) = &mut self.socket else { return };
        let (said, length, closes) = match answer(socket.incoming()) {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(why) => {
                board.fail(Wrong::NotUnderstood(why));
                return self.drop_socket(board);
            }
        };
        socket.take(length);
        self.worked = true;
        self.dial_after_ns = DIAL_AFTER_NS;
        let now_ns = board.clock.now_ns();
        match said {
            Said::Answered(outcome, words) => {
                if let Some(event) = self.event.take() {
                    board.answered(outcome, event.due_ns, now_ns, || words);
                    self.spare = Some(event);
                }
            }
            // The processor is there, but not in service: perhaps the other one is.
            Said::Again if self.addresses.len() > 1 => {
                self.worked = false;
                return self.drop_socket(board);
            }
            Said::Again => self.again_at_ns = Some(now_ns + AGAIN_AFTER_NS),
            Said::Wrong(wrong) => board.fail(wrong),
        }
        if closes {
            self.drop_socket(board);
        }
    }
}

/// What an answer says, its length and whether the connection is closed after it; `None` while it is not whole.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<(Said, usize, bool)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes).map_err(|error| error.to_string())? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(head) => head,
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let length: usize = header("content-length")
        .and_then(|length| length.trim().parse().ok())
        .filter(|length| *length <= ANSWER_BYTES_MAX)
        .ok_or("it does not say how long it is")?;
    let Some(body) = bytes.get(head..head + length) else { return Ok(None) };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let said = said(response.code.unwrap_or(0), body);
    Ok(Some((said, head + length, closes)))
}

fn said(status: u16, body: &[u8]) -> Said {
    if status == 200 {
        return Said::Answered(Outcome::Committed, String::new());
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Problem {
        code: String,
        detail: String,
        retry: String,
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let words = || format!("{}: {}", problem.code, problem.detail);
    match status {
        _ if problem.retry == "same-id" => Said::Again,
        422 => Said::Answered(Outcome::Refused, words()),
        500 | 504 => Said::Answered(Outcome::Faulted, words()),
        _ if problem.code.is_empty() => Said::Wrong(Wrong::NotUnderstood(format!("HTTP status {status}"))),
        _ => Said::Wrong(Wrong::Told { code: problem.code, message: problem.detail }),
    }
}

impl Connection for Http {
    fn has_room(&self, _in_flight: usize) -> bool {
        self.event.is_none() && self.socket.is_some()
    }

    fn partition(&self) -> Option<u16> {
        None
    }

    fn blank(&mut self) -> Event {
        self.spare.take().unwrap_or_default()
    }

    fn submit(&mut self, event: Event, board: &mut Board) {
        self.event = Some(event);
        board.open += 1;
        self.send(board);
    }

    fn touched(&mut self, _line: usize, flags: EventFlags, board: &mut Board) {
        let Some(socket) = &mut self.socket else { return };
        let mut result = Ok(());
        if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            result = socket.writable(&board.epoll);
        }
        if result.is_ok() && flags.intersects(EventFlags::IN | EventFlags::HUP) {
            result = socket.read();
        }
        self.take(board);
        if result.is_err() && self.socket.is_some() {
            self.drop_socket(board);
        }
    }

    fn flush(&mut self, board: &mut Board) {
        let socket = self.socket.as_mut().filter(|socket| !socket.outgoing.is_empty());
        if socket.is_some_and(|socket| socket.flush(&board.epoll).is_err()) {
            self.drop_socket(board);
        }
    }

    fn look(&mut self, board: &mut Board) {
        let now_ns = board.clock.now_ns();
        if self.socket.is_none() && self.dial_at_ns <= now_ns {
            self.dial(board);
        }
        if self.socket.is_some() && self.again_at_ns.is_some_and(|at| at <= now_ns) {
            self.again_at_ns = None;
            board.resent += 1;
            self.send(board);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nLockstep-Event: x\r\n\r\n{body}", body.len())
    }

    #[test]
    fn an_answer_is_taken_once_it_is_whole() {
        let text = whole("200 OK", "{\"entry\":7}");
        for cut in 0..text.len() {
            assert!(answer(&text.as_bytes()[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let two = text.clone() + "HTTP/1.1";
        let (said, length, closes) = answer(two.as_bytes()).unwrap().unwrap();
        assert!(matches!(said, Said::Answered(Outcome::Committed, _)));
        assert_eq!((length, closes), (text.len(), false));
        assert!(answer(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn problems_are_told_apart() {
        let said = |status: &str, retry: &str| {
            let body = format!("{{\"code\":\"too-little\",\"detail\":\"no\",\"retry\":\"{retry}\"}}");
            answer(whole(status, &body).as_bytes()).unwrap().unwrap().0
        };
        let Said::Answered(Outcome::Refused, words) = said("422 U", "new-id") else { panic!("not refused") };
        assert_eq!(words, "too-little: no");
        assert!(matches!(said("503 S", "same-id"), Said::Again));
        assert!(matches!(said("504 G", "same-id"), Said::Again));
        assert!(matches!(said("500 I", "never"), Said::Answered(Outcome::Faulted, _)));
        assert!(matches!(said("404 N", "never"), Said::Wrong(Wrong::Told { .. })));
    }
}
