//! A group's database in memory: tables, sessions and the group's own data. Changed by entries alone, so that
//! recovery, catch-up, a shipped procedure and a procedure run here all end in the same bytes (R17).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use crate::campaign::CampaignRecord;
use crate::command::{FeatureState, TableFormats};
use crate::context::OwnTable;
use crate::descriptor::{ApplicationDescriptor, TableDescriptor, Version};
use crate::encoded_entries::Ran;
use crate::entry::{Control, Entry, EntryBody, Intent, Op, OpRef, TableMeta, Update};
use crate::event::EventId;
use crate::hash_seed::HashSeed;
use crate::ids::{Micros, NodeId, Number, PluginHash, StoreId, TableId, Term};
use crate::migration::{Chunk, Migration};
use crate::note::Notes;
use crate::row_key::RowKey;
use crate::sessions::{Recorded, SessionUndo, Sessions};
use crate::shared_bytes::SharedBytes;
use crate::tables::{Place, Tables};
use crate::updates::Updates;

/// Where a term began, for finding the last common entry of two stores (R24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermStart {
    /// The term.
    pub term: Term,
    /// Its first number in this store.
    pub first: Number,
}

/// How many terms are remembered; a store that is further behind gets a copy.
pub const TERMS_MAX: usize = 64;
/// An entry's places need no memory of their own up to so many.
const TOGETHER: usize = 16;
/// How many ended campaigns are remembered.
pub const CAMPAIGNS_MAX: usize = 16;

/// What runs on a processor (R29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The application's version.
    pub version: Version,
    /// The plugin file.
    pub hash: PluginHash,
    /// An operator had it loaded, since the last campaign.
    pub by_hand: bool,
}

/// The group's own data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The last number of the stream that is applied.
    pub last: Number,
    /// The latest time that a procedure saw (R33).
    pub time: Micros,
    /// Where the latest terms began, oldest first.
    pub terms: Vec<TermStart>,
    /// All tables that rows may stand in.
    pub tables: BTreeMap<TableId, TableMeta>,
    /// What runs where.
    pub installed: BTreeMap<NodeId, Installed>,
    /// The lowest version that may still have to read the rows (R31).
    pub floor: Version,
    /// Features that are on.
    pub features: BTreeSet<String>,
    /// The campaign, if one is under way.
    pub campaign: Option<Box<CampaignRecord>>,
    /// Campaigns that are over, oldest first.
    pub campaigns: Vec<CampaignRecord>,
    /// Events that processors died of, or may have died of (R21).
    pub notes: Notes,
    /// Rows are on their way into a newer format (R31).
    pub migration: Option<Box<Migration>>,
    /// What the procedure under way may have done to the world: at most one, as procedures run one at a time (R19).
    pub intent: Option<Box<Intent>>,
}

impl Meta {
    /// The term of the entry `number`, as far as it is remembered; term 0 for number 0.
    #[must_use]
    pub fn term_of(&self, number: Number) -> Option<Term> {
        if number == Number(0) {
            return Some(Term(0));
        }
        if number > self.last {
            return None;
        }
        self.terms.iter().rev().find(|start| start.first <= number).map(|start| start.term)
    }

    /// The last number up to which a store with these `terms`, ending at `last`, has the same entries (R24).
    /// (term, number) names one entry for ever, and everything before an equal entry is equal.
    #[must_use]
    pub fn last_common(&self, terms: &[TermStart], last: Number) -> Option<Number> {
        if last == Number(0) || self.last == Number(0) {
            return Some(Number(0));
        }
        let end_of = |terms: &[TermStart], at: usize, last: Number| {
            terms.get(at + 1).map_or(last, |next| next.first.before())
        };
        for (at, theirs) in terms.iter().enumerate().rev() {
            if let Some(here) = self.terms.iter().position(|ours| ours.term == theirs.term) {
                return Some(end_of(terms, at, last).min(end_of(&self.terms, here, self.last)));
            }
        }
        // No term in common: if both remember their first term, nothing is.
        let complete = |terms: &[TermStart]| terms.first().is_some_and(|start| start.first == Number(1));
        (complete(terms) && complete(&self.terms)).then_some(Number(0))
    }

