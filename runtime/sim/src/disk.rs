//! A processor's simulated disk: what was appended, what of it was synced, and what a crash leaves.
//!
//! It keeps entries, not bytes: torn sectors and checksums are the business of the real store, which the world drives
//! beside it if asked to ([`Settings::real_store`](crate::world::Settings::real_store)), and of that store's own tests.

use std::sync::Arc;

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::entry::{Entry, Row};
use lockstep_core::group::Identity;
use lockstep_core::ids::{Number, SessionId, StoreId, Term};
use lockstep_core::sessions::{KeyedReply, Session};
use lockstep_core::state::{Meta, State, Undo};

use crate::random::Random;

/// One store: a base and the entries after it.
#[derive(Clone, Debug)]
pub struct SimStore {
    /// Its id.
    pub id: StoreId,
    base: State,
    entries: Vec<Arc<Entry>>,
    synced: usize,
    /// It was made to its end: an empty one, or a copy that has ended.
    whole: bool,
    trusted: bool,
    /// Its machine lost power, and whether its end went with it is not settled since (R26).
    may_lack_tail: bool,
}

impl SimStore {
    fn new(id: StoreId, base: State, whole: bool) -> Self {
        SimStore { id, base, entries: Vec::new(), synced: 0, whole, trusted: true, may_lack_tail: false }
    }

    /// The last number that counts as durable: what a crash leaves for sure, or what the operating system has.
    fn durable(&self, written: bool) -> Number {
        let counts = if written { self.entries.len() } else { self.synced };
        counts.checked_sub(1).map_or(self.base.meta.last, |last| self.entries[last].number)
    }

    /// Returns whether something was lost.
    fn crash(&mut self, power: bool, random: &mut Random) -> bool {
        let before = self.entries.len();
        if power && self.entries.len() > self.synced {
            let keep = random.within(self.synced as u64, self.entries.len() as u64 + 1) as usize;
            self.entries.truncate(keep);
        }
        self.synced = self.entries.len();
        self.synced < before
    }
}

/// What a restart finds.
pub struct Recovered {
    /// The store.
    pub store: StoreId,
    /// Whether it counts, or must be copied anew (R26).
    pub trusted: bool,
    /// Whether the end of what was acknowledged may be lost (R26).
    pub may_lack_tail: bool,
    /// The database.
    pub state: State,
    /// Its latest entries.
    pub recent: Vec<EncodedEntries>,
    /// What takes them back.
    pub undos: Vec<Undo>,
}

/// A processor's disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    current: SimStore,
    /// Half or whole, until it takes the old one's place.
    copy: Option<SimStore>,
    /// How often it was cut back: a sync that began before a cut says nothing about what was appended after it.
    cuts: u64,
    /// What was written counts as durable while it need not rest on syncs (R9).
    replicated: bool,
    on_syncs: bool,
    failed: bool,
    /// It has no room for anything more.
    full: bool,
    /// It had none for something; and nobody was told.
    refused: (bool, bool),
    /// It did not take a cut: it has more than it should.
    uncut: bool,
}

/// A sync that has begun, or what stands for one where the operating system is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Sync {
    store: StoreId,
    length: usize,
    cuts: u64,
    on_syncs: bool,
}

impl Sync {
    /// Whether something is really synced by it.
    pub(crate) fn on_syncs(&self) -> bool {
        self.on_syncs
    }
}

impl SimDisk {
    /// A disk with an empty store.
    #[must_use]
    pub fn new(id: StoreId) -> Self {
        SimDisk {
            current: SimStore::new(id, State::new(id), true),
            copy: None,
            cuts: 0,
            replicated: false,
            on_syncs: true,
            failed: false,
            full: false,
            refused: (false, false),
            uncut: false,
        }
    }

    /// The same under `durability: replicated`.
    #[must_use]
    pub fn replicated(mut self) -> Self {
        self.replicated = true;
        self
    }

    /// Only what is synced is durable from here on, or what was written too. What was begun before it `on` says nothing.
    pub fn rest_on_syncs(&mut self, on: bool) {
        self.cuts += u64::from(on);
        self.on_syncs = on;
    }

    /// The store in force lacks nothing of its end.
    pub fn settle_tail(&mut self) {
        if self.takes() {
            self.current.may_lack_tail = false;
        }
    }

    /// Whether what the operating system has counts as durable (R9).
    pub(crate) fn counts_written(&self) -> bool {
        self.replicated && !self.on_syncs
    }

    /// The whole stores on it, with what each has durably; with `written`, what the operating system has counts.
    pub fn stores(&self, written: bool) -> impl Iterator<Item = (StoreId, Number)> {
        let stores = [Some(&self.current), self.copy.as_ref()].into_iter().flatten();
        stores.filter(|store| store.whole).map(move |store| (store.id, store.durable(written)))
    }

    fn target(&mut self) -> &mut SimStore {
        self.copy.as_mut().unwrap_or(&mut self.current)
    }

    /// Nothing that is not synced by now is written any more. The store counts only as a copy after the next start (R26).
    pub fn fail(&mut self) {
        self.failed = true;
        self.damage();
    }

