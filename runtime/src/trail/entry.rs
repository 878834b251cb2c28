//! An entry of the audit trail, and how it reads.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use lockstep_core::command::Role;
use lockstep_core::descriptor::Version;
use lockstep_core::ids::NodeId;
use serde::{Deserialize, Serialize};

/// The longest text of an entry, in characters; what is longer is cut.
const TEXT_MAX: usize = 1_000;

/// Something that was asked for, or that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailEntry {
    /// The processor that was asked, or where it happened; empty in what was written before this was noted.
    #[serde(default)]
    pub node: String,
    /// Grows from entry to entry of a processor, also over restarts.
    #[serde(default)]
    pub number: u64,
    /// When, in milliseconds since 1970, by that processor's clock.
    pub at_ms: u64,
    /// The application; none where it is about the whole processor, or was not named.
    pub application: Option<String>,
    /// Who asked for it; empty where nobody did.
    pub by: String,
    /// Why, in the words of whoever asked; may be empty.
    pub why: String,
    /// What.
    pub what: What,
}

/// What was asked for or happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An operator's command.
    Command {
        /// As it is typed.
        command: String,
        /// `done`, `accepted`, or a code with its sentence.
        result: String,
    },
    /// The record of an upgrade changed.
    Upgrade {
        /// Its number.
        id: u64,
        /// The version before.
        from: Version,
        /// The target.
        to: Version,
        /// `started`, `step`, `paused`, `resumed`, `accepted`, `no-way-back`, `changed`, `done` or `fell-back`.
        change: String,
        /// The step that it is in, by name.
        step: String,
        /// The step's number.
        figure: u16,
        /// Why it falls or fell back; empty when all is well.
        reason: String,
    },
    /// This processor's role changed.
    Role {
        /// The role.
        role: Role,
        /// The term.
        term: u64,
        /// How many processors the record has in sync.
        in_sync: u64,
    },
}

impl TrailEntry {
    /// An entry of this moment.
    #[must_use]
    pub fn now(application: Option<&str>, by: &str, why: &str, what: What) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = TrailEntry {
            node: String::new(),
            number: 0,
            at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            application: application.map(str::to_owned),
            by: by.to_owned(),
            why: why.to_owned(),
            what,
        };
        entry.bounded()
    }

    /// With its texts cut.
    pub(super) fn bounded(self) -> Self {
        TrailEntry {
            node: cut(&self.node),
            application: self.application.as_deref().map(cut),
            by: cut(&self.by),
            why: cut(&self.why),
            what: match self.what {
                What::Command { command, result } => {
                    What::Command { command: cut(&command), result: cut(&result) }
                }
                what => what,
            },
            ..self
        }
    }

    /// As the partner's, if `node` is its name: a command that it was asked.
    pub(super) fn of_partner(self, node: &NodeId) -> Option<Self> {
        (self.node == node.0 && matches!(self.what, What::Command { .. })).then(|| self.bounded())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Command { command, result } => write!(f, "{command}: {result}"),
            What::Upgrade { id, from, to, change, step, figure, reason } => {
                write!(f, "upgrade {id}, {from} -> {to}: {change}")?;
                if change == "step" {
                    write!(f, " {figure} {step}")?;
                } else if !matches!(change.as_str(), "done" | "fell-back") {
                    write!(f, " at {figure} {step}")?;
                }
                if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
            }
            What::Role { role, term, in_sync } => write!(f, "{role}, term {term}, {in_sync} in sync"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_as_sentences_and_are_bounded() {
        let upgrade = |change: &str, step: &str, figure, reason: &str| What::Upgrade {
            id: 42,
            from: "1.4.0".parse().unwrap(),
            to: "2.0.0".parse().unwrap(),
            change: change.into(),
            step: step.into(),
            figure,
            reason: reason.into(),
        };
        assert_eq!(
            upgrade("step", "evaluate", 203, "").to_string(),
            "upgrade 42, 1.4.0 -> 2.0.0: step 203 evaluate"
        );
        assert_eq!(
            upgrade("paused", "evaluate", 203, "").to_string(),
            "upgrade 42, 1.4.0 -> 2.0.0: paused at 203 evaluate"
        );
        assert_eq!(
            upgrade("fell-back", "fell-back", 200, "faults: 3").to_string(),
            "upgrade 42, 1.4.0 -> 2.0.0: fell-back: faults: 3"
        );
        let long = "x".repeat(5_000);
        let what = What::Command { command: long.clone(), result: String::new() };
        let entry = TrailEntry::now(None, "root", &long, what);
        assert!(serde_json::to_string(&entry).unwrap().len() < 2 * TEXT_MAX + 200);
    }
}
