//! What tells one group from another, for a model checker: everything that its next steps depend on, times apart.
//!
//! Absent: times. A checker lets every wait be over at the next step, so two groups that differ in times alone go on
//! alike; what is silent, and which waits outlast a step, is told. Latencies and counts decide nothing and are absent
//! too, and so is the bound of the intake, which the shell goes by.
//!
//! Invariant: every field is looked at here by name, so that a new one does not compile until somebody has said whether
//! it matters.

use std::fmt::{self, Debug, Write};
use std::hash::Hasher;

use xxhash_rust::xxh3::Xxh3;

use super::feed::{Feed, Waiting};
use super::follow::{Follow, Pending};
use super::{Group, Partner};
use crate::command::Role;
use crate::ids::Micros;
use crate::message::Begin;
use crate::state::State;

/// Takes in what values say of themselves, without their times.
#[derive(Default)]
pub struct Identity {
    digest: Xxh3,
    in_time: bool,
}

impl Write for Identity {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // `Micros(7)` comes in pieces: the name, then what is in brackets.
        match (self.in_time, text) {
            (false, "Micros") => self.in_time = true,
            (true, ")") => self.in_time = false,
            (true, _) => {}
            (false, text) => self.digest.update(text.as_bytes()),
        }
        Ok(())
    }
}

impl Identity {
    /// Takes in a value.
    pub fn add(&mut self, value: impl Debug) {
        write!(self, "{value:?};").expect("a digest takes everything");
    }

    /// Takes in a database: its rows, its sessions, its own data.
    pub fn add_state(&mut self, state: &State) {
        self.add(state.digest());
        self.add(&state.meta);
        state.sessions.iter().for_each(|session| self.add(session));
        let mut keyed: Vec<_> = state.sessions.keyed().collect();
        keyed.sort_by_key(|(key, _)| *key);
        keyed.iter().for_each(|reply| self.add(reply));
    }

    /// The digest of all of it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }
}

fn add_partner(identity: &mut Identity, partner: &Partner) {
    let Partner {
        link: _,
        heard: _,
        hello,
        application,
        shipped,
        lacking,
        feed,
        acked,
        held_told: _,
        confirmed,
        acks_from,
        yielded_to,
        unacknowledged,
        announced,
        diverged,
    } = partner;
    identity.add(hello.as_ref().map(|h| (h.store, h.role, &h.record, &h.terms, h.last, h.needs_copy)));
    for descriptor in [application, announced] {
        identity.add(descriptor.as_ref().map(|descriptor| descriptor.hash));
    }
    identity.add((shipped, lacking, acked, confirmed, acks_from, yielded_to, diverged));
    identity.add(unacknowledged.map(|(number, _)| number));
    match feed {
        Feed::Nothing => identity.add("fed nothing"),
        Feed::Entries { next } => identity.add(("fed from", next)),
        Feed::CopyWaits => identity.add("a copy waits"),
        Feed::Copy { cursor, confirmed_before } => identity.add(("copy", cursor, confirmed_before)),
        Feed::CopySent => identity.add("copy sent"),
        Feed::InStep => identity.add("in step"),
    }
}

fn add_pending(identity: &mut Identity, pending: &Pending) {
    let Pending { begin, running, step_ups, ahead, registered, described } = pending;
    let Begin { number, time: _, seed, event, shipped, withheld } = begin;
    identity.add((
        number,
        seed,
        event,
        shipped,
        withheld,
        running.is_some(),
        step_ups,
        ahead,
        registered,
        described,
    ));
}