    /// The names of `descriptor`'s features that are on, as the set that its code knows.
    #[must_use]
    pub fn feature_set(&self, descriptor: &ApplicationDescriptor) -> u64 {
        let on = descriptor
            .features
            .iter()
            .enumerate()
            .filter(|(_, feature)| self.features.contains(&feature.name));
        on.fold(0, |set, (index, _)| set | 1 << index)
    }

    /// The tables of `descriptor`, as they stand here.
    pub fn own_tables(&self, descriptor: &ApplicationDescriptor) -> Vec<OwnTable> {
        let own = |table: &TableDescriptor| {
            let id = TableId::of(&table.name);
            let format = self.tables.get(&id).map_or(table.format, |table| table.format);
            OwnTable { id, format, derived: table.derived_from.is_some() }
        };
        descriptor.tables.iter().map(own).collect()
    }

    /// Each of the application's tables with the oldest format in which a row of it may still stand (R31).
    pub fn oldest_formats(&self) -> impl Iterator<Item = (&str, u16)> {
        self.tables.values().map(|table| (table.name.as_str(), table.oldest))
    }

    /// What the feature of that name is.
    #[must_use]
    pub fn feature_state(&self, name: &str) -> FeatureState {
        let migrates = self.migration.as_ref().is_some_and(|migration| migration.features.contains(name));
        match (self.features.contains(name), migrates) {
            (false, _) => FeatureState::Off,
            (true, true) => FeatureState::Migrating,
            (true, false) => FeatureState::On,
        }
    }

    /// The application's tables with the formats of their rows.
    #[must_use]
    pub fn table_formats(&self) -> Vec<TableFormats> {
        let own = TableMeta::own().map(|table| table.id);
        let tables = self.tables.values().filter(|table| !own.contains(&table.id));
        let formats = tables.map(|table| TableFormats {
            table: table.name.clone(),
            oldest: table.oldest,
            format: table.format,
            left: table.left,
        });
        formats.collect()
    }

    /// Whether `chunk` is of the migration under way, and the next of it.
    fn awaits(&self, chunk: &Chunk<impl Update>) -> bool {
        self.migration.as_ref().is_some_and(|migration| migration.awaits(chunk))
    }

    fn migrated(&mut self, chunk: &Chunk<impl Update>) {
        let migration = self.migration.as_mut().expect("chunks come while a migration is under way (R31)");
        if migration.note(chunk, self.tables.get_mut(&chunk.table)) {
            self.migration = None;
        }
    }

    /// Puts an intent in place, or clears it; the one before, if that changed anything.
    fn set_intent(&mut self, intent: Option<Box<Intent>>) -> Option<Option<Box<Intent>>> {
        (self.intent.is_some() || intent.is_some()).then(|| std::mem::replace(&mut self.intent, intent))
    }

    fn control(&mut self, number: Number, control: &Control) {
        match control {
            Control::Installed { node, version, hash, by_hand, tables } => {
                let installed = Installed { version: *version, hash: *hash, by_hand: *by_hand };
                self.installed.insert(node.clone(), installed);
                for table in tables {
                    self.tables.entry(table.id).or_insert_with(|| table.clone());
                }
                if self.floor == Version::default() {
                    self.floor = *version;
                }
            }
            Control::Campaign(record) => {
                self.campaign = record.clone();
                if let Some(record) = record.as_ref().filter(|record| record.step.is_over()) {
                    self.installed.values_mut().for_each(|installed| installed.by_hand = false);
                    self.campaigns.push((**record).clone());
                    let surplus = self.campaigns.len().saturating_sub(CAMPAIGNS_MAX);
                    self.campaigns.drain(..surplus);
                    self.campaign = None;
                }
            }
            Control::Enable { features, formats, floor } => {
                self.features.extend(features.iter().cloned());
                if !formats.is_empty() {
                    let tables = formats.iter().map(|(table, _)| *table);
                    self.migration.get_or_insert_default().begin(features, tables);
                }
                for (table, format) in formats {
                    if let Some(table) = self.tables.get_mut(table) {
                        table.format = *format;
                    }
                }
                assert!(*floor >= self.floor, "the floor never falls (R31), at number {number}");
                self.floor = *floor;
            }
            Control::Disable { feature } => {
                self.features.remove(feature);
            }
            Control::Note(note) => self.notes.put(number, note),
        }
    }
}

