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

/// What a virtual machine's processors have had to wait for because their host ran something else.
#[derive(Clone, Copy, Debug)]
pub struct Stolen {
    stolen: u64,
    all: u64,
}

impl Stolen {
    /// Up to now, since the machine's start.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn now() -> Result<Self, Failure> {
        Stolen::of(&std::fs::read_to_string("/proc/stat")?)
            .ok_or_else(|| Failure::new("the kernel does not say what the processors did"))
    }

    /// The first line has ticks of: user, nice, system, idle, iowait, irq, softirq, steal; further ones are parts of these.
    fn of(stat: &str) -> Option<Self> {
        let ticks: Vec<u64> =
            stat.lines().next()?.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
        Some(Stolen { stolen: *ticks.get(7)?, all: ticks[..8].iter().sum() })
    }

    /// What was stolen since then, in parts of a hundred of all processors' time.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn percent(self) -> Result<f64, Failure> {
        let now = Stolen::now()?;
        let all = now.all.saturating_sub(self.all).max(1) as f64;
        Ok((now.stolen.saturating_sub(self.stolen) as f64 / all * 1e3).round() / 10.0)
    }
}

/// How many cores this process may run on.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_is_the_eighth_number() {
        let stat = "cpu  525360 0 45014 177550 2471 0 7155 9074 11 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let stolen = Stolen::of(stat).unwrap();
        assert_eq!((stolen.stolen, stolen.all), (9_074, 766_624));
        assert!(Stolen::of("cpu 1 2 3").is_none());
    }
}
