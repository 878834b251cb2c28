//! How fast a disk takes a group's redo log, and how long its syncs last.
//!
//! `append [DIRECTORY] [SECONDS]`: appends batches of 200 entries of about 500 bytes through `Store`, as the store's
//! thread does, with the background work beside it: first without syncs, then with one after every batch. Prints
//! entries a second, the processor time of an entry, and the latencies. Last, how long opening the store again took.
//!
//! Deliberately absent: the engine, the partner, the network. Figures are of this machine and file system.
#![forbid(unsafe_code)]

mod processor;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::entry::{Entry, EntryBody, Op};
use lockstep_core::event::{Encoding, EventId, Outcome};
use lockstep_core::ids::{Micros, Number, SessionId, StoreId, TableId, Term};
use lockstep_store::{Background, Options, RealDisk, Store};

const BATCH: u64 = 200;
const ROWS: u64 = 100_000;

/// A procedure with three rows of 100 bytes and a reply: about 500 bytes of redo.
fn entry(number: u64) -> EncodedEntries {
    let op = |part: u64| Op {
        table: TableId::of("accounts"),
        key: (number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(part) % ROWS).to_be_bytes().into(),
        value: Some(vec![number as u8 | 1; 120].into()),
    };
    let body = EntryBody::Procedure {
        event: EventId::Numbered { session: SessionId(1 + number % 50), number },
        awaited_from: number.saturating_sub(20),
        encoding: Encoding::Json,
        procedure: "transfer".into(),
        outcome: Outcome::Committed { reply: [b'r'; 60].into() },
        ops: (0..3).map(op).collect(),
    };
    EncodedEntries::from(&Entry { number: Number(number), term: Term(1), time: Micros(number), body })
}

fn line(name: &str, histogram: &Histogram<u64>) {
    let at = |quantile| histogram.value_at_quantile(quantile);
    println!(
        "  {name}: p50 {} us, p99 {} us, p99.9 {} us, max {} us",
        at(0.5),
        at(0.99),
        at(0.999),
        histogram.max()
    );
}

fn run(dir: &Path, syncs: bool, seconds: u64) -> Result<(), Box<dyn Error>> {
    let (mut store, _) = Store::open(Arc::new(RealDisk), dir, Options::new(StoreId(1)))?;
    let background = store.background();
    let beside =
        std::thread::spawn(move || background.run(|error| eprintln!("{error}"), Background::run_once));
    let mut appends = Histogram::<u64>::new(3)?;
    let mut sync_times = Histogram::<u64>::new(3)?;
    let (mut number, mut cpu, mut worked) = (0, Duration::ZERO, Duration::ZERO);
    let mut batches = Vec::new();
    while worked < Duration::from_secs(seconds) {
        if batches.is_empty() {
            // Made beforehand, so that no time is counted but the store's.
            batches =
                (0..50).map(|at| (1..=BATCH).map(|of| entry(number + at * BATCH + of)).collect()).collect();
            batches.reverse();
        }
        let batch: Vec<EncodedEntries> = batches.pop().unwrap_or_default();
        let (began, cpu_before) = (Instant::now(), processor::time());
        store.append(&batch)?;
        let appended = began.elapsed();
        appends.record(appended.as_micros() as u64)?;
        if syncs {
            store.sync()?;
            sync_times.record((began.elapsed() - appended).as_micros() as u64)?;
        }
        store.set_held(Number(number));
        worked += began.elapsed();
        cpu += processor::time() - cpu_before;
        number += BATCH;
    }
    store.sync()?;
    let rate = number as f64 / worked.as_secs_f64();
    let each = cpu.as_secs_f64() * 1e6 / number as f64;
    println!(
        "{}: {rate:.0} entries/s, {each:.2} us processor time an entry",
        if syncs { "synced" } else { "not synced" }
    );
    line("append of 200", &appends);
    if syncs {
        line("sync", &sync_times);
    }
    drop(store);
    beside.join().map_err(|_| "the background work panicked")?;
    let began = Instant::now();
    let (_, found) = Store::open(Arc::new(RealDisk), dir, Options::new(StoreId(2)))?;
    assert_eq!(found.state.meta.last, Number(number));
    println!(
        "  opened again in {} ms, {} entries in the recent stream",
        began.elapsed().as_millis(),
        found.recent.len()
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let temporary;
    let dir = match arguments.next() {
        Some(dir) => PathBuf::from(dir),
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path().to_owned()
        }
    };
    let seconds = arguments.next().map_or(Ok(5), |seconds| seconds.parse())?;
    println!("in {}", dir.display());
    run(&dir.join("not-synced/0"), false, seconds)?;
    run(&dir.join("synced/0"), true, seconds)
}
