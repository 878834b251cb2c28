//! The redo log as a processor uses it: one record a group commit, the oldest ones going, a partner catching up.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use comfy_table::Table;
use serde::{Deserialize, Serialize};

use crate::Args;
use crate::candidates::{self, Candidate, Failure, Reader, Setting};
use crate::child::{self, Job};
use crate::measures::{self, Latencies, LatenciesInShort, median};
use crate::transfers;

/// What is written before a segment or memtable is left for the next one: as in a processor.
const TURN_BYTES: u64 = 16 << 20;

/// A reader rests after so many.
const REST_AFTER_BYTES: u64 = 128 << 10;

/// One measured run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    setting: Setting,
    /// How many transfers a record is of.
    transfers: u64,
    /// So long it spends in commits while it is measured.
    seconds: f64,
    /// Somebody reads the recent stream all the while.
    catch_up: bool,
    /// So many commits are due a second, whatever the log does; as many as it takes when none is said.
    rate: Option<u64>,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    commits: u64,
    last: u64,
    payload_bytes: u64,
    seconds: f64,
    latencies: LatenciesInShort,
    cpu_s: f64,
    written_bytes: u64,
    disk_written_bytes: u64,
    resident_growth_bytes: u64,
    /// What the reader got a second.
    read_bytes_per_s: f64,
}

/// How it was to open the log again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reopened {
    ms: f64,
    last: u64,
    entries: usize,
}

/// Writes, in the child.
///
/// # Errors
/// When the disk or the library fails.
pub fn write(plan: &Plan) -> Result<Run, Failure> {
    let (resident_before, _) = measures::resident_bytes()?;
    let mut log = candidates::open(&plan.setting)?;
    let mut writer = Writer::default();
    // A processor is seldom at its first segment; and who catches up has something to read.
    let filled = if plan.catch_up { plan.setting.recent_bytes / 2 } else { 0 };
    while writer.busy.as_secs_f64() < plan.seconds / 4.0 || writer.payload_bytes < filled {
        writer.commit(log.as_mut(), plan, None)?;
    }
    let mut writer = Writer { sequence: writer.sequence, ..Writer::default() };
    let reading =
        if plan.catch_up { Some(Reading::begin(log.reader().ok_or("it can't be read")?)) } else { None };
    let (cpu, written) = (measures::process_cpu(), measures::written_bytes()?);
    let disk_written = measures::disk_written_bytes(&plan.setting.directory)?;
    let begun = Instant::now();
    let spent = |writer: &Writer| match plan.rate {
        // Most of it goes by in waiting, and latencies of what is due at once add up.
        Some(_) => begun.elapsed().as_secs_f64(),
        None => writer.busy.as_secs_f64(),
    };
    while spent(&writer) < plan.seconds {
        writer.commit(log.as_mut(), plan, Some(begun))?;
    }
    let seconds = spent(&writer);
    let cpu = measures::process_cpu() - cpu - writer.cpu_beside;
    let written = measures::written_bytes()? - written;
    let disk_written = measures::disk_written_bytes(&plan.setting.directory)? - disk_written;
    let read_bytes_per_s = reading.map_or(Ok(0.0), Reading::end)?;
    let (_, resident_peak) = measures::resident_bytes()?;
    let run = Run {
        commits: writer.commits,
        last: writer.sequence * plan.transfers,
        payload_bytes: writer.payload_bytes,
        seconds,
        latencies: writer.latencies.in_short(),
        cpu_s: cpu.as_secs_f64(),
        written_bytes: written,
        disk_written_bytes: disk_written,
        resident_growth_bytes: resident_peak.saturating_sub(resident_before),
        read_bytes_per_s,
    };
    // It is not closed: a child is killed.
    std::mem::forget(log);
    Ok(run)
}

struct Writer {
    sequence: u64,
    commits: u64,
    payload_bytes: u64,
    busy: Duration,
    latencies: Latencies,
    /// What making the entries took.
    cpu_beside: Duration,
}

