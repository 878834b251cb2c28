//! What a client counts: for audits that must tell a connection dropped by an upgrade from one dropped by a kill.

use std::time::SystemTime;

/// A connection that the other side, or the network, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionDropped {
    /// When it was noticed.
    pub at: SystemTime,
    /// The address, as it was given to the client.
    pub address: String,
    /// What the connection said.
    pub reason: String,
}

/// What a client has counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests sent again under their id.
    pub retries: u64,
    /// Connections made after the first one of each address.
    pub reconnects: u64,
    /// Connections that worked and were ended by the other side; the latest `DROPS_MAX`.
    pub connections_dropped: Vec<ConnectionDropped>,
    /// Requests that got an answer.
    pub answered: u64,
    /// The highest term that a processor named; each partition has terms of its own.
    pub term: u64,
}

/// How many dropped connections are remembered.
pub const DROPS_MAX: usize = 1_000;

impl Counts {
    /// Adds what another partition's connections counted.
    pub(crate) fn add(&mut self, other: &Counts) {
        self.retries += other.retries;
        self.reconnects += other.reconnects;
        let room = DROPS_MAX.saturating_sub(self.connections_dropped.len());
        self.connections_dropped.extend(other.connections_dropped.iter().take(room).cloned());
        self.answered += other.answered;
        self.term = self.term.max(other.term);
    }

    pub(crate) fn dropped(&mut self, address: &str, reason: String) {
        if self.connections_dropped.len() < DROPS_MAX {
            self.connections_dropped.push(ConnectionDropped {
                at: SystemTime::now(),
                address: address.to_owned(),
                reason,
            });
        }
    }
}
