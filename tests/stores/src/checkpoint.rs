//! The second choice: what a checkpoint is kept in. Rows are written in order of their keys, one transaction a chunk of the
//! redo log, and all of them are read at a start.
//!
//! Each transaction opens the file and closes it, as a checkpoint does, so that nothing is kept in memory in between; and it
//! reads the old value of each row, of which the sum over all rows is made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use comfy_table::Table;
use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::Args;
use crate::candidates::Failure;
use crate::child::{self, Job};
use crate::measures::{self, median};
use crate::transfers::{bytes_of, mixed};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// The rows' table.
const TABLE: u32 = 7;
/// What the checkpoint's cache is, in bytes.
const CACHE_BYTES: usize = 8 << 20;
/// How many rows go into one transaction while all of them are written.
const CHUNK_ROWS: usize = 1_000_000;
/// What redo they would be of, in bytes.
const CHUNK_BYTES: u64 = 256 << 20;

/// What rows are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// As it is: a copy-on-write B+ tree in one file, rows under the hashes of their keys.
    Hashed,
    /// The same tree, rows under their keys.
    Keyed,
    /// A log-structured merge tree, with levels.
    Fjall,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Hashed => "redb, by hash",
            Engine::Keyed => "redb, by key",
            Engine::Fjall => "fjall",
        }
    }
}

/// Rows to be written or read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    engine: Engine,
    directory: PathBuf,
    /// How many there are.
    rows: u64,
    /// So many of them are changed; all are written when none.
    changed: Option<u64>,
    /// What the changes follow from.
    seed: u64,
}

/// What it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Took {
    ms: f64,
    cpu_s: f64,
    /// Of rows, with keys.
    row_bytes: u64,
    written_bytes: u64,
    /// What the files take of the disk.
    disk_bytes: u64,
    resident_growth_bytes: u64,
}

type Row = (Vec<u8>, Vec<u8>);

/// A row: a key as accounts have them, a value of 60 to 120 bytes.
fn row(number: u64, seed: u64) -> Row {
    let key = format!("acc{number:09}").into_bytes();
    (key, bytes_of(number ^ seed << 40, 60 + (mixed(number) % 60) as usize))
}

/// Writes rows, in the child.
///
/// # Errors
/// When the disk or the library fails.
pub fn rows(plan: &Plan) -> Result<Took, Failure> {
    let numbers: Vec<u64> = match plan.changed {
        None => (0..plan.rows).collect(),
        Some(changed) => {
            let any = (0..changed).map(|at| mixed(plan.seed << 32 | at) % plan.rows);
            any.collect::<BTreeSet<u64>>().into_iter().collect()
        }
    };
    let (resident_before, _) = measures::resident_bytes()?;
    let (mut ms, mut cpu_s, mut row_bytes, mut written) = (0.0, 0.0, 0, 0);
    for chunk in numbers.chunks(CHUNK_ROWS) {
        let rows: Vec<Row> = chunk.iter().map(|number| row(*number, plan.seed)).collect();
        row_bytes += rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        let (begun, cpu, before) = (Instant::now(), measures::process_cpu(), measures::written_bytes()?);
        match plan.engine {
            Engine::Hashed => hashed_rows(&plan.directory, &rows)?,
            Engine::Keyed => keyed_rows(&plan.directory, &rows)?,
            Engine::Fjall => fjall_rows(&plan.directory, &rows)?,
        }
        ms += begun.elapsed().as_secs_f64() * 1e3;
        cpu_s += (measures::process_cpu() - cpu).as_secs_f64();
        written += measures::written_bytes()? - before;
    }
    let (_, resident) = measures::resident_bytes()?;
    Ok(Took {
        ms,
        cpu_s,
        row_bytes,
        written_bytes: written,
        disk_bytes: measures::disk_bytes(&plan.directory)?,
        resident_growth_bytes: resident.saturating_sub(resident_before),
    })
}

fn hashed_rows(directory: &Path, rows: &[Row]) -> Result<(), Failure> {
    in_redb(directory, |writing| {
        let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        lockstep_store::rows::put(writing, directory, CHUNK_BYTES, TABLE, rows)
    })
}

fn keyed_rows(directory: &Path, rows: &[Row]) -> Result<(), Failure> {
    in_redb(directory, |writing| {
        let mut table = writing.open_table(ROWS)?;
        for (key, value) in rows {
            let key = [&TABLE.to_be_bytes(), key.as_slice()].concat();
            std::hint::black_box(table.insert(key.as_slice(), value.as_slice())?);
        }
        Ok(())
    })
}

fn in_redb(
    directory: &Path,
    write: impl FnOnce(&redb::WriteTransaction) -> Result<(), Failure>,
) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)?;
    let mut builder = redb::Database::builder();
    let database = builder.set_cache_size(CACHE_BYTES).create(directory.join("rows.redb"))?;
    let mut writing = database.begin_write()?;
    writing.set_quick_repair(true);
    write(&writing)?;
    writing.commit()?;
    database.close()?;
    Ok(())
}

