//! Everything that a group asks of its shell. Plain data; carried out in order.

use crate::application::Application;
use crate::campaign::CampaignRecord;
use crate::channels::GroupMessage;
use crate::command::{CommandResult, Role};
use crate::encoded_entries::EncodedEntries;
use crate::entry::Row;
use crate::event::{Answer, Fault};
use crate::ids::{Epoch, GroupName, LinkId, Number, Origin, PluginHash, SessionId, StoreId, Term};
use crate::leg::CampaignWord;
use crate::message::Frame;
use crate::note::DeathNote;
use crate::record::Record;
use crate::sessions::{KeyedReply, Session};
use crate::state::Meta;

/// One thing to do.
#[derive(Clone)]
pub enum Effect {
    /// Answer a client.
    Answer {
        /// Whom.
        origin: Origin,
        /// What.
        answer: Answer,
    },
    /// Answer an operator.
    CommandDone {
        /// Whom.
        origin: Origin,
        /// What.
        result: CommandResult,
    },
    /// Give this word to the group of another partition of the application, as a command to its engine on this processor,
    /// and answer with `Input::SiblingTold`. It is repeated; nothing is lost with one that is not answered.
    AskSibling {
        /// The partition.
        partition: u16,
        /// What to tell it.
        word: Box<CampaignWord>,
    },
    /// Send a frame to the partner. Frames of one link arrive in order or the link is gone.
    Send {
        /// The link; ignored when it is gone.
        link: LinkId,
        /// What.
        frame: Frame,
    },
    /// Close a link: the partner broke the protocol, or must start again.
    CloseLink {
        /// Which.
        link: LinkId,
    },
    /// Append entries to the store's redo log; answered with `Input::Durable`. The shell puts all entries of a
    /// batch into one record.
    Append(EncodedEntries),
    /// Cut the store back to `to`; entries after it never count again (R24). Later appends come after it.
    CutBack {
        /// The last number that stays.
        to: Number,
    },
    /// Under `durability: replicated`: from here on `Input::Durable` tells of what is synced (`on`), because this store is
    /// the only recorded one or is about to be; or again of what the operating system has. Words from before it count no
    /// more when it is `on`, and another one follows it. A shell begins with `on` (R9).
    RestOnSyncs {
        /// Whether only what is synced is durable.
        on: bool,
    },
    /// The store lacks nothing of its end any more: its next start may say so (R26). Sent to a group that was told at its
    /// start that the store may; what was appended before it counts.
    TailSettled,
    /// Everything up to here is held: checkpoints may go so far (R24). Sent when it grew, at most once a batch.
    Held {
        /// The number.
        number: Number,
    },
    /// Begin a new store, marked as half a copy, beside the old one (R25). Appends from here on go to it.
    CopyBegin {
        /// The new store's id.
        store: StoreId,
        /// The database's own data; its tables matter.
        meta: Box<Meta>,
    },
    /// Rows of the copy.
    CopyRows(Vec<Row>),
    /// The copy is whole: put these down, sync everything, then answer `Input::CopyDurable`.
    CopyEnd {
        /// All sessions.
        sessions: Vec<(SessionId, Session)>,
        /// All keyed replies.
        keyed: Vec<(String, KeyedReply)>,
        /// The group's own data.
        meta: Box<Meta>,
    },
    /// The copy is in force: the new store is found at the next start, and the old one, which the record does not have
    /// any more, may go (R25).
    CopyKept,
    /// The copy failed: remove it, appends go to the old store again.
    CopyDropped,
    /// Ask the arbiter for its record; answered with `Input::RecordRead`.
    ReadRecord,
    /// A swap to `next` is about to be asked for, while the group serves on: what takes long and changes nothing may be
    /// done now. Answered with `Input::SwapPrepared`, well or not; nothing rests on it.
    PrepareSwap {
        /// The new record.
        next: Record,
    },
    /// Ask the arbiter for a swap; answered with `Input::Swapped`. At most one is under way.
    Swap {
        /// The epoch that must still be the record's; 0 when there must be none.
        expected: Epoch,
        /// The new record.
        next: Record,
    },
    /// Watch the process that holds `store`; `Input::PartnerDied` when it dies. One watch at a time.
    Watch {
        /// The store.
        store: StoreId,
        /// As in [`AskLiving`](Effect::AskLiving), should nobody hold it.
        hellos: u64,
    },
    /// Say whether the process that holds `store` lives; answered with `Input::Living`.
    AskLiving {
        /// The store.
        store: StoreId,
        /// How often a partner had said hello by then; goes into the answer, which may come late.
        hellos: u64,
    },
    /// Load a plugin beside the one that runs, and start it on the thread that is to run it; answered with
    /// `Input::PluginLoaded` or `PluginFailed`.
    LoadPlugin {
        /// The file's hash. The shell gets the bytes from its own keep or from the partner.
        hash: PluginHash,
    },
    /// Run the user's own checks of this campaign, one after the other; answered with `Input::Checked`. One run is under
    /// way at a time; one that is not answered counts as inconclusive, and its late word is ignored.
    RunChecks {
        /// Counts the runs of this process.
        run: u64,
        /// The campaign.
        campaign: Box<CampaignRecord>,
    },
    /// The boundary is reached and the new version is in place: move to a new thread, then drop this old one on the
    /// old thread and unload its library (R28). No call of it is under way.
    Retire {
        /// The old version.
        application: Box<dyn Application>,
    },
    /// A version that was loaded but never ran is not needed: drop it and unload its library. The engine stays on
    /// its thread.
    Discard {
        /// The version.
        application: Box<dyn Application>,
    },
    /// The role, term or record changed: tell clients who serves.
    RoleChanged {
        /// The role.
        role: Role,
        /// The term.
        term: Term,
        /// How many members the record has in sync.
        in_sync: usize,
    },
    /// A death note is in the stream and held: a file that has it may go.
    NoteRecorded {
        /// The note, as it was given.
        note: DeathNote,
    },
    /// Tell another group, or this one itself, something: its engine on this processor is given `Input::Told` (R34).
    /// May be lost when that one is not there or has no room: the core tells it again.
    Tell {
        /// The other group.
        to: GroupName,
        /// What.
        what: GroupMessage,
        /// The number of the stream that it rests on; it is held (R10).
        number: Number,
    },
    /// Tell operators.
    Alarm(Alarm),
    /// This side found itself wrong, or its disk failed: stop the process; the partner takes over.
    Stop {
        /// Why.
        reason: String,
    },
}

