//! What the admin socket sees of a processor.

use std::time::Instant;

use lockstep_core::ids::NodeId;
use tokio::sync::mpsc;

use super::holds::Holds;
use crate::engines::Engines;
use crate::plugins::Generations;
use crate::trail::Trail;

/// A processor as its admin socket sees it.
pub struct View {
    pub(super) node: NodeId,
    pub(super) engines: Engines,
    pub(super) generations: Generations,
    pub(super) trail: Trail,
    /// Where a wish to stop goes.
    pub(super) stop: mpsc::Sender<()>,
    pub(super) started: Instant,
    /// Whose checkpoints are held.
    pub(super) holds: Holds,
}

impl View {
    /// The view of a processor that starts now.
    #[must_use]
    pub fn new(
        node: NodeId,
        engines: Engines,
        generations: Generations,
        trail: Trail,
        stop: mpsc::Sender<()>,
    ) -> Self {
        View { node, engines, generations, trail, stop, started: Instant::now(), holds: Holds::default() }
    }
}
