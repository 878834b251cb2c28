//! The arbiter's record (R2 to R7): who is active, who is in sync. Plain data; swaps are asked for as effects.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, NodeId, StoreId, Term};

/// A member of the record: a store, and where it was when it was recorded (for people and for liveness).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The store: the member's identity (R2).
    pub store: StoreId,
    /// The processor that it is on.
    pub node: NodeId,
}

/// What the arbiter keeps for a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Grows by one at every swap; the first one is 1, or that behind a history whose record was lost.
    pub epoch: Epoch,
    /// The epoch of the last change of active.
    pub term: Term,
    /// The active.
    pub active: Member,
    /// All members that hold everything acknowledged, the active among them.
    pub in_sync: BTreeSet<Member>,
}

impl Record {
    /// The first record of a group.
    #[must_use]
    pub fn first(active: Member) -> Self {
        Record { epoch: Epoch(1), term: Term(1), in_sync: BTreeSet::from([active.clone()]), active }
    }

    /// The first record of a group whose stores have a history up to `term`: the record was lost, and an operator forces a new
    /// one. It goes on behind that term, for no term may come twice (R3).
    #[must_use]
    pub fn first_behind(active: Member, term: Term) -> Self {
        let epoch = Epoch(term.0).next();
        Record { epoch, term: Term(epoch.0), in_sync: BTreeSet::from([active.clone()]), active }
    }

    /// Grow or shrink: the same active and term (R3).
    #[must_use]
    pub fn with_in_sync(&self, in_sync: BTreeSet<Member>) -> Self {
        assert!(in_sync.contains(&self.active), "the active is always in sync");
        Record { epoch: self.epoch.next(), term: self.term, active: self.active.clone(), in_sync }
    }

    /// A new active: the term becomes the new epoch (R3). After a failure `in_sync` is the new active alone (R5).
    #[must_use]
    pub fn with_active(&self, active: Member, in_sync: BTreeSet<Member>) -> Self {
        assert!(in_sync.contains(&active), "the active is always in sync");
        assert!(self.is_recorded(active.store), "only a recorded member is promoted (R5)");
        let epoch = self.epoch.next();
        Record { epoch, term: Term(epoch.0), active, in_sync }
    }

    /// Whether `store` is recorded as in sync.
    #[must_use]
    pub fn is_recorded(&self, store: StoreId) -> bool {
        self.in_sync.iter().any(|member| member.store == store)
    }
}

/// What became of a swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwapOutcome {
    /// It took; the record is the one that was asked for.
    Done(Record),
    /// Somebody else's swap came first; this is the record now.
    Lost(Option<Record>),
    /// Not known: the record must be read back before anything rests on it (R4).
    Unknown(String),
}
