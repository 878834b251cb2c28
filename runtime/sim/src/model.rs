//! A second, plain implementation of what the simulated ledger computes: maps, one event after another, no units, no
//! partner, no rows in bytes. What clients were told is compared with it.
//!
//! Deliberately absent: whatever does not follow from the stream alone (when a timer is due, what dies of an event), and
//! the editions that compute something else on purpose: their updates are taken as they are, with
//! [`believe`](Model::believe).
//! Invariant: nothing here calls the ledger, so that a mistake there is not made here too.

use std::collections::BTreeMap;

use lockstep_core::entry::{Control, Op};
use lockstep_core::event::{Fault, FaultKind, Outcome, Refusal};
use lockstep_core::ids::{Micros, TableId};

use crate::ledger::{
    ACCOUNTS, CURSED, DEADLY, ELSEWHERE, FAULTY, FIRED, HANGS, HEARD, INDELIBLE, LIMIT, MESSAGE, Parameters,
    RAN, RETURNED, ROUNDS, SENT_OUT, SMUDGED, TOLD, number_in,
};

/// A table of the model: numbers by key.
type Numbers<K> = BTreeMap<K, i64>;

/// Where the round of a timer stands in an id.
const ROUND_BIT: u32 = 56;

/// What an event asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The procedure.
    pub procedure: String,
    /// Its parameters.
    pub parameters: Parameters,
    /// The place that a message was given by its sender.
    pub place: i64,
    /// How long its body is, in bytes.
    pub body_bytes: i64,
}

/// The ledger as it is at one number of the stream.
#[derive(Debug, Default)]
pub struct Model {
    accounts: BTreeMap<u8, i64>,
    ran: BTreeMap<u64, i64>,
    told: BTreeMap<u8, i64>,
    fee: bool,
    timers: BTreeMap<String, Wish>,
    /// What was sent to this very group, in order.
    sent: Vec<Wish>,
    partition: u16,
}

impl Model {
    /// An empty ledger of a partition.
    #[must_use]
    pub fn new(partition: u16) -> Self {
        Model { partition, ..Model::default() }
    }

    /// The timer with `key` is used up: what it was to run.
    pub fn take_timer(&mut self, key: &str) -> Option<Wish> {
        self.timers.remove(key)
    }

    /// The message `number` of this group to itself, from 1.
    #[must_use]
    pub fn message(&self, number: u64) -> Option<Wish> {
        self.sent.get(usize::try_from(number).ok()?.checked_sub(1)?).cloned()
    }

    /// A feature was switched.
    pub fn control(&mut self, control: &Control) {
        match control {
            Control::Enable { features, .. } => self.fee |= features.iter().any(|name| name == "fee"),
            Control::Disable { feature } => self.fee &= feature != "fee",
            Control::Installed { .. } | Control::Campaign(_) | Control::Note(_) => {}
        }
    }

    /// What a read-only procedure says here: the account and the time, of which the second is known to nobody but
    /// whoever answered; the time in `reply` is at least `since`.
    ///
    /// # Panics
    /// When the reply is another.
    pub fn check_read(&self, wish: &Wish, since: Micros, reply: &[u8], what: &dyn std::fmt::Debug) {
        let sum = self.accounts.get(&wish.parameters.from).copied().unwrap_or(0);
        let (said, time) = reply.split_first_chunk::<8>().expect("a read says a sum and a time");
        assert_eq!(i64::from_le_bytes(*said), sum, "{what:?}: a read is not of its number (R11)");
        let time = u64::from_le_bytes(time.try_into().expect("a time has eight bytes"));
        assert!(time >= since.0, "{what:?}: a read is older than its number (R33)");
    }

    /// Runs what was wished under version 1, or 2 where `two`: its outcome, and what it does to the ledger is done.
    pub fn run(&mut self, wish: &Wish, two: bool) -> Outcome {
        if let Some(early) = early_end(wish, two) {
            return early;
        }
        let Parameters { id, from, to, amount } = wish.parameters;
        let mut reply = Vec::new();
        match wish.procedure.as_str() {
            "later" => {}
            "tell" => *self.told.entry(SENT_OUT).or_default() += 1,
            "upload" => {
                self.pay(254, wish.body_bytes);
                reply.extend(wish.body_bytes.to_le_bytes());
            }
            procedure => {
                self.pay(from, -i64::from(amount));
                self.pay(to, i64::from(amount));
                if procedure == "transfer" && two && self.fee {
                    self.pay(from, -1);
                    self.pay(255, 1);
                }
                if procedure == "hear" {
                    self.told.insert(HEARD, wish.place);
                }
            }
        }
        let times = self.ran.entry(id).or_default();
        *times += 1;
        self.post(wish);
        Outcome::Committed { reply: [times_bytes(self.ran[&id]), reply].concat().into() }
    }

