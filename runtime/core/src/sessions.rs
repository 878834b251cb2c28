//! Sessions and recorded replies (R12, R13): what makes a repeated event get its first answer.
//!
//! Part of the database: changed by entries of the stream alone, never by a clock, so all members agree.
//! The bounds are constants and not settings for the same reason.

mod keyed;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::SmolStr;

use self::keyed::Keyed;
use crate::event::{Encoding, EventId, Outcome};
use crate::hash_seed::HashSeed;
use crate::ids::{Micros, Number, SessionId};

/// W: the most unanswered events of a session.
pub const WINDOW: u64 = 1_024;
/// S: the most sessions of a group; opening a further one drops the one that was silent longest.
pub const SESSIONS_MAX: usize = 16_384;
/// B: the most bytes of recorded replies of a group; beyond, the sessions that were silent longest are dropped.
pub const REPLY_BYTES_MAX: usize = 16 << 20;
/// The most keyed events that are remembered.
pub const KEYS_MAX: usize = 100_000;
/// How long a keyed event is remembered, in time of the stream.
pub const KEY_TIME: Micros = Micros::from_ms(600_000);

/// A recorded answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The number that it was computed at; it may leave once that is held.
    pub number: Number,
    /// The reply's encoding.
    pub encoding: Encoding,
    /// The answer.
    pub outcome: Outcome,
}

impl Recorded {
    fn bytes(&self) -> usize {
        64 + match &self.outcome {
            Outcome::Committed { reply } => reply.len(),
            Outcome::Refused(refusal) => refusal.code.len() + refusal.message.len(),
            Outcome::Faulted(fault) => fault.unit.len() + fault.message.len(),
        }
    }
}

/// One client's series of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Replies below this are no longer kept.
    pub awaited_from: u64,
    /// The entry that touched it last.
    pub used: Number,
    /// Recorded answers, by the client's numbers, in order.
    pub replies: VecDeque<(u64, Recorded)>,
}

impl Session {
    /// Where the answer to the client's `number` is recorded, or would be: nearly always behind all others.
    fn find(&self, number: u64) -> Result<usize, usize> {
        match self.replies.back() {
            Some((last, _)) if number <= *last => {
                self.replies.binary_search_by_key(&number, |(number, _)| *number)
            }
            _ => Err(self.replies.len()),
        }
    }
}

/// A keyed event's recorded answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedReply {
    /// When it was recorded, by the stream's clock.
    pub time: Micros,
    /// The answer.
    pub recorded: Recorded,
}

/// What is known of an event id.
#[derive(Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Never seen, and may run.
    New,
    /// It ended thus.
    Ended(&'a Recorded),
    /// The client said that it has this answer.
    AlreadyAnswered,
    /// The session does not exist.
    UnknownSession,
    /// Too far beyond the lowest awaited number.
    WindowFull,
}

/// How a session was before an entry of its own.
#[derive(Clone, Debug)]
struct Touched {
    session: SessionId,
    awaited_from: u64,
    used: Number,
    /// Mostly one, as a client has one answer for each that it asks for.
    trimmed: SmallVec<[(u64, Recorded); 1]>,
    inserted: Option<u64>,
}

/// What one entry changed, to take it back (R24).
#[derive(Clone, Debug, Default)]
pub struct SessionUndo {
    removed_sessions: Vec<(SessionId, Session)>,
    touched: Option<Touched>,
    opened: Option<SessionId>,
    removed_keys: Vec<(SmolStr, KeyedReply)>,
    inserted_key: Option<SmolStr>,
}

/// All sessions and keyed replies of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    keyed: Keyed,
    reply_bytes: usize,
}

