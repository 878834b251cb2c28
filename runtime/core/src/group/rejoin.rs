//! The returning standby's side: hello, cutting back, catching up, taking a copy (R24, R25), and changing its version
//! at a point of the stream (R28).

use super::follow::Follow;
use super::{Group, Identity, Partner, feed::Feed};
use crate::application::Application;
use crate::command::Role;
use crate::derived::Derived;
use crate::effect::Effect;
use crate::encoded_entries::EncodedEntries;
use crate::entry::{Entry, Row};
use crate::ids::{LinkId, Number, PluginHash, SessionId, StoreId};
use crate::message::{Hello, Order, PeerMessage};
use crate::sessions::{KeyedReply, Session, Sessions};
use crate::state::{Change, Meta, State};

/// A copy that is being taken.
#[derive(Clone)]
pub(super) struct Copying {
    store: StoreId,
    pub(super) state: State,
    sessions: Sessions,
    /// What the running version derives from the copy's rows, followed as they come (R17).
    pub(super) derived: Derived,
}

impl Copying {
    /// What a group's identity has of this.
    pub fn add_to(&self, identity: &mut Identity, stage: &str) {
        identity.add((stage, self.store, self.sessions.iter().collect::<Vec<_>>()));
        identity.add_state(&self.state);
    }
}

impl Group {
    pub(super) fn on_link_up(&mut self, link: LinkId) {
        if let Some(partner) = &self.partner {
            let old = partner.link;
            self.on_link_down(old);
        }
        self.partner = Some(Partner {
            link,
            heard: self.now,
            hello: None,
            application: None,
            shipped: Vec::new(),
            lacking: Vec::new(),
            feed: Feed::Nothing,
            acked: Number(0),
            confirmed: 0,
            acks_from: 0,
            yielded_to: false,
            held_told: Number(0),
            unacknowledged: None,
            announced: None,
            diverged: false,
        });
        // A partner that has restarted counts its confirmations from the start.
        self.confirm_seen = 0;
        self.forget_order();
        self.say_hello();
    }

    /// Forgets an order to load: whoever gave it is gone, or has taken it back. A campaign gives its orders again.
    pub(super) fn forget_order(&mut self) {
        self.loading = None;
        self.discard_next();
    }

    pub(super) fn say_hello(&mut self) {
        let hello = Hello {
            node: self.config.node.clone(),
            store: self.store,
            role: self.role,
            record: self.arbiter.record.as_deref().cloned(),
            terms: self.state.meta.terms.clone(),
            last: self.state.meta.last,
            needs_copy: self.needs_copy || self.differs,
            yields: self.partner.as_ref().is_some_and(|partner| partner.yielded_to) || !self.can_serve_rows(),
            application: self.application.descriptor().clone(),
        };
        self.send(PeerMessage::Hello(Box::new(hello)));
    }

    pub(super) fn on_hello(&mut self, hello: Hello) {
        if hello.application.name != self.config.application || hello.node == self.config.node {
            return self.close_link(format!(
                "processor `{}` with `{}` said hello",
                hello.node, hello.application.name
            ));
        }
        if let Err(reason) = hello.application.check() {
            return self.close_link(reason);
        }
        if let Some(record) = hello.record.clone() {
            self.adopt(record, None);
        }
        self.hellos += 1;
        self.watch(hello.store);
        if hello.role == Role::Active {
            self.heard_active = self.now;
        }
        let Some(partner) = &mut self.partner else { return };
        partner.diverged = false;
        partner.hello = Some(Box::new(hello.clone()));
        if self.role == Role::Active {
            self.begin_feed(&hello);
        } else {
            self.set_partner_application(hello.application);
        }
    }

    pub(super) fn on_link_down(&mut self, link: LinkId) {
        if self.partner.as_ref().is_none_or(|partner| partner.link != link) {
            return;
        }
        self.partner = None;
        self.recent.keep_from(None);
        self.arbiter.yielded = false;
        self.order_sent = None;
        match std::mem::replace(&mut self.follow, Follow::Nothing) {
            Follow::Nothing => {}
            Follow::Copying(_) => self.ask_store(Effect::CopyDropped),
            // The new store is whole as soon as it is durable; it says hello on the next link.
            ending @ Follow::CopyEnding(_) => self.follow = ending,
            // The active may be gone, or have dropped or promoted this side before its word came through.
            Follow::Entries | Follow::InStep | Follow::Diverged => self.read_record(),
        }
        let answers: Vec<_> = std::mem::take(&mut self.forwarded_commands).into_values().collect();
        for origin in answers {
            let result = Err(crate::command::CommandError::NoActive);
            self.effects.push(Effect::CommandDone { origin, result });
        }
    }

