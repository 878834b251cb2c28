//! A store as a processor leaves it, file by file, and what it holds after each of its entries: made once, then copied and
//! damaged by targets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::ids::{Number, StoreId};
use lockstep_core::state::State;
use lockstep_store::{Options, RealDisk, Store};
use tempfile::TempDir;

use crate::{samples, scratch};

/// The id of the store.
pub const STORE: StoreId = StoreId(7 << 90 | 1);
/// The machine's boot, as far as the store knows.
pub const BOOT: &str = "boot-1";
/// How large its segments are, in bytes.
pub const SEGMENT_BYTES: usize = 4 << 10;

/// The files of a group's directory, and digests of the database after 0, 1, 2, ... entries.
pub struct GoodStore {
    /// By their paths from the directory.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub digests: Vec<u64>,
}

/// How targets open stores: with segments of their size, nothing in the background.
pub fn options(fresh: u128) -> Options {
    let segment_bytes = SEGMENT_BYTES as u64;
    Options { boot: BOOT.into(), segment_bytes, recorded: None, ..Options::new(StoreId(fresh)) }
}

/// One whose entries are all in the redo log.
pub fn logged() -> &'static GoodStore {
    static MADE: OnceLock<GoodStore> = OnceLock::new();
    MADE.get_or_init(|| make(false))
}

/// One whose first entries are in a checkpoint.
pub fn checkpointed() -> &'static GoodStore {
    static MADE: OnceLock<GoodStore> = OnceLock::new();
    MADE.get_or_init(|| make(true))
}

fn make(checkpoint: bool) -> GoodStore {
    let directory = scratch::directory();
    let dir = directory.path().join("ledger/0");
    let options = Options {
        fresh: STORE,
        checkpoint_bytes: if checkpoint { 1..=1 } else { u64::MAX..=u64::MAX },
        recent_bytes: 0,
        ..options(0)
    };
    let (mut store, _) = Store::open(Arc::new(RealDisk), &dir, options).expect("a store can be made");
    let mut background = store.background();
    let (mut state, mut digests) = (State::default(), vec![State::default().digest()]);
    let stream = if checkpoint { samples::long_stream() } else { samples::entries() };
    for entry in stream {
        state.apply(entry.clone());
        digests.push(state.digest());
        let number = entry.number;
        store.append(&[EncodedEntries::from(&entry)]).expect("it takes entries");
        if number.0.is_multiple_of(3) {
            store.sync().expect("it can be synced");
            store.set_held(Number(number.0 - 1));
            // The next segment is made ahead; sealed ones go into the checkpoint.
            background.run_all().expect("the background work can be done");
        }
    }
    store.close().expect("it can be closed");
    let mut files = BTreeMap::new();
    collect(&dir, &dir, &mut files);
    let has_checkpoint = files.keys().any(|file| file.ends_with("checkpoint.redb"));
    assert_eq!(has_checkpoint, checkpoint, "{:?}", files.keys());
    GoodStore { files, digests }
}

fn collect(dir: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(below).expect("a directory").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        if path.is_dir() {
            collect(dir, &path, files);
        } else {
            let name = path.strip_prefix(dir).expect("it is below").to_owned();
            files.insert(name, fs::read(&path).expect("a file"));
        }
    }
}

impl GoodStore {
    /// Its files in a directory of their own, which is that of the group.
    pub fn copy(&self) -> TempDir {
        let directory = scratch::directory();
        for (name, bytes) in &self.files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("it is below")).expect("a directory can be made");
            fs::write(path, bytes).expect("a file can be written");
        }
        directory
    }

    /// The name of the one file that ends so.
    pub fn file(&self, end: &str) -> &Path {
        let mut files = self.files.keys().filter(|file| file.to_string_lossy().ends_with(end));
        files.next().unwrap_or_else(|| panic!("there is no {end} among {:?}", self.files.keys()))
    }
}
