//! What the two cores say to each other. Messages come in pairs; each travels in a [`Frame`] that carries the term.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64;

use crate::channels::GroupMessage;
use crate::command::{Command, CommandResult, Role};
use crate::descriptor::ApplicationDescriptor;
use crate::entry::{ActingUnit, Control, Entry, EntryBody, Intent, Op, Row};
use crate::event::{Answer, Event, Outcome, Request};
use crate::ids::{GroupName, Micros, NodeId, Number, PluginHash, SessionId, StoreId, Term};
use crate::migration::Chunk;
use crate::note::DeathNote;
use crate::record::Record;
use crate::sessions::{KeyedReply, Session};
use crate::state::{Meta, TermStart};
use crate::updates::Updates;

/// A message with the sender's term (R3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The highest term that the sender knows.
    pub term: Term,
    /// The message.
    pub message: PeerMessage,
}

/// What a side says first on a new link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's processor.
    pub node: NodeId,
    /// Its store.
    pub store: StoreId,
    /// Its role as it says hello.
    pub role: Role,
    /// The record as it knows it.
    pub record: Option<Record>,
    /// Where its latest terms began.
    pub terms: Vec<TermStart>,
    /// The last number that is durable in its store.
    pub last: Number,
    /// Its store can't be trusted: it diverged, or is half a copy. Only a whole copy helps.
    pub needs_copy: bool,
    /// The receiver may take over if it is recorded: this side may have lost the end of its store with its machine's
    /// power, and has heard that the receiver has more (R26), or it runs a version that can't read the rows (R31).
    pub yields: bool,
    /// What it runs (R16).
    pub application: ApplicationDescriptor,
}

/// The description of a work unit, which the standby registers in place of one of its own (\[P\] Fig. 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitDescription {
    /// The unit's name.
    pub name: SmolStr,
    /// The version of its procedure.
    pub version: u32,
    /// Its updates, in order: operation and parameters.
    pub updates: Updates,
}

/// An order of the campaign's driver to the other processor (R29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Load this plugin beside or in place of the old one and announce it.
    Load {
        /// The file.
        hash: PluginHash,
    },
}

/// A difference between the two sides (R15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// The event's number.
    pub number: Number,
    /// The procedure.
    pub procedure: String,
    /// The unit, or `(end)` when the reply differs.
    pub unit: String,
    /// The unit's position in the plan.
    pub position: u32,
    /// How many updates of tables the units before it had made.
    pub offset: u32,
    /// This side's updates of that unit; the active finds the first that differs from its own.
    pub updates: Vec<Op>,
}

/// How a procedure begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Its number.
    pub number: Number,
    /// Its time (R33).
    pub time: Micros,
    /// The seed of its random numbers.
    pub seed: u64,
    /// Every unit is shipped: the versions differ (R16).
    pub shipped: bool,
    /// The event; its body is empty when withheld.
    pub event: Arc<Event>,
    /// The body was withheld (R18).
    pub withheld: bool,
}

/// How a procedure ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Well; the digest of its reply (R15).
    Committed(#[serde(with = "crate::bytes::word")] u64),
    /// Refused or faulted.
    Aborted(Box<Outcome>),
}

impl End {
    /// The one of `outcome`.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Committed { reply } => End::Committed(xxh3_64(reply)),
            outcome => End::Aborted(Box::new(outcome.clone())),
        }
    }
}

