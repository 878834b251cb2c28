//! What an application says of itself: its version, procedures, work units, tables and features.
//! Exchanged by the two sides at link-up, compared for a verdict (R16), checked before anything is run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{PluginHash, TableId};

/// The position of a procedure in its application's descriptor.
pub type ProcedureIndex = usize;
/// The position of a work unit in its procedure's descriptor.
pub type UnitIndex = usize;
/// The position of a table in its application's descriptor.
pub type TableIndex = usize;
/// The position of a feature in its application's descriptor.
pub type FeatureIndex = usize;

/// An application's version: three numbers, compared in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Grows with incompatible changes.
    pub major: u32,
    /// Grows with additions.
    pub minor: u32,
    /// Grows with corrections.
    pub patch: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl std::str::FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a version: three numbers such as 1.4.0 were expected");
        // `parse` would take a sign.
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(wrong());
        }
        let numbers =
            text.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>().map_err(|_| wrong())?;
        let [major, minor, patch] = numbers[..] else { return Err(wrong()) };
        Ok(Version { major, minor, patch })
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a takeover does with a procedure that it finds half-way (R22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recovery {
    /// Run the remaining units.
    Complete,
    /// Drop what was done; the client's retry runs it again.
    RollBack,
}

/// How a procedure's body reaches the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyUse {
    /// Carried in `Begin`.
    Carried,
    /// Never leaves the active; units that read it are shipped (R18).
    Withheld,
}

/// The structure that holds a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// Rows by hash; a range scan sorts the keys first.
    Hash,
    /// Rows in the order of their keys.
    Ordered,
}

/// A table as declared by one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDescriptor {
    /// Unique in the application; the same in all versions.
    pub name: String,
    /// The structure that holds the rows.
    pub kind: TableKind,
    /// The newest row format that this version writes, from 1 (R17).
    pub format: u16,
    /// The oldest row format that this version still reads.
    pub reads_from: u16,
    /// The table whose rows it is derived from (R17); none for an ordinary table.
    pub derived_from: Option<String>,
}

/// A feature as declared by one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureDescriptor {
    /// Unique in the application.
    pub name: String,
    /// One line for operators.
    pub description: String,
}

/// A work unit as declared by one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitDescriptor {
    /// Unique in the procedure.
    pub name: String,
    /// It reads the event's body; shipped when that is withheld (R18).
    pub reads_body: bool,
    /// It acts on the world, and the undo of this name takes that back; such a unit is always shipped (R19).
    pub undo: Option<String>,
}

/// A procedure as declared by one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedureDescriptor {
    /// Unique in the application.
    pub name: String,
    /// Grows when plan, units or updates change; equal versions run in lock step (R16).
    pub version: u32,
    /// What a takeover does with it half-way.
    pub recovery: Recovery,
    /// It writes nothing: it runs on the active alone and takes no number (R11).
    pub reads_only: bool,
    /// It is served also while the other side's version does not have it, and shipped then (R32).
    pub one_sided: bool,
    /// How its body reaches the standby.
    pub body: BodyUse,
    /// A unit that takes longer than this is a fault (R23); 0 sets no bound.
    pub deadline_ms: u32,
    /// A unit that has not returned after this has hung (R23); 0 stands for ten times the deadline.
    pub hang_ms: u32,
    /// All units that a plan may name.
    pub units: Vec<UnitDescriptor>,
    /// The names of all undos that this version can run for this procedure: those of its own units, and those that it
    /// keeps for what units of other versions did (R19).
    pub undos: Vec<String>,
    /// JSON schema or a short description of the control parameters, for people.
    pub parameters: String,
}

/// A unit of a procedure that declares neither deadline nor `hang_ms` has hung after this long.
pub const HANG_MS_DEFAULT: u64 = 10_000;

impl ProcedureDescriptor {
    /// After how long a unit has hung, in milliseconds (R23).
    #[must_use]
    pub fn hang_after_ms(&self) -> u64 {
        match (self.hang_ms, self.deadline_ms) {
            (0, 0) => HANG_MS_DEFAULT,
            (0, deadline_ms) => u64::from(deadline_ms) * 10,
            (hang_ms, _) => hang_ms.into(),
        }
    }
}

/// A procedure of another application, or of this one, that a version sends messages to (R34).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Receiver {
    /// The application.
    pub application: String,
    /// The procedure.
    pub procedure: String,
}

/// One version of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationDescriptor {
    /// The application's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The file it came from; all zero where there is none (tests).
    pub hash: PluginHash,
    /// Its tables, in the order in which its code numbers them.
    pub tables: Vec<TableDescriptor>,
    /// Its features, at most 64, in the order in which its code numbers them.
    pub features: Vec<FeatureDescriptor>,
    /// Its procedures, in the order in which its code numbers them.
    pub procedures: Vec<ProcedureDescriptor>,
    /// Every receiver of its messages in other applications; none where it does not say (R34).
    pub sends: Option<Vec<Receiver>>,
}

