//! What a group is told at its start and never changes.

use serde::{Deserialize, Serialize};

use crate::ids::{GroupName, NodeId};
use crate::migration::CHUNK_ROWS_MAX;

/// When the standby starts a unit (R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StandbyStart {
    /// Unit k only with `StepUp(k)` in hand: the proof that the active survived it.
    #[default]
    Behind,
    /// \[P\] Fig. 3: the first unit on `Begin`. One event can kill both hosts.
    Beside,
}

/// How the active tells its step-ups (R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepUps {
    /// Those of a procedure in one frame, with its beginning and its end: the standby has all of it or nothing.
    #[default]
    Together,
    /// A frame each. An active that dies while they leave can leave a procedure half-way on the standby (R22). So it is
    /// always with a standby that runs `beside`, with procedures that act on the world, and with what is too large for a frame.
    Apart,
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
    /// How many partitions the application has, 1 to [`PARTITIONS_MAX`](crate::partition::PARTITIONS_MAX).
    pub partitions: u16,
    /// When the standby starts a unit.
    pub standby: StandbyStart,
    /// How this side tells its step-ups while it is active.
    pub step_ups: StepUps,
    /// How often a side says that it lives, milliseconds.
    pub heartbeat_ms: u64,
    /// A standby that is silent for so long leaves the record, milliseconds. Less than `silence_promote_ms` (R27).
    pub silence_shrink_ms: u64,
    /// An active that is silent for so long is replaced, milliseconds.
    pub silence_promote_ms: u64,
    /// A standby whose acknowledgement is older than this leaves the record, milliseconds: its disk is slow, or it stands
    /// still although it is heard. Above the worst stall that is expected (R27).
    pub ack_age_max_ms: u64,
    /// While two members are in sync, "durable" means that the operating system has it (R9).
    pub replicated: bool,
    /// The machine lost what only its operating system had since the store was written, and the store may lack its tail:
    /// it is promotable only after the other recorded store has been heard (R26).
    pub may_lack_tail: bool,
    /// Seeds the random numbers of procedures and the ids of new stores; from the operating system, once a start.
    pub seed: u64,
    /// How many bytes of recent entries are kept in memory for a returning standby.
    pub recent_bytes_max: usize,
    /// How much memory the rows may take, in bytes, by [`Tables::bytes`](crate::tables::Tables::bytes)' estimate, derived
    /// ones included; `usize::MAX`: as much as they like.
    pub rows_bytes_max: usize,
    /// How many rows are translated a batch while a version's derived tables are built (R17).
    pub build_rows_max: usize,
    /// The most rows that a chunk of a migration looks at (R31).
    pub chunk_rows_max: usize,
}

impl GroupConfig {
    /// The name of the group.
    #[must_use]
    pub fn name(&self) -> GroupName {
        GroupName { application: self.application.clone(), partition: self.partition }
    }

    /// The defaults of a group of `application` on `node`.
    #[must_use]
    pub fn new(node: NodeId, application: String, seed: u64) -> Self {
        GroupConfig {
            node,
            application,
            partition: 0,
            partitions: 1,
            standby: StandbyStart::default(),
            step_ups: StepUps::default(),
            heartbeat_ms: 100,
            silence_shrink_ms: 1_000,
            silence_promote_ms: 3_000,
            ack_age_max_ms: 5_000,
            replicated: false,
            may_lack_tail: false,
            seed,
            recent_bytes_max: 256 << 20,
            rows_bytes_max: usize::MAX,
            // Less than half a millisecond.
            build_rows_max: 256,
            chunk_rows_max: CHUNK_ROWS_MAX,
        }
    }
}
