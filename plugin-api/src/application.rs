//! An application as `application!` declares it, and the description of it that crosses the boundary.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::abi::PluginModuleRef;
use crate::outcome::Error;
use crate::plan::Feature;
use crate::posting::Receiver;
use crate::procedure::Procedure;
use crate::table::TableDeclared;

/// The author's hook that is run before the first event or after the last one.
///
/// ```
/// use lockstep_plugin_api::application::Hook;
/// use lockstep_plugin_api::prelude::*;
///
/// application! {
///     name: "counter",
///     version: "1.0.0",
///     tables: [],
///     procedures: [],
///     start: open,
///     shutdown: close,
/// }
///
/// /// An error here keeps the version from being taken into service.
/// fn open() -> Result<(), Error> {
///     Ok(())
/// }
///
/// /// Joins the threads that `open` made.
/// fn close() -> Result<(), Error> {
///     Ok(())
/// }
/// # fn main() { let _: [Hook; 2] = [open, close]; assert_eq!(format!("{:?}", application()), "counter 1.0.0"); }
/// ```
pub type Hook = fn() -> Result<(), Error>;

/// One version of an application: what the function `application()` gives, which [`application!`](crate::application!)
/// makes. Tests hand it to the test kit, and the plugin file's crate to
/// [`export_application!`](crate::export_application!).
///
/// ```
/// use lockstep_plugin_api::Application;
/// # lockstep_plugin_api::application! { name: "counter", version: "1.0.0", tables: [], procedures: [] }
///
/// let version: &'static Application = application();
/// assert_eq!(format!("{version:?}"), "counter 1.0.0");
/// ```
pub struct Application {
    #[doc(hidden)]
    pub name: &'static str,
    #[doc(hidden)]
    pub version: (u32, u32, u32),
    #[doc(hidden)]
    pub tables: &'static [TableDeclared],
    #[doc(hidden)]
    pub features: &'static [Feature],
    #[doc(hidden)]
    pub procedures: &'static [Procedure],
    #[doc(hidden)]
    pub sends: Option<&'static [Receiver]>,
    #[doc(hidden)]
    pub start: Option<Hook>,
    #[doc(hidden)]
    pub shutdown: Option<Hook>,
    #[doc(hidden)]
    pub module: fn() -> PluginModuleRef,
    #[doc(hidden)]
    pub starts: Starts,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "{} {major}.{minor}.{patch}", self.name)
    }
}

/// How often an application was started and not yet shut down: in tests and in the simulated world, both engines
/// of a pair may run the same linked application in one process.
#[doc(hidden)]
#[derive(Default)]
pub struct Starts(Mutex<usize>);

impl Starts {
    #[must_use]
    pub const fn none() -> Self {
        Starts(Mutex::new(0))
    }
}

impl Application {
    /// The root module of this application where it is linked into the program instead of loaded from a file.
    ///
    /// For hosts: the test kit and the simulated world call the application over it.
    #[must_use]
    pub fn module(&self) -> PluginModuleRef {
        (self.module)()
    }

    pub(crate) fn feature_index(&self, feature: Feature) -> Option<u32> {
        self.features.iter().position(|declared| declared.name == feature.name).map(|index| index as u32)
    }

    /// Runs the author's start before the first of several uses.
    pub(crate) fn start(&self) -> Result<(), Error> {
        let mut starts = self.starts.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *starts == 0
            && let Some(start) = self.start
        {
            start()?;
        }
        *starts += 1;
        Ok(())
    }

    /// Runs the author's shutdown after the last of several uses; true when it was the last.
    pub(crate) fn shutdown(&self) -> Result<(), Error> {
        let mut starts = self.starts.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match *starts {
            0 => return Err(Error::new("shut down without a start")),
            1 => {
                *starts = 0;
                if let Some(shutdown) = self.shutdown {
                    shutdown()?;
                }
            }
            _ => *starts -= 1,
        }
        Ok(())
    }

    pub(crate) fn description(&self) -> Description {
        let table = |table: &TableDeclared| TableDescription {
            name: table.name.into(),
            ordered: table.ordered,
            format: table.format.into(),
            reads_from: table.reads_from.into(),
            derived_from: table.derived.map(|derived| derived.source().into()),
        };
        let procedure = |procedure: &Procedure| {
            let declared = &procedure.declared;
            let unit = |unit: &crate::plan::UnitDeclared| UnitDescription {
                name: unit.name.into(),
                reads_body: unit.reads_body,
                undo: unit.undo.map(Into::into),
            };
            let mut undos: Vec<&str> = declared.units.iter().filter_map(|unit| unit.undo).collect();
            undos.extend(declared.undos);
            undos.sort_unstable();
            undos.dedup();
            ProcedureDescription {
                name: declared.name.into(),
                version: declared.version,
                completes: declared.completes,
                reads_only: declared.reads_only,
                one_sided: declared.one_sided,
                body_withheld: declared.body_withheld,
                deadline_ms: declared.deadline_ms,
                hang_ms: declared.hang_ms,
                units: declared.units.iter().map(unit).collect(),
                undos: undos.into_iter().map(Into::into).collect(),
                parameters: (procedure.parameters)(),
            }
        };
        Description {
            name: self.name.into(),
            version: self.version,
            tables: self.tables.iter().map(table).collect(),
            features: self.features.iter().map(|f| (f.name.into(), f.description.into())).collect(),
            procedures: self.procedures.iter().map(procedure).collect(),
            sends: self.sends.map(|sends| sends.iter().map(Receiver::described).collect()),
        }
    }
}

