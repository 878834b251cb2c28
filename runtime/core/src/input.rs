//! Everything that can happen to a group.

use crate::application::Application;
use crate::campaign::CheckVerdict;
use crate::channels::GroupMessage;
use crate::command::{Command, CommandResult};
use crate::event::Request;
use crate::ids::{GroupName, LinkId, Number, Origin, PluginHash, StoreId};
use crate::message::{Frame, PeerMessage};
use crate::note::DeathNote;
use crate::record::{Record, SwapOutcome};

/// One thing that happened. Requests of the core are matched by id.
pub enum Input {
    /// A client asks something.
    Request {
        /// Comes back with the answer.
        origin: Origin,
        /// What.
        request: Request,
    },
    /// An operator asks something.
    Command {
        /// Comes back with the result.
        origin: Origin,
        /// What.
        command: Command,
    },
    /// What another group of the application answered to
    /// [`Effect::AskSibling`](crate::effect::Effect::AskSibling).
    SiblingTold {
        /// Its partition.
        partition: u16,
        /// Its report.
        result: CommandResult,
    },
    /// A new link to the partner is up; it replaces any older one.
    LinkUp {
        /// Its id.
        link: LinkId,
    },
    /// A link is gone.
    LinkDown {
        /// Its id.
        link: LinkId,
    },
    /// The partner says something.
    Peer {
        /// On which link.
        link: LinkId,
        /// What.
        frame: Frame,
    },
    /// All appended entries up to `through` are durable in `store`. The shell never says so of appends that an
    /// `Effect::CutBack` which it has carried out has cut off. It says so after every batch with something for the
    /// store, a cut and a dropped copy included.
    Durable {
        /// The store: a word about a store that has been replaced meanwhile is ignored.
        store: StoreId,
        /// The number.
        through: Number,
    },
    /// A write or a sync failed: nothing more can be written (R26).
    StoreFailed {
        /// What the operating system said.
        reason: String,
    },
    /// The copy that was asked for with `Effect::CopyEnd` is durable.
    CopyDurable {
        /// The new store.
        store: StoreId,
    },
    /// Answer to [`Effect::ReadRecord`](crate::effect::Effect::ReadRecord).
    RecordRead(Result<Option<Record>, String>),
    /// Answer to [`Effect::PrepareSwap`](crate::effect::Effect::PrepareSwap).
    SwapPrepared,
    /// Answer to [`Effect::Swap`](crate::effect::Effect::Swap).
    Swapped(SwapOutcome),
    /// The operating system says that the process that holds `store` died. A hint (R6).
    PartnerDied {
        /// The store.
        store: StoreId,
    },
    /// Whether the process that holds `store` lives, in answer to
    /// [`Effect::AskLiving`](crate::effect::Effect::AskLiving).
    Living {
        /// The store.
        store: StoreId,
        /// As the question had it.
        hellos: u64,
        /// Whether its liveness lock is held.
        living: bool,
    },
    /// The plugin that was asked for with `Effect::LoadPlugin` is loaded; the core takes it over at the boundary.
    PluginLoaded {
        /// The new version, ready to run.
        application: Box<dyn Application>,
    },
    /// It could not be loaded.
    PluginFailed {
        /// The file.
        hash: PluginHash,
        /// Why.
        reason: String,
        /// Another try may go better: the file did not come, or the version did not start (R28).
        may_pass: bool,
    },
    /// What a run of the user's own checks has shown, in answer to
    /// [`Effect::RunChecks`](crate::effect::Effect::RunChecks).
    Checked {
        /// The run.
        run: u64,
        /// The verdict.
        verdict: CheckVerdict,
    },
    /// What a processor left at its death in the application's code (R21). The partner's is given before its death is
    /// told, the own one after the start that found it.
    Note {
        /// The note.
        note: DeathNote,
        /// It is this processor's own.
        own: bool,
    },
    /// Another group, or this one itself, tells something (R34). It may come late, twice, or never.
    Told {
        /// The other group.
        from: GroupName,
        /// What.
        what: GroupMessage,
    },
    /// Time passed; nothing else happened.
    Tick,
}

impl Input {
    /// Whether it is one event's: a request, or a piece of the stream. Roles and record do not depend on those, and are
    /// looked at once, at the end of their batch.
    #[must_use]
    pub fn is_of_an_event(&self) -> bool {
        use PeerMessage::{Abort, Begin, EndProcedure, Forward, Procedure, StepUp};
        match self {
            Input::Request { .. } => true,
            Input::Peer { frame, .. } => matches!(
                frame.message,
                Procedure { .. }
                    | Begin { .. }
                    | StepUp { .. }
                    | EndProcedure { .. }
                    | Abort { .. }
                    | Forward { .. }
            ),
            _ => false,
        }
    }
}
