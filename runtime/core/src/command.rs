//! Operators' commands to a group, and its status.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::campaign::{CampaignPlan, CampaignRecord, CheckVerdict, Judgement};
use crate::descriptor::Version;
use crate::ids::{Epoch, Micros, NodeId, Number, PluginHash, Term};
use crate::leg::{CampaignWord, LegReport};
use crate::note::DeathNote;

/// The role of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reading the record, waiting for the partner, or catching up.
    Starting,
    /// Runs events.
    Active,
    /// Follows the active in lock step.
    Standby,
    /// Out of service.
    Isolated,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Starting => "starting",
            Role::Active => "active",
            Role::Standby => "standby",
            Role::Isolated => "isolated",
        })
    }
}

/// What an operator asks. Commands that change something are carried out by the active; the other side passes them on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// How the group is.
    Status,
    /// Take the standby out of service.
    Isolate,
    /// Bring it back.
    Integrate,
    /// The standby becomes active, planned, at a procedure boundary.
    SwitchOver,
    /// The standby changes to this plugin file, beside its old one (R28).
    Load {
        /// The file.
        hash: PluginHash,
    },
    /// Switch features on (R31); all of the running version when empty.
    EnableFeatures {
        /// Their names.
        features: Vec<String>,
    },
    /// Switch a feature off.
    DisableFeature {
        /// Its name.
        feature: String,
    },
    /// Start a campaign.
    StartCampaign(Box<CampaignPlan>),
    /// Begin no new step.
    PauseCampaign,
    /// Go on.
    ResumeCampaign,
    /// Accept the target.
    AcceptCampaign {
        /// The partner is declared gone: the survivor goes on to the target alone (R30).
        partner_gone: bool,
    },
    /// Return to the old version on both sides.
    AbortCampaign {
        /// The partner is declared gone: the survivor returns alone (R30).
        partner_gone: bool,
    },
    /// Become active although another member is recorded and cannot be heard. Loses what only that one holds.
    Force,
    /// How the campaign stands, from partition 0's group to another one of the application (R1).
    FollowCampaign(Box<CampaignWord>),
    /// How the group is as its active sees it, who alone has the figures of traffic and evaluation; passed on like a
    /// command that changes something.
    ActiveStatus,
}

/// One processor of the pair, as the asked side knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The processor.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// What it runs.
    pub version: Option<Version>,
    /// The plugin file.
    pub hash: Option<PluginHash>,
    /// The last number that it holds, as far as known.
    pub last: Number,
    /// Whether the record has it.
    pub in_sync: bool,
    /// Whether the asked side can hear it.
    pub connected: bool,
}

/// What a group counts from its start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events run to a commit here as active.
    pub committed: u64,
    /// Refused.
    pub refused: u64,
    /// Faulted.
    pub faulted: u64,
    /// Repeats that got their recorded answer.
    pub repeated: u64,
    /// Reads answered.
    pub reads: u64,
    /// Divergences found.
    pub divergences: u64,
    /// Takeovers after a failure.
    pub takeovers: u64,
    /// Planned switchovers to this side.
    pub switchovers: u64,
    /// Procedures run as shipped updates here as standby.
    pub shipped: u64,
    /// Procedures run in lock step here as standby.
    pub in_lock_step: u64,
    /// Units that act on the world and were undone here (R19).
    pub undone: u64,
    /// Undos that failed: people must look.
    pub undo_failures: u64,
    /// Timers fired here as active.
    pub timers_fired: u64,
    /// Messages of other groups taken here as active.
    pub messages_taken: u64,
    /// Messages of this group that others have taken.
    pub messages_delivered: u64,
}

/// A procedure that a takeover found half-way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HalfWay {
    /// The procedure.
    pub procedure: String,
    /// How many of its step-ups had arrived.
    pub step_ups: u32,
    /// What was done.
    pub end: HalfWayEnd,
}

/// What a takeover did with a half-way procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HalfWayEnd {
    /// The remaining units were run.
    Completed,
    /// It was dropped; the client's retry runs it.
    RolledBack,
    /// It was dropped and run again from the start in the survivor's own version: it had been shipped, or had begun to
    /// act on the world, which was undone.
    RunAgain,
    /// The processor before had died of it: it got its fault (R21).
    Faulted,
}

/// What a feature is (R31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureState {
    /// Not in force.
    Off,
    /// In force; rows may still stand in the format before.
    Migrating,
    /// In force, and all rows that can be read are in its format.
    On,
}

/// How far a migration is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationStatus {
    /// Rows that are through.
    pub rows: u64,
    /// About how many there are.
    pub of: u64,
    /// Rows that could not be read and stay as they are.
    pub left: u64,
}