/// What one entry changed, to take it back while it is not held (R24).
#[derive(Clone, Debug, Default)]
pub struct Undo {
    /// The entry's number.
    pub number: Number,
    /// The rows before, in the order in which they were written over.
    rows: Updates,
    sessions: SessionUndo,
    last: Number,
    time: Micros,
    terms: Option<Vec<TermStart>>,
    /// The intent before, if it changed.
    intent: Option<Option<Box<Intent>>>,
    meta: Option<Box<Meta>>,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table.
    pub table: TableId,
    /// The row's key.
    pub key: RowKey,
    /// The row before.
    pub before: Option<SharedBytes>,
    /// The row after.
    pub after: Option<SharedBytes>,
}

impl Undo {
    /// What the entry that this takes back has changed of the rows of tables that are `wanted`. `tables` have it, and nothing
    /// behind it.
    pub fn changes<'a>(
        &'a self,
        tables: &'a Tables,
        wanted: impl Fn(TableId) -> bool + 'a,
    ) -> impl Iterator<Item = Change> + 'a {
        let before = self.rows.iter().filter(move |before| wanted(before.table));
        before.map(|OpRef { table, key, value }| Change {
            table,
            key: key.into(),
            before: value.map(Into::into),
            // Of a row that it has written twice the last value both times, as that is the one that counts.
            after: tables.share(table, key),
        })
    }
}

/// A group's database in memory.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The application's rows.
    pub tables: Tables,
    /// Sessions and recorded replies.
    pub sessions: Sessions,
    /// The group's own data.
    pub meta: Meta,
}

impl State {
    /// The empty database of the store with that id.
    #[must_use]
    pub fn new(store: StoreId) -> Self {
        let seed = HashSeed::of(store);
        State { tables: Tables::new(seed), sessions: Sessions::new(seed), meta: Meta::default() }
    }

