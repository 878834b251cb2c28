//! The stream as the witness that what clients were told is linearizable: at rest the events of the final stream run
//! once more, in the order of their numbers, on a model of the ledger, and every answer that anybody was given is what
//! the model says at its number (R8, R11, R12).
//!
//! Deliberately absent: that numbers respect real time, which clients check with every answer.
//! Invariant: nothing is compared in silence: what is only believed is counted by its reason.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lockstep_core::entry::{Control, Entry, EntryBody, Op};
use lockstep_core::event::{Answer, Event, EventId, FaultKind, Outcome, Request};
use lockstep_core::ids::{Micros, NodeId, Number, Origin, TableId, Term};

use super::World;
use crate::ledger::{self, Edition, Parameters};
use crate::model::{Model, Wish};

/// What was compared, and what was not and why, with how often.
#[derive(Debug, Default)]
pub(super) struct Compared(pub(super) BTreeMap<&'static str, u64>);

impl Compared {
    fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// An answer that was given.
#[derive(Debug)]
struct Given {
    origin: Origin,
    number: Number,
    /// None when a session was opened.
    outcome: Option<Outcome>,
}

/// What was asked and answered in a world's life.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// By event; none when one id came with two different wishes.
    wishes: HashMap<EventId, Option<Wish>>,
    events: HashMap<Origin, EventId>,
    given: Vec<Given>,
    /// Who was active in a term.
    actives: BTreeMap<Term, NodeId>,
}

impl Witness {
    /// Somebody asks.
    pub(super) fn asked(&mut self, origin: Origin, request: &Request) {
        let (Request::Submit(event) | Request::SubmitByKey { event, .. }) = request else { return };
        let Some(wish) = wish_of(event) else { return };
        self.events.entry(origin).or_insert_with(|| event.id.clone());
        match self.wishes.get_mut(&event.id) {
            None => drop(self.wishes.insert(event.id.clone(), Some(wish))),
            Some(known) if known.as_ref() != Some(&wish) => *known = None,
            Some(_) => {}
        }
    }

    /// Somebody is answered.
    pub(super) fn answered(&mut self, origin: Origin, answer: &Answer) {
        let (number, outcome) = match answer {
            Answer::Ended { number, outcome } => (*number, Some(outcome.clone())),
            Answer::SessionOpened { session } => (Number(session.0), None),
            Answer::Retry { .. } | Answer::Rejected(_) => return,
        };
        self.given.push(Given { origin, number, outcome });
    }

    /// Who is active from now on, in which term.
    pub(super) fn leads(&mut self, term: Term, active: NodeId) {
        self.actives.insert(term, active);
    }
}

fn wish_of(event: &Event) -> Option<Wish> {
    let parameters = Parameters::from_bytes(&event.parameters).ok()?;
    let body_bytes = event.body.len() as i64;
    Some(Wish { procedure: event.procedure.as_str().into(), parameters, place: 0, body_bytes })
}

fn reads_only(procedure: &str) -> bool {
    matches!(procedure, "balance" | "peek")
}

/// Whether an outcome tells of a death, or of time that ran out: both depend on more than the stream.
fn of_a_death(outcome: &Outcome) -> bool {
    let Outcome::Faulted(fault) = outcome else { return false };
    matches!(fault.kind, FaultKind::Killed | FaultKind::Hung | FaultKind::Quarantined)
}

impl World {
    /// Runs the stream again on the model, and compares. What was compared, and what was not and why.
    ///
    /// # Panics
    /// When an answer, or a row at the end, is not what the model says.
    pub(super) fn replay(&self) -> Compared {
        let mut seen = Compared::default();
        let meta = &self.group(0).state().meta;
        if meta.term_of(Number(1)).is_none() && meta.last > Number(0) {
            // No store remembers so many terms.
            seen.add("stream without its beginning, not compared with the model");
            return seen;
        }
        let mut given: Vec<&Given> = self.witness.given.iter().collect();
        given.sort_by_key(|given| given.number);
        assert!(
            given.last().is_none_or(|given| given.number <= meta.last),
            "an answer is of no number: {given:?}"
        );
        let mut given = given.into_iter().peekable();
        let mut replay = Replay {
            world: self,
            model: Model::new(self.settings.partition.0),
            editions: HashMap::new(),
            time: Micros(0),
        };
        for number in 0..=meta.last.0 {
            let number = Number(number);
            let entry = (number > Number(0)).then(|| {
                let term = meta.term_of(number).expect("the first number's term is known");
                self.entries.get(&(term, number)).expect("an entry of the stream was appended somewhere")
            });
            let ended = entry.and_then(|entry| replay.run(entry, &mut seen));
            while let Some(given) = given.next_if(|given| given.number == number) {
                replay.compare(given, entry, ended.as_ref(), &mut seen);
            }
        }
        replay.check_rows();
        seen
    }
}

/// What an event of the stream came to.
struct Ended {
    event: EventId,
    /// As the model has it, or the entry's own where that is believed.
    outcome: Outcome,
    modelled: bool,
}

struct Replay<'a> {
    world: &'a World,
    model: Model,
    editions: HashMap<NodeId, Edition>,
    /// Of the last entry.
    time: Micros,
}