impl MigrationStatus {
    /// How much of it is through.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.rows * 100 / self.of.max(self.rows).max(1)
    }
}

/// The formats that a table's rows may be in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFormats {
    /// The table.
    pub table: String,
    /// The oldest one in which a row may still stand.
    pub oldest: u16,
    /// The one in which rows are written.
    pub format: u16,
    /// Rows that the last migration could not read.
    pub left: u64,
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The application.
    pub application: String,
    /// The partition of it that this group is, from 0 (R1).
    pub partition: u16,
    /// How many partitions the application has.
    pub partitions: u16,
    /// The record's epoch.
    pub epoch: Epoch,
    /// The record's term.
    pub term: Term,
    /// The asked side first.
    pub members: Vec<MemberStatus>,
    /// Everything up to here is held.
    pub held: Number,
    /// Features: name, description, state.
    pub features: Vec<(String, String, FeatureState)>,
    /// Rows are on their way into a newer format (R31).
    pub migration: Option<MigrationStatus>,
    /// The application's tables with the formats of their rows.
    pub formats: Vec<TableFormats>,
    /// The lowest version that may still have to read the rows.
    pub floor: Version,
    /// Procedures that are shipped because versions differ.
    pub shipped: BTreeSet<String>,
    /// The campaign under way.
    pub campaign: Option<CampaignStatus>,
    /// Campaigns that are over.
    pub campaigns: Vec<CampaignRecord>,
    /// What was counted.
    pub counts: Counts,
    /// Half-way procedures found by takeovers here, with how often.
    pub half_way: Vec<(HalfWay, u64)>,
    /// Median and 99th percentile of an event's time from arrival to answer, microseconds, lately.
    pub latency_us: (u64, u64),
    /// Events answered a second by this side as active, lately.
    pub events_per_s: u64,
    /// The memory that rows take, bytes.
    pub table_bytes: u64,
    /// The memory that they may take, bytes.
    pub table_bytes_max: u64,
    /// Events that do not run again because a processor died of them or hung in them (R21); the latest first.
    pub notes: Vec<DeathNote>,
}

/// A campaign with the figures of its gates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignStatus {
    /// The record.
    pub record: CampaignRecord,
    /// How long the step has been going on.
    pub in_step: Micros,
    /// Events in the evaluation.
    pub events: u64,
    /// Faults in the evaluation.
    pub faults: u64,
    /// Divergences in the evaluation.
    pub divergences: u64,
    /// p99 latency in the evaluation, microseconds.
    pub p99_us: u64,
    /// As in the record, with a switchover of this step: microseconds, 0 when none was measured.
    pub longest_gap: Micros,
    /// What the user's own checks have shown; none where there are none, or none has ended yet.
    pub own_checks: Option<CheckVerdict>,
    /// What the evaluation says; none outside of step 203.
    pub judgement: Option<Judgement>,
    /// The campaign falls back by itself in so many milliseconds unless it is accepted; none outside of step 203.
    pub rollback_in_ms: Option<u64>,
}

/// What became of a command.
pub type CommandResult = Result<CommandReply, CommandError>;

/// A command's good end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandReply {
    /// It is done.
    Done,
    /// It is under way; `lockstep status` shows it.
    Accepted,
    /// The status that was asked for.
    Status(Box<GroupStatus>),
    /// How the group is, for the campaign of partition 0.
    Leg(Box<LegReport>),
}

impl Command {
    /// Whether carrying it out puts something into the stream.
    #[must_use]
    pub fn takes_a_number(&self) -> bool {
        match self {
            Command::EnableFeatures { .. }
            | Command::DisableFeature { .. }
            | Command::StartCampaign(_)
            | Command::FollowCampaign(_)
            | Command::PauseCampaign
            | Command::ResumeCampaign
            | Command::AcceptCampaign { .. }
            | Command::AbortCampaign { .. } => true,
            Command::Status
            | Command::ActiveStatus
            | Command::Isolate
            | Command::Integrate
            | Command::SwitchOver
            | Command::Load { .. }
            | Command::Force => false,
        }
    }
}

/// Why a command was refused. Each has a code and a next step for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CommandError {
    /// There is no active that could do it.
    #[error("no active can be reached")]
    NoActive,
    /// The partner is not there or not in sync.
    #[error("the partner is not in sync: {0}")]
    NotInSync(String),
    /// A campaign is under way.
    #[error("a campaign is under way at step {0}")]
    CampaignUnderWay(u16),
    /// There is none.
    #[error("no campaign is under way")]
    NoCampaign,
    /// It does not fit where the group stands.
    #[error("{0}")]
    NotNow(String),
    /// It is not built yet.
    #[error("not built yet: {0}")]
    NotBuilt(String),
}