fn fjall_rows(directory: &Path, rows: &[Row]) -> Result<(), Failure> {
    let database = fjall::Database::builder(directory).open()?;
    let keyspace = database.keyspace("rows", KeyspaceCreateOptions::default)?;
    let mut batch = database.batch().durability(Some(PersistMode::SyncData));
    for (key, value) in rows {
        let key = [&TABLE.to_be_bytes(), key.as_slice()].concat();
        std::hint::black_box(keyspace.get(&key)?);
        batch.insert(&keyspace, key, value.as_slice());
    }
    batch.commit()?;
    Ok(())
}

/// Reads all rows, in the child, as a start does: checked, into memory.
///
/// # Errors
/// When the disk or the library fails, or rows are missing.
pub fn load(plan: &Plan) -> Result<Took, Failure> {
    let (resident_before, _) = measures::resident_bytes()?;
    let (begun, cpu) = (Instant::now(), measures::process_cpu());
    let mut rows: Vec<Row> = Vec::new();
    match plan.engine {
        Engine::Hashed => {
            let database = checked(&plan.directory)?;
            let reading = database.begin_read()?;
            lockstep_store::rows::read(&reading, |key, value| rows.push((key.into(), value.into())))?;
        }
        Engine::Keyed => {
            let database = checked(&plan.directory)?;
            for row in database.begin_read()?.open_table(ROWS)?.iter()? {
                let (key, value) = row?;
                rows.push((key.value().into(), value.value().into()));
            }
        }
        Engine::Fjall => {
            let database = fjall::Database::builder(&plan.directory).open()?;
            let keyspace = database.keyspace("rows", KeyspaceCreateOptions::default)?;
            for row in keyspace.iter() {
                let (key, value) = row.into_inner()?;
                rows.push((key.to_vec(), value.to_vec()));
            }
        }
    }
    let (ms, cpu_s) = (begun.elapsed().as_secs_f64() * 1e3, (measures::process_cpu() - cpu).as_secs_f64());
    if rows.len() as u64 != plan.rows {
        return Err(format!("{} rows are there of {}", rows.len(), plan.rows).into());
    }
    let (_, resident) = measures::resident_bytes()?;
    Ok(Took {
        ms,
        cpu_s,
        row_bytes: rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum(),
        written_bytes: 0,
        disk_bytes: measures::disk_bytes(&plan.directory)?,
        resident_growth_bytes: resident.saturating_sub(resident_before),
    })
}

fn checked(directory: &Path) -> Result<redb::Database, Failure> {
    let mut builder = redb::Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.open(directory.join("rows.redb"))?)
}

/// What is asked of the command.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// How many rows.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// So many of them are changed, five times.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    changed: u64,
    /// How often each is measured, all in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
}

/// How many batches of changed rows there are.
const BATCHES: u64 = 5;

/// Measures them, prints the table or one object.
///
/// # Errors
/// When something fails.
pub fn run(asked: &Asked, args: &Args, directory: &Path) -> Result<bool, Failure> {
    let machine = measures::machine()?;
    let engines = [Engine::Hashed, Engine::Keyed, Engine::Fjall];
    // What was done, for each engine.
    let parts = ["all rows written", "changed rows written", "all rows read at a start"];
    let mut took: Vec<[Vec<Took>; 3]> = vec![Default::default(); engines.len()];
    for round in 0..asked.rounds {
        for (engine, took) in engines.iter().zip(&mut took) {
            args.progress(&format!("{}: round {}", engine.name(), round + 1));
            let place = tempfile::Builder::new().prefix("rows-").tempdir_in(directory)?;
            let place = place.path().join("rows");
            let plan = |changed, seed| Plan {
                engine: *engine,
                directory: place.clone(),
                rows: asked.rows,
                changed,
                seed,
            };
            took[0].push(child::have_done(&Job::Rows(plan(None, 0)))?);
            for batch in 1..=BATCHES {
                took[1].push(child::have_done(&Job::Rows(plan(Some(asked.changed), batch)))?);
            }
            took[2].push(child::have_done(&Job::Load(plan(None, 0)))?);
        }
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["", "", "ms", "CPU s", "written per byte", "on disk MB", "memory MB"]);
    let mut told = Vec::new();
    for (part, name) in parts.iter().enumerate() {
        for (engine, took) in engines.iter().zip(&took) {
            let took = &took[part];
            let of = |figure: &dyn Fn(&Took) -> f64| median(took.iter().map(figure).collect());
            let (ms, cpu_s) = (of(&|took| took.ms), of(&|took| took.cpu_s));
            let written = of(&|took| took.written_bytes as f64 / took.row_bytes as f64);
            let disk = of(&|took| took.disk_bytes as f64 / 1e6);
            let memory = of(&|took| took.resident_growth_bytes as f64 / 1e6);
            table.add_row([
                (*name).to_owned(),
                engine.name().to_owned(),
                format!("{ms:.0}"),
                format!("{cpu_s:.2}"),
                format!("{written:.2}"),
                format!("{disk:.0}"),
                format!("{memory:.0}"),
            ]);
            told.push(serde_json::json!({
                "part": name, "engine": engine, "ms": ms, "cpu_s": cpu_s, "written_per_byte": written,
                "disk_mb": disk, "memory_mb": memory, "all": took,
            }));
        }
    }
    if args.json() {
        println!(
            "{}",
            serde_json::json!({"machine": machine, "rows": asked.rows, "changed": asked.changed, "parts": told})
        );
    } else {
        println!("{table}\n\n{machine}; {} rows, {} changed", asked.rows, asked.changed);
    }
    Ok(true)
}