    /// Why `entry` can't be applied next; none when it can. Asked of entries that come from a disk, where one that makes no
    /// sense is damage.
    #[must_use]
    pub fn objection(&self, entry: &Entry<impl Update>) -> Option<&'static str> {
        // There is always a number behind the last one.
        if self.meta.last.0.checked_add(1) != Some(entry.number.0) || entry.number.0 == u64::MAX {
            return Some("it is not the next one");
        }
        if self.meta.terms.last().is_some_and(|start| start.term > entry.term) {
            return Some("its term is an earlier one");
        }
        match &entry.body {
            EntryBody::Migrated(chunk) => {
                (!self.meta.awaits(chunk)).then_some("its chunk belongs to no migration under way")
            }
            EntryBody::Control(Control::Enable { floor, .. }) if *floor < self.meta.floor => {
                Some("it would lower the floor")
            }
            _ => None,
        }
    }

    /// Applies the next entry.
    ///
    /// # Panics
    /// When `entry` is not the next one: the stream has no holes (R8); or when it makes no sense, see
    /// [`objection`](Self::objection).
    pub fn apply(&mut self, mut entry: Entry<impl Update>) -> Undo {
        let (number, term, time) = (entry.number, entry.term, entry.time);
        let ops = entry.body.take_ops();
        // All of them are asked for before the first is changed.
        let places: SmallVec<[_; TOGETHER]> =
            ops.iter().map(Update::lent).map(|op| self.tables.fetch(op.table, op.key)).collect();
        let mut undo = Undo::default();
        self.begin(number, term, Some(&mut undo));
        let bytes = ops.iter().map(|op| op.lent().bytes()).sum();
        self.set_rows(ops.iter().map(Update::lent).zip(places), bytes, &mut undo);
        self.take_in(number, time, entry.body, Some(&mut undo));
        self.end(number, term, time);
        undo
    }

    /// As [`apply`](Self::apply), of an entry that is never taken back.
    ///
    /// # Panics
    /// As `apply`.
    pub fn apply_for_good(&mut self, entry: Entry<impl Update>) {
        entry.body.ops().iter().for_each(|op| self.tables.set(op.lent(), |_| {}));
        self.apply_without_rows(entry);
    }

    /// Has the rows that `entry` will change brought out of memory meanwhile.
    pub fn fetch_rows(&self, entry: &Entry<impl Update>) {
        for op in entry.body.ops().iter().map(Update::lent) {
            self.tables.fetch(op.table, op.key);
        }
    }

    /// As [`apply`](Self::apply), of an entry whose rows are kept elsewhere, and which is never taken back.
    ///
    /// # Panics
    /// As `apply`.
    pub fn apply_without_rows(&mut self, entry: Entry<impl Update>) {
        let Entry { number, term, time, body } = entry;
        self.begin(number, term, None);
        self.take_in(number, time, body, None);
        self.end(number, term, time);
    }

    /// As [`apply`](Self::apply), of a procedure's entry whose parts are at hand: it is never made. `updates` are some `bytes`,
    /// and each may have the place that [`Tables::fetch`] gave for it. What takes it back goes into `undo`, which is empty.
    ///
    /// # Panics
    /// As `apply`.
    pub(crate) fn apply_ran<'a>(
        &mut self,
        ran: &Ran<'_>,
        recorded: Recorded,
        updates: impl Iterator<Item = (OpRef<'a>, Option<Place>)>,
        bytes: usize,
        undo: &mut Undo,
    ) {
        let number = recorded.number;
        self.begin(number, ran.term, Some(&mut *undo));
        self.set_rows(updates, bytes, undo);
        self.record(ran.event, ran.awaited_from, ran.time, recorded, Some(undo));
        self.end(number, ran.term, ran.time);
    }

    fn begin(&mut self, number: Number, term: Term, undo: Option<&mut Undo>) {
        assert_eq!(number, self.meta.last.next(), "entries are applied in order, without holes (R8)");
        let Some(undo) = undo else { return };
        (undo.number, undo.last, undo.time) = (number, self.meta.last, self.meta.time);
        if self.meta.terms.last().is_none_or(|start| start.term != term) {
            undo.terms = Some(self.meta.terms.clone());
        }
    }

    /// Takes in what an entry says beside its rows.
    fn take_in(
        &mut self,
        number: Number,
        time: Micros,
        body: EntryBody<impl Update>,
        mut undo: Option<&mut Undo>,
    ) {
        if let Some(undo) = undo.as_deref_mut()
            && matches!(body, EntryBody::Migrated(_) | EntryBody::Control(_))
        {
            undo.meta = Some(Box::new(self.meta.clone()));
        }
        match body {
            EntryBody::Procedure { event, awaited_from, encoding, outcome, .. } => {
                self.record(&event, awaited_from, time, Recorded { number, encoding, outcome }, undo);
            }
            EntryBody::OpenSession => self.sessions.open(number, undo.map(|undo| &mut undo.sessions)),
            EntryBody::Aborted => self.set_intent(None, undo),
            EntryBody::Intent(intent) => self.set_intent(Some(intent), undo),
            EntryBody::Delivered { .. } => {}
            EntryBody::Migrated(chunk) => {
                assert!(self.meta.awaits(&chunk), "a chunk belongs to the migration under way (R31)");
                self.meta.migrated(&chunk);
            }
            EntryBody::Control(control) => {
                self.meta.control(number, &control);
                for table in self.meta.tables.values() {
                    self.tables.create(table.id, table.kind);
                }
            }
        }
    }

    fn set_intent(&mut self, intent: Option<Box<Intent>>, undo: Option<&mut Undo>) {
        let before = self.meta.set_intent(intent);
        if let Some(undo) = undo {
            undo.intent = before;
        }
    }

    fn set_rows<'a>(
        &mut self,
        updates: impl Iterator<Item = (OpRef<'a>, Option<Place>)>,
        bytes: usize,
        undo: &mut Undo,
    ) {
        // Rows mostly take what those before them took.
        undo.rows.reserve(bytes);
        for (update, place) in updates {
            self.tables.set_at(update, place, |value| undo.rows.push(OpRef { value, ..update }));
        }
    }

    fn record(
        &mut self,
        event: &EventId,
        awaited_from: u64,
        time: Micros,
        recorded: Recorded,
        mut undo: Option<&mut Undo>,
    ) {
        let sessions = undo.as_deref_mut().map(|undo| &mut undo.sessions);
        self.sessions.record(event, awaited_from, time, recorded, sessions);
        if self.meta.notes.is_open(event) {
            if let Some(undo) = undo.as_deref_mut() {
                undo.meta = Some(Box::new(self.meta.clone()));
            }
            self.meta.notes.ended(event);
        }
        self.set_intent(None, undo);
    }

    fn end(&mut self, number: Number, term: Term, time: Micros) {
        self.meta.last = number;
        self.meta.time = self.meta.time.max(time);
        let last_term = self.meta.terms.last().map(|start| start.term);
        if last_term != Some(term) {
            assert!(last_term.is_none_or(|last| last < term), "terms grow along the stream (R3)");
            self.meta.terms.push(TermStart { term, first: number });
            let surplus = self.meta.terms.len().saturating_sub(TERMS_MAX);
            self.meta.terms.drain(..surplus);
        }
    }

    /// Takes back the last entry. Returns what that changed, in the order in which it was done.
    ///
    /// # Panics
    /// When `undo` is not of the last entry.
    pub fn take_back(&mut self, undo: Undo) -> Vec<Change> {
        assert_eq!(undo.number, self.meta.last, "entries are taken back in reverse order (R24)");
        let rows: Vec<OpRef<'_>> = undo.rows.iter().collect();
        let mut changes = Vec::with_capacity(rows.len());
        for op in rows.into_iter().rev() {
            let before = self.tables.set(op, |before| before.map(Into::into));
            let (key, after) = (op.key.into(), op.value.map(Into::into));
            changes.push(Change { table: op.table, key, before, after });
        }
        self.sessions.take_back(undo.sessions);
        match undo.meta {
            Some(meta) => self.meta = *meta,
            None => {
                self.meta.last = undo.last;
                self.meta.time = undo.time;
                if let Some(terms) = undo.terms {
                    self.meta.terms = terms;
                }
                if let Some(intent) = undo.intent {
                    self.meta.intent = intent;
                }
            }
        }
        changes
    }

    /// Puts a row in place, outside of any entry: a checkpoint's or a copy's. Returns the one that stood there.
    pub fn insert_row(&mut self, table: TableId, key: RowKey, value: SharedBytes) -> Option<SharedBytes> {
        self.tables.apply(&Op { table, key, value: Some(value) })
    }

    /// Takes over `meta` from a checkpoint or a copy and creates the tables that it lists. To be called before rows
    /// are put in place, so that they go into tables of the right kind.
    pub fn set_meta(&mut self, meta: Meta) {
        for table in meta.tables.values() {
            self.tables.create(table.id, table.kind);
        }
        self.meta = meta;
    }

    /// A digest of every row, by table name and key: equal databases have equal digests.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Xxh3::new();
        digest.update(&self.meta.last.0.to_le_bytes());
        for table in self.meta.tables.values() {
            digest.update(table.name.as_bytes());
            digest.update(&table.format.to_le_bytes());
            self.tables.scan(table.id, &[], None, &mut |key, value| {
                digest.update(&(key.len() as u64).to_le_bytes());
                digest.update(key);
                digest.update(&(value.len() as u64).to_le_bytes());
                digest.update(value);
                true
            });
        }
        digest.digest()
    }
}