impl Default for Writer {
    fn default() -> Self {
        let (busy, latencies) = (Duration::ZERO, Latencies::new());
        Writer { sequence: 0, commits: 0, payload_bytes: 0, busy, latencies, cpu_beside: Duration::ZERO }
    }
}

impl Writer {
    /// One record. Where a rate is asked for, its latency counts from the moment when it was due since `begun`.
    fn commit(
        &mut self,
        log: &mut dyn candidates::RedoLog,
        plan: &Plan,
        begun: Option<Instant>,
    ) -> Result<(), Failure> {
        let cpu = measures::thread_cpu();
        let entries = transfers::record(self.sequence, plan.transfers);
        self.payload_bytes += postcard::experimental::serialized_size(&entries)? as u64;
        self.cpu_beside += measures::thread_cpu() - cpu;
        let mut from = Instant::now();
        if let (Some(rate), Some(begun)) = (plan.rate, begun) {
            let due = begun + Duration::from_secs_f64(self.commits as f64 / rate as f64);
            std::thread::sleep(due.saturating_duration_since(from));
            from = due;
        }
        log.commit(&entries)?;
        let took = from.elapsed();
        let cpu = measures::thread_cpu();
        self.busy += took;
        self.latencies.add(took);
        self.sequence += 1;
        self.commits += 1;
        if plan.catch_up {
            log.remember(entries);
        } else {
            drop(entries);
        }
        self.cpu_beside += measures::thread_cpu() - cpu;
        Ok(())
    }
}

/// A thread that reads the recent stream from its begin to its end, again and again.
struct Reading {
    stop: Arc<AtomicBool>,
    begun: Instant,
    thread: std::thread::JoinHandle<Result<u64, Failure>>,
}

impl Reading {
    fn begin(mut reader: Box<dyn Reader>) -> Reading {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut bytes, mut rested, mut from) = (0, 0, reader.first()?);
            while !stopped.load(Ordering::Relaxed) {
                let (some, next) = reader.read_some(from)?;
                bytes += some;
                from = if some > 0 { next } else { reader.first()? };
                // The partner takes its time: not above 128 MB/s.
                if bytes - rested >= REST_AFTER_BYTES || some == 0 {
                    rested = bytes;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Ok(bytes)
        });
        Reading { stop, begun: Instant::now(), thread }
    }

    fn end(self) -> Result<f64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.begun.elapsed().as_secs_f64();
        let bytes = self.thread.join().map_err(|_| "the reader panicked")??;
        Ok(bytes as f64 / seconds)
    }
}

/// Opens a log again, in the child.
///
/// # Errors
/// When it can't be read.
pub fn reopen(setting: &Setting) -> Result<Reopened, Failure> {
    let begun = Instant::now();
    let (log, found) = candidates::reopen(setting)?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    std::mem::forget(log);
    Ok(Reopened { ms, last: found.last, entries: found.recent.len() })
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Workload {
    transfers: u64,
    synced: bool,
    catch_up: bool,
    rate: Option<u64>,
}

impl Workload {
    fn name(&self) -> String {
        let durability = if self.synced { "fsync" } else { "replicated" };
        let plural = if self.transfers == 1 { "" } else { "s" };
        let reading = if self.catch_up { ", while a partner catches up" } else { "" };
        let rate = self.rate.map_or_else(String::new, |rate| format!(", {rate} records a second"));
        format!("{} transfer{plural} a record, {durability}{rate}{reading}", self.transfers)
    }
}

/// A candidate under a workload, over all rounds.
#[derive(Debug, Serialize)]
struct Row {
    candidate: Candidate,
    commits_per_s: f64,
    mb_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    /// The longest of all rounds.
    longest_ms: f64,
    /// Commits of all rounds that took longer.
    above_5_ms: u64,
    above_20_ms: u64,
    cpu_s_per_1000: f64,
    /// As the kernel counts it for the process.
    written_per_byte: f64,
    /// As the disk counts it, whoever wrote: what was not synced may come later.
    disk_written_per_byte: f64,
    resident_growth_mb: f64,
    read_mb_per_s: f64,
    /// None where nothing is opened again.
    reopen_ms: Option<f64>,
    runs: Vec<Run>,
}

/// Kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A commit counts once it is synced; the next one follows at once.
    Fsync,
    /// The same, once the operating system has it.
    Replicated,
    /// `replicated`, at the rate that is asked for.
    Paced,
    /// `fsync`, while a partner catches up.
    CatchUp,
}