impl Replay<'_> {
    fn run(&mut self, entry: &Arc<Entry>, seen: &mut Compared) -> Option<Ended> {
        self.time = entry.time;
        match &entry.body {
            EntryBody::Control(control) => {
                if let Control::Installed { node, hash, .. } = control {
                    let edition = Edition::of(*hash).expect("only editions run here");
                    self.editions.insert(node.clone(), edition);
                }
                self.model.control(control);
                None
            }
            EntryBody::Procedure { event, outcome, ops, procedure, .. } => {
                Some(self.procedure(entry, event, procedure, outcome, ops, seen))
            }
            EntryBody::OpenSession
            | EntryBody::Aborted
            | EntryBody::Intent(_)
            | EntryBody::Migrated(_)
            | EntryBody::Delivered { .. } => None,
        }
    }

    fn procedure(
        &mut self,
        entry: &Entry,
        event: &EventId,
        procedure: &str,
        outcome: &Outcome,
        ops: &[Op],
        seen: &mut Compared,
    ) -> Ended {
        let wish = match event {
            EventId::Timer { key, .. } => self.model.take_timer(key),
            EventId::Message { from, number } if *from == self.world.group_name() => {
                self.model.message(*number)
            }
            // Another group's: what it asks is not known here.
            EventId::Message { .. } => None,
            _ => self.world.witness.wishes.get(event).cloned().flatten(),
        };
        let active = self.world.witness.actives.get(&entry.term);
        let edition = active.and_then(|active| self.editions.get(active)).copied();
        let doubt = match (&wish, edition, outcome) {
            (None, ..) => Some("event believed: its wish is not known"),
            (_, None, _) => Some("event believed: its edition is not known"),
            (_, Some(Edition::Wrong | Edition::Broken | Edition::Deadly), _) => {
                Some("event believed: its edition is unsound")
            }
            _ if of_a_death(outcome) => Some("event believed: it tells of a death"),
            (Some(wish), _, Outcome::Faulted(fault))
                if fault.kind == FaultKind::Deadline && wish.procedure == "transfer" =>
            {
                Some("event believed: it came late")
            }
            _ => None,
        };
        let (Some(wish), Some(edition), None) = (&wish, edition, doubt) else {
            seen.add(doubt.expect("what is not compared has a reason"));
            self.model.believe(wish.as_ref(), outcome, ops);
            return Ended { event: event.clone(), outcome: outcome.clone(), modelled: false };
        };
        assert_eq!(wish.procedure, procedure, "{event} at {} is another procedure", entry.number);
        let modelled = self.model.run(wish, edition.version().major == 2);
        assert_eq!(
            *outcome, modelled,
            "{event} at {} under {edition:?}: the stream, and what the model says of {wish:?}",
            entry.number
        );
        seen.add("event compared with the model");
        Ended { event: event.clone(), outcome: modelled, modelled: true }
    }

    /// One answer, with the model as it is right after its number.
    fn compare(&self, given: &Given, entry: Option<&Arc<Entry>>, ended: Option<&Ended>, seen: &mut Compared) {
        let Some(outcome) = &given.outcome else {
            let opened = entry.is_some_and(|entry| matches!(entry.body, EntryBody::OpenSession));
            assert!(opened, "{given:?}: the stream opens no session there");
            return seen.add("session found in the stream");
        };
        let witness = &self.world.witness;
        let Some(event) = witness.events.get(&given.origin) else {
            return seen.add("reply believed: its wish is not known");
        };
        let wish = witness.wishes.get(event).and_then(Option::as_ref);
        if wish.is_none_or(|wish| reads_only(&wish.procedure))
            && ended.is_none_or(|ended| ended.event != *event)
        {
            return match (wish, outcome) {
                (Some(wish), Outcome::Committed { reply }) => {
                    self.model.check_read(wish, self.time, reply, given);
                    seen.add("reply compared with the model, a read");
                }
                (Some(_), outcome) => {
                    assert!(of_a_death(outcome), "{given:?}: no read ends like that");
                    seen.add("reply believed: it tells of a death");
                }
                (None, _) => seen.add("reply believed: its wish is not known"),
            };
        }
        let ended = ended.filter(|ended| ended.event == *event);
        let ended =
            ended.unwrap_or_else(|| panic!("{given:?} is of {event}, and the stream has {entry:?} there"));
        assert_eq!(*outcome, ended.outcome, "{given:?}: {event} was answered what is not its outcome (R12)");
        seen.add(match outcome {
            _ if !ended.modelled => "reply compared with its entry alone",
            Outcome::Committed { .. } => "reply compared with the model, committed",
            Outcome::Refused(_) => "reply compared with the model, refused",
            Outcome::Faulted(_) => "reply compared with the model, faulted",
        });
    }

    /// At the end the database has what the model has.
    fn check_rows(&self) {
        let tables = &self.world.group(0).state().tables;
        let rows = |table: &str| {
            let mut rows = BTreeMap::new();
            tables.scan(TableId::of(table), &[], None, &mut |key, row| {
                rows.insert(key.to_vec(), ledger::number_in(row));
                true
            });
            rows
        };
        let (accounts, ran, told) = self.model.rows();
        let short = |rows: &BTreeMap<u8, i64>| -> BTreeMap<Vec<u8>, i64> {
            rows.iter().map(|(key, n)| (vec![*key], *n)).collect()
        };
        assert_eq!(rows(ledger::ACCOUNTS), short(accounts), "accounts: the database, and the model's");
        assert_eq!(rows(ledger::TOLD), short(told), "messages: the database, and the model's");
        let ran: BTreeMap<Vec<u8>, i64> = ran.iter().map(|(id, n)| (id.to_le_bytes().to_vec(), *n)).collect();
        assert_eq!(rows(ledger::RAN), ran, "what ran: the database, and the model's");
    }
}