/// What an application says of itself, as `postcard` carries it across the boundary.
///
/// For hosts: no author of a plugin touches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The application's name.
    pub name: String,
    /// Its version.
    pub version: (u32, u32, u32),
    /// Its tables; callbacks name them by their place in this list.
    pub tables: Vec<TableDescription>,
    /// Names and descriptions of its features; named by place.
    pub features: Vec<(String, String)>,
    /// Its procedures; named by place.
    pub procedures: Vec<ProcedureDescription>,
    /// Whom it sends messages to; none where it does not say. A value of its own behind the others, since 1.2.
    #[serde(skip)]
    pub sends: Option<Vec<ReceiverDescription>>,
}

impl Description {
    /// Reads what `describe` gave.
    ///
    /// # Errors
    /// When it is not a description.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let unreadable = |error| Error::new(format_args!("its description can't be read: {error}"));
        let (mut description, rest) = postcard::take_from_bytes::<Description>(bytes).map_err(unreadable)?;
        if !rest.is_empty() {
            description.sends = postcard::from_bytes(rest).map_err(unreadable)?;
        }
        Ok(description)
    }

    /// As [`decode`](Self::decode) reads it: what 1.0 had, then what came later.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let mut bytes = postcard::to_stdvec(self)?;
        bytes.extend(postcard::to_stdvec(&self.sends)?);
        Ok(bytes)
    }
}

/// A table, described.
///
/// For hosts: as [`Description`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDescription {
    /// Its name.
    pub name: String,
    /// Rows are kept in the order of their keys.
    pub ordered: bool,
    /// The newest format that this version writes.
    pub format: u16,
    /// The oldest format that this version reads.
    pub reads_from: u16,
    /// The table whose rows it is derived from; none for an ordinary table.
    pub derived_from: Option<String>,
}

/// A procedure, described.
///
/// For hosts: as [`Description`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedureDescription {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// A takeover completes it; otherwise it rolls it back.
    pub completes: bool,
    /// It writes nothing.
    pub reads_only: bool,
    /// It is served also while the other side does not have it.
    pub one_sided: bool,
    /// Its body stays on the active.
    pub body_withheld: bool,
    /// The bound of each of its units; 0 for none.
    pub deadline_ms: u32,
    /// A unit that has not returned after this has hung; 0 for ten times the deadline.
    pub hang_ms: u32,
    /// Every unit that its plans may name; plans name them by place.
    pub units: Vec<UnitDescription>,
    /// The names of all undos that it can run (R19).
    pub undos: Vec<String>,
    /// Its control parameters as a JSON schema.
    pub parameters: String,
}

/// A work unit, described.
///
/// For hosts: as [`Description`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitDescription {
    /// Its name.
    pub name: String,
    /// It reads the event's body.
    pub reads_body: bool,
    /// It acts on the world, and this undo takes that back (R19).
    pub undo: Option<String>,
}

/// A receiver of messages, described.
///
/// For hosts: as [`Description`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverDescription {
    /// The application.
    pub application: String,
    /// The procedure of it.
    pub procedure: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(sends: Option<Vec<ReceiverDescription>>) -> Description {
        Description {
            name: "orders".into(),
            version: (1, 0, 0),
            tables: vec![],
            features: vec![],
            procedures: vec![],
            sends,
        }
    }

    #[test]
    fn what_came_with_1_2_stands_behind_what_1_0_has_and_may_be_missing() {
        let receiver = ReceiverDescription { application: "ledger".into(), procedure: "transfer".into() };
        for sends in [None, Some(vec![]), Some(vec![receiver])] {
            let bytes = description(sends.clone()).encode().unwrap();
            assert_eq!(Description::decode(&bytes).unwrap(), description(sends));
            // As an older host reads it, and as an older plugin gives it.
            let first = postcard::to_stdvec(&description(None)).unwrap();
            assert_eq!(bytes[..first.len()], first);
            assert_eq!(Description::decode(&first).unwrap(), description(None));
        }
        assert!(Description::decode(&[&*description(None).encode().unwrap(), &[7]].concat()).is_ok());
        let torn = [&*postcard::to_stdvec(&description(None)).unwrap(), &[1, 9]].concat();
        assert!(Description::decode(&torn).is_err());
    }
}
