//! What a group is told at its start and never changes.

use crate::ids::{GroupName, NodeId};

/// When the standby starts a unit (R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StandbyStart {
    /// Unit k only with `StepUp(k)` in hand: the proof that the active survived it.
    #[default]
    Behind,
    /// \[P\] Fig. 3: the first unit on `Begin`. One event can kill both hosts.
    Beside,
}

/// A group's settings.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// This processor.
    pub node: NodeId,
    /// The application's name.
    pub application: String,
    /// The partition of it that this group is (R1).
    pub partition: u16,
    /// When the standby starts a unit.
    pub standby: StandbyStart,
    /// How often a side says that it lives, milliseconds.
    pub heartbeat_ms: u64,
    /// A standby that is silent for so long leaves the record, milliseconds. Less than `silence_promote_ms` (R27).
    pub silence_shrink_ms: u64,
    /// An active that is silent for so long is replaced, milliseconds.
    pub silence_promote_ms: u64,
    /// Seeds the random numbers of procedures and the ids of new stores; from the operating system, once a start.
    pub seed: u64,
    /// How many bytes of recent entries are kept in memory for a returning standby.
    pub recent_bytes_max: usize,
}

impl GroupConfig {
    /// The name of the group.
    #[must_use]
    pub fn name(&self) -> GroupName {
        GroupName { application: self.application.clone(), partition: self.partition }
    }
}
