//! Messages between groups: the sender's end and the receiver's end of each channel (R34, R10, R35).
//!
//! The sender tells a message once the number that sent it is held, keeps its row until the receiver has said that it
//! is taken, and tells it again when nothing comes back. The receiver takes each number once, in order, in the
//! transaction of the event that it starts, and says how far it is once that is held. What stands here beside the
//! rows is only what is under way: a new active begins with none of it and loses nothing.
//!
//! Invariant: only an active has any of it.

use std::collections::{BTreeMap, VecDeque};

use super::firing::{Own, own_event};
use super::{Group, Identity};
use crate::channels::{self, CREDITS, GroupMessage, SENDERS_MAX};
use crate::command::Role;
use crate::effect::{Alarm, Effect};
use crate::event::EventId;
use crate::ids::{GroupName, Micros, Number, TableId};
use crate::message::{PeerMessage, PlainBody};
use crate::posted::{PARAMETERS_BYTES_MAX, PROCEDURE_BYTES_MAX};

/// What is not taken is told again after this, and then after twice as long each time, up to the second.
const AGAIN: (Micros, Micros) = (Micros::from_ms(100), Micros::from_ms(2_000));
/// A receiver that says twice how far it is has missed one: the rest is told again so soon.
const MISSED: Micros = Micros::from_ms(5);

/// The sender's end of a channel.
#[derive(Clone)]
struct Outgoing {
    /// The last number told.
    told: u64,
    /// When it is told again, if nothing comes back.
    again_at: Micros,
    again_after: Micros,
    /// Nothing came back: one message at a time until something does.
    silent: bool,
    /// The receiver lives and lacks one.
    missed: bool,
    /// Everything up to here is taken, the receiver says.
    taken: u64,
}

/// What is under way between groups.
#[derive(Clone, Default)]
pub(super) struct Messages {
    outgoing: BTreeMap<GroupName, Outgoing>,
    /// What senders are told once a number is held: in the order of numbers.
    owed: BTreeMap<GroupName, VecDeque<(Number, u64)>>,
}

impl Messages {
    /// What a group's identity has of this.
    pub fn add_to(&self, identity: &mut Identity) {
        for (name, out) in &self.outgoing {
            identity.add((name, out.told, out.silent, out.missed, out.taken));
        }
        identity.add(&self.owed);
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.outgoing.is_empty() && self.owed.is_empty()
    }

    /// Message `message` of `sender` was taken by number `number`: the sender is told once that is held.
    pub fn owe(&mut self, sender: &GroupName, number: Number, message: u64) {
        self.owed.entry(sender.clone()).or_default().push_back((number, message));
    }

    /// How many words are owed to senders.
    pub fn owed(&self) -> usize {
        self.owed.values().map(VecDeque::len).sum()
    }
}

impl Group {
    /// Another group tells something, to whichever side of this one.
    pub(super) fn on_told(&mut self, from: GroupName, what: GroupMessage, forwarded: bool) {
        if self.role != Role::Active {
            // Whatever this side is, also out of service: its partner may be the active. If it is not, this word is lost,
            // and told again.
            if !forwarded {
                self.send(PeerMessage::Told { from, what: Box::new(what) });
            }
            return;
        }
        match what {
            GroupMessage::Message { number, procedure, parameters } => {
                self.on_message(from, number, procedure, parameters);
            }
            GroupMessage::Taken { through } => {
                let last = self.last_sent(&from);
                if through > last {
                    let what = format!("{from} has taken message {through}, it says, and {last} is the last");
                    return self.alarm(Alarm::ProtocolBroken { what });
                }
                let now = self.now;
                if let Some(outgoing) = self.messages.outgoing.get_mut(&from) {
                    if through == outgoing.taken && outgoing.told > through && !outgoing.missed {
                        outgoing.missed = true;
                        outgoing.again_at = outgoing.again_at.min(now.plus(MISSED));
                    }
                    outgoing.taken = outgoing.taken.max(through);
                }
            }
        }
    }

    fn last_sent(&self, to: &GroupName) -> u64 {
        let row = self.state.tables.get(TableId::SENT, &channels::channel_key(to));
        row.and_then(crate::posted::number_in).unwrap_or(0)
    }