    pub(super) fn on_catch_up(&mut self, common: Number, runs: PluginHash) {
        if runs != self.own_hash() {
            // Meant for the version before: this side has changed it outside of the stream since it said hello. Run by
            // this one, the stream would differ.
            self.drop_copy();
            self.pending = None;
            self.overlay.clear();
            self.follow = Follow::Nothing;
            return self.say_hello();
        }
        if common > self.state.meta.last {
            return self.close_link(format!(
                "`CatchUp` from {common}, and {} is the last here",
                self.state.meta.last
            ));
        }
        self.drop_copy();
        self.pending = None;
        self.overlay.clear();
        if common < self.state.meta.last {
            let reachable = self.undos.front().is_some_and(|undo| undo.number <= common.next());
            if !reachable || common < self.held {
                // What is to be cut has no undo information left: only a copy helps. Should the active go before this
                // side has left the record, then this side has all that it takes to be promoted.
                self.differs = true;
                self.follow = Follow::Nothing;
                return self.say_hello();
            }
            self.append();
            while self.state.meta.last > common {
                let undo = self.undos.pop_back().expect("the list was just seen to reach");
                let changes = self.state.take_back(undo);
                self.follow_changes(&|| changes.iter().cloned());
            }
            self.recent.cut_back(common);
            self.durable = self.durable.min(common);
            self.alone.cut_back(common);
            self.ask_store(Effect::CutBack { to: common });
            self.cut_in_batch = true;
            self.application_changed();
        }
        self.follow = Follow::Entries;
        self.ack_due = true;
    }

    pub(super) fn on_entry(&mut self, entry: Entry) {
        match &mut self.follow {
            Follow::Entries => {
                if entry.number != self.state.meta.last.next() {
                    return self.close_link(format!("entry {} after {}", entry.number, self.state.meta.last));
                }
                self.commit(entry);
            }
            Follow::Copying(copying) => {
                if entry.number != copying.state.meta.last.next() {
                    return self.close_link(format!("entry {} came to the copy", entry.number));
                }
                let encoded = EncodedEntries::from(&entry);
                let undo = copying.state.apply(entry);
                if !copying.derived.is_none() {
                    let tables = &copying.state.tables;
                    let of_sources = |table| copying.derived.derives_from(table);
                    let changes: Vec<Change> = undo.changes(tables, of_sources).collect();
                    copying.derived.follow(&*self.application, tables, changes.into_iter());
                }
                self.effects.push(Effect::Append(encoded));
            }
            Follow::Nothing | Follow::CopyEnding(_) | Follow::InStep | Follow::Diverged => {}
        }
    }

    pub(super) fn on_copy_begin(&mut self, meta: Meta) {
        self.drop_copy();
        self.pending = None;
        self.overlay.clear();
        if self.replaced.is_some() {
            // This copy may be given up half-way, and then this side goes on from the one before it.
            return self.close_link("a further copy came while the store before the last one is recorded");
        }
        self.stores_made += 1;
        let (a, b) = (self.config.seed, self.stores_made ^ self.store.0 as u64);
        let half = |salt: u64| xxhash_rust::xxh3::xxh3_64(&[a ^ salt, b].map(u64::to_le_bytes).concat());
        let store = StoreId(u128::from(half(0)) << 64 | u128::from(half(1)));
        self.ask_store(Effect::CopyBegin { store, meta: Box::new(meta.clone()) });
        let mut state = State::new(store);
        state.set_meta(meta);
        let derived = self.derived_over(&state.tables);
        let sessions = Sessions::new(state.tables.hash_seed());
        self.follow = Follow::Copying(Box::new(Copying { store, state, sessions, derived }));
    }

    /// Puts a copy in force in place of the old store, once that one is of no more use: the new one is recorded, or the
    /// old one is not any more and nothing but a new start would bring it back. Until then nothing that the copy has is
    /// acknowledged: a start would find the old store, and the record must not have one that a start does not find.
    pub(super) fn keep_copy(&mut self) {
        let (Some(old), Some(record)) = (self.replaced, &self.arbiter.record) else { return };
        if record.is_recorded(self.store) || !record.is_recorded(old) {
            self.replaced = None;
            self.ack_due = true;
            self.ask_store(Effect::CopyKept);
        }
    }

    /// Gives up a copy that is under way: this side goes on from its old store.
    pub(super) fn drop_copy(&mut self) {
        if matches!(self.follow, Follow::Copying(_) | Follow::CopyEnding(_)) {
            self.follow = Follow::Nothing;
            self.ask_store(Effect::CopyDropped);
        }
    }

    pub(super) fn on_copy_rows(&mut self, rows: Vec<Row>) {
        let Follow::Copying(copying) = &mut self.follow else { return };
        for row in &rows {
            let before = copying.state.insert_row(row.table, row.key.clone(), row.value.clone());
            let Row { table, key, value } = row.clone();
            let change = Change { table, key, before, after: Some(value) };
            copying.derived.follow(&*self.application, &copying.state.tables, std::iter::once(change));
        }
        self.ask_store(Effect::CopyRows(rows));
    }

    pub(super) fn on_copy_sessions(&mut self, sessions: Vec<(SessionId, Session)>) {
        let Follow::Copying(copying) = &mut self.follow else { return };
        sessions.into_iter().for_each(|(id, session)| copying.sessions.insert_session(id, session));
    }

    pub(super) fn on_copy_keyed(&mut self, keyed: Vec<(String, KeyedReply)>) {
        let Follow::Copying(copying) = &mut self.follow else { return };
        keyed.into_iter().for_each(|(key, reply)| copying.sessions.insert_keyed(key, reply));
    }