impl Sessions {
    /// None; the keys of replies to come are hashed with `seed`.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Sessions { sessions: BTreeMap::new(), keyed: Keyed::new(seed), reply_bytes: 0 }
    }

    /// What is known of `id`, whose client awaits answers from `awaited_from` on.
    #[must_use]
    pub fn look_up(&self, id: &EventId) -> Known<'_> {
        match id {
            EventId::Keyed { key } => match self.keyed.get(key) {
                Some(reply) => Known::Ended(&reply.recorded),
                None => Known::New,
            },
            // A timer's row and a channel's last number know what has run (R34).
            EventId::Timer { .. } | EventId::Message { .. } => Known::New,
            EventId::Numbered { session, number } => {
                let Some(session) = self.sessions.get(session) else { return Known::UnknownSession };
                if let Ok(at) = session.find(*number) {
                    return Known::Ended(&session.replies[at].1);
                }
                if *number < session.awaited_from {
                    return Known::AlreadyAnswered;
                }
                if session.replies.len() as u64 >= WINDOW
                    || *number >= session.awaited_from.saturating_add(2 * WINDOW)
                {
                    return Known::WindowFull;
                }
                Known::New
            }
        }
    }

    /// Makes room in `session` as its client asks, before the look-up of a further event. Not recorded: the entry
    /// that follows carries the same `awaited_from`.
    #[must_use]
    pub fn has_room_after(&self, session: SessionId, awaited_from: u64) -> bool {
        self.sessions.get(&session).is_some_and(|session| {
            let kept = session.replies.partition_point(|(number, _)| *number < awaited_from);
            ((session.replies.len() - kept) as u64) < WINDOW
        })
    }

    /// Records the opening of a session by entry `number`. What takes it back goes into `undo`, if that is asked for.
    pub fn open(&mut self, number: Number, mut undo: Option<&mut SessionUndo>) {
        let id = SessionId(number.0);
        if self.sessions.contains_key(&id) {
            return;
        }
        while self.sessions.len() >= SESSIONS_MAX {
            self.drop_silent(undo.as_deref_mut(), id);
        }
        self.sessions.insert(id, Session { awaited_from: 1, used: number, replies: VecDeque::new() });
        if let Some(undo) = undo {
            undo.opened = Some(id);
        }
    }

    /// Records the answer of an event. What takes it back goes into `undo`, if that is asked for.
    pub fn record(
        &mut self,
        id: &EventId,
        awaited_from: u64,
        time: Micros,
        recorded: Recorded,
        mut undo: Option<&mut SessionUndo>,
    ) {
        match id {
            EventId::Numbered { session: session_id, number } => {
                let Some(session) = self.sessions.get_mut(session_id) else { return };
                let (old_awaited, old_used) = (session.awaited_from, session.used);
                session.awaited_from = session.awaited_from.max(awaited_from);
                session.used = recorded.number;
                let mut trimmed = SmallVec::new();
                while session.replies.front().is_some_and(|(number, _)| *number < session.awaited_from) {
                    let gone = session.replies.pop_front().expect("there is a front");
                    self.reply_bytes -= gone.1.bytes();
                    if undo.is_some() {
                        trimmed.push(gone);
                    }
                }
                let mut inserted = None;
                if *number >= session.awaited_from
                    && let Err(at) = session.find(*number)
                {
                    self.reply_bytes += recorded.bytes();
                    session.replies.insert(at, (*number, recorded));
                    inserted = Some(*number);
                }
                let session = *session_id;
                if let Some(undo) = undo.as_deref_mut() {
                    let (awaited_from, used) = (old_awaited, old_used);
                    undo.touched = Some(Touched { session, awaited_from, used, trimmed, inserted });
                }
                while self.reply_bytes > REPLY_BYTES_MAX && self.sessions.len() > 1 {
                    self.drop_silent(undo.as_deref_mut(), session);
                }
            }
            EventId::Keyed { key } => {
                while let Some(oldest) = self.keyed.oldest()
                    && (self.keyed.len() >= KEYS_MAX || time.since(oldest) > KEY_TIME)
                {
                    let oldest = self.keyed.pop_oldest();
                    if let Some(undo) = undo.as_deref_mut() {
                        undo.removed_keys.extend(oldest);
                    }
                }
                if self.keyed.get(key).is_none() {
                    let key = SmolStr::from(key);
                    self.keyed.push(key.clone(), KeyedReply { time, recorded });
                    if let Some(undo) = undo {
                        undo.inserted_key = Some(key);
                    }
                }
            }
            // Nobody asks for their answers.
            EventId::Timer { .. } | EventId::Message { .. } => {}
        }
    }

    fn drop_silent(&mut self, undo: Option<&mut SessionUndo>, spare: SessionId) {
        let silent = self
            .sessions
            .iter()
            .filter(|(id, _)| **id != spare)
            .min_by_key(|(id, session)| (session.used, **id))
            .map(|(id, _)| *id)
            .expect("there is another session to drop");
        let session = self.sessions.remove(&silent).expect("it was just found");
        self.reply_bytes -= session.replies.iter().map(|(_, recorded)| recorded.bytes()).sum::<usize>();
        if let Some(undo) = undo {
            undo.removed_sessions.push((silent, session));
        }
    }

    /// Takes back what one entry changed; entries are taken back in reverse order.
    pub fn take_back(&mut self, undo: SessionUndo) {
        for (id, session) in undo.removed_sessions {
            self.insert_session(id, session);
        }
        if let Some(id) = undo.opened {
            self.sessions.remove(&id);
        }
        if let Some(Touched { session, awaited_from, used, trimmed, inserted }) = undo.touched {
            let session = self.sessions.get_mut(&session).expect("a touched session is there again");
            if let Some(number) = inserted
                && let Ok(at) = session.find(number)
            {
                let gone = session.replies.remove(at).expect("it was just found");
                self.reply_bytes -= gone.1.bytes();
            }
            session.awaited_from = awaited_from;
            session.used = used;
            for kept in trimmed.into_iter().rev() {
                self.reply_bytes += kept.1.bytes();
                session.replies.push_front(kept);
            }
        }
        if let Some(key) = undo.inserted_key {
            let newest = self.keyed.pop().map(|(newest, _)| newest);
            assert_eq!(newest, Some(key), "keys are taken back in reverse order");
        }
        for (key, reply) in undo.removed_keys.into_iter().rev() {
            self.keyed.push_oldest(key, reply);
        }
    }

    /// All sessions, by id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// All keyed replies, oldest first.
    pub fn keyed(&self) -> impl Iterator<Item = (&str, &KeyedReply)> {
        self.keyed.iter()
    }

    /// Puts back a session from a checkpoint or a copy, in place of what stood there.
    pub fn insert_session(&mut self, id: SessionId, session: Session) {
        self.reply_bytes += session.replies.iter().map(|(_, recorded)| recorded.bytes()).sum::<usize>();
        if let Some(before) = self.sessions.insert(id, session) {
            self.reply_bytes -= before.replies.iter().map(|(_, recorded)| recorded.bytes()).sum::<usize>();
        }
    }

    /// Puts back a keyed reply from a checkpoint or a copy; oldest first.
    pub fn insert_keyed(&mut self, key: String, reply: KeyedReply) {
        self.keyed.push(key.into(), reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(number: u64) -> Recorded {
        Recorded {
            number: Number(number),
            encoding: Encoding::Json,
            outcome: Outcome::Committed { reply: format!("reply {number}").into_bytes().into() },
        }
    }

    fn id(session: u64, number: u64) -> EventId {
        EventId::Numbered { session: SessionId(session), number }
    }

    #[test]
    fn a_repeat_finds_its_reply_until_the_client_has_it() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.look_up(&id(1, 1)), Known::UnknownSession);
        sessions.open(Number(1), None);
        assert_eq!(sessions.look_up(&id(1, 1)), Known::New);
        sessions.record(&id(1, 1), 1, Micros(0), recorded(2), None);
        assert_eq!(sessions.look_up(&id(1, 1)), Known::Ended(&recorded(2)));
        sessions.record(&id(1, 2), 2, Micros(0), recorded(3), None);
        assert_eq!(sessions.look_up(&id(1, 1)), Known::AlreadyAnswered);
        assert_eq!(sessions.look_up(&id(1, 2)), Known::Ended(&recorded(3)));
    }

    #[test]
    fn answers_are_found_in_whatever_order_they_were_recorded() {
        let mut sessions = Sessions::default();
        sessions.open(Number(1), None);
        for (number, at) in [(2, 10), (5, 11), (1, 12), (4, 13)] {
            sessions.record(&id(1, number), 1, Micros(0), recorded(at), None);
        }
        for (number, at) in [(1, 12), (2, 10), (4, 13), (5, 11)] {
            assert_eq!(sessions.look_up(&id(1, number)), Known::Ended(&recorded(at)));
        }
        assert_eq!([3, 6].map(|number| sessions.look_up(&id(1, number))), [Known::New, Known::New]);
    }

    #[test]
    fn a_full_window_refuses_a_further_event() {
        let mut sessions = Sessions::default();
        sessions.open(Number(1), None);
        for number in 1..=WINDOW {
            sessions.record(&id(1, number), 1, Micros(0), recorded(number + 1), None);
        }
        assert_eq!(sessions.look_up(&id(1, WINDOW + 1)), Known::WindowFull);
        assert!(sessions.has_room_after(SessionId(1), 2));
        assert!(!sessions.has_room_after(SessionId(1), 1));
    }

    #[test]
    fn the_session_that_was_silent_longest_makes_room() {
        let mut sessions = Sessions::default();
        for number in 1..=SESSIONS_MAX as u64 {
            sessions.open(Number(number), None);
        }
        let next = SESSIONS_MAX as u64 + 1;
        sessions.record(&id(1, 1), 1, Micros(0), recorded(next), None);
        sessions.open(Number(next + 1), None);
        assert_eq!(sessions.look_up(&id(2, 1)), Known::UnknownSession);
        assert_eq!(sessions.look_up(&id(1, 2)), Known::New);
    }

    #[test]
    fn keys_are_forgotten_after_their_time_of_the_stream() {
        let key = |key: &str| EventId::Keyed { key: key.into() };
        let mut sessions = Sessions::default();
        sessions.record(&key("a"), 0, Micros(0), recorded(1), None);
        sessions.record(&key("b"), 0, KEY_TIME, recorded(2), None);
        assert!(matches!(sessions.look_up(&key("a")), Known::Ended(_)));
        sessions.record(&key("c"), 0, KEY_TIME.plus(Micros(1)), recorded(3), None);
        assert_eq!(sessions.look_up(&key("a")), Known::New);
        assert!(matches!(sessions.look_up(&key("b")), Known::Ended(_)));
    }

    #[test]
    fn taking_back_in_reverse_order_restores_everything() {
        let mut sessions = Sessions::default();
        sessions.open(Number(1), None);
        sessions.record(&id(1, 1), 1, Micros(0), recorded(2), None);
        sessions.record(&EventId::Keyed { key: "a".into() }, 0, Micros(0), recorded(3), None);
        let before = sessions.clone();
        let mut undos: [SessionUndo; 4] = Default::default();
        let [first, second, third, fourth] = undos.each_mut().map(Some);
        sessions.record(&id(1, 2), 2, Micros(5), recorded(4), first);
        let later = KEY_TIME.plus(Micros(9));
        sessions.record(&EventId::Keyed { key: "b".into() }, 0, later, recorded(5), second);
        sessions.open(Number(6), third);
        sessions.record(&id(6, 1), 1, Micros(5), recorded(7), fourth);
        undos.into_iter().rev().for_each(|undo| sessions.take_back(undo));
        assert_eq!(sessions, before);
    }
}
