//! Entries: what a number of the stream did to the database. Redo records, catch-up and recovery are made of them.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::campaign::CampaignRecord;
use crate::descriptor::{TableKind, Version};
use crate::event::{Encoding, Event, EventId, Outcome};
use crate::ids::{Micros, NodeId, Number, PluginHash, TableId, Term};
use crate::migration::Chunk;
use crate::note::DeathNote;
use crate::row_key::RowKey;
use crate::shared_bytes::SharedBytes;

/// One database update: the new value of a row, or its removal. Absolute, so it may be applied twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// The table.
    pub table: TableId,
    /// The row's key.
    pub key: RowKey,
    /// The row, or nothing when it was deleted.
    #[serde(with = "crate::bytes::optional")]
    pub value: Option<SharedBytes>,
}

/// As [`Op`], lent by the bytes that it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpRef<'a> {
    /// The table.
    pub table: TableId,
    /// The row's key.
    #[serde(serialize_with = "crate::bytes::serialize")]
    pub key: &'a [u8],
    /// The row, or nothing when it was deleted.
    #[serde(borrow, serialize_with = "crate::bytes::optional::serialize")]
    pub value: Option<&'a [u8]>,
}

impl OpRef<'_> {
    /// Of key and value together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.map_or(0, <[u8]>::len)
    }
}

/// A database update, whoever holds it.
pub trait Update {
    /// The update, lent.
    fn lent(&self) -> OpRef<'_>;
}

impl Update for Op {
    fn lent(&self) -> OpRef<'_> {
        Op::lent(self)
    }
}

impl Update for OpRef<'_> {
    fn lent(&self) -> OpRef<'_> {
        *self
    }
}

/// A table as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMeta {
    /// Its id.
    pub id: TableId,
    /// Its name.
    pub name: String,
    /// The structure that holds it.
    pub kind: TableKind,
    /// The format in which rows are written: that of the group's floor (R17).
    pub format: u16,
    /// The oldest format in which a row may still stand (R31).
    pub oldest: u16,
    /// So many rows the last migration could not read, and left as they are.
    pub left: u64,
}

impl TableMeta {
    /// A new table, whose rows are all to be in `format`.
    #[must_use]
    pub fn new(id: TableId, name: &str, kind: TableKind, format: u16) -> Self {
        TableMeta { id, name: name.into(), kind, format, oldest: format, left: 0 }
    }

    /// The tables of timers and messages (R34): the group's own, which no application declares.
    #[must_use]
    pub fn own() -> [TableMeta; 5] {
        let own = [
            (TableId::TIMERS, "(timers)"),
            (TableId::DUE, "(timers by time)"),
            (TableId::OUTBOX, "(outbox)"),
            (TableId::SENT, "(channels out)"),
            (TableId::TAKEN, "(channels in)"),
        ];
        own.map(|(id, name)| TableMeta::new(id, name, TableKind::Ordered, 1))
    }
}

/// Events that the runtime itself puts into the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// `node` runs this version from here on. New tables are added to the database's list.
    Installed {
        /// The processor.
        node: NodeId,
        /// The application's version there.
        version: Version,
        /// The plugin file.
        hash: PluginHash,
        /// An operator had it loaded, and no campaign.
        by_hand: bool,
        /// The version's tables, in the formats in which they are to be written while they are new.
        tables: Vec<TableMeta>,
    },
    /// The campaign's record as it is from here on (R29); `None` when there is none.
    Campaign(Option<Box<CampaignRecord>>),
    /// Features are on, formats and floor raised, from here on (R31).
    Enable {
        /// Names of the features to switch on.
        features: Vec<String>,
        /// Formats by table that rows are written in from here on, and migrated to.
        formats: Vec<(TableId, u16)>,
        /// The new floor.
        floor: Version,
    },
    /// A feature is off from here on. The floor stays (R31).
    Disable {
        /// The feature's name.
        feature: String,
    },
    /// What is known from here on of an event and a processor's death (R21).
    Note(Box<DeathNote>),
}