    pub(super) fn on_copy_end(&mut self, meta: Meta) {
        let Follow::Copying(mut copying) = std::mem::replace(&mut self.follow, Follow::Nothing) else {
            return;
        };
        if copying.state.meta.last != meta.last {
            self.ask_store(Effect::CopyDropped);
            return self
                .close_link(format!("the copy ends at {}, not at {}", copying.state.meta.last, meta.last));
        }
        copying.state.sessions = std::mem::take(&mut copying.sessions);
        copying.state.set_meta(meta);
        let sessions = copying.state.sessions.iter().map(|(id, session)| (id, session.clone())).collect();
        let keyed =
            copying.state.sessions.keyed().map(|(key, reply)| (key.to_owned(), reply.clone())).collect();
        let meta = Box::new(copying.state.meta.clone());
        self.ask_store(Effect::CopyEnd { sessions, keyed, meta });
        self.follow = Follow::CopyEnding(copying);
    }

    /// The copy is a store of its own now: it takes the place of the old one and says hello.
    pub(super) fn on_copy_durable(&mut self, store: StoreId) {
        let follow = std::mem::replace(&mut self.follow, Follow::Nothing);
        let copying = match follow {
            Follow::CopyEnding(copying) if copying.store == store => copying,
            // The word is of a copy that was given up meanwhile.
            follow => {
                self.follow = follow;
                return;
            }
        };
        self.replaced = Some(self.store);
        self.store = store;
        self.state = copying.state;
        self.derived = copying.derived;
        self.needs_copy = false;
        self.may_lack_tail = false;
        self.differs = false;
        self.append();
        self.recent.clear();
        self.undos.clear();
        self.durable = self.state.meta.last;
        self.alone.replaced(self.durable);
        self.held = Number(0);
        self.held_told = Number(0);
        self.application_changed();
        self.derive_next_anew();
        self.keep_copy();
        self.say_hello();
    }

    // -- versions (R28)

    pub(super) fn on_order(&mut self, attempt: u32, order: Order) {
        let Order::Load { hash } = order;
        if hash == self.own_hash() {
            self.forget_order();
            return self.send(PeerMessage::Versions(Box::new(self.application.descriptor().clone())));
        }
        if self.next_application.as_ref().is_some_and(|next| next.descriptor().hash == hash) {
            return;
        }
        let under_way = self.loading.is_some_and(|(loading, _)| loading == hash);
        self.loading = Some((hash, attempt));
        if !under_way {
            self.effects.push(Effect::LoadPlugin { hash });
        }
    }

    pub(super) fn on_plugin_loaded(&mut self, application: Box<dyn Application>) {
        let descriptor = application.descriptor();
        let wanted = self.loading.take_if(|(hash, _)| *hash == descriptor.hash);
        let here = self.role != Role::Active || self.goes_alone();
        let fits = here && descriptor.name == self.config.application;
        let Some((_, attempt)) = wanted.filter(|_| fits) else {
            return self.effects.push(Effect::Discard { application });
        };
        self.discard_next();
        self.take_next(application, attempt);
    }

    pub(super) fn on_plugin_failed(&mut self, hash: PluginHash, reason: String, may_pass: bool) {
        if let Some((_, attempt)) = self.loading.take_if(|(loading, _)| *loading == hash) {
            self.next_failed(attempt, reason, may_pass);
        }
    }

    /// Tells whoever wants another version here that it will not run: the active that ordered it, or, on a survivor that
    /// is alone, the campaign itself.
    pub(super) fn next_failed(&mut self, attempt: u32, reason: String, may_pass: bool) {
        if self.role == Role::Active {
            let what = format!("this side could not load the plugin: {reason}");
            self.order_failed(what, reason, may_pass);
        } else {
            self.send(PeerMessage::OrderFailed { attempt, reason, may_pass });
        }
    }

    /// Everything up to `number` was of the old version; the new one takes over here.
    pub(super) fn on_versions_from(&mut self, number: Number) {
        if number != self.state.meta.last || !self.at_boundary() {
            return self.close_link(format!("`VersionsFrom` {number} is not at a procedure boundary"));
        }
        match self.next_application.take_if(|_| self.next_announced) {
            Some(next) => self.change_version(next),
            None => self.close_link("`VersionsFrom` came, and no new version waits"),
        }
    }

    pub(super) fn change_version(&mut self, next: Box<dyn Application>) {
        assert!(self.pending.is_none(), "versions change at a procedure boundary (R28)");
        let application = std::mem::replace(&mut self.application, next);
        self.derived = std::mem::take(&mut self.next_derived);
        assert!(self.derived.is_built(), "a version comes into service with its derived tables built (R17)");
        self.told_broken = false;
        self.effects.push(Effect::Retire { application });
        self.application_changed();
        // What is shipped follows from both versions, and this side may be the active next.
        if let Some(theirs) = self.partner.as_mut().and_then(|partner| partner.application.take()) {
            self.set_partner_application(*theirs);
        }
        self.role_effect();
    }
}