/// Something that operators should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The two sides differ (R15).
    Diverged {
        /// A sentence with number, procedure, unit and first differing update.
        report: String,
    },
    /// The partner is gone.
    PartnerLost {
        /// Why it is thought so.
        why: String,
    },
    /// The partner is in sync.
    PartnerInSync,
    /// This side took over after a failure.
    TookOver {
        /// What was found half-way.
        half_way: String,
    },
    /// What an unfinished procedure did to the world was undone, or may have done (R19).
    Undone {
        /// A sentence with event, procedure, unit and undo.
        what: String,
    },
    /// An undo failed: people must look (R19).
    UndoFailed {
        /// A sentence with event, procedure, unit, undo and why.
        what: String,
    },
    /// The arbiter can't be reached.
    ArbiterUnreachable {
        /// Why.
        why: String,
    },
    /// A work unit faulted here as active; once a fault, however often its answer is repeated.
    Faulted {
        /// The event's number; none for a read.
        number: Option<Number>,
        /// The procedure.
        procedure: String,
        /// What happened.
        fault: Fault,
    },
    /// The disk of this active failed and nobody else is in sync: it serves reads alone.
    OnlyReads {
        /// What the operating system said.
        reason: String,
    },
    /// The rows take all the memory that they may: events that would add to them are turned away.
    RowsFull {
        /// How much they take, in bytes.
        bytes: u64,
        /// How much they may take, in bytes.
        bytes_max: u64,
    },
    /// A processor died in the application's code, or gave itself up in it, and left a note (R21).
    Died {
        /// The note.
        note: DeathNote,
        /// It was this one, before its start.
        own: bool,
    },
    /// The derived tables of the version that runs here can't be kept (R17): reads of them fault.
    DerivedBroken {
        /// Why.
        why: String,
    },
    /// A migration came by rows that can't be read, and leaves them as they are (R31).
    RowsLeft {
        /// The chunk's number.
        number: Number,
        /// The table.
        table: String,
        /// How many of this chunk.
        left: u64,
        /// Why, of the first of them.
        why: String,
    },
    /// A procedure that a timer or a message started refused, and nobody is told but operators.
    OwnRefused {
        /// The event's number.
        number: Number,
        /// The procedure.
        procedure: String,
        /// Which timer or message, and why.
        what: String,
    },
    /// The campaign went on or falls back.
    Campaign {
        /// A sentence.
        what: String,
        /// It falls back, or something stands against it.
        back: bool,
    },
    /// A message that breaks the protocol came from the partner.
    ProtocolBroken {
        /// What.
        what: String,
    },
}
