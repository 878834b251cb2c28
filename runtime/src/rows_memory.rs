//! How much memory the rows of a group may take.

use lockstep_os::memory_bytes;

use crate::config::NodeConfig;

/// Unless the configuration says it: a quarter of what this process may have, as its partner may run beside it and rows
/// are not all that a processor keeps, in equal shares for its groups.
pub(crate) fn rows_bytes_max(config: &NodeConfig) -> usize {
    let groups: u64 = config.applications.iter().map(|application| u64::from(application.partitions)).sum();
    let bytes = match config.rows_mb {
        Some(mb) => mb << 20,
        None => memory_bytes() / 4 / groups.max(1),
    };
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
