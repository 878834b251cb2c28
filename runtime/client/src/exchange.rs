//! The client's half of the event protocol as a state machine: bytes and time in, bytes and answers out.
//!
//! Invariants: an event keeps its number for the session's life; a number's answer is taken once; `awaited_from` is
//! the lowest number without an answer that anybody still waits for; at most `window` numbers lie between it and the
//! newest. Requests go to the processor that serves at the highest term; when that changes, everything unanswered
//! goes again, under the same ids.
//!
//! Deliberately absent: sockets, timers, randomness. [`crate::raw`] supplies them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockstep_wire::borrowed::{Bytes, ClientFrame, EventFrame, IdFrame, ReplyFrame, ServerFrame};
use lockstep_wire::events::{
    BODY_BYTES_MAX, Encoding, KEY_BYTES_MAX, PARAMETERS_BYTES_MAX, PROTOCOL, UNKNOWN_SESSION,
};
use lockstep_wire::frame::{self, EVENT_FRAME_BYTES_MAX};

use crate::error::CallError;
use crate::{Counts, Reply};

/// Without a processor that says it serves, how long to wait before asking one that does not: it passes events on.
const LEADERLESS_GRACE: Duration = Duration::from_millis(10);
/// The first wait after a `Retry`; doubles up to [`RETRY_WAIT_MAX`].
const RETRY_WAIT_MIN: Duration = Duration::from_millis(1);
/// The longest wait after a `Retry`.
const RETRY_WAIT_MAX: Duration = Duration::from_millis(16);
/// Silence after which a request goes again, doubling each time.
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// With more bytes than this waiting for the socket no further request is taken.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// One event to be run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's own; comes back with the answer.
    pub tag: u64,
    /// The partition key; empty where the application has one partition.
    pub key: Cow<'static, str>,
    /// The procedure.
    pub procedure: Cow<'static, str>,
    /// How `parameters` are encoded and the reply is to be.
    pub encoding: Encoding,
    /// Control parameters.
    pub parameters: Vec<u8>,
    /// Ancillary data.
    pub body: Vec<u8>,
    /// How long to try.
    pub deadline: Duration,
}

/// What became of a request, with its tag.
pub type Answered = (u64, Result<Reply, CallError>);

#[derive(Debug)]
struct Slot {
    request: Request,
    give_up_at: Instant,
    /// The link and its connection that it was last sent on.
    sent: Option<(usize, u64)>,
    sends: u32,
    retries: u32,
    /// Silence until here: send again.
    resend_at: Instant,
    /// It stands in `unsent` or `waiting` already.
    queued: bool,
}

#[derive(Debug)]
enum Session {
    Closed,
    /// Asked on this connection.
    Opening {
        asked: Option<(usize, u64)>,
        again_at: Option<Instant>,
    },
    Open(u64),
    /// Rejected as unknown: answers to what was sent are still awaited, nothing new goes out under it.
    Lost(u64),
}

#[derive(Debug, Default)]
struct Link {
    /// Counts connections; an answer on an old one is told apart.
    connection: u64,
    up: bool,
    /// What its processor said last: whether it is active, and at which term.
    serving: Option<(bool, u64)>,
    output: Vec<u8>,
    address: String,
}

/// The state machine.
#[derive(Debug)]
pub struct Exchange {
    application: String,
    partition: u16,
    /// How many the application has, once a processor has said so.
    partitions: Option<u16>,
    window: usize,
    links: Vec<Link>,
    session: Session,
    /// Counts sessions; part of every ticket, so that answers to an earlier session's events are told apart.
    session_ordinal: u64,
    /// The number of `slots[0]`.
    first: u64,
    slots: VecDeque<Option<Slot>>,
    /// Numbers to send, in order.
    unsent: VecDeque<u64>,
    /// Numbers to send again later.
    waiting: Vec<(Instant, u64)>,
    /// No slot needs attention before.
    attention_at: Option<Instant>,
    term: u64,
    target: Option<(usize, u64)>,
    leaderless_since: Option<Instant>,
    /// The last refusal of a whole connection, by link.
    refusals: Vec<Option<(String, String)>>,
    answers: Vec<Answered>,
    counts: Counts,
}

