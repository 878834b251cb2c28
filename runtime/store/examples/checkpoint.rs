//! What checkpoints cost, and how long a start takes that has to read what is not in one.
//!
//! `checkpoint [DIRECTORY] [REDO_MB]...`: for each size of redo a store of its own takes transfers as the ledger's, 1,160,000 rows in
//! all, and a checkpoint is made whenever so much redo waits. After half a gigabyte of redo, or three checkpoints, it prints what as many
//! again take a transfer: processor time, time, bytes written, rows put into the tree. Last, how long opening the store
//! takes when so much redo is in no checkpoint.
//!
//! Deliberately absent: the engine, the partner, the network, and whoever else wants the processor. Figures are of this machine.
#![forbid(unsafe_code)]

mod processor;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::descriptor::{TableKind, Version};
use lockstep_core::encoded_entries::{EncodedEntries, Gathered};
use lockstep_core::entry::{Control, Entry, EntryBody, Op, TableMeta};
use lockstep_core::event::{Encoding, EventId, Outcome};
use lockstep_core::ids::{Micros, NodeId, Number, PluginHash, SessionId, StoreId, TableId, Term};
use lockstep_store::{Background, Options, RealDisk, Store, Work};

const ACCOUNTS: u64 = 100_000;
const RECEIPTS: u64 = 262_144;
const JOURNAL: u64 = 8;
const CHECKPOINTS_MIN: u64 = 3;
const REDO_MB: u64 = 512;
const BATCH: u64 = 256;

fn mixed(seed: u64) -> u64 {
    let mut word = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word ^ (word >> 27)
}

/// Says which tables there are.
fn installed() -> Entry {
    let tables = ["accounts", "receipts", "journal"];
    let tables = tables.map(|name| TableMeta::new(TableId::of(name), name, TableKind::Hash, 1)).to_vec();
    let (node, version, hash) = (NodeId("a".into()), Version::default(), PluginHash::default());
    let control = Control::Installed { node, version, hash, by_hand: false, tables };
    Entry { number: Number(1), term: Term(1), time: Micros(1), body: EntryBody::Control(control) }
}

/// Two accounts with a line of the journal each, and a receipt: some 300 bytes of redo.
fn entry(number: u64) -> Entry {
    let op = |table: &str, key: String, bytes: usize| Op {
        table: TableId::of(table),
        key: key.into_bytes().into(),
        value: Some(vec![number as u8 | 1; bytes].into()),
    };
    let account = |which: u64| mixed(number * 2 + which) % ACCOUNTS;
    let line = |which: u64| format!("{:07}", account(which) * JOURNAL + mixed(number) % JOURNAL);
    let ops = vec![
        op("accounts", format!("account{:06}", account(0)), 20),
        op("accounts", format!("account{:06}", account(1)), 20),
        op("receipts", format!("{:06}", number % RECEIPTS), 28),
        op("journal", line(0), 28),
        op("journal", line(1), 28),
    ];
    let body = EntryBody::Procedure {
        event: EventId::Numbered { session: SessionId(1 + number % 64), number },
        awaited_from: number.saturating_sub(64),
        encoding: Encoding::Postcard,
        procedure: "transfer".into(),
        outcome: Outcome::Committed { reply: [b'r'; 16].into() },
        ops,
    };
    Entry { number: Number(number), term: Term(1), time: Micros(number), body }
}

fn written_bytes() -> Result<u64, Box<dyn Error>> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).ok_or("no wchar")?;
    Ok(line.parse()?)
}

/// What checkpoints took.
#[derive(Default)]
struct Took {
    cpu: Duration,
    wall: Duration,
    written_bytes: u64,
    rows: usize,
}

/// A store that transfers go into.
struct Filled {
    store: Store,
    background: Background,
    number: u64,
}

impl Filled {
    fn open(dir: &Path, redo_mb: u64) -> Result<Filled, Box<dyn Error>> {
        let redo_bytes = redo_mb << 20;
        let options = Options { checkpoint_bytes: redo_bytes..=redo_bytes, ..Options::new(StoreId(1)) };
        let (store, found) = Store::open(Arc::new(RealDisk), dir, options)?;
        let background = store.background();
        Ok(Filled { store, background, number: found.state.meta.last.0 })
    }

    /// Appends transfers until a checkpoint is due.
    fn fill(&mut self) -> Result<(), Box<dyn Error>> {
        while !self.background.checkpoint_due() {
            let (mut gathered, mut pieces) = (Gathered::default(), Vec::new());
            for _ in 0..BATCH {
                self.number += 1;
                pieces.extend(gathered.push(&entry(self.number)));
            }
            pieces.extend(gathered.seal());
            self.store.append(&pieces)?;
            self.store.set_held(Number(self.number));
            // Segments are made ahead meanwhile.
            if !self.background.checkpoint_due() {
                self.background.run_once()?;
            }
        }
        Ok(())
    }

    /// Makes `count` checkpoints; where the last one ends, and what they took.
    fn checkpoints(&mut self, count: u64) -> Result<(Number, Took), Box<dyn Error>> {
        let (mut took, mut made, mut end) = (Took::default(), 0, Number(0));
        while made < count {
            self.fill()?;
            let (began, cpu, written) = (Instant::now(), processor::time(), written_bytes()?);
            let Work::Checkpointed { through, rows, .. } = self.background.run_once()? else { continue };
            took.wall += began.elapsed();
            took.cpu += processor::time() - cpu;
            took.written_bytes += written_bytes()? - written;
            took.rows += rows;
            (made, end) = (made + 1, through);
        }
        Ok((end, took))
    }
}

fn run(dir: &Path, redo_mb: u64) -> Result<(), Box<dyn Error>> {
    let mut filled = Filled::open(dir, redo_mb)?;
    filled.store.append(&[EncodedEntries::from(&installed())])?;
    filled.number = 1;
    let count = CHECKPOINTS_MIN.max(REDO_MB / redo_mb);
    let (first, _) = filled.checkpoints(count)?;
    let (last, took) = filled.checkpoints(count)?;
    let transfers = (last.0 - first.0) as f64;
    let us = |time: Duration| time.as_secs_f64() * 1e6 / transfers;
    println!(
        "checkpoints of {redo_mb} MB: {:.2} us of a processor a transfer, in {:.2} us; {:.0} bytes, {:.2} rows",
        us(took.cpu),
        us(took.wall),
        took.written_bytes as f64 / transfers,
        took.rows as f64 / transfers,
    );
    filled.fill()?;
    let (number, behind) = (filled.number, filled.number - last.0);
    drop(filled);
    let began = Instant::now();
    let filled = Filled::open(dir, redo_mb)?;
    println!(
        "  opened after {:.2} s, {behind} transfers behind the checkpoint",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(filled.number, number);
    drop(filled);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir =
        arguments.next().map_or_else(|| std::env::temp_dir().join("lockstep-checkpoint"), PathBuf::from);
    let sizes: Vec<u64> = arguments.map(|mb| mb.parse()).collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() { vec![32, 64, 128, 256] } else { sizes };
    sizes.into_iter().try_for_each(|redo_mb| run(&dir.join(redo_mb.to_string()), redo_mb))
}