/// The most features a version may declare: they travel as one 64-bit set.
pub const FEATURES_MAX: usize = 64;
/// The most receivers of messages that a version may declare.
pub const SENDS_MAX: usize = 256;

impl ApplicationDescriptor {
    /// Whether the descriptor is one that the runtime can work with.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let names = |what: &str, names: Vec<&str>| {
            let mut seen = BTreeSet::new();
            for name in names {
                if name.is_empty() || name.len() > 64 {
                    return Err(format!("{what} `{name}` needs a name of 1 to 64 bytes"));
                }
                if !seen.insert(name) {
                    return Err(format!("{what} `{name}` is declared twice"));
                }
            }
            Ok(())
        };
        names("application", vec![&self.name])?;
        names("table", self.tables.iter().map(|t| t.name.as_str()).collect())?;
        names("feature", self.features.iter().map(|f| f.name.as_str()).collect())?;
        names("procedure", self.procedures.iter().map(|p| p.name.as_str()).collect())?;
        if self.features.len() > FEATURES_MAX {
            return Err(format!(
                "{} features are declared; at most {FEATURES_MAX} are possible",
                self.features.len()
            ));
        }
        let ids: BTreeSet<_> = self.tables.iter().map(|t| TableId::of(&t.name)).collect();
        if ids.len() != self.tables.len() {
            return Err("two table names have the same hash; rename one".into());
        }
        for table in &self.tables {
            if table.format == 0 || table.reads_from == 0 || table.reads_from > table.format {
                return Err(format!(
                    "table `{}` reads formats {} to {}",
                    table.name, table.reads_from, table.format
                ));
            }
            if let Some(source) = &table.derived_from {
                let ordinary =
                    |other: &&TableDescriptor| other.name == *source && other.derived_from.is_none();
                if !self.tables.iter().any(|other| ordinary(&other)) {
                    return Err(format!(
                        "table `{}` is derived from `{source}`, which is no ordinary table of this version",
                        table.name
                    ));
                }
            }
        }
        for procedure in &self.procedures {
            names("work unit", procedure.units.iter().map(|u| u.name.as_str()).collect())?;
            if procedure.units.is_empty() {
                return Err(format!("procedure `{}` has no work unit", procedure.name));
            }
            if procedure.hang_ms > 0 && procedure.hang_ms <= procedure.deadline_ms {
                return Err(format!(
                    "procedure `{}` hangs after {} ms, and its deadline is {} ms",
                    procedure.name, procedure.hang_ms, procedure.deadline_ms
                ));
            }
            names("undo", procedure.undos.iter().map(String::as_str).collect())?;
            for (unit, undo) in
                procedure.units.iter().filter_map(|unit| Some((&unit.name, unit.undo.as_ref()?)))
            {
                let at = format!("work unit `{unit}` of `{}`", procedure.name);
                if procedure.reads_only {
                    return Err(format!("{at} acts on the world in a procedure that reads only (R19)"));
                }
                if !procedure.undos.contains(undo) {
                    return Err(format!("{at} is undone by `{undo}`, which is not among the undos (R19)"));
                }
            }
        }
        self.check_sends()
    }

    /// What it sends within itself is its own affair; what stands among `sends` all the same must be right.
    fn check_sends(&self) -> Result<(), String> {
        let Some(sends) = &self.sends else { return Ok(()) };
        if sends.len() > SENDS_MAX {
            return Err(format!("{} receivers are declared; at most {SENDS_MAX} are possible", sends.len()));
        }
        for (at, receiver) in sends.iter().enumerate() {
            let Receiver { application, procedure } = receiver;
            let named = |name: &str| (1..=64).contains(&name.len()) && !name.contains('\0');
            if !named(application) || !named(procedure) {
                return Err(format!(
                    "the receiver `{procedure}` of `{application}` needs names of 1 to 64 bytes"
                ));
            }
            if sends[..at].contains(receiver) {
                return Err(format!("the receiver `{procedure}` of `{application}` is declared twice"));
            }
            if *application == self.name
                && self.procedure(procedure).is_none_or(|(_, declared)| declared.reads_only)
            {
                return Err(format!(
                    "it sends messages to its own `{procedure}`, which is no procedure of it that writes"
                ));
            }
        }
        Ok(())
    }

    /// Whether messages may go to `procedure` of `application`: all do where it does not say, and its own always.
    #[must_use]
    pub fn sends_to(&self, application: &str, procedure: &str) -> bool {
        application == self.name
            || self.sends.as_ref().is_none_or(|sends| {
                sends.iter().any(|it| it.application == application && it.procedure == procedure)
            })
    }

    /// The procedure called `name`.
    #[must_use]
    pub fn procedure(&self, name: &str) -> Option<(ProcedureIndex, &ProcedureDescriptor)> {
        self.procedures.iter().enumerate().find(|(_, procedure)| procedure.name == name)
    }
}
