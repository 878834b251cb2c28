//! A campaign over several groups (R1): what the group that has its record tells the others, and what they say of
//! themselves.
//!
//! Partition 0's group decides alone. The others hold copies of its record in their streams, go the *leg* that its step
//! asks of each of them by themselves, and report. A word is idempotent, and repeated until the reports show it done; it
//! carries the term of partition 0's active and the record's revision, so that late words are told apart (R29).

use serde::{Deserialize, Serialize};

use crate::campaign::{CampaignRecord, Step};
use crate::descriptor::Version;
use crate::ids::{Micros, PluginHash, Term};

/// From partition 0's active to another group's, and at the same time the question how that one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignWord {
    /// The term of partition 0's active: words of a lower one than the highest heard count for nothing.
    pub term: Term,
    /// The campaign under way, else the last that is over; held by partition 0's group.
    pub campaign: Option<Box<CampaignRecord>>,
}

/// How a group is, for the campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegReport {
    /// The revision of the record that it follows and holds; none without a campaign.
    pub revision: Option<u64>,
    /// The step that it would go on to and why, once its own leg is done; the reason is empty when all is well.
    pub wish: Option<(Step, String)>,
    /// What its active runs.
    pub own: PluginHash,
    /// What its standby runs.
    pub partner: Option<PluginHash>,
    /// Its standby is recorded in sync.
    pub in_sync: bool,
    /// Its standby was told to load another file than it runs.
    pub order_open: bool,
    /// Its floor.
    pub floor: Version,
    /// Events in this step.
    pub events: u64,
    /// Faults in this step.
    pub faults: u64,
    /// Divergences in this step.
    pub divergences: u64,
    /// Processors that died of the target in this step, or hung in it (R21).
    pub deaths: u64,
    /// How long nobody was answered at its last planned switchover, if that was measured since the campaign began.
    pub gap: Option<Micros>,
    /// Latencies in this step: buckets that are not empty, with their counts.
    pub latencies: Vec<(u16, u32)>,
}
