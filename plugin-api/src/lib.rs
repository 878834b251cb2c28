//! What authors of Lockstep plugins write against.
//!
//! An application is tables, features and procedures; a procedure is a plan of work units. See
//! [`application!`] for an example, [`Table`] for rows and their formats, [`Context`] for what a work unit may do.
//!
//! For hosts: [`abi`] is the boundary, [`host`] a safe way to call a plugin over it.
//!
//! Invariant: nothing unwinds across the boundary, and nothing that a plugin allocated is freed by the host.

pub mod abi;
#[doc(hidden)]
pub mod alloc;
pub mod application;
pub mod context;
pub mod derived;
#[doc(hidden)]
pub mod entries;
#[doc(hidden)]
pub mod export;
pub mod host;
pub mod key;
mod log_bridge;
pub mod outcome;
mod panics;
pub mod plan;
pub mod posting;
pub mod procedure;
#[doc(hidden)]
pub mod schema;
mod spans;
pub mod table;

pub use application::Application;
pub use context::{Context, Level};
pub use derived::{Derived, Translate, Translated};
pub use key::Key;
pub use lockstep_plugin_macros::{procedure, work_unit};
pub use outcome::{Error, OrRefuse, Outcome, Refusal, Reply, Stop};
pub use plan::{Feature, Plan, Undo};
pub use posting::{To, When};
pub use table::{Scratch, Table};

#[doc(hidden)]
pub use abi_stable;
#[doc(hidden)]
pub use serde;

/// Everything that a plugin's source needs.
pub mod prelude {
    pub use crate::{
        Context, Derived, Error, Feature, Key, Level, OrRefuse, Outcome, Plan, Refusal, Reply, Scratch, Stop,
        Table, To, Translate, Translated, When,
    };
    pub use crate::{application, procedure, refuse, refuse_unless, work_unit};
    pub use serde::{Deserialize, Serialize};
}
