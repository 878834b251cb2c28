//! What must hold: at rest, and at every answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_core::command::{Command, Role};
use lockstep_core::entry::{Entry, EntryBody};
use lockstep_core::event::{Answer, EventId, FaultKind, Outcome};
use lockstep_core::group::Group;
use lockstep_core::ids::{Micros, Number, StoreId, TableId};

use lockstep_core::record::Record;

use super::witness::Compared;
use super::{Happening, World, name};
use crate::clients::SimClient;
use crate::ledger::{self, Parameters};

impl World {
    /// Ends all faults, lets everything come to rest, and checks the promise.
    ///
    /// # Panics
    /// When an acknowledged event is lost or doubled, the two databases differ, or something does not come to rest.
    pub fn settle_and_check(&mut self) {
        self.partitioned = false;
        self.settings.unknown_swaps_percent = 0;
        if self.dies_at_cut {
            self.forget_cut();
        }
        for node in 0..2 {
            if self.nodes[node].process.is_none() {
                self.start(node);
            }
        }
        self.after(Micros(1), Happening::LinkUp);
        self.run_until(|world| world.active().is_some());
        if self.settings.divergence_expected {
            // A version that diverges again and again gets in sync only when there is nothing to diverge in.
            self.run_until(|world| {
                world.clients.iter().all(SimClient::is_idle)
                    && world.active().is_some_and(|active| world.nothing_posted(active))
            });
        }
        // What an operator isolated, an operator brings back; a campaign brings back its own. A command may still have
        // been under way, to a processor that is paused.
        let isolated = |world: &World| (0..2).any(|node| world.role(node) == Some(Role::Isolated));
        let mut turns = 0;
        while turns < 3 || (turns < 6 && isolated(self)) {
            turns += 1;
            self.run_until(|world| world.active().is_some());
            let active = self.active().expect("there is an active");
            self.command(active, Command::Integrate);
            self.run_for(Micros::from_ms(500));
        }
        self.run_until(|world| {
            world.clients.iter().all(SimClient::is_idle) && world.in_sync() && world.at_rest()
        });
        for (what, times) in self.check_promise().0 {
            *self.seen.counts.entry(what.into()).or_default() += times;
        }
    }

    /// As [`settle_and_check`](Self::settle_and_check), in the middle of a life: swaps go on as before.
    ///
    /// # Panics
    /// As there.
    pub fn rest_and_check(&mut self) {
        let unknown = self.settings.unknown_swaps_percent;
        self.settle_and_check();
        self.settings.unknown_swaps_percent = unknown;
    }

    fn at_rest(&self) -> bool {
        let (a, b) = (self.group(0), self.group(1));
        let over = |group: &Group| {
            let meta = &group.state().meta;
            group.held() == meta.last && meta.campaign.is_none() && meta.migration.is_none()
        };
        a.state().meta.last == b.state().meta.last
            && over(a)
            && over(b)
            && self.nothing_posted(0)
            && (0..2).all(|node| self.runs_what_is_installed(node))
    }

    /// Whether `node` runs the version that the stream says it does (R29).
    fn runs_what_is_installed(&self, node: usize) -> bool {
        let group = self.group(node);
        let installed = group.state().meta.installed.get(&name(node));
        installed.is_none_or(|installed| installed.hash == group.descriptor().hash)
    }

    /// Whether no timer waits at `node`, and no message.
    fn nothing_posted(&self, node: usize) -> bool {
        let tables = &self.group(node).state().tables;
        [TableId::TIMERS, TableId::OUTBOX].into_iter().all(|table| tables.len(table) == 0)
    }

    /// The promise, at rest: both databases are equal, every acknowledged event is in them exactly once, no other more
    /// than once, money is conserved, and every answer is what a model of the ledger says at its number.
    ///
    /// # Panics
    /// When it is broken.
    pub fn check(&self) {
        self.check_promise();
    }