    /// Whether it failed since the last start.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// There is no room any more, or again.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Something was not taken because there was no room for it. Nothing else is until the next start, and what is there
    /// counts: the operating system said so at once (R26).
    pub fn refuse(&mut self) {
        (self.failed, self.refused) = (true, (true, true));
        // It is found at the next start, so it has to be synced by now.
        let store = self.target();
        store.synced = store.entries.len();
    }

    /// What is durable of the store that appends went to, when something was refused; nothing is said of one that was to be
    /// cut back.
    pub(crate) fn kept(&mut self) -> Option<(StoreId, Number)> {
        let cut = !self.uncut;
        let store = self.target();
        (cut && store.whole).then(|| (store.id, store.durable(false)))
    }

    /// Whether something was refused since the last start.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused.0
    }

    /// Whether something was refused that nobody was told of; says so once.
    pub(crate) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused.1)
    }

    /// Whether there is room for something more.
    fn takes(&mut self) -> bool {
        if self.full && !self.failed {
            self.refuse();
        }
        !self.refused.0
    }

    /// Appends an entry.
    pub fn append(&mut self, entry: Arc<Entry>) {
        if !self.takes() || self.failed {
            return;
        }
        self.target().entries.push(entry);
    }

    /// The store that appends go to.
    pub fn target_id(&mut self) -> StoreId {
        self.target().id
    }

    /// A sync begins: what it will have made durable when it ends.
    pub fn sync_begin(&mut self) -> Sync {
        let (cuts, on_syncs) = (self.cuts, !self.counts_written());
        let store = self.target();
        Sync { store: store.id, length: store.entries.len(), cuts, on_syncs }
    }

    /// The sync ended. Returns the store and its last durable number, unless it was replaced or cut meanwhile.
    pub fn sync_end(&mut self, sync: Sync) -> Option<(StoreId, Number)> {
        if self.failed {
            return None;
        }
        let (cuts, written) = (self.cuts, self.counts_written());
        let store = self.target();
        if store.id != sync.store || cuts != sync.cuts {
            return None;
        }
        if sync.on_syncs {
            store.synced = store.synced.max(sync.length.min(store.entries.len()));
        }
        store.whole.then(|| (store.id, store.durable(written)))
    }

    /// Cuts back, durably.
    pub fn cut_back(&mut self, to: Number) {
        if !self.takes() {
            self.uncut = true;
            return;
        }
        self.cuts += 1;
        let store = self.target();
        store.entries.retain(|entry| entry.number <= to);
        assert!(store.base.meta.last <= to, "what a checkpoint has is held and never cut (R24)");
        store.synced = store.entries.len();
    }

    /// A new store is begun beside the old.
    pub fn copy_begin(&mut self, id: StoreId, meta: Meta) {
        if !self.takes() {
            return;
        }
        let mut base = State::new(id);
        base.set_meta(meta);
        self.copy = Some(SimStore::new(id, base, false));
    }

    /// Rows of the copy, in order with its entries.
    pub fn copy_rows(&mut self, rows: &[Row]) {
        if !self.takes() {
            return;
        }
        self.cuts += 1;
        let copy = self.copy.as_mut().expect("rows come to a copy that was begun");
        copy.synced = 0;
        for entry in copy.entries.drain(..) {
            copy.base.apply((*entry).clone());
        }
        for row in rows {
            copy.base.insert_row(row.table, row.key.clone(), row.value.clone());
        }
    }

    /// The copy is whole.
    pub fn copy_end(
        &mut self,
        sessions: Vec<(SessionId, Session)>,
        keyed: Vec<(String, KeyedReply)>,
        meta: Meta,
    ) {
        self.copy_rows(&[]);
        if self.refused.0 {
            return;
        }
        let copy = self.copy.as_mut().expect("only a begun copy ends");
        copy.base.sessions = Default::default();
        sessions.into_iter().for_each(|(id, session)| copy.base.sessions.insert_session(id, session));
        keyed.into_iter().for_each(|(key, reply)| copy.base.sessions.insert_keyed(key, reply));
        copy.base.set_meta(meta);
        copy.whole = true;
    }

    /// The copy takes the old store's place.
    pub fn copy_kept(&mut self) {
        if !self.takes() {
            return;
        }
        self.current = self.copy.take().expect("only a whole copy is kept");
    }

    /// The copy is given up.
    pub fn copy_dropped(&mut self) {
        self.copy = None;
    }

    /// The process died. With `power` lost too, what was not synced is lost from some point on. Half a copy is gone, a
    /// whole one stays beside the old store.
    /// Returns whether something was lost.
    pub fn crash(&mut self, power: bool, random: &mut Random) -> bool {
        self.copy.take_if(|copy| !copy.whole);
        let lost = self.current.crash(power, random);
        let copy_lost = self.copy.as_mut().is_some_and(|copy| copy.crash(power, random));
        self.restarts(power);
        lost || copy_lost
    }

    /// The store in force.
    pub(crate) fn current_id(&self) -> StoreId {
        self.current.id
    }

    /// `durability: replicated`.
    pub(crate) fn is_replicated(&self) -> bool {
        self.replicated
    }

    /// Something is in it.
    pub(crate) fn written(&self) -> bool {
        !self.current.entries.is_empty() || self.current.base.meta.last > Number(0)
    }

    /// The process died; what is left of what was not synced shows only at the next start. Half a copy is gone.
    pub(crate) fn die(&mut self, power: bool) {
        self.copy.take_if(|copy| !copy.whole);
        for store in [Some(&mut self.current), self.copy.as_mut()].into_iter().flatten() {
            store.synced = if power { store.synced } else { store.entries.len() };
        }
        self.restarts(power);
    }

    /// What the next start has to know.
    fn restarts(&mut self, power: bool) {
        self.on_syncs = true;
        for store in [Some(&mut self.current), self.copy.as_mut()].into_iter().flatten() {
            store.may_lack_tail |= power && self.replicated;
        }
    }

    /// The least and the most that the store in force may have as its last number.
    pub(crate) fn possible(&self) -> (Number, Number) {
        (self.current.durable(false), self.current.durable(true))
    }

    /// The database of the store in force just before the entry `number`; `None` when rows of later ones are in it.
    pub(crate) fn state_before(&self, number: Number) -> Option<State> {
        let mut state = self.current.base.clone();
        let before = self.current.entries.iter().filter(|entry| entry.number < number);
        before.for_each(|entry| drop(state.apply((**entry).clone())));
        (state.meta.last.next() == number).then_some(state)
    }

    /// The store in force has everything up to `last` and nothing behind it, and can be trusted.
    pub(crate) fn found(&mut self, last: Number) {
        let store = &mut self.current;
        store.entries.retain(|entry| entry.number <= last);
        (store.synced, store.trusted) = (store.entries.len(), true);
    }

    /// The machine lost power, and with it everything that was not synced. Half a copy is gone.
    pub fn crash_to_synced(&mut self) {
        self.copy.take_if(|copy| !copy.whole);
        for store in [Some(&mut self.current), self.copy.as_mut()].into_iter().flatten() {
            store.entries.truncate(store.synced);
        }
    }

    /// The process died, the machine goes on: everything written is there. Half a copy is gone.
    pub fn crash_softly(&mut self) {
        self.copy.take_if(|copy| !copy.whole);
        for store in [Some(&mut self.current), self.copy.as_mut()].into_iter().flatten() {
            store.synced = store.entries.len();
        }
    }

    /// What tells it from another, for a model checker: what is in it by (term, number), and what is durable.
    pub fn add_to(&self, identity: &mut Identity) {
        for store in [Some(&self.current), self.copy.as_ref()].into_iter().flatten() {
            identity.add((store.id, store.synced, store.whole, store.trusted));
            identity.add((store.base.meta.last, &store.base.meta.terms));
            store.entries.iter().for_each(|entry| identity.add((entry.term, entry.number)));
        }
        identity.add(self.copy.is_some());
    }

    /// The term of the entry `number` in the whole store `store`, as far as it is durable.
    #[must_use]
    pub fn durable_term(&self, store: StoreId, number: Number) -> Option<Term> {
        let mut stores = [Some(&self.current), self.copy.as_ref()].into_iter().flatten();
        let store = stores.find(|on| on.id == store && on.whole)?;
        if number > store.durable(false) {
            return None;
        }
        let entry = store.entries.iter().find(|entry| entry.number == number);
        entry.map(|entry| entry.term).or_else(|| store.base.meta.term_of(number))
    }

    /// Nothing of the store in force can be read any more.
    pub fn ruin(&mut self) {
        let id = self.current.id;
        self.current = SimStore { trusted: false, ..SimStore::new(id, State::new(id), true) };
    }

    /// The store in force can't be trusted any more: a checksum was wrong.
    pub fn damage(&mut self) {
        self.current.trusted = false;
    }

    /// What a restart finds. Of two whole stores the one that is `recorded` counts, and the other goes. Without `undos`
    /// a checkpoint has gone as far as the last entry.
    pub fn recover(&mut self, recorded: impl Fn(StoreId) -> bool, undos: bool) -> Recovered {
        if let Some(copy) = self.copy.take()
            && recorded(copy.id)
            && !recorded(self.current.id)
        {
            self.current = copy;
        }
        let mut state = self.current.base.clone();
        let mut taken_back: Vec<_> =
            self.current.entries.iter().map(|entry| state.apply((**entry).clone())).collect();
        taken_back.truncate(if undos { taken_back.len() } else { 0 });
        (self.failed, self.refused, self.uncut) = (false, (false, false), false);
        let SimStore { id: store, trusted, entries, may_lack_tail, .. } = &self.current;
        Recovered {
            may_lack_tail: *may_lack_tail,
            store: *store,
            trusted: *trusted,
            state,
            recent: entries.iter().map(|entry| EncodedEntries::from(&**entry)).collect(),
            undos: taken_back,
        }
    }
}
