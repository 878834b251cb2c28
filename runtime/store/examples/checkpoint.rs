//! What checkpoints cost, and what is read of them at a start.
//!
//! `checkpoint [DIRECTORY] [REDO_MB]...`: for each size of redo a store of its own takes transfers as the ledger's, and a checkpoint is
//! made whenever so much redo waits, ten gigabytes of redo long or five times. Prints the processor time and the bytes written of
//! each transfer; last, how long opening takes when just as much redo is in no checkpoint.
//!
//! Deliberately absent: the engine, the partner, the network, and whoever else wants the processor. Figures are of this machine.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::descriptor::{TableKind, Version};
use lockstep_core::encoded_entries::{EncodedEntries, Gathered};
use lockstep_core::entry::{Control, Entry, EntryBody, Op, TableMeta};
use lockstep_core::event::{Encoding, EventId, Outcome};
use lockstep_core::ids::{Micros, NodeId, Number, PluginHash, SessionId, StoreId, TableId, Term};
use lockstep_store::{Options, RealDisk, Store, Work};

const ACCOUNTS: u64 = 100_000;
const RECEIPTS: u64 = 262_144;
const JOURNAL: u64 = 8;
const CHECKPOINTS: u64 = 3;
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

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn written_bytes() -> Result<u64, Box<dyn Error>> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).ok_or("no wchar")?;
    Ok(line.parse()?)
}

/// A value of `/proc/self/status` in MB.
fn memory_mb(name: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.split_whitespace().next().ok_or("no value")?.parse::<u64>()? >> 10)
}

fn run(dir: &Path, redo_mb: u64) -> Result<(), Box<dyn Error>> {
    let options = || {
        let redo_bytes = redo_mb << 20;
        Options { checkpoint_bytes: redo_bytes..=redo_bytes, ..Options::new(StoreId(1)) }
    };
    let (mut store, _) = Store::open(Arc::new(RealDisk), dir, options())?;
    let mut background = store.background();
    store.append(&[EncodedEntries::from(&installed())])?;
    let (mut number, mut made) = (1, 0);
    let (mut first, mut cpu, mut wall, mut written) = (0, Duration::ZERO, Duration::ZERO, 0);
    let mut rows_written = 0;
    // The first ones fill the tree.
    let checkpoints = CHECKPOINTS.max(1 << 9 >> redo_mb.ilog2());
    let mut pieces: Vec<EncodedEntries> = Vec::new();
    while made < 2 * checkpoints {
        let mut gathered = Gathered::default();
        for _ in 0..BATCH {
            number += 1;
            pieces.extend(gathered.push(&entry(number)));
        }
        pieces.extend(gathered.seal());
        store.append(&pieces)?;
        pieces.clear();
        store.set_held(Number(number));
        loop {
            let (began, before, bytes) = (Instant::now(), processor_time(), written_bytes()?);
            let Work::Checkpointed { through, rows, .. } = background.run_once()? else { break };
            made += 1;
            if made <= checkpoints {
                first = through.0;
                continue;
            }
            wall += began.elapsed();
            cpu += processor_time() - before;
            written += written_bytes()? - bytes;
            rows_written += rows;
            number = number.max(through.0);
            if made == 2 * checkpoints {
                let count = (through.0 - first) as f64;
                println!(
                    "{redo_mb} MB: {:.2} us of a processor, {:.2} us, {:.0} bytes, {:.2} rows a transfer; peak {} MB",
                    cpu.as_secs_f64() * 1e6 / count,
                    wall.as_secs_f64() * 1e6 / count,
                    written as f64 / count,
                    rows_written as f64 / count,
                    memory_mb("VmHWM:")?,
                );
            }
        }
    }
    let from = number;
    loop {
        let mut gathered = Gathered::default();
        for _ in 0..BATCH {
            number += 1;
            pieces.extend(gathered.push(&entry(number)));
        }
        pieces.extend(gathered.seal());
        store.append(&pieces)?;
        pieces.clear();
        store.set_held(Number(number));
        if background.checkpoint_due() {
            break;
        }
        background.run_once()?;
    }
    drop((store, background));
    let began = Instant::now();
    let (store, found) = Store::open(Arc::new(RealDisk), dir, options())?;
    println!("  {} transfers behind it: open after {:.2} s", number - from, began.elapsed().as_secs_f64());
    assert_eq!(found.state.meta.last, Number(number));
    drop(store);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = std::path::PathBuf::from(arguments.next().unwrap_or_else(|| "/tmp/lockstep-checkpoint".into()));
    let sizes: Vec<u64> = arguments.map(|mb| mb.parse()).collect::<Result<_, _>>()?;
    for redo_mb in if sizes.is_empty() { vec![32, 64, 128, 256] } else { sizes } {
        run(&dir.join(redo_mb.to_string()), redo_mb)?;
    }
    Ok(())
}