impl Exchange {
    /// For a partition of `application` at the processors with these addresses, with at most `window` numbers (1 to
    /// 1,000) open.
    #[must_use]
    pub fn new(application: String, partition: u16, addresses: &[String], window: usize) -> Self {
        Exchange {
            application,
            partition,
            partitions: None,
            window: window.clamp(1, 1_000),
            links: addresses
                .iter()
                .map(|address| Link { address: address.clone(), ..Link::default() })
                .collect(),
            session: Session::Closed,
            session_ordinal: 0,
            first: 1,
            slots: VecDeque::new(),
            unsent: VecDeque::new(),
            waiting: Vec::new(),
            attention_at: None,
            term: 0,
            target: None,
            leaderless_since: None,
            refusals: vec![None; addresses.len()],
            answers: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The number of links.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The address of a link.
    #[must_use]
    pub fn address(&self, link: usize) -> &str {
        &self.links[link].address
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many partitions the application has, once a processor has said so.
    #[must_use]
    pub fn partitions(&self) -> Option<u16> {
        self.partitions
    }

    /// Whether the session is open: events go out as they come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.session, Session::Open(_))
    }

    /// The refusal of every processor, when all refuse this client.
    #[must_use]
    pub fn refused_everywhere(&self) -> Option<CallError> {
        let all = self.refusals.iter().all(Option::is_some);
        let (code, message) = self.refusals.iter().flatten().next().filter(|_| all)?.clone();
        Some(CallError::ConnectionRefused { code, message })
    }

    /// Whether a further request fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.slots.len() < self.window
            && self.target.is_none_or(|(link, _)| self.links[link].output.len() < OUTPUT_BYTES_MAX)
    }

    /// Whether no request is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty()
    }

    /// Requests under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// A connection of `link` is made; its output begins anew.
    pub fn connected(&mut self, link: usize, now: Instant) {
        let state = &mut self.links[link];
        state.connection += 1;
        state.up = true;
        state.serving = None;
        state.output.clear();
        if state.connection > 1 {
            self.counts.reconnects += 1;
        }
        let (application, partition) = (&self.application, self.partition);
        frame::encode(&ClientFrame::Hello { protocol: PROTOCOL, application, partition }, &mut state.output);
        self.aim(now);
    }

    /// The connection of `link` ended.
    pub fn dropped(&mut self, link: usize, reason: String, now: Instant) {
        let state = &mut self.links[link];
        if !std::mem::replace(&mut state.up, false) {
            return;
        }
        state.output.clear();
        if state.serving.take().is_some() {
            tracing::debug!(address = state.address, reason, "a connection was dropped");
            self.counts.dropped(&state.address, reason);
        }
        self.aim(now);
    }

    /// What is to be written on `link`; the driver removes what it has written.
    pub fn output(&mut self, link: usize) -> &mut Vec<u8> {
        &mut self.links[link].output
    }

    /// Takes `bytes`, as read from `link`, and says how many of them are dealt with.
    ///
    /// # Errors
    /// When the connection can't go on; the driver drops it.
    pub fn received(&mut self, link: usize, bytes: &[u8], now: Instant) -> Result<usize, String> {
        let mut at = 0;
        loop {
            let Some((payload, length)) =
                frame::split(&bytes[at..], EVENT_FRAME_BYTES_MAX).map_err(|error| error.to_string())?
            else {
                return Ok(at);
            };
            let message = frame::decode(payload).map_err(|error| error.to_string())?;
            self.message(link, message, now)?;
            at += length;
        }
    }

    fn message(&mut self, link: usize, message: ServerFrame<'_>, now: Instant) -> Result<(), String> {
        match message {
            ServerFrame::Serving { protocol, node, active, term, version, partitions } => {
                if protocol.0 != PROTOCOL.0 {
                    return Err(format!("processor {node} speaks protocol {}.{}", protocol.0, protocol.1));
                }
                tracing::debug!(node, active, term, version, "serving");
                self.links[link].serving = Some((active, term));
                self.refusals[link] = None;
                self.partitions = Some(partitions);
                let newer = term > self.term;
                self.term = self.term.max(term);
                self.counts.term = self.term;
                if newer {
                    // Whoever was served before may no longer be: everything unanswered goes again.
                    self.target = None;
                }
                self.aim(now);
            }
            ServerFrame::Refused { code, message } => {
                self.refusals[link] = Some((code.to_owned(), message.to_owned()));
                return Err(format!("{code}: {message}"));
            }
            ServerFrame::Answer { ticket, reply } => self.answer(link, ticket, reply, now),
        }
        Ok(())
    }