/// What the cores say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// First on a link, both ways, and again after a change of role.
    Hello(Box<Hello>),

    // -- the active to a standby that comes back (R24, R25)
    /// Cut back to `common`; entries from there on follow.
    CatchUp {
        /// The last common number.
        common: Number,
        /// The file that the standby runs, as far as the active knows: what is shipped goes by it (R16).
        runs: PluginHash,
    },
    /// A whole copy follows: make a new store for it.
    CopyBegin {
        /// The database's tables, so that rows go into the right kind.
        meta: Box<Meta>,
    },
    /// Rows of a copy.
    CopyRows(Vec<Row>),
    /// Sessions of a copy, whole; after the last rows.
    CopySessions(Vec<(SessionId, Session)>),
    /// Keyed replies of a copy, whole; after the sessions.
    CopyKeyed(Vec<(String, KeyedReply)>),
    /// The copy is whole and stands at `meta.last`.
    CopyEnd {
        /// The group's own data at this point.
        meta: Box<Meta>,
    },
    /// An entry, while the standby catches up or copies.
    Entry(Box<Entry>),
    /// The standby has everything; from here on the stream comes in lock step.
    InStep,
    /// The record changed.
    RecordChanged(Record),

    // -- lock step, the active to the standby
    /// A procedure begins.
    Begin(Begin),
    /// The next unit acts on the world and is about to begin: its description, before it does anything. The active goes
    /// on once this and everything before it is acknowledged (R19).
    UnitBegins {
        /// The procedure's number.
        number: Number,
        /// The unit.
        unit: Box<ActingUnit>,
    },
    /// The unit at `position` is done on the active.
    StepUp {
        /// The procedure's number.
        number: Number,
        /// The unit's position in the plan.
        position: u32,
        /// The digest of its updates (R15).
        #[serde(with = "crate::bytes::word")]
        digest: u64,
        /// The unit itself, when it is shipped.
        unit: Option<Box<UnitDescription>>,
    },
    /// All units are done.
    EndProcedure {
        /// The procedure's number.
        number: Number,
        /// The digest of the reply (R15).
        #[serde(with = "crate::bytes::word")]
        digest: u64,
    },
    /// A procedure that has begun and ended: what `Begin`, a `StepUp` for each of `digests` and `EndProcedure` or `Abort` say.
    Procedure {
        /// How it began.
        begin: Begin,
        /// The digests of the units that are done, in order (R15).
        #[serde(with = "crate::bytes::words")]
        digests: Vec<u64>,
        /// The units that are shipped, by their positions in the plan, in order.
        units: Vec<(u32, UnitDescription)>,
        /// How it ended.
        end: End,
    },
    /// The procedure was refused or faulted; its updates are dropped.
    Abort {
        /// The procedure's number.
        number: Number,
        /// How it ended.
        outcome: Box<Outcome>,
    },
    /// An event without a procedure: a session's opening, or the runtime's own.
    Plain {
        /// Its number.
        number: Number,
        /// Its time.
        time: Micros,
        /// What it is.
        body: PlainBody,
    },
    /// Everything up to `number` is of the standby's old version, everything after it of the new (R28).
    VersionsFrom {
        /// The boundary.
        number: Number,
    },
    /// Answer this, so that a read can leave (R11).
    Confirm {
        /// Grows with every `Confirm` of a link.
        ticket: u64,
    },
    /// The receiver is out of service from here on, or is asked to say `Hello` again and come back.
    OutOfService {
        /// Out, or back.
        out: bool,
    },
    /// The planned switchover is recorded: the receiver is active now.
    HandOver {
        /// The record.
        record: Record,
        /// So long ago its last answer left; none when there was nothing to answer.
        silent_for: Option<Micros>,
    },
    /// An order of the campaign.
    Order {
        /// Comes back with the outcome.
        attempt: u32,
        /// The order.
        order: Order,
    },

    // -- the standby to the active
    /// Everything up to `through` has run here, is equal and durable (R9).
    Ack {
        /// The number.
        through: Number,
        /// The last `Confirm` that was seen.
        confirmed: u64,
    },
    /// A digest differs (R15).
    Diverged(Box<Divergence>),
    /// The new version is ready here (R28).
    Versions(Box<ApplicationDescriptor>),
    /// The order could not be carried out.
    OrderFailed {
        /// The order's attempt.
        attempt: u32,
        /// Why.
        reason: String,
        /// Another try may go better.
        may_pass: bool,
    },

    // -- either way
    /// An event that came in at the side that is not active.
    Forward {
        /// Comes back with the answer.
        ticket: u64,
        /// The request.
        request: Box<Request>,
    },
    /// The answer to a forwarded request.
    ForwardAnswer {
        /// The ticket.
        ticket: u64,
        /// The answer.
        answer: Box<Answer>,
    },
    /// An operator's command that came in at the side that is not active.
    ForwardCommand {
        /// Comes back with the result.
        ticket: u64,
        /// The command.
        command: Box<Command>,
    },
    /// The result of a forwarded command.
    ForwardResult {
        /// The ticket.
        ticket: u64,
        /// The result.
        result: Box<CommandResult>,
    },
    /// Nothing else was due; the sender lives and this is how far it is.
    Heartbeat {
        /// The last number applied by the sender.
        last: Number,
        /// Everything up to here is held, as far as the sender knows.
        held: Number,
    },

    // -- the standby to the active
    /// The sender died in the application's code before it came back, and this is what it left (R21).
    Note(Box<DeathNote>),
    /// What another group tells this one came in at the side that is not active (R34).
    Told {
        /// The other group.
        from: GroupName,
        /// What it tells.
        what: Box<GroupMessage>,
    },
}

/// An event without a procedure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlainBody {
    /// A session is opened.
    OpenSession,
    /// Rolled back by a takeover.
    Aborted,
    /// The next procedure is about to act on the world (R19).
    Intent(Box<Intent>),
    /// The runtime's own.
    Control(Control),
    /// Rows of messages that are taken go (R34).
    Delivered {
        /// The removals.
        ops: Vec<Op>,
    },
    /// Rows of a table go into their new format (R31).
    Migrated(Box<Chunk>),
}

impl PlainBody {
    /// What the entry of its number is for: the same on both sides.
    #[must_use]
    pub fn entry(self) -> EntryBody {
        match self {
            PlainBody::OpenSession => EntryBody::OpenSession,
            PlainBody::Aborted => EntryBody::Aborted,
            PlainBody::Intent(intent) => EntryBody::Intent(intent),
            PlainBody::Control(control) => EntryBody::Control(control),
            PlainBody::Delivered { ops } => EntryBody::Delivered { ops },
            PlainBody::Migrated(chunk) => EntryBody::Migrated(chunk),
        }
    }
}
