//! Simulated clients: sessions, many events under way, retries under the same id at either processor, and their own
//! record of what was acknowledged, which is what the checks go by.

use std::collections::BTreeMap;

use lockstep_core::event::{Answer, Encoding, Event, EventId, Outcome, Rejection, Request};
use lockstep_core::ids::{Micros, Number, Origin, SessionId};
use lockstep_core::sessions::WINDOW;

use crate::ledger::{DEADLY, FAULTY, HANGS, LATE, LIMIT, POSTING, PROCEDURES, Parameters, RETURNED};
use crate::random::Random;

/// Events under way at a time.
const UNDER_WAY_MAX: usize = 8;
/// After this long without an answer an event is sent again, to the other processor.
const AGAIN_AFTER: Micros = Micros::from_ms(300);

/// An event whose answer is awaited.
#[derive(Clone, Debug)]
struct Asked {
    event: Event,
    parameters: Parameters,
    /// The highest number that anybody had an answer for when it was first sent.
    after: Number,
    sent: Micros,
    to: usize,
}

/// An answer that a client has got for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// What was asked.
    pub parameters: Parameters,
    /// The procedure.
    pub procedure: String,
    /// The place in the stream.
    pub number: Number,
    /// The outcome.
    pub outcome: Outcome,
}

/// A client.
#[derive(Debug)]
pub struct SimClient {
    index: u64,
    session: Option<SessionId>,
    opening: Option<Micros>,
    opens: bool,
    next: u64,
    /// How many further events it will send.
    pub to_send: u64,
    /// So many of a hundred act on the world.
    pub acts_percent: u64,
    /// Some of its events set timers and send messages.
    pub posts: bool,
    awaited: BTreeMap<u64, Asked>,
    prefers: usize,
    /// Answers, by the event's own id.
    pub acknowledged: BTreeMap<u64, Acknowledged>,
    /// How often something was sent again.
    pub retries: u64,
    /// The highest number that anybody has an answer for; the world says so before it lets clients send.
    pub answered: Number,
    /// So many of a thousand events kill their processor, hang or come late.
    pub deadly_permille: u64,
}

impl SimClient {
    /// Client number `index`.
    #[must_use]
    pub fn new(index: u64) -> Self {
        SimClient {
            index,
            session: None,
            opening: None,
            opens: false,
            next: 1,
            to_send: 0,
            acts_percent: 0,
            posts: false,
            awaited: BTreeMap::new(),
            prefers: (index % 2) as usize,
            acknowledged: BTreeMap::new(),
            retries: 0,
            answered: Number(0),
            deadly_permille: 0,
        }
    }

    /// The client that an origin names.
    #[must_use]
    pub fn of(origin: Origin) -> usize {
        (origin.0 >> 40) as usize
    }

    /// Sends nothing new.
    pub fn stop(&mut self) {
        self.to_send = 0;
    }

    /// Forgets what it awaits, and its session: nobody asks for those answers any more, whether or not the events run.
    /// What it sends from now on is of another session.
    pub fn vanish(&mut self) {
        self.awaited.clear();
        (self.session, self.opening) = (None, None);
    }

    /// Opens a session although nothing is to be sent yet.
    pub fn open(&mut self) {
        self.opens = true;
    }

    /// Its session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Takes an event as its own: its answer is awaited, and it is sent again like any other.
    ///
    /// # Panics
    /// When the request is no numbered event.
    pub fn adopt(&mut self, now: Micros, node: usize, request: &Request) -> Origin {
        let Request::Submit(event) = request else { panic!("only events are adopted") };
        let EventId::Numbered { number, .. } = event.id else { panic!("only numbered events are adopted") };
        let parameters = Parameters::from_bytes(&event.parameters).expect("a scripted event is well formed");
        self.next = self.next.max(number + 1);
        self.awaited.insert(
            number,
            Asked { event: event.clone(), parameters, after: self.answered, sent: now, to: node },
        );
        self.origin(number)
    }

    fn origin(&self, number: u64) -> Origin {
        Origin(self.index << 40 | number)
    }

