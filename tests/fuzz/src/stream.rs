//! What a group's stream and database are made of: entries, the parts of a copy, rows of the runtime's own, identifiers.

use std::str::FromStr;

use lockstep_core::channels;
use lockstep_core::descriptor::{ApplicationDescriptor, Version};
use lockstep_core::entry::{Entry, Op, Row};
use lockstep_core::ids::{Micros, PluginHash, SessionId, StoreId, TableId};
use lockstep_core::posted::{self, Posted};
use lockstep_core::sessions::{KeyedReply, Session};
use lockstep_core::state::{Meta, State};
use lockstep_core::tables::Tables;
use lockstep_core::{timers, verdict};

use crate::{Target, rounds, samples};

pub const ENTRIES: Target = Target {
    name: "entries",
    reads: "entries of the stream, in redo records and over the link; they are applied and taken back",
    run: entries,
    seeds: || {
        let all = samples::entries();
        let mut seeds: Vec<_> = (1..=all.len()).step_by(4).map(|end| rounds::encoded(&all[..end])).collect();
        seeds.push(rounds::encoded(&all));
        seeds
    },
};

pub const COPY_PARTS: Target = Target {
    name: "copy-parts",
    reads: "rows, sessions, keyed replies, a group's own data, a version's description: in copies, checkpoints, redo records",
    run: copy_parts,
    seeds: copies,
};

pub const OWN_ROWS: Target = Target {
    name: "own-rows",
    reads: "keys and rows of timers and messages, which a partner ships and a disk keeps",
    run: own_rows,
    seeds: rows_of_our_own,
};

pub const IDENTIFIERS: Target = Target {
    name: "identifiers",
    reads: "stores, plugin files and versions as text: names of directories, records, JSON",
    run: identifiers,
    seeds: || {
        let texts =
            [StoreId(7 << 90).to_string(), samples::hash(0xab).to_string(), samples::version(3).to_string()];
        texts.map(String::into_bytes).into()
    },
};

fn entries(bytes: &[u8]) -> bool {
    let Some(entries) = rounds::postcard::<Vec<Entry>>(bytes) else { return false };
    let mut state = State::default();
    let mut undos = Vec::new();
    for entry in &entries {
        if state.objection(entry).is_some() {
            break;
        }
        let before = (state.meta.clone(), state.sessions.clone(), state.tables.bytes());
        undos.push((before, state.apply(entry.clone())));
    }
    let digest = state.digest();
    while let Some(((meta, sessions, bytes), undo)) = undos.pop() {
        state.take_back(undo);
        assert_eq!(state.meta, meta, "taken back, it is as it was (R24)");
        assert_eq!((&state.sessions, state.tables.bytes()), (&sessions, bytes));
    }
    // The same stream ends in the same bytes (R17).
    let mut again = State::default();
    for entry in &entries {
        if again.objection(entry).is_some() {
            break;
        }
        again.apply(entry.clone());
    }
    assert_eq!(again.digest(), digest);
    true
}

fn copies() -> Vec<Vec<u8>> {
    let of = |part: u8, bytes: Vec<u8>| [vec![part], bytes].concat();
    vec![
        of(0, rounds::encoded(&samples::meta())),
        of(0, rounds::encoded(&Meta::default())),
        of(1, rounds::encoded(&vec![samples::row("alice", "one"), samples::row(&"k".repeat(40), "")])),
        of(2, rounds::encoded(&vec![(SessionId(1), samples::session())])),
        of(
            3,
            rounds::encoded(&vec![("order-7", samples::keyed_reply()), ("order-8", samples::keyed_reply())]),
        ),
        of(4, rounds::encoded(&samples::descriptor())),
        of(5, rounds::encoded(&samples::record())),
    ]
}

