//! A processor as the operating system sees it: memory, mappings, threads, descriptors, time; and the machine.

use rig::Failure;
use rig::admin::PluginList;
use rig::node::Node;
use serde::Serialize;

/// One look at a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Look {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Mappings.
    pub mappings: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Thread-specific data keys with a destructor, as the processor counts them.
    pub keys: u64,
    /// Plugin files that are mapped, by path.
    pub plugins: Vec<String>,
}

/// Looks at `node`'s process.
///
/// # Errors
/// When it is gone.
pub fn look(node: &Node) -> Result<Look, Failure> {
    look_at(node, &rig::admin::plugin_list(&node.ready().admin)?)
}

/// Looks at `node`'s process, which has just told of its plugins.
///
/// # Errors
/// When it is gone.
pub fn look_at(node: &Node, list: &PluginList) -> Result<Look, Failure> {
    let pid = node.ready().pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let maps = node.maps()?;
    Ok(Look {
        rss_kib: field(&status, "VmRSS:"),
        threads: field(&status, "Threads:"),
        mappings: maps.len() as u64,
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
        keys: list.memory.keys,
        plugins: rig::node::plugins_in(&maps),
    })
}

/// A number in the kernel's page on a process.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// The resident memory of a process, in megabytes.
///
/// # Errors
/// When it is gone.
pub fn resident_mb(pid: u32) -> Result<u64, Failure> {
    Ok(field(&std::fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:") >> 10)
}

/// The processor time that a process has taken, in milliseconds.
///
/// # Errors
/// When it is gone.
pub fn busy_ms(pid: u32) -> Result<u64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields after the name, which ends with the last parenthesis: user and system time are the 12th and 13th.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    // A tick is 10 ms on every Linux that we know.
    Ok((ticks(11) + ticks(12)) * 10)
}

/// The machine's load average over one minute: what else it had to do stands in every figure.
///
/// # Errors
/// When the kernel does not say.
pub fn load_average() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| Failure::new("the kernel does not say how loaded the machine is"))
}

/// How many cores this process may run on.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}