    fn answer(&mut self, link: usize, ticket: u64, reply: ReplyFrame<'_>, now: Instant) {
        let (ordinal, number) = (ticket >> 40, ticket & ((1 << 40) - 1));
        if ordinal != self.session_ordinal {
            return;
        }
        if number == 0 {
            return self.session_answer(reply, now);
        }
        let Some(slot) = number.checked_sub(self.first).and_then(|at| self.slots.get_mut(at as usize)) else {
            return;
        };
        let Some(live) = slot else { return };
        let result = match reply {
            // Only of an event, never of a session.
            ReplyFrame::SessionOpened { .. } => return,
            ReplyFrame::Retry { reason } => {
                if live.sent == Some((link, self.links[link].connection)) && !live.queued {
                    tracing::trace!(number, reason, "to be sent again");
                    live.retries += 1;
                    live.queued = true;
                    let wait = RETRY_WAIT_MAX.min(RETRY_WAIT_MIN * 2u32.pow(live.retries.min(8) - 1));
                    self.waiting.push((now + wait, number));
                }
                return;
            }
            ReplyFrame::Rejected { code: UNKNOWN_SESSION, .. } => {
                let fate_unknown = live.sends > 1;
                if let Session::Open(session) = self.session {
                    self.session = Session::Lost(session);
                }
                Err(CallError::SessionLost { fate_unknown })
            }
            ReplyFrame::Committed { sequence, reply } => Ok(Reply { sequence, bytes: reply.0.to_vec() }),
            ReplyFrame::Refused { sequence, code, message } => {
                Err(CallError::Refused { sequence, code: code.to_owned(), message: message.to_owned() })
            }
            ReplyFrame::Faulted { sequence, kind, unit, message } => Err(CallError::Faulted {
                sequence,
                kind: kind.to_owned(),
                unit: unit.to_owned(),
                message: message.to_owned(),
            }),
            ReplyFrame::Rejected { code, message } => {
                Err(CallError::Rejected { code: code.to_owned(), message: message.to_owned() })
            }
        };
        self.counts.answered += 1;
        self.answers.push((live.request.tag, result));
        *slot = None;
        self.advance();
    }

    fn session_answer(&mut self, reply: ReplyFrame<'_>, now: Instant) {
        let Session::Opening { again_at, .. } = &mut self.session else { return };
        match reply {
            ReplyFrame::SessionOpened { session } => {
                self.session = Session::Open(session);
                self.send_all_again();
            }
            _ => *again_at = Some(now + RETRY_WAIT_MAX),
        }
    }

    fn advance(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// Gives `request` the next number. Goes out with the next [`Self::turn`].
    pub fn submit(&mut self, request: Request, now: Instant) {
        if request.parameters.len() > PARAMETERS_BYTES_MAX
            || request.body.len() > BODY_BYTES_MAX
            || request.key.len() > KEY_BYTES_MAX
        {
            let (size, what, bytes_max) = if request.key.len() > KEY_BYTES_MAX {
                (request.key.len(), "partition key", KEY_BYTES_MAX)
            } else if request.body.len() > BODY_BYTES_MAX {
                (request.body.len(), "body", BODY_BYTES_MAX)
            } else {
                (request.parameters.len(), "control parameters", PARAMETERS_BYTES_MAX)
            };
            let message = format!("{size} bytes of {what}, and at most {bytes_max} are taken");
            self.answers.push((request.tag, Err(CallError::NotSendable(message))));
            return;
        }
        let give_up_at = now + request.deadline;
        let number = self.first + self.slots.len() as u64;
        self.slots.push_back(Some(Slot {
            request,
            give_up_at,
            sent: None,
            sends: 0,
            retries: 0,
            resend_at: give_up_at,
            queued: true,
        }));
        self.unsent.push_back(number);
        self.needs_attention(give_up_at);
    }

    fn needs_attention(&mut self, at: Instant) {
        self.attention_at = Some(self.attention_at.map_or(at, |before| before.min(at)));
    }

    /// Chooses the link that requests go to.
    fn aim(&mut self, now: Instant) {
        let term = self.term;
        let known = |link: &Link| link.serving.filter(|_| link.up);
        let leader = self.links.iter().position(|link| known(link) == Some((true, term)));
        let target = match leader {
            Some(_) => {
                self.leaderless_since = None;
                leader
            }
            None => {
                let since = *self.leaderless_since.get_or_insert(now);
                if now < since + LEADERLESS_GRACE {
                    None
                } else {
                    // Keep to the present one while it lives; any processor passes events on.
                    let present = self.target.filter(|(link, connection)| {
                        self.links[*link].connection == *connection && known(&self.links[*link]).is_some()
                    });
                    present.map(|(link, _)| link).or_else(|| {
                        let candidates = self.links.iter().enumerate();
                        let known = candidates.filter_map(|(at, link)| Some((known(link)?.1, at)));
                        known.max().map(|(_, at)| at)
                    })
                }
            }
        };
        let target = target.map(|link| (link, self.links[link].connection));
        if target != self.target {
            self.target = target;
            if target.is_some() {
                self.send_all_again();
            }
        }
    }

    fn send_all_again(&mut self) {
        self.waiting.clear();
        self.unsent.clear();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if let Some(slot) = slot {
                slot.queued = true;
                self.unsent.push_back(self.first + at as u64);
            }
        }
        if let Session::Opening { asked, .. } = &mut self.session {
            *asked = None;
        }
    }