/// The first byte says which part it is.
fn copy_parts(bytes: &[u8]) -> bool {
    let Some((part, bytes)) = bytes.split_first() else { return false };
    let mut state = State::default();
    match part {
        0 => {
            let Some(meta) = rounds::postcard::<Meta>(bytes) else { return false };
            state.set_meta(meta);
        }
        1 => {
            let Some(rows) = rounds::postcard::<Vec<Row>>(bytes) else { return false };
            for Row { table, key, value } in rows {
                state.insert_row(table, key, value);
            }
        }
        2 => {
            let Some(sessions) = rounds::postcard::<Vec<(SessionId, Session)>>(bytes) else { return false };
            sessions.into_iter().for_each(|(id, session)| state.sessions.insert_session(id, session));
        }
        3 => {
            let Some(keyed) = rounds::postcard::<Vec<(String, KeyedReply)>>(bytes) else { return false };
            keyed.into_iter().for_each(|(key, reply)| state.sessions.insert_keyed(key, reply));
        }
        4 => {
            let Some(descriptor) = rounds::postcard::<ApplicationDescriptor>(bytes) else { return false };
            if descriptor.check().is_ok() {
                let same = verdict::compare(&descriptor, &descriptor);
                assert!(same.reasons.is_empty(), "{:?}", same.reasons);
                assert_eq!(state.meta.feature_set(&descriptor), 0, "none is on");
            }
        }
        _ => return rounds::postcard::<lockstep_core::record::Record>(bytes).is_some(),
    }
    // The stream goes on behind a copy.
    let digest = state.digest();
    for mut entry in samples::entries() {
        let Some(next) = state.meta.last.0.checked_add(1) else { break };
        entry.number.0 = next;
        if state.objection(&entry).is_none() {
            let undo = state.apply(entry.clone());
            if next.is_multiple_of(2) {
                state.take_back(undo);
                let undo = state.apply(entry.clone());
                state.take_back(undo);
            } else {
                state.take_back(undo);
            }
            assert_eq!(state.digest(), digest, "taken back, it is as it was (R24)");
        }
    }
    true
}

fn rows_of_our_own() -> Vec<Vec<u8>> {
    let posted = Posted { stamp: 77, procedure: "remind".into(), parameters: vec![1, 2, 3] }.to_row();
    let of = |table: u8, key: &[u8], value: &[u8]| [&[table, key.len() as u8], key, value].concat();
    vec![
        of(0, b"remind", &posted),
        of(1, &timers::due_key(Micros(77), "remind"), &[posted::FORMAT]),
        of(2, &channels::outbox_key(&samples::group(), 3), &posted),
        of(3, &channels::channel_key(&samples::group()), &posted::number_row(3)),
        of(4, &channels::channel_key(&samples::group()), &posted::number_row(9)),
    ]
}

/// Which table, how long the key is, the key, the row.
fn own_rows(bytes: &[u8]) -> bool {
    let [table, length, rest @ ..] = bytes else { return false };
    let own = [TableId::TIMERS, TableId::DUE, TableId::OUTBOX, TableId::SENT, TableId::TAKEN];
    let table = own[usize::from(*table) % own.len()];
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let op = Op { table, key: key.into(), value: Some(value.into()) };
    let known = posted::check(op.lent()).is_ok();
    if let Some(posted) = Posted::of_row(value) {
        assert_eq!(posted.to_row(), value, "a row has one form");
    }
    if let Some(number) = posted::number_in(value) {
        assert_eq!(posted::number_row(number), value, "a row has one form");
    }
    let mut tables = Tables::default();
    tables.apply(&op);
    for (due, key) in timers::due(&tables, Micros(u64::MAX), 10) {
        assert_eq!(*timers::due_key(due, &key), *op.key, "a key has one form");
        assert_eq!(timers::next(&tables), Some(due));
    }
    // One without its other row is passed over.
    assert!(timers::all(&tables).is_empty());
    if let Ok(key) = std::str::from_utf8(key) {
        let found = timers::find(&tables, key);
        assert_eq!(found.is_some(), table == TableId::TIMERS && Posted::of_row(value).is_some());
    }
    let mut receivers = vec![samples::group()];
    for (receiver, _) in channels::sent(&tables) {
        assert_eq!(*channels::channel_key(&receiver), *op.key, "a key has one form");
        receivers.push(receiver);
    }
    for receiver in &receivers {
        if let Some(first) = channels::first_kept(&tables, receiver) {
            let kept = channels::kept(&tables, receiver, first);
            assert_eq!(kept, Posted::of_row(value));
            assert_eq!(channels::delivered(&tables, receiver, first).len(), 1);
        }
        assert!(channels::taken(&tables, receiver) <= posted::number_in(value).unwrap_or(0));
    }
    known
}

fn identifiers(bytes: &[u8]) -> bool {
    fn one<T: FromStr + ToString>(text: &str) -> bool {
        let Ok(value) = text.parse::<T>() else { return false };
        let again = value.to_string();
        assert_eq!(again.parse::<T>().ok().map(|value| value.to_string()), Some(again));
        true
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Ok(store) = text.parse::<StoreId>() {
        assert_eq!(store.to_string(), text, "a store has one name");
    }
    let core = one::<PluginHash>(text);
    assert_eq!(core, one::<lockstep_loader::PluginHash>(text), "both read the same hashes");
    one::<StoreId>(text) | core | one::<Version>(text)
}