    /// The same, with what was compared.
    fn check_promise(&self) -> Compared {
        let (a, b) = (self.group(0).state(), self.group(1).state());
        assert_eq!(a.digest(), b.digest(), "the two databases differ");
        assert_eq!(a.sessions, b.sessions, "the two reply tables differ");
        assert_eq!(a.meta, b.meta, "the groups' own data differ");
        for node in 0..2 {
            if let Err(why) = self.group(node).verify_derived() {
                assert!(self.settings.derived_may_break, "derived tables of {node}: {why} (R17)");
            }
        }
        let mut ran = BTreeMap::new();
        a.tables.scan(TableId::of(ledger::RAN), &[], None, &mut |key, row| {
            let id = u64::from_le_bytes(key.try_into().expect("ids have eight bytes"));
            ran.insert(id, ledger::number_in(row));
            true
        });
        for (id, times) in &ran {
            assert_eq!(*times, 1, "event {id} is doubled");
        }
        let mut numbers = BTreeMap::new();
        for (id, acknowledged) in self.clients.iter().flat_map(|client| &client.acknowledged) {
            if acknowledged.procedure == "balance" {
                continue;
            }
            let committed = matches!(acknowledged.outcome, Outcome::Committed { .. });
            assert_eq!(
                committed,
                ran.contains_key(id),
                "event {id}: {acknowledged:?}, and ran: {:?}",
                ran.get(id)
            );
            assert!(numbers.insert(acknowledged.number, id).is_none(), "a number has two outcomes (R8)");
            assert!(
                acknowledged.number <= a.meta.last && acknowledged.number > Number(0),
                "{acknowledged:?}"
            );
        }
        // What a procedure did to the world is as its outcome says (R19).
        for (id, standing) in self.deeds.standing() {
            let expected: &[&str] = if ran.contains_key(&id) { &["send", "stamp"] } else { &[] };
            assert_eq!(standing, expected, "event {id} ran: {:?} (R19)", ran.get(&id));
        }
        for node in 0..2 {
            self.check_formats(node);
        }
        self.check_posted(&ran);
        let mut money = 0;
        a.tables.scan(TableId::of(ledger::ACCOUNTS), &[], Some(&[254]), &mut |_, row| {
            money += ledger::number_in(row);
            true
        });
        let fees = a.tables.get(TableId::of(ledger::ACCOUNTS), &[255]).map_or(0, ledger::number_in);
        // A version that computes something else makes money, if it gets to be active.
        assert!(
            self.settings.divergence_expected || money + fees == 0,
            "money is made or lost: {money} {fees}"
        );
        self.replay()
    }

    /// Every row is in a format that the group's own data say it may be in (R31).
    ///
    /// # Panics
    /// When one is not.
    pub fn check_formats(&self, node: usize) {
        let state = self.group(node).state();
        for table in state.meta.tables.values() {
            state.tables.scan(table.id, &[], None, &mut |key, row| {
                let (format, name) = (u16::from(row[0]), &table.name);
                assert!(
                    (table.oldest..=table.format).contains(&format),
                    "{name}[{key:?}] is in format {format}, not in {} to {} (R31)",
                    table.oldest,
                    table.format
                );
                true
            });
        }
    }

    /// Every timer that was set has fired as often as it was to, and every message was heard once and in its place
    /// (R34). That nothing ran twice is seen already.
    fn check_posted(&self, ran: &BTreeMap<u64, i64>) {
        let tables = &self.group(0).state().tables;
        let told = |row: u8| tables.get(TableId::of(ledger::TOLD), &[row]).map_or(0, ledger::number_in);
        assert_eq!(told(ledger::DISORDER), 0, "messages were heard out of their order");
        let mut lost = 0;
        for (id, acknowledged) in self.clients.iter().flat_map(|client| &client.acknowledged) {
            let Parameters { from, to, amount, .. } = acknowledged.parameters;
            let unsound = [ledger::FAULTY, ledger::DEADLY, ledger::HANGS].contains(&amount);
            let sound = amount <= ledger::LIMIT && !unsound;
            let rounds = match from % 2 {
                1 if sound => ledger::ROUNDS,
                _ => u64::from(sound),
            };
            match acknowledged.procedure.as_str() {
                _ if !matches!(acknowledged.outcome, Outcome::Committed { .. }) => {}
                "later" => {
                    let ran = |round: &u64| ran.contains_key(&ledger::fired_as(*id, *round));
                    let fired = (0..=ledger::ROUNDS).filter(ran).count() as u64;
                    assert!(fired <= rounds, "the timer of event {id} fired {fired} times");
                    lost += u64::from(fired < rounds);
                }
                "tell" if to < ledger::ELSEWHERE => {
                    let heard = ran.contains_key(&(id | ledger::MESSAGE));
                    assert!(sound || !heard, "what event {id} sent was heard, and could not be");
                    lost += u64::from(heard != sound);
                }
                _ => {}
            }
        }
        let noted = self.own_events_noted();
        assert!(lost <= noted, "{lost} timers and messages did nothing, and {noted} ended with a note");
    }

    /// How many events of timers and messages ended with a fault in place of a run (R21): what they were to do is not
    /// done.
    fn own_events_noted(&self) -> u64 {
        let mut noted = BTreeSet::new();
        for entry in self.entries.values() {
            if let EntryBody::Procedure { event, outcome: Outcome::Faulted(fault), .. } = &entry.body
                && event.is_own()
                && matches!(fault.kind, FaultKind::Killed | FaultKind::Hung | FaultKind::Quarantined)
            {
                noted.insert(event.clone());
            }
        }
        noted.len() as u64
    }

