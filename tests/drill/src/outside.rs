//! A processor as the operating system sees it: memory, mappings, threads, descriptors.

use rig::Failure;
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
    let pid = node.ready().pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    let maps = node.maps()?;
    let keys = rig::admin::plugin_list(&node.ready().admin)?.memory.keys;
    Ok(Look {
        rss_kib: field("VmRSS:"),
        threads: field("Threads:"),
        mappings: maps.len() as u64,
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
        keys,
        plugins: node.mapped_plugins()?,
    })
}