impl Group {
    /// A digest of everything that the next steps depend on, times apart. Waits that are over by `step` from now on
    /// count as over.
    #[must_use]
    pub fn identity(&self, step: Micros) -> u64 {
        let Group {
            config: _,
            now,
            effects,
            store,
            stores_made,
            needs_copy,
            may_lack_tail,
            disk_failure,
            state,
            recent,
            undos,
            durable,
            alone,
            cut_in_batch,
            held,
            held_told: _,
            application,
            next_application,
            loading,
            own_tables: _,
            features,
            overlay,
            role,
            term,
            arbiter,
            partner,
            partner_died,
            heard_active,
            watched,
            ask_living_at: _,
            read_again_at: _,
            heartbeat_at: _,
            outputs,
            waiting,
            confirm_sent,
            confirm_due,
            grow_from,
            grow_after,
            grow_wait,
            partner_out,
            hand_over,
            divergences,
            diverged_stores,
            evaluation,
            gap: _,
            order_sent,
            order_attempt,
            follow,
            pending,
            differs,
            ack_due,
            confirm_seen,
            replaced,
            parked,
            forwards,
            forwarded_commands,
            tickets: _,
            counts: _,
            half_way: _,
            latencies: _,
            latencies_before: _,
            latencies_since: _,
            intake: _,
            room: _,
            witness: _,
            unit_time: _,
            told_broken: _,
            next_attempt: _,
            derived,
            next_derived,
            next_announced,
            notes,
            perhaps_died,
            hellos: _,
            acting,
            again,
            commands_behind,
            siblings,
            messages,
            timers_at: _,
            chunk_made: _,
            chunk_at: _,
        } = self;
        let steps = |length: Micros| length.0 / step.0.max(1);
        let mut identity = Identity::default();
        identity.add((may_lack_tail, disk_failure));
        identity.add((effects.len(), store, stores_made, needs_copy, durable, cut_in_batch, held));
        alone.add_to(&mut identity);
        identity.add_state(state);
        identity.add((recent.first(), undos.front().map(|undo| undo.number), features));
        identity.add(overlay.ops().collect::<Vec<_>>());
        identity.add(application.descriptor().hash);
        identity.add((next_application.as_ref().map(|next| next.descriptor().hash), loading));
        identity.add((role, term, partner_died, watched));
        identity.add((derived.is_built(), next_derived.is_built(), next_announced));
        notes.add_to(&mut identity);
        siblings.add_to(&mut identity);
        messages.add_to(&mut identity);
        if let Some(acting) = acting {
            acting.add_to(&mut identity);
        }
        identity.add((perhaps_died, again, commands_behind));
        arbiter.add_to(&mut identity);
        if let Some(partner) = partner {
            add_partner(&mut identity, partner);
            let silent = now.since(partner.heard) > Micros::from_ms(self.config.silence_shrink_ms);
            identity.add(("silent", silent, self.acknowledgement_is_late(partner)));
        }
        let unled = now.since(*heard_active) > Micros::from_ms(self.config.silence_promote_ms);
        identity.add((*role != Role::Active && unled, steps(grow_after.since(*now)), grow_wait.0));
        outputs.iter().for_each(|output| {
            identity.add((output.number, output.confirm, output.asker, &output.owed));
        });
        identity.add(waiting.as_ref().map(|Waiting { store, acked }| (store, acked)));
        identity.add((confirm_sent, confirm_due, confirm_seen, grow_from, partner_out));
        identity
            .add(hand_over.as_ref().map(|hand_over| (hand_over.is_late(*now), hand_over.closes_intake())));
        identity.add((divergences, diverged_stores, order_sent, order_attempt));
        evaluation.add_to(&mut identity);
        match follow {
            Follow::Nothing => identity.add("follows nobody"),
            Follow::Entries => identity.add("follows entries"),
            Follow::InStep => identity.add("follows in step"),
            Follow::Diverged => identity.add("differs"),
            Follow::Copying(copying) => copying.add_to(&mut identity, "copying"),
            Follow::CopyEnding(copying) => copying.add_to(&mut identity, "copy ending"),
        }
        if let Some(pending) = pending {
            add_pending(&mut identity, pending);
        }
        identity.add((differs, ack_due, replaced, parked, forwards, forwarded_commands));
        identity.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;
    use crate::ids::{Micros, Number};

    fn of(value: impl std::fmt::Debug) -> u64 {
        let mut identity = Identity::default();
        identity.add(value);
        identity.digest()
    }

    #[test]
    fn times_do_not_count_and_all_else_does() {
        assert_eq!(of((Number(1), Micros(5), "x")), of((Number(1), Micros(6), "x")));
        assert_ne!(of((Number(1), Micros(5), "x")), of((Number(2), Micros(5), "x")));
        assert_ne!(of((Number(1), Micros(5), "x")), of((Number(1), Micros(5), "y")));
        assert_ne!(of(Some(Micros(5))), of(None::<Micros>));
    }
}