    /// Term and number name one entry for ever, on whatever side and in whatever process it is made (R8, R24).
    pub(super) fn check_entry(&mut self, entry: &Arc<Entry>) {
        let before = self.entries.get(&(entry.term, Number(entry.number.0.saturating_sub(1))));
        assert!(
            before.is_none_or(|before| before.time <= entry.time),
            "time went back at {} (R33)",
            entry.number
        );
        if let EntryBody::Intent(intent) = &entry.body {
            let parameters = Parameters::from_bytes(&intent.parameters).expect("clients send sound ones");
            self.intents.insert((entry.term, parameters.id), entry.number);
        }
        if let EntryBody::Procedure { event, .. } = &entry.body
            && !self.entries.contains_key(&(entry.term, entry.number))
        {
            match event {
                EventId::Timer { .. } => self.seen.add("timer fired"),
                EventId::Message { .. } => self.seen.add("message heard"),
                _ => {}
            }
        }
        let first = self.entries.entry((entry.term, entry.number)).or_insert_with(|| entry.clone());
        assert_eq!(first, entry, "two entries have one term and number");
    }

    /// What processor `node` has just done to the world, and undone (R19).
    pub(super) fn check_deeds(&mut self, node: usize) {
        let new = self.deeds.from(self.deeds_seen);
        for deed in new {
            self.deeds_seen += 1;
            self.tell(Some(node), || format!("DOES {deed:?}"));
            self.seen.add(if deed.undone { "deed undone" } else { "deed" });
            let record = self.record.as_ref().expect("there is no active without a record");
            assert_eq!(record.active.node, name(node), "{deed:?} by one who is not the active (R19)");
            let before = &self.deeds.from(0)[..self.deeds_seen - 1];
            let stands = |what| {
                let last = before.iter().rfind(|before| before.id == deed.id && before.what == what);
                last.is_some_and(|last| !last.undone)
            };
            if deed.undone {
                let wrong = deed.what == "send" && stands("stamp");
                assert!(!wrong, "{deed:?} is undone before what came after it (R19)");
                continue;
            }
            assert!(!stands(deed.what), "{deed:?} is done once more, and was not undone (R19)");
            let intent = self.intents.get(&(record.term, deed.id)).copied();
            for member in &record.in_sync {
                let durable = self.durable_in(member.store, record);
                assert!(
                    intent.is_some_and(|intent| intent <= self.held_by_two)
                        || (intent.is_some() && durable >= intent),
                    "{deed:?}: its intent is {intent:?}, and {} has {durable:?} (R19)",
                    member.node
                );
            }
        }
    }

    /// What a member of `record` has durably, or had when its disk was lost: nobody knows of that before it is missed.
    fn durable_in(&self, store: StoreId, record: &Record) -> Option<Number> {
        // R9: under `replicated` two operating systems are as good as a disk, and one alone is not.
        let written = self.settings.replicated && record.in_sync.len() > 1;
        let mut stores = self.nodes.iter().flat_map(|node| node.disk.stores(written));
        stores.find(|(id, _)| *id == store).map(|(_, durable)| durable).or(self.lost.get(&store).copied())
    }

    /// Under `replicated` what two operating systems have is held, and stays so when one of them goes. The disks say it,
    /// not the cores: after every change of a disk or of the record.
    pub(super) fn note_held(&mut self) {
        let Some(record) = self.record.as_ref().filter(|record| record.in_sync.len() > 1) else { return };
        if !self.settings.replicated {
            return;
        }
        let had: Vec<_> = record.in_sync.iter().map(|member| self.durable_in(member.store, record)).collect();
        let by_all = had.into_iter().min().flatten().unwrap_or_default();
        self.held_by_two = self.held_by_two.max(by_all);
    }

    /// A store is recorded as in sync only when it has durably what was answered so far (R4, R5).
    pub(super) fn check_recorded(&self, record: &Record) {
        for member in &record.in_sync {
            let durable = self.durable_in(member.store, record);
            // One that was damaged after it had been recorded stays recorded until the active drops it. One that is
            // alone from here on had everything synced before (R9), unless that was given up.
            let was = (record.in_sync.len() > 1 || self.forced)
                && self.record.as_ref().is_some_and(|before| before.is_recorded(member.store));
            assert!(
                was || durable.is_some_and(|durable| durable >= self.answered),
                "{} is recorded with {durable:?}, and {} was answered (R4)",
                member.node,
                self.answered
            );
        }
    }

    /// An answer leaves only when every member of the record has durably what it rests on (R9, R10).
    pub(super) fn check_held(&mut self, answer: &Answer) {
        let number = match answer {
            Answer::SessionOpened { session } => Number(session.0),
            Answer::Ended { number, .. } => *number,
            Answer::Retry { .. } | Answer::Rejected(_) => return,
        };
        self.check_output(number);
    }

    /// As for an answer, for whatever else leaves.
    pub(super) fn check_output(&mut self, number: Number) {
        self.answered = self.answered.max(number);
        let record = self.record.as_ref().expect("there is no active without a record");
        for member in &record.in_sync {
            let durable = self.durable_in(member.store, record);
            assert!(
                number <= self.held_by_two || durable.is_some_and(|durable| durable >= number),
                "an output at {number} leaves, and {} has {durable:?} (R10)",
                member.node
            );
        }
    }
}