    /// Lets time pass and puts into the outputs what is to be sent.
    pub fn turn(&mut self, now: Instant) {
        if self.leaderless_since.is_some() {
            self.aim(now);
        }
        if !self.waiting.is_empty() {
            let unsent = &mut self.unsent;
            self.waiting.retain(|(at, number)| {
                let due = *at <= now;
                if due {
                    unsent.push_back(*number);
                }
                !due
            });
        }
        if self.attention_at.is_some_and(|at| at <= now) {
            self.attend(now);
        }
        self.transmit(now);
    }

    /// Gives up what is past its deadline, sends again what is silent.
    fn attend(&mut self, now: Instant) {
        self.attention_at = None;
        let mut next: Option<Instant> = None;
        for (at, place) in self.slots.iter_mut().enumerate() {
            let Some(slot) = place else { continue };
            if slot.give_up_at <= now {
                let error = CallError::Deadline { sent: slot.sends > 0 };
                self.answers.push((slot.request.tag, Err(error)));
                *place = None;
                continue;
            }
            if slot.resend_at <= now {
                slot.resend_at = slot.give_up_at;
                if !slot.queued {
                    slot.queued = true;
                    self.unsent.push_back(self.first + at as u64);
                }
            }
            let at = slot.give_up_at.min(slot.resend_at);
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.attention_at = next;
        self.advance();
    }

    fn transmit(&mut self, now: Instant) {
        let Some((link, connection)) = self.target else { return };
        let session = match &mut self.session {
            Session::Open(session) => *session,
            Session::Lost(session) => {
                let session = *session;
                if self.slots.iter().flatten().all(|slot| slot.sends == 0) {
                    self.renumber();
                    return self.open_session(now);
                }
                session
            }
            Session::Closed | Session::Opening { .. } => return self.open_session(now),
        };
        let lost = matches!(self.session, Session::Lost(_));
        let mut resend_at = None;
        let output = &mut self.links[link].output;
        while let Some(number) = self.unsent.pop_front() {
            let Some(slot) = number.checked_sub(self.first).and_then(|at| self.slots.get_mut(at as usize))
            else {
                continue;
            };
            let Some(slot) = slot else { continue };
            if lost && slot.sends == 0 {
                continue;
            }
            let event = EventFrame {
                id: IdFrame::Numbered { session, number },
                awaited_from: self.first,
                procedure: &slot.request.procedure,
                encoding: slot.request.encoding,
                parameters: Bytes(&slot.request.parameters),
                body: Bytes(&slot.request.body),
            };
            let ticket = self.session_ordinal << 40 | number;
            let key = &slot.request.key;
            frame::encode(&ClientFrame::Submit { ticket, key, event }, output);
            if slot.sends > 0 {
                self.counts.retries += 1;
            }
            slot.resend_at = now + RESEND_AFTER * 2u32.pow(slot.sends.min(6));
            resend_at.get_or_insert(slot.resend_at);
            slot.sends = slot.sends.saturating_add(1);
            slot.sent = Some((link, connection));
            slot.queued = false;
        }
        if let Some(at) = resend_at {
            self.needs_attention(at);
        }
    }

    fn open_session(&mut self, now: Instant) {
        let Some((link, connection)) = self.target else { return };
        let (asked, again_at) = match &self.session {
            Session::Opening { asked, again_at } => (*asked, *again_at),
            _ => {
                self.session_ordinal += 1;
                (None, None)
            }
        };
        let due = again_at.is_some_and(|at| at <= now);
        if asked.is_none() || due {
            let ticket = self.session_ordinal << 40;
            frame::encode(&ClientFrame::OpenSession { ticket }, &mut self.links[link].output);
            self.session =
                Session::Opening { asked: Some((link, connection)), again_at: Some(now + RESEND_AFTER) };
        }
    }

    /// Events that never left this process get numbers of the next session; there are no others left.
    fn renumber(&mut self) {
        self.slots.retain(Option::is_some);
        self.first = 1;
        self.session = Session::Closed;
        self.send_all_again();
    }

    /// When [`Self::turn`] is to be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let grace = self.leaderless_since.map(|since| since + LEADERLESS_GRACE);
        // The grace is waited for once; after it only a link's news changes anything.
        let grace =
            grace.filter(|_| self.target.is_none() && self.links.iter().any(|link| link.serving.is_some()));
        let again = match &self.session {
            Session::Opening { again_at, .. } => *again_at,
            _ => None,
        };
        let waiting = self.waiting.iter().map(|(at, _)| *at).min();
        [self.attention_at, grace, again, waiting].into_iter().flatten().min()
    }

    /// Takes the answers that have come since the last call.
    pub fn drain_answers(&mut self) -> std::vec::Drain<'_, Answered> {
        self.answers.drain(..)
    }

    /// Answers everything under way with `error`: the client is being closed.
    pub fn give_up(&mut self, error: &CallError) {
        for slot in self.slots.drain(..).flatten() {
            self.answers.push((slot.request.tag, Err(error.clone())));
        }
        self.unsent.clear();
        self.waiting.clear();
    }
}