    /// Whether it has nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.to_send == 0 && self.awaited.is_empty()
    }

    /// How many events are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.awaited.len()
    }

    /// What it sends now: to which processor, from whom, what.
    pub fn send(&mut self, now: Micros, random: &mut Random) -> Vec<(usize, Origin, Request)> {
        let mut out = Vec::new();
        let Some(session) = self.session else {
            if (self.to_send > 0 || self.opens) && self.opening.is_none_or(|at| now.since(at) > AGAIN_AFTER) {
                self.opening = Some(now);
                self.prefers ^= 1;
                out.push((self.prefers, self.origin(0), Request::OpenSession));
            }
            return out;
        };
        let awaited_from = self.awaited.keys().next().copied().unwrap_or(self.next);
        for (number, asked) in &mut self.awaited {
            if now.since(asked.sent) > AGAIN_AFTER {
                asked.sent = now;
                asked.to ^= 1;
                if matches!(asked.event.id, EventId::Numbered { .. }) {
                    asked.event.awaited_from = awaited_from;
                }
                self.retries += 1;
                out.push((
                    asked.to,
                    Origin(self.index << 40 | *number),
                    Request::Submit(asked.event.clone()),
                ));
            }
        }
        // Its window moves with the lowest number that it awaits.
        let end = self.awaited.keys().next().copied().unwrap_or(self.next) + WINDOW;
        while self.to_send > 0 && self.awaited.len() < UNDER_WAY_MAX && self.next < end {
            let number = self.next;
            self.next += 1;
            self.to_send -= 1;
            let acts = self.acts_percent > 0 && random.percent(self.acts_percent);
            let procedures: [usize; 8] =
                if acts { [4, 4, 4, 4, 5, 5, 5, 5] } else { [0, 0, 0, 0, 1, 1, 2, 3] };
            let mut procedure = PROCEDURES[procedures[random.within(0, 8) as usize]];
            if self.posts && random.percent(30) {
                procedure = POSTING[random.within(0, 2) as usize];
            }
            let amount = match random.within(0, 40) {
                0 => LIMIT + 1,
                1 => FAULTY,
                2 if acts => RETURNED,
                _ => random.within(1, 100) as u32,
            };
            let deadly = self.deadly_permille > 0 && random.within(0, 1_000) < self.deadly_permille;
            let amount = if deadly { [DEADLY, HANGS, LATE][random.within(0, 3) as usize] } else { amount };
            let (from, to) = (random.within(0, 20) as u8, random.within(0, 20) as u8);
            let parameters = Parameters { id: self.index << 32 | number, from, to, amount };
            let body =
                if procedure == "upload" { vec![7; random.within(1, 64) as usize] } else { Vec::new() };
            // Some come over HTTP: the key stands for the session's number.
            let keyed = random.within(0, 8) == 0;
            let lowest = self.awaited.keys().next().copied().unwrap_or(number);
            let event = Event {
                id: if keyed {
                    EventId::Keyed { key: format!("{}/{number}", self.index) }
                } else {
                    EventId::Numbered { session, number }
                },
                awaited_from: if keyed { 0 } else { lowest },
                procedure: procedure.into(),
                encoding: Encoding::Postcard,
                parameters: parameters.to_bytes(),
                body,
            };
            self.awaited.insert(
                number,
                Asked { event: event.clone(), parameters, after: self.answered, sent: now, to: self.prefers },
            );
            out.push((self.prefers, self.origin(number), Request::Submit(event)));
        }
        out
    }

    /// Takes an answer.
    ///
    /// # Panics
    /// When it contradicts an earlier one, or is one that no client of a sound pair gets.
    pub fn on_answer(&mut self, now: Micros, origin: Origin, answer: Answer) {
        let number = origin.0 & ((1 << 40) - 1);
        match answer {
            Answer::SessionOpened { session } => {
                self.session.get_or_insert(session);
            }
            Answer::Retry { .. } if number == 0 => self.opening = None,
            Answer::Retry { .. } => {
                if let Some(asked) = self.awaited.get_mut(&number) {
                    // In 10 ms, so that a pair without an active is not asked without end.
                    asked.sent = Micros(now.0.saturating_sub(AGAIN_AFTER.0).saturating_add(10_000));
                }
            }
            Answer::Ended { number: sequence, outcome } => {
                let Some(asked) = self.awaited.remove(&number) else { return };
                // Numbers respect real time: what was answered before this was first sent comes before it, and a read
                // sees it.
                let reads = asked.event.procedure == "balance";
                assert!(
                    sequence > asked.after || (reads && sequence == asked.after),
                    "an event has number {sequence}, and {} was answered before it was sent",
                    asked.after
                );
                let parameters = asked.parameters;
                let id = parameters.id;
                let procedure = asked.event.procedure.clone();
                let acknowledged =
                    Acknowledged { parameters, procedure: procedure.into(), number: sequence, outcome };
                self.prefers = asked.to;
                let before = self.acknowledged.insert(id, acknowledged);
                assert!(before.is_none(), "event {id} was answered twice");
            }
            // A late answer to a copy of an event that has its answer.
            Answer::Rejected(Rejection::AlreadyAnswered) if !self.awaited.contains_key(&number) => {}
            Answer::Rejected(rejection) => panic!("client {} event {number}: {rejection:?}", self.index),
        }
    }
}