    fn on_message(&mut self, from: GroupName, number: u64, procedure: String, parameters: Vec<u8>) {
        let sound = channels::is_name(&from.application)
            && (1..=PROCEDURE_BYTES_MAX).contains(&procedure.len())
            && parameters.len() <= PARAMETERS_BYTES_MAX;
        // What is not taken is told again, until there is room (R34).
        if !sound || !self.starts_events() || self.is_throttled() || self.is_full() {
            return;
        }
        let taken = channels::taken(&self.state.tables, &from);
        if number != taken + 1 {
            // A repeat, or one before it was lost: the sender learns how far this side is.
            let owed = self.messages.owed.entry(from).or_default();
            if owed.is_empty() {
                owed.push_back((self.state.meta.last, taken));
            }
            return;
        }
        if taken == 0 && self.state.tables.len(TableId::TAKEN) >= SENDERS_MAX {
            return self
                .alarm(Alarm::ProtocolBroken { what: format!("{SENDERS_MAX} groups send to this one") });
        }
        let id = EventId::Message { from: from.clone(), number };
        let (Own::Begun | Own::NotNow) = self.run_own(own_event(id, procedure, parameters), false);
    }

    /// Tells senders what is taken and held, and receivers what is held and not taken; once a batch.
    pub(super) fn tell_groups(&mut self) {
        if self.role != Role::Active || self.is_deposed() {
            return;
        }
        let held = self.held;
        let mut tell = Vec::new();
        self.messages.owed.retain(|sender, owed| {
            let mut through = None;
            while let Some(taken) = owed.pop_front_if(|(number, _)| *number <= held) {
                through = Some(taken);
            }
            tell.extend(through.map(|(number, through)| (sender.clone(), number, through)));
            !owed.is_empty()
        });
        for (to, number, through) in tell {
            let what = GroupMessage::Taken { through };
            self.effects.push(Effect::Tell { to, what, number });
        }
        if self.state.tables.len(TableId::SENT) > 0 {
            for (receiver, last) in channels::sent(&self.state.tables) {
                self.tell_receiver(receiver, last);
            }
        }
    }

    fn tell_receiver(&mut self, to: GroupName, last: u64) {
        let Some(mut first) = channels::first_kept(&self.state.tables, &to) else {
            self.messages.outgoing.remove(&to);
            return;
        };
        let begin = || Outgoing {
            told: first - 1,
            again_at: Micros(0),
            again_after: AGAIN.0,
            silent: false,
            missed: false,
            taken: first - 1,
        };
        let may_end = self.starts_events();
        let outgoing = self.messages.outgoing.entry(to.clone()).or_insert_with(begin);
        if outgoing.taken >= first && may_end {
            let through = outgoing.taken;
            outgoing.told = outgoing.told.max(through);
            (outgoing.silent, outgoing.missed, outgoing.again_after) = (false, false, AGAIN.0);
            outgoing.again_at = self.now.plus(AGAIN.0);
            let ops = channels::delivered(&self.state.tables, &to, through);
            self.counts.messages_delivered += ops.len() as u64;
            self.plain(PlainBody::Delivered { ops });
            first = through + 1;
        }
        let outgoing = self.messages.outgoing.get_mut(&to).expect("it was just put in");
        if outgoing.told >= first && self.now >= outgoing.again_at {
            outgoing.told = first - 1;
            outgoing.silent = !std::mem::take(&mut outgoing.missed);
            if outgoing.silent {
                outgoing.again_after = Micros((outgoing.again_after.0 * 2).min(AGAIN.1.0));
            }
        }
        let credits = if outgoing.silent { 1 } else { CREDITS };
        while outgoing.told < last && outgoing.told + 1 < first + credits {
            let number = outgoing.told + 1;
            let message = channels::kept(&self.state.tables, &to, number);
            let Some(message) = message.filter(|message| Number(message.stamp) <= self.held) else { break };
            if outgoing.told < first {
                outgoing.again_at = self.now.plus(outgoing.again_after);
            }
            outgoing.told = number;
            let what = GroupMessage::Message {
                number,
                procedure: message.procedure,
                parameters: message.parameters,
            };
            let number = Number(message.stamp);
            self.effects.push(Effect::Tell { to: to.clone(), what, number });
        }
    }

    /// When something is told again.
    pub(super) fn next_telling(&self) -> Option<Micros> {
        let under_way = self.messages.outgoing.values().filter(|outgoing| outgoing.told > outgoing.taken);
        under_way.map(|outgoing| outgoing.again_at.max(self.now)).min()
    }

    /// This side is no longer the active: what is under way is the next one's to begin anew.
    pub(super) fn forget_messages(&mut self) {
        self.messages = Messages::default();
    }
}