/// What is asked of the command.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Which; all unless said.
    #[arg(long, value_enum, value_delimiter = ',')]
    candidates: Vec<Candidate>,
    /// How many transfers a record is of.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256], value_parser = clap::value_parser!(u64).range(1..=4_096))]
    transfers: Vec<u64>,
    /// How often each is measured, all candidates in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// So long each run spends in commits.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Which kinds of workloads; all unless said.
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// How many records a second are written where the load is the same for all.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How much of the stream is kept, in MB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    recent_mb: u64,
}

/// Measures all, prints the tables or one object.
///
/// # Errors
/// When a run fails, or a log has lost something.
pub fn run(asked: &Asked, args: &Args, directory: &Path) -> Result<bool, Failure> {
    let mut chosen = asked.candidates.clone();
    if chosen.is_empty() {
        chosen.extend_from_slice(Candidate::value_variants());
    }
    let machine = measures::machine()?;
    let mut workloads: Vec<Workload> = Vec::new();
    let middle = asked.transfers[asked.transfers.len() / 2];
    let wanted = |kind| asked.kinds.is_empty() || asked.kinds.contains(&kind);
    let both = [(Kind::Fsync, true), (Kind::Replicated, false)];
    for (_, synced) in both.into_iter().filter(|(kind, _)| wanted(*kind)) {
        workloads.extend(asked.transfers.iter().map(|transfers| Workload {
            transfers: *transfers,
            synced,
            catch_up: false,
            rate: None,
        }));
    }
    if wanted(Kind::Paced) {
        // What a full pair writes: the latencies of all are then those of the same load.
        let rate = Some(asked.rate);
        workloads.push(Workload { transfers: middle, synced: false, catch_up: false, rate });
    }
    if wanted(Kind::CatchUp) {
        workloads.push(Workload { transfers: middle, synced: true, catch_up: true, rate: None });
    }
    let mut told = Vec::new();
    for workload in workloads {
        let of = |candidate: &Candidate| !(workload.catch_up && *candidate == Candidate::Bare);
        let chosen: Vec<Candidate> = chosen.iter().copied().filter(of).collect();
        let mut runs: Vec<(Vec<Run>, Vec<Reopened>)> = vec![Default::default(); chosen.len()];
        for round in 0..asked.rounds {
            for (candidate, (runs, reopened)) in chosen.iter().zip(&mut runs) {
                args.progress(&format!("{}: {}, round {}", workload.name(), candidate.name(), round + 1));
                let (run, again) = one(*candidate, workload, asked, directory)?;
                runs.push(run);
                reopened.extend(again);
            }
        }
        let rows: Vec<Row> = chosen.iter().zip(runs).map(|(candidate, runs)| row(*candidate, runs)).collect();
        if !args.json() {
            println!("\n{}\n{}", workload.name(), table(&rows, workload.catch_up));
        }
        told.push(serde_json::json!({"workload": workload, "name": workload.name(), "rows": rows}));
    }
    if args.json() {
        println!("{}", serde_json::json!({"machine": machine, "workloads": told}));
    } else {
        println!("\n{machine}; medians of {} rounds of {} s", asked.rounds, asked.seconds);
        println!("written: in bytes for each byte of records");
    }
    Ok(true)
}

