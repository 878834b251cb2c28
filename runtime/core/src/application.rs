//! What the core asks of an application, and what a work unit may ask of the core.
//!
//! The core calls work units through [`Application`] and [`Run`]. A plugin is bound to them by
//! `lockstep-binding`; the core's own tests implement them directly.

use crate::context::UnitContext;
use crate::descriptor::{ApplicationDescriptor, ProcedureIndex, TableIndex, UnitIndex};
use crate::event::{Encoding, FaultKind, Refusal};

/// How a work unit ended, other than well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitEnd {
    /// The application's own "no".
    Refused(Refusal),
    /// It went wrong.
    Faulted {
        /// What kind.
        kind: FaultKind,
        /// Message and location.
        message: String,
    },
}

/// Takes a derived row: its table, key and row.
pub type PutDerived<'a> = &'a mut dyn FnMut(TableIndex, &[u8], &[u8]);

/// One version of an application, ready to run procedures.
pub trait Application: Send {
    /// What it says of itself.
    fn descriptor(&self) -> &ApplicationDescriptor;

    /// Decodes `parameters` and makes the plan. `features` has the bits of the descriptor's features that are on.
    /// A pure function of its arguments: both sides call it and must get the same plan.
    ///
    /// # Errors
    /// A sentence with the field's path when the parameters can't be decoded.
    fn begin(
        &self,
        procedure: ProcedureIndex,
        encoding: Encoding,
        parameters: &[u8],
        features: u64,
    ) -> Result<Box<dyn Run>, String>;

    /// Takes back what a unit of `procedure` did to the world, or may have done: it is called for one that has begun,
    /// however far it came, and perhaps more than once (R19). `undo` is a name of the descriptor's; `context` shows the
    /// rows as the procedure found them, and lets none be written.
    ///
    /// # Errors
    /// A sentence when it could not: people must look.
    fn undo(
        &self,
        procedure: ProcedureIndex,
        undo: &str,
        encoding: Encoding,
        parameters: &[u8],
        context: &mut UnitContext<'_>,
    ) -> Result<(), String>;

    /// Whether this version can read a row, in whatever format it is: asked before a shipped row counts (R17).
    ///
    /// # Errors
    /// A sentence that says what is wrong with the row.
    fn check_row(&self, table: TableIndex, key: &[u8], value: &[u8]) -> Result<(), String>;

    /// The row in `format`, one of those that this version writes, whatever format it reads it in (R31). A pure
    /// function of its arguments.
    ///
    /// # Errors
    /// A sentence that says why the row can't be read, or not be written so.
    fn rewrite_row(
        &self,
        _table: TableIndex,
        _key: &[u8],
        _value: &[u8],
        _format: u16,
    ) -> Result<Vec<u8>, String> {
        Err("the application can't rewrite rows".into())
    }

    /// Calls `put` with table, key and row for each derived row that a row of the source `table` gives (R17). A pure
    /// function of the row. An application without derived tables is never asked.
    ///
    /// # Errors
    /// A sentence when the row can't be translated.
    fn translate(
        &self,
        _table: TableIndex,
        _key: &[u8],
        _value: &[u8],
        _put: PutDerived<'_>,
    ) -> Result<(), String> {
        Err("the application has no derived tables".into())
    }

    /// Another one that does the same, if that can be had: only a model checker, which copies whole groups, asks.
    fn twin(&self) -> Option<Box<dyn Application>> {
        None
    }
}

impl Clone for Box<dyn Application> {
    /// # Panics
    /// When the application has no [`twin`](Application::twin).
    fn clone(&self) -> Self {
        self.twin().expect("only a group whose application has a twin is copied")
    }
}

/// One procedure under way. `Send` because a group goes to another thread at a change of its version; no run is under
/// way then.
pub trait Run: Send {
    /// The units to run, in order; positions below are indices of this.
    fn plan(&self) -> &[UnitIndex];

    /// Runs the unit at `position` of the plan.
    ///
    /// # Errors
    /// When it refuses or faults; the procedure ends with it.
    fn run(&mut self, position: usize, context: &mut UnitContext<'_>) -> Result<(), UnitEnd>;

    /// Another one that stands where this one does, if that can be had; see [`Application::twin`].
    fn twin(&self) -> Option<Box<dyn Run>> {
        None
    }
}

impl Clone for Box<dyn Run> {
    /// # Panics
    /// When the run has no [`twin`](Run::twin).
    fn clone(&self) -> Self {
        self.twin().expect("only a group whose application has a twin is copied")
    }
}
