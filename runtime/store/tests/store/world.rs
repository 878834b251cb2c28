//! Entries to store, and the disk that they are stored on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::descriptor::{TableKind, Version};
use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::entry::{Control, Entry, EntryBody, Op, TableMeta};
use lockstep_core::event::{Encoding, EventId, Outcome};
use lockstep_core::hash_seed::HashSeed;
use lockstep_core::ids::{Micros, NodeId, Number, PluginHash, SessionId, StoreId, TableId, Term};
use lockstep_core::state::State;
use lockstep_store::disk::Disk;
use lockstep_store::sim_disk::SimDisk;
use lockstep_store::{Options, Recovered, Store};

/// What the names of files begin with that were segments, and whose space later ones take.
pub const SPARE: &str = "redo-spare";

pub fn table(index: u64) -> TableId {
    TableId::of(if index == 0 { "accounts" } else { "journal" })
}

/// What a stream does at `number`: the same at every call.
pub fn entry(number: u64, term: u64, salt: u64) -> EncodedEntries {
    let random = |part: u64| {
        let mixed = (number.wrapping_mul(31) ^ salt.wrapping_mul(7_919) ^ part.wrapping_mul(104_729)) as u128;
        ((mixed * 0x9E37_79B9_7F4A_7C15_u128) >> 32) as u64
    };
    let body = match number {
        1 => EntryBody::Control(Control::Installed {
            node: NodeId("a".into()),
            version: Version::default(),
            hash: PluginHash([7; 32]),
            by_hand: false,
            tables: [("accounts", TableKind::Hash), ("journal", TableKind::Ordered)]
                .map(|(name, kind)| TableMeta::new(TableId::of(name), name, kind, 1))
                .into(),
        }),
        2 | 3 => EntryBody::OpenSession,
        _ if random(1) % 17 == 0 => EntryBody::Aborted,
        _ => {
            let session = EventId::Numbered { session: SessionId(2 + number % 2), number: number / 2 };
            let keyed = EventId::Keyed { key: format!("key {}", random(2) % 50) };
            let op = |part: u64| Op {
                table: table(random(part) % 2),
                key: (random(part + 1) % 40).to_be_bytes().into(),
                value: (random(part + 2) % 5 > 0)
                    .then(|| vec![random(part + 3) as u8 | 1; (random(part + 4) % 90) as usize].into()),
            };
            EntryBody::Procedure {
                event: if random(3) % 4 == 0 { keyed } else { session },
                awaited_from: number / 2 - (number / 2).min(3),
                encoding: Encoding::Json,
                procedure: "transfer".into(),
                outcome: Outcome::Committed { reply: format!("reply {number}").into_bytes().into() },
                ops: (0..random(4) % 5).map(|at| op(10 + at * 10)).collect(),
            }
        }
    };
    EncodedEntries::from(&Entry {
        number: Number(number),
        term: Term(term),
        time: Micros(number * 1_000),
        body,
    })
}

pub fn entries(numbers: std::ops::RangeInclusive<u64>, term: u64, salt: u64) -> Vec<EncodedEntries> {
    numbers.map(|number| entry(number, term, salt)).collect()
}

/// The state after `entries`, in memory.
pub fn state_of<'a>(entries: impl IntoIterator<Item = &'a EncodedEntries>) -> State {
    let mut state = State::default();
    entries.into_iter().for_each(|entry| drop(state.apply(only(entry))));
    state
}

/// The one entry of a piece.
pub fn only(piece: &EncodedEntries) -> Entry {
    assert_eq!(piece.len(), 1);
    piece.iter().next().unwrap()
}

/// Each entry of what a store has found, as a piece of its own.
pub fn each(recent: &[EncodedEntries]) -> Vec<EncodedEntries> {
    recent.iter().flat_map(EncodedEntries::iter).map(|entry| EncodedEntries::from(&entry)).collect()
}

/// Both have the same rows, sessions and data of the group's own.
#[track_caller]
pub fn same(found: &State, expected: &State) {
    assert_eq!(found.meta, expected.meta);
    assert_eq!(found.digest(), expected.digest(), "rows differ at {}", expected.meta.last);
    assert_eq!(found.sessions, expected.sessions);
    assert_eq!(found.tables.bytes(), expected.tables.bytes());
}

pub struct World {
    pub disk: SimDisk,
    pub dir: PathBuf,
    pub options: Options,
}

impl World {
    pub fn new() -> Self {
        let mut options = Options::new(StoreId(1 << 100 | 1));
        options.segment_bytes = 8 << 10;
        options.checkpoint_bytes = 1..=1;
        options.chunk_bytes = 16 << 10;
        options.recent_bytes = 12 << 10;
        World { disk: SimDisk::new(), dir: "/data/ledger/0".into(), options }
    }

    /// The spares of all stores.
    pub fn spares(&self) -> Vec<PathBuf> {
        let is_spare = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(SPARE);
        self.disk.files().into_iter().filter(is_spare).collect()
    }

    pub fn try_open(&self) -> Result<(Store, Recovered), lockstep_store::StoreError> {
        Store::open(Arc::new(self.disk.clone()), &self.dir, self.options.clone())
    }

    #[track_caller]
    pub fn open(&self) -> (Store, Recovered) {
        let (store, found) = self.try_open().expect("the store opens");
        assert_eq!(
            found.state.tables.hash_seed(),
            HashSeed::of(found.store),
            "each store hashes with its id"
        );
        (store, found)
    }

    pub fn store_dir(&self, store: StoreId) -> PathBuf {
        self.dir.join(format!("store-{store}"))
    }

    pub fn segment(&self, store: StoreId, number: u64) -> PathBuf {
        self.store_dir(store).join(format!("redo-{number:010}.log"))
    }

    pub fn segments(&self, store: StoreId) -> Vec<PathBuf> {
        let dir = self.store_dir(store);
        let names = self.disk.list(&dir).unwrap_or_default();
        names.into_iter().filter(|name| name.ends_with(".log")).map(|name| dir.join(name)).collect()
    }
}

/// Where the last byte of a file is that is not zero.
pub fn end_of(disk: &SimDisk, path: &Path) -> usize {
    disk.content(path).iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}
