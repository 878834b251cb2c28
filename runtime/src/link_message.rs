//! What two processors say to each other on a link.
//!
//! A link is one TCP connection for one group. Its first frame, both ways, is [`LinkMessage::Hello`]; then come the
//! cores' frames, and between them the bytes of plugin files that one side has and the other needs (R29), and what operators
//! asked, for the trail of the other.
//! Deliberately absent: what the cores' frames mean.

use std::sync::Arc;

use lockstep_core::context::{UPDATES_BYTES_MAX, VALUE_BYTES_MAX};
use lockstep_core::ids::{NodeId, PluginHash};
use lockstep_core::message::Frame;
use lockstep_wire::frame::LINK_FRAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

use crate::trail::TrailEntry;

// An entry is one frame, whatever its procedure wrote: updates, and the reply once more.
const _: () = assert!(UPDATES_BYTES_MAX + VALUE_BYTES_MAX + (1 << 20) <= LINK_FRAME_BYTES_MAX);

/// The version of the links' protocol; a processor refuses another major version.
pub const LINK_PROTOCOL: (u16, u16) = (3, 0);
/// What the partner sent breaks the protocol; the link is made anew.
pub(crate) const PROTOCOL_BROKEN: &str = "LS0611";
/// The largest plugin file that is taken from a partner, in bytes.
pub const PLUGIN_BYTES_MAX: u64 = 256 << 20;
/// How much of a plugin file goes into one message, in bytes.
pub const PLUGIN_PIECE_BYTES: usize = 256 << 10;

/// A message of a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum LinkMessage {
    /// First on a link, both ways.
    Hello(LinkHello),
    /// From core to core.
    Core(Frame),
    /// The sender needs this plugin file.
    PluginWanted {
        /// Which.
        hash: PluginHash,
    },
    /// A piece of a plugin file.
    PluginBytes {
        /// Of which file.
        hash: PluginHash,
        /// Where the piece begins.
        offset: u64,
        /// How long the file is.
        total: u64,
        /// The piece.
        bytes: Vec<u8>,
    },
    /// The sender does not have that plugin file.
    PluginMissing {
        /// Which.
        hash: PluginHash,
    },
    /// A preflight: the pieces of this file follow; it is to be tried on the receiver's host.
    ProbeWanted {
        /// Which.
        hash: PluginHash,
        /// What the upgrade needs on the disk there, in bytes.
        bytes: u64,
        /// The file is kept for what comes.
        keeps: bool,
    },
    /// What the trial has found.
    Probed {
        /// Of which file.
        hash: PluginHash,
        /// Nothing, or code, sentence and help of why the file is not taken.
        refused: Option<(String, String, String)>,
    },
    /// The sender was asked something: its audit trail has more than the receiver knows of.
    TrailGrown,
    /// The sender has the receiver's audit trail up to here, and would have what is behind it.
    TrailHave {
        /// The number of the last entry; 0 for none.
        number: u64,
    },
    /// The next of the sender's audit trail.
    TrailEntries(Vec<TrailEntry>),
}

/// Who is at the other end of a link, and for which group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    /// The sender's version of this protocol.
    pub protocol: (u16, u16),
    /// The sender.
    pub node: NodeId,
    /// The application.
    pub application: String,
    /// The partition, from 0.
    pub partition: u16,
    /// How many partitions the sender's configuration gives the application: the same on both sides (R1).
    pub partitions: u16,
    /// The sender's process, by chance: another one after each start.
    pub process: u64,
    /// The connection is for the sender's death note alone (R21).
    pub notes: bool,
}

/// A plugin file on its way in. Bounded, in order, and trusted only once its hash was found equal.
#[derive(Debug)]
pub struct PluginAssembly {
    hash: PluginHash,
    total: u64,
    bytes: Vec<u8>,
}

impl PluginAssembly {
    /// An assembly of the file `hash`, with nothing in it.
    #[must_use]
    pub fn new(hash: PluginHash) -> Self {
        PluginAssembly { hash, total: 0, bytes: Vec::new() }
    }

    /// The file that is being assembled.
    #[must_use]
    pub fn hash(&self) -> PluginHash {
        self.hash
    }

    /// Takes the next piece; the whole file's bytes once it was the last.
    ///
    /// # Errors
    /// When the piece is not the next one of this file, or the file is over the bound.
    pub fn take(&mut self, offset: u64, total: u64, piece: &[u8]) -> Result<Option<Arc<Vec<u8>>>, String> {
        if total > PLUGIN_BYTES_MAX {
            return Err(format!("a plugin file of {total} bytes is over the bound of {PLUGIN_BYTES_MAX}"));
        }
        if self.bytes.is_empty() {
            self.total = total;
        }
        let end = self.bytes.len() as u64 + piece.len() as u64;
        if total != self.total || offset != self.bytes.len() as u64 || end > total || piece.is_empty() {
            return Err("a piece of a plugin file is not the next one".into());
        }
        self.bytes.extend_from_slice(piece);
        Ok((end == total).then(|| Arc::new(std::mem::take(&mut self.bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_assembled_from_its_pieces_in_order() {
        let mut assembly = PluginAssembly::new(PluginHash([7; 32]));
        assert_eq!(assembly.take(0, 5, b"abc").unwrap(), None);
        assert_eq!(assembly.take(3, 5, b"de").unwrap().unwrap().as_slice(), b"abcde");
    }

    #[test]
    fn pieces_out_of_order_or_over_the_bound_are_refused() {
        let mut assembly = PluginAssembly::new(PluginHash([7; 32]));
        assert!(assembly.take(1, 5, b"abc").is_err());
        assert!(assembly.take(0, PLUGIN_BYTES_MAX + 1, b"abc").is_err());
        assert_eq!(assembly.take(0, 5, b"abc").unwrap(), None);
        assert!(assembly.take(3, 5, b"def").is_err(), "longer than the file");
        assert!(assembly.take(3, 6, b"def").is_err(), "another length than before");
    }
}