    /// Takes updates as they are, of an event that is not compared.
    pub fn believe(&mut self, wish: Option<&Wish>, outcome: &Outcome, ops: &[Op]) {
        for op in ops {
            let Some(sum) = op.value.as_ref().filter(|row| row.len() == 9).map(|row| number_in(row)) else {
                continue;
            };
            let key = op.key.as_ref();
            if op.table == TableId::of(ACCOUNTS) {
                self.accounts.insert(key[0], sum);
            } else if op.table == TableId::of(TOLD) {
                self.told.insert(key[0], sum);
            } else if op.table == TableId::of(RAN) {
                self.ran.insert(u64::from_le_bytes(key.try_into().expect("ids have eight bytes")), sum);
            }
        }
        if let (Some(wish), Outcome::Committed { .. }) = (wish, outcome) {
            self.post(wish);
        }
    }

    /// Accounts, how often each event ran, and what was told.
    #[must_use]
    pub fn rows(&self) -> (&Numbers<u8>, &Numbers<u64>, &Numbers<u8>) {
        (&self.accounts, &self.ran, &self.told)
    }

    fn pay(&mut self, account: u8, amount: i64) {
        *self.accounts.entry(account).or_default() += amount;
    }

    /// The timer or the message that a committed event leaves behind.
    fn post(&mut self, wish: &Wish) {
        let Parameters { id, from, to, .. } = wish.parameters;
        let later = |id, procedure: &str, place| Wish {
            procedure: procedure.into(),
            parameters: Parameters { id, ..wish.parameters },
            place,
            body_bytes: 0,
        };
        let key = format!("event {}", id & ((1 << ROUND_BIT) - 1));
        let round = id >> ROUND_BIT & 15;
        match wish.procedure.as_str() {
            "later" => drop(self.timers.insert(key, later(id | FIRED, "fired", 0))),
            "fired" if from % 2 == 1 && round + 1 < ROUNDS => {
                self.timers.insert(key, later(id + (1 << ROUND_BIT), "fired", 0));
            }
            "tell" if to.saturating_sub(ELSEWHERE) == self.partition as u8 => {
                let place = self.told.get(&SENT_OUT).copied().unwrap_or(0);
                self.sent.push(later(id | MESSAGE, "hear", place));
            }
            _ => {}
        }
    }
}

fn times_bytes(times: i64) -> Vec<u8> {
    times.to_le_bytes().to_vec()
}

/// How it ends if not with a reply. First come, first served: whoever is over the limit is not found faulty.
fn early_end(wish: &Wish, two: bool) -> Option<Outcome> {
    let (procedure, amount) = (wish.procedure.as_str(), wish.parameters.amount);
    if matches!(procedure, "later" | "tell") {
        return None;
    }
    let refused =
        |code: &str, message: String| Some(Outcome::Refused(Refusal { code: code.into(), message }));
    let faulted = |kind, unit: &str, message: &str| {
        Some(Outcome::Faulted(Fault { kind, unit: unit.into(), message: message.into() }))
    };
    let acts = matches!(procedure, "letter" | "wire");
    let notes = match procedure {
        "transfer" => !two,
        "fired" | "hear" => true,
        _ => acts,
    };
    match amount {
        _ if amount > LIMIT => refused("too-much", format!("{amount} is above {LIMIT}")),
        DEADLY | HANGS if procedure != "upload" => {
            faulted(FaultKind::Killed, "", "nobody lives to end what this amount asks")
        }
        SMUDGED if acts => faulted(FaultKind::Error, "stamp", "smudged"),
        FAULTY | INDELIBLE | CURSED if notes => faulted(FaultKind::Error, "note", "faulty amount"),
        RETURNED if procedure == "wire" || (acts && !two) => refused("returned", "nobody lives there".into()),
        _ => None,
    }
}