/// One run, killed at its end, and opened again where that says something.
fn one(
    candidate: Candidate,
    workload: Workload,
    asked: &Asked,
    directory: &Path,
) -> Result<(Run, Option<Reopened>), Failure> {
    let place = tempfile::Builder::new().prefix("redo-").tempdir_in(directory)?;
    let setting = Setting {
        candidate,
        directory: place.path().join("log"),
        synced: workload.synced,
        recent_bytes: asked.recent_mb << 20,
        turn_bytes: TURN_BYTES,
    };
    let plan = Plan {
        setting: setting.clone(),
        transfers: workload.transfers,
        seconds: asked.seconds,
        catch_up: workload.catch_up,
        rate: workload.rate,
    };
    let run: Run = child::have_done(&Job::Redo(plan))?;
    if matches!(candidate, Candidate::Bare | Candidate::OwnLog) {
        return Ok((run, None));
    }
    let reopened: Reopened = child::have_done(&Job::Reopen(setting))?;
    if reopened.last != run.last || reopened.entries == 0 {
        let (name, last, found) = (candidate.name(), run.last, reopened.last);
        return Err(format!("{name} was killed after it had taken {last}, and has {found}").into());
    }
    Ok((run, Some(reopened)))
}

fn row(candidate: Candidate, (runs, reopened): (Vec<Run>, Vec<Reopened>)) -> Row {
    let of = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let latencies = || runs.iter().map(|run| &run.latencies);
    let reopen = reopened.iter().map(|again| again.ms).collect::<Vec<f64>>();
    Row {
        candidate,
        commits_per_s: of(&|run| run.commits as f64 / run.seconds),
        mb_per_s: of(&|run| run.payload_bytes as f64 / run.seconds / 1e6),
        p50_us: of(&|run| run.latencies.p50_us),
        p99_us: of(&|run| run.latencies.p99_us),
        p999_us: of(&|run| run.latencies.p999_us),
        longest_ms: latencies().map(|one| one.max_us / 1e3).fold(0.0, f64::max),
        above_5_ms: latencies().map(|one| one.above_5_ms).sum(),
        above_20_ms: latencies().map(|one| one.above_20_ms).sum(),
        cpu_s_per_1000: of(&|run| run.cpu_s / run.commits as f64 * 1e3),
        written_per_byte: of(&|run| run.written_bytes as f64 / run.payload_bytes as f64),
        disk_written_per_byte: of(&|run| run.disk_written_bytes as f64 / run.payload_bytes as f64),
        resident_growth_mb: of(&|run| run.resident_growth_bytes as f64 / 1e6),
        read_mb_per_s: of(&|run| run.read_bytes_per_s / 1e6),
        reopen_ms: (!reopen.is_empty()).then(|| median(reopen)),
        runs,
    }
}

fn table(rows: &[Row], catch_up: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    let mut head = vec![
        "",
        "commits/s",
        "MB/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "longest ms",
        "> 5 ms",
        "> 20 ms",
        "CPU s per 1,000",
        "process wrote",
        "disk wrote",
        "memory MB",
    ];
    head.push(if catch_up { "read MB/s" } else { "open again ms" });
    table.set_header(head);
    for row in rows {
        let mut cells = vec![
            row.candidate.name().to_owned(),
            format!("{:.0}", row.commits_per_s),
            format!("{:.1}", row.mb_per_s),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.0}", row.p999_us),
            format!("{:.1}", row.longest_ms),
            row.above_5_ms.to_string(),
            row.above_20_ms.to_string(),
            format!("{:.3}", row.cpu_s_per_1000),
            format!("{:.2}", row.written_per_byte),
            format!("{:.2}", row.disk_written_per_byte),
            format!("{:.0}", row.resident_growth_mb),
        ];
        cells.push(match (catch_up, row.reopen_ms) {
            (true, _) => format!("{:.0}", row.read_mb_per_s),
            (false, Some(ms)) => format!("{ms:.0}"),
            (false, None) => String::new(),
        });
        table.add_row(cells);
    }
    table
}
