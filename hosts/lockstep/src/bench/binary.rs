//! A connection over the binary protocol: a socket to each processor, one session, events numbered from 1.
//!
//! One read brings many answers and one write carries many events. What is unanswered is kept in a ring by number, and sent
//! again under its number when another processor serves. Invariants: the ring begins with the lowest number that is
//! unanswered, which is the `awaited_from` of what is sent; an answer counts once, whichever socket it comes from.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use lockstep_wire::borrowed::{Bytes, ClientFrame, EventFrame, IdFrame, ReplyFrame, ServerFrame};
use lockstep_wire::events::{PROTOCOL, UNKNOWN_SESSION};
use lockstep_wire::frame;
use rustix::event::epoll::EventFlags;

use super::board::{AGAIN_AFTER_NS, Board, Connection, DIAL_AFTER_MAX_NS, DIAL_AFTER_NS};
use super::error::Wrong;
use super::events::Event;
use super::figures::Outcome;
use super::socket::Socket;

/// The ticket of the request for a session; those of events are their numbers.
const SESSION_TICKET: u64 = 0;
/// How far numbers may run ahead of the lowest unanswered one: a little less than a session's window, which so is never full.
const AHEAD_MAX: usize = 1_000;
/// After so long without an active processor a standby will do, which passes events on; in nanoseconds.
const STANDBY_AFTER_NS: u64 = 500_000_000;

/// One of the two ways to the pair.
struct Line {
    address: SocketAddr,
    token: u64,
    socket: Option<Socket>,
    dial_at_ns: u64,
    dial_after_ns: u64,
    /// Whether its processor is active, and its term.
    serving: Option<(bool, u64)>,
    /// It was turned away.
    refused: Option<(String, String)>,
}

struct Slot {
    event: Event,
    answered: bool,
}

/// A connection.
pub struct Binary {
    application: Rc<str>,
    partition: u16,
    lines: Vec<Line>,
    /// The line that events go to.
    current: Option<usize>,
    /// Since when there is none.
    without_ns: u64,
    session: Option<u64>,
    ring: VecDeque<Slot>,
    first: u64,
    open: usize,
    spare: Vec<Event>,
    /// Numbers to be sent again, and when.
    again: Vec<u64>,
    again_at_ns: u64,
}

/// What came in one frame, without its bytes.
enum Came {
    Serving { active: bool, term: u64 },
    TurnedAway { code: String, message: String },
    Session(Option<u64>),
    Event { number: u64, outcome: Outcome },
    Again(u64),
    Wrong(Wrong),
}

impl Binary {
    /// To these processors; it begins to dial at its first look.
    pub fn new(application: Rc<str>, partition: u16, addresses: &[SocketAddr], first_token: u64) -> Self {
        let line = |(at, address): (usize, &SocketAddr)| Line {
            address: *address,
            token: first_token + at as u64,
            socket: None,
            dial_at_ns: 0,
            dial_after_ns: DIAL_AFTER_NS,
            serving: None,
            refused: None,
        };
        Binary {
            application,
            partition,
            lines: addresses.iter().enumerate().map(line).collect(),
            current: None,
            without_ns: 0,
            session: None,
            ring: VecDeque::new(),
            first: 1,
            open: 0,
            spare: Vec::new(),
            again: Vec::new(),
            again_at_ns: 0,
        }
    }

    fn dial(&mut self, at: usize, board: &mut Board) {
        let line = &mut self.lines[at];
        match Socket::connect(line.address, &board.epoll, line.token) {
            Ok(mut socket) => {
                let application = &*self.application;
                let hello = ClientFrame::Hello { protocol: PROTOCOL, application, partition: self.partition };
                frame::encode(&hello, &mut socket.outgoing);
                line.socket = Some(socket);
            }
            Err(error @ (rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)) => board.fail(error.into()),
            Err(_) => self.drop_line(at, board),
        }
    }

    fn drop_line(&mut self, at: usize, board: &mut Board) {
        let line = &mut self.lines[at];
        line.socket = None;
        if line.serving.take().is_some() {
            board.lost += 1;
        }
        line.dial_at_ns = board.clock.now_ns() + line.dial_after_ns;
        line.dial_after_ns = (line.dial_after_ns * 2).min(DIAL_AFTER_MAX_NS);
        self.choose(board);
    }