/// A work unit that acts on the world, as a takeover needs it (R19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActingUnit {
    /// Its position in the plan.
    pub position: u32,
    /// Its name.
    pub unit: String,
    /// The name of its undo.
    pub undo: String,
}

/// What an unfinished procedure may have done to the world, and all that it takes to undo it: held before the first
/// such unit begins, and standing in the group's own data until the procedure has an outcome (R19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The event.
    pub event: EventId,
    /// The procedure's name.
    pub procedure: String,
    /// How the control parameters are encoded.
    pub encoding: Encoding,
    /// The control parameters, at most [`INTENT_BYTES_MAX`].
    #[serde(with = "crate::bytes")]
    pub parameters: Vec<u8>,
    /// The plan's units that act on the world, in order.
    pub units: Vec<ActingUnit>,
}

impl Intent {
    /// The event, without its body.
    #[must_use]
    pub fn as_event(&self) -> Event {
        Event {
            id: self.event.clone(),
            awaited_from: 0,
            procedure: self.procedure.as_str().into(),
            encoding: self.encoding,
            parameters: self.parameters.clone(),
            body: Vec::new(),
        }
    }
}

/// The longest control parameters of a procedure that acts on the world, in bytes: they stand in the group's own data.
pub const INTENT_BYTES_MAX: usize = 64 << 10;

/// What a number was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryBody<O = Op> {
    /// A procedure ran to an outcome.
    Procedure {
        /// The event.
        event: EventId,
        /// Replies of its session below this are no longer needed.
        awaited_from: u64,
        /// The reply's encoding.
        encoding: Encoding,
        /// The procedure's name.
        procedure: SmolStr,
        /// How it ended.
        outcome: Outcome,
        /// Its updates, in order, at the end: see [`Gathered::push_ran`](crate::encoded_entries::Gathered::push_ran).
        /// Unless committed, only those of a timer or message that is used up (R34).
        ops: Vec<O>,
    },
    /// A session was opened; its id is this entry's number.
    OpenSession,
    /// Rolled back by a takeover: nothing is recorded under the event's id (R22). What stood of an intent is undone.
    Aborted,
    /// The procedure with the next number is about to act on the world (R19).
    Intent(Box<Intent>),
    /// The runtime's own.
    Control(Control),
    /// Messages are known to be taken by their receivers: their rows go (R34).
    Delivered {
        /// The removals.
        ops: Vec<O>,
    },
    /// Rows of a table are in their new format (R31).
    Migrated(Box<Chunk<O>>),
}

impl<O> EntryBody<O> {
    /// Its updates of rows, in order.
    #[must_use]
    pub fn ops(&self) -> &[O] {
        match self {
            EntryBody::Procedure { ops, .. } | EntryBody::Delivered { ops } => ops,
            EntryBody::Migrated(chunk) => &chunk.ops,
            EntryBody::OpenSession | EntryBody::Aborted | EntryBody::Control(_) | EntryBody::Intent(_) => &[],
        }
    }

    /// Takes out its updates of rows.
    pub fn take_ops(&mut self) -> Vec<O> {
        match self {
            EntryBody::Procedure { ops, .. } | EntryBody::Delivered { ops } => std::mem::take(ops),
            EntryBody::Migrated(chunk) => std::mem::take(&mut chunk.ops),
            EntryBody::OpenSession | EntryBody::Aborted | EntryBody::Control(_) | EntryBody::Intent(_) => {
                Vec::new()
            }
        }
    }
}

/// One number of the stream with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<O = Op> {
    /// Its place in the stream.
    pub number: Number,
    /// The term in which it was made: (term, number) names one entry for ever (R24).
    pub term: Term,
    /// The time that its procedure saw (R33).
    pub time: Micros,
    /// What it was for.
    pub body: EntryBody<O>,
}

/// A row outside of any entry, as snapshots and checkpoints carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: RowKey,
    /// The value.
    #[serde(with = "crate::bytes")]
    pub value: SharedBytes,
}
