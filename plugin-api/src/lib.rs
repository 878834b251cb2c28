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
mod names;
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
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// # const COUNTS: Table<String, u64> = Table::new("counts");
/// /// A plan of work units. A unit that has not returned after 50 ms has faulted.
/// #[procedure(version = 2, recovery = complete, deadline_ms = 50)]
/// fn add(_name: &String) -> Plan<String> {
///     Plan::of([check, count_up])
/// }
///
/// /// One unit, whose value is the reply.
/// #[procedure(version = 1, reads_only)]
/// fn count(cx: &Context, name: &String) -> Reply<u64> {
///     Ok(COUNTS.get(cx, name)?.unwrap_or(0))
/// }
/// # #[work_unit] fn check(_cx: &mut Context, _name: &String) -> Outcome { Ok(()) }
/// # #[work_unit] fn count_up(_cx: &mut Context, _name: &String) -> Outcome { Ok(()) }
/// # fn main() {}
/// ```
pub use lockstep_plugin_macros::procedure;
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// # mod courier {
/// #     pub fn send(_: &str) -> Result<(), std::io::Error> { Ok(()) }
/// #     pub fn recall_if_sent(_: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// /// Acts on the world; what takes that back is content to find nothing.
/// #[work_unit(undo = recall)]
/// fn dispatch(_cx: &mut Context, parcel: &String) -> Outcome {
///     courier::send(parcel)?;
///     Ok(())
/// }
///
/// fn recall(_cx: &Context, parcel: &String) -> Outcome {
///     courier::recall_if_sent(parcel)?;
///     Ok(())
/// }
/// # fn main() {}
/// ```
pub use lockstep_plugin_macros::work_unit;
pub use outcome::{Error, OrRefuse, Outcome, Refusal, Reply, Stop};
pub use plan::{Feature, Plan, Undo};
pub use posting::{Receiver, To, When};
pub use table::{Scratch, Table};

#[doc(hidden)]
pub use abi_stable;
#[doc(hidden)]
pub use serde;

/// Everything that a plugin's source needs.
///
/// ```
/// use lockstep_plugin_api::prelude::*;
///
/// const GREETED: Table<String, u64> = Table::new("greeted");
///
/// #[procedure(version = 1)]
/// fn greet(cx: &mut Context, name: &String) -> Reply<String> {
///     GREETED.put(cx, name, &(GREETED.get(cx, name)?.unwrap_or(0) + 1))?;
///     Ok(format!("hello, {name}"))
/// }
///
/// application! { name: "greeter", version: "1.0.0", tables: [GREETED], procedures: [greet] }
/// # fn main() { assert_eq!(format!("{:?}", application()), "greeter 1.0.0"); }
/// ```
pub mod prelude {
    pub use crate::{
        Context, Derived, Error, Feature, Key, Level, OrRefuse, Outcome, Plan, Receiver, Refusal, Reply,
        Scratch, Stop, Table, To, Translate, Translated, When,
    };
    pub use crate::{application, procedure, refuse, refuse_unless, work_unit};
    pub use serde::{Deserialize, Serialize};
}