    /// Chooses the line that events go to, and sends there what is unanswered if it is another one than before.
    fn choose(&mut self, board: &mut Board) {
        let serving = |line: &Line| line.socket.as_ref().and(line.serving);
        let lines = || self.lines.iter().enumerate();
        let active = lines()
            .filter_map(|(at, line)| serving(line).filter(|(active, _)| *active).map(|(_, term)| (term, at)))
            .max();
        let chosen = active.map(|(_, at)| at).or_else(|| {
            // The one in use serves on until it is known which one is active now.
            let stays = self.current.filter(|at| self.lines[*at].socket.is_some());
            let waited = board.clock.now_ns().saturating_sub(self.without_ns) > STANDBY_AFTER_NS;
            stays.or_else(|| lines().find(|(_, line)| waited && serving(line).is_some()).map(|(at, _)| at))
        });
        if chosen == self.current {
            return;
        }
        if chosen.is_none() {
            self.without_ns = board.clock.now_ns();
        }
        self.current = chosen;
        if chosen.is_some() {
            self.send_all(board);
        }
    }

    fn send_all(&mut self, board: &mut Board) {
        if self.session.is_none() {
            self.ask_for_session();
            return;
        }
        self.again.clear();
        for at in 0..self.ring.len() {
            if !self.ring[at].answered {
                board.resent += 1;
                self.send(self.first + at as u64, board);
            }
        }
    }

    fn ask_for_session(&mut self) {
        if let Some(socket) = self.current.and_then(|at| self.lines[at].socket.as_mut()) {
            frame::encode(&ClientFrame::OpenSession { ticket: SESSION_TICKET }, &mut socket.outgoing);
        }
    }

    /// Puts the event with this number, which is in the ring, behind what waits to be sent.
    fn send(&mut self, number: u64, board: &Board) {
        let (Some(session), Some(current)) = (self.session, self.current) else { return };
        let Some(socket) = &mut self.lines[current].socket else { return };
        let event = &self.ring[(number - self.first) as usize].event;
        let submit = ClientFrame::Submit {
            ticket: number,
            // Keys are made of templates, which are text.
            key: std::str::from_utf8(&event.key).unwrap_or_default(),
            event: EventFrame {
                id: IdFrame::Numbered { session, number },
                awaited_from: self.first,
                procedure: &board.what.procedure,
                encoding: board.what.encoding,
                parameters: Bytes(&event.parameters),
                body: Bytes(&board.what.body),
            },
        };
        frame::encode(&submit, &mut socket.outgoing);
    }

    fn answered(&mut self, number: u64, outcome: Outcome, now_ns: u64, words: String, board: &mut Board) {
        let slot = number.checked_sub(self.first).and_then(|at| self.ring.get_mut(at as usize));
        let Some(slot) = slot.filter(|slot| !slot.answered) else { return };
        slot.answered = true;
        self.open -= 1;
        board.answered(outcome, slot.event.due_ns, now_ns, || words);
        while let Some(slot) = self.ring.pop_front_if(|slot| slot.answered) {
            self.first += 1;
            self.spare.push(slot.event);
        }
    }

    /// Takes all whole frames that have come.
    fn take(&mut self, at: usize, board: &mut Board) {
        let now_ns = board.clock.now_ns();
        loop {
            let Some(socket) = &mut self.lines[at].socket else { return };
            let (came, length, words) = match frame::split(socket.incoming(), frame::EVENT_FRAME_BYTES_MAX) {
                Ok(None) => return,
                Ok(Some((payload, length))) => {
                    let (came, words) = came(payload);
                    (came, length, words)
                }
                Err(error) => (Came::Wrong(Wrong::NotUnderstood(error.to_string())), 0, String::new()),
            };
            socket.take(length);
            match came {
                Came::Event { number, outcome } => self.answered(number, outcome, now_ns, words, board),
                Came::Again(number) => self.again_later(number, board),
                Came::Session(session) => {
                    self.session = self.session.or(session);
                    match session {
                        Some(_) => board.last_answer_ns = now_ns,
                        None => self.again_later(SESSION_TICKET, board),
                    }
                }
                Came::Serving { active, term } => {
                    let line = &mut self.lines[at];
                    line.serving = Some((active, term));
                    line.dial_after_ns = DIAL_AFTER_NS;
                    self.choose(board);
                }
                Came::TurnedAway { code, message } => {
                    self.lines[at].refused = Some((code, message));
                    self.drop_line(at, board);
                    // Nobody wants it.
                    let all = self.lines.iter().all(|line| line.refused.is_some());
                    if let Some((code, message)) = self.lines[at].refused.clone().filter(|_| all) {
                        board.fail(Wrong::Told { code, message });
                    }
                }
                Came::Wrong(wrong) => {
                    board.fail(wrong);
                    self.drop_line(at, board);
                }
            }
        }
    }

