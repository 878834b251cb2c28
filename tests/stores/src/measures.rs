//! What a process has used of the machine so far, and latencies in short.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::candidates::Failure;

/// The processor time of all threads of this process.
#[must_use]
pub fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

/// The processor time of this thread.
#[must_use]
pub fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How many bytes this process has had written to the disk so far: pages that it made dirty count once each time.
///
/// # Errors
/// When the kernel does not say.
pub fn written_bytes() -> Result<u64, Failure> {
    field("/proc/self/io", "write_bytes:")
}

/// How many bytes were written to the disk that `directory` is on so far, by whoever. It is exact where nobody else writes;
/// what a process is said to write is not: a byte in a large page that lay in memory counts as the whole page.
///
/// # Errors
/// When the kernel does not say.
pub fn disk_written_bytes(directory: &Path) -> Result<u64, Failure> {
    let device = std::os::unix::fs::MetadataExt::dev(&fs::metadata(directory)?);
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(text) = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")) else {
        // In memory, or of several disks.
        return Ok(0);
    };
    let sectors: u64 = text.split_whitespace().nth(6).ok_or("the disk has no figures")?.parse()?;
    Ok(sectors * 512)
}

/// How much memory this process has, and had at most, in bytes.
///
/// # Errors
/// When the kernel does not say.
pub fn resident_bytes() -> Result<(u64, u64), Failure> {
    let status = "/proc/self/status";
    Ok((field(status, "VmRSS:")? * 1_024, field(status, "VmHWM:")? * 1_024))
}

fn field(file: &str, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok());
    number.ok_or_else(|| format!("{file} has no {name}").into())
}

/// The load average of the last minute, and how many processors there are.
///
/// # Errors
/// When the kernel does not say.
pub fn machine() -> Result<String, Failure> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let load = text.split_whitespace().next().unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let gib = (field("/proc/meminfo", "MemTotal:")? as f64 / f64::from(1 << 20)).round();
    Ok(format!("{cores} cores, {gib:.0} GiB, load average {load} before"))
}

/// What the files in `directory` take of the disk, in bytes.
///
/// # Errors
/// When it can't be read.
pub fn disk_bytes(directory: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let data = entry.metadata()?;
        bytes += if data.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            std::os::unix::fs::MetadataExt::blocks(&data) * 512
        };
    }
    Ok(bytes)
}

/// Latencies of commits.
pub struct Latencies {
    ns: Histogram<u64>,
    above_5_ms: u64,
    above_20_ms: u64,
}

/// Longer ones count as this long, in nanoseconds.
const LATENCY_MAX_NS: u64 = 600_000_000_000;

impl Latencies {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        let ns = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("constant bounds are good");
        Latencies { ns, above_5_ms: 0, above_20_ms: 0 }
    }

    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.ns.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LATENCY_MAX_NS).max(1));
        self.above_5_ms += u64::from(took > Duration::from_millis(5));
        self.above_20_ms += u64::from(took > Duration::from_millis(20));
    }

    /// In short.
    #[must_use]
    pub fn in_short(&self) -> LatenciesInShort {
        let us = |ns: u64| ns as f64 / 1_000.0;
        let at = |quantile| us(self.ns.value_at_quantile(quantile));
        LatenciesInShort {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.ns.max()),
            above_5_ms: self.above_5_ms,
            above_20_ms: self.above_20_ms,
        }
    }
}

/// Latencies in short.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct LatenciesInShort {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// So many commits took longer than that.
    pub above_5_ms: u64,
    pub above_20_ms: u64,
}

/// The one in the middle; 0 of none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}