    fn again_later(&mut self, number: u64, board: &Board) {
        if self.again.is_empty() {
            self.again_at_ns = board.clock.now_ns() + AGAIN_AFTER_NS;
        }
        self.again.push(number);
    }
}

/// What a payload says, and the words of a refusal or fault.
fn came(payload: &[u8]) -> (Came, String) {
    let none = String::new();
    let (ticket, reply) = match frame::decode::<ServerFrame<'_>>(payload) {
        Ok(ServerFrame::Answer { ticket, reply }) => (ticket, reply),
        Ok(ServerFrame::Serving { active, term, .. }) => return (Came::Serving { active, term }, none),
        Ok(ServerFrame::Refused { code, message }) => {
            return (Came::TurnedAway { code: code.into(), message: message.into() }, none);
        }
        Err(error) => return (Came::Wrong(Wrong::NotUnderstood(error.to_string())), none),
    };
    let event = |outcome| Came::Event { number: ticket, outcome };
    match reply {
        ReplyFrame::Committed { .. } => (event(Outcome::Committed), none),
        ReplyFrame::Refused { code, message, .. } => (event(Outcome::Refused), format!("{code}: {message}")),
        ReplyFrame::Faulted { kind, unit, message, .. } => {
            (event(Outcome::Faulted), format!("{kind} in `{unit}`: {message}"))
        }
        ReplyFrame::SessionOpened { session } => (Came::Session(Some(session)), none),
        ReplyFrame::Retry { .. } if ticket == SESSION_TICKET => (Came::Session(None), none),
        ReplyFrame::Retry { .. } => (Came::Again(ticket), none),
        ReplyFrame::Rejected { code: UNKNOWN_SESSION, message } => {
            let message = format!("{message} (a load needs a session for each connection)");
            (Came::Wrong(Wrong::Told { code: UNKNOWN_SESSION.into(), message }), none)
        }
        ReplyFrame::Rejected { code, message } => {
            (Came::Wrong(Wrong::Told { code: code.into(), message: message.into() }), none)
        }
    }
}

impl Connection for Binary {
    fn has_room(&self, in_flight: usize) -> bool {
        self.open < in_flight
            && self.ring.len() < AHEAD_MAX
            && self.session.is_some()
            && self.current.is_some()
    }

    fn partition(&self) -> Option<u16> {
        Some(self.partition)
    }

    fn blank(&mut self) -> Event {
        self.spare.pop().unwrap_or_default()
    }

    fn submit(&mut self, event: Event, board: &mut Board) {
        self.ring.push_back(Slot { event, answered: false });
        self.open += 1;
        board.open += 1;
        self.send(self.first + self.ring.len() as u64 - 1, board);
    }

    fn touched(&mut self, line: usize, flags: EventFlags, board: &mut Board) {
        let Some(socket) = &mut self.lines[line].socket else { return };
        let mut result = Ok(());
        if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            result = socket.writable(&board.epoll);
        }
        if result.is_ok() && flags.intersects(EventFlags::IN | EventFlags::HUP) {
            result = socket.read();
        }
        self.take(line, board);
        if result.is_err() {
            self.drop_line(line, board);
        }
    }

    fn flush(&mut self, board: &mut Board) {
        for at in 0..self.lines.len() {
            let socket = self.lines[at].socket.as_mut().filter(|socket| !socket.outgoing.is_empty());
            if socket.is_some_and(|socket| socket.flush(&board.epoll).is_err()) {
                self.drop_line(at, board);
            }
        }
    }

    fn look(&mut self, board: &mut Board) {
        let now_ns = board.clock.now_ns();
        for at in 0..self.lines.len() {
            if self.lines[at].socket.is_none() && self.lines[at].dial_at_ns <= now_ns {
                self.dial(at, board);
            }
        }
        self.choose(board);
        if !self.again.is_empty() && self.again_at_ns <= now_ns {
            for number in std::mem::take(&mut self.again) {
                if number == SESSION_TICKET {
                    self.ask_for_session();
                    continue;
                }
                let slot = number.checked_sub(self.first).and_then(|at| self.ring.get(at as usize));
                if slot.is_some_and(|slot| !slot.answered) {
                    board.resent += 1;
                    self.send(number, board);
                }
            }
        }
    }
}
