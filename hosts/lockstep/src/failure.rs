//! Why a command did not end well, and with which exit status.

use lockstep_runtime::admin::UNDER_WAY;
use lockstep_runtime::admin::protocol::{AdminError, CallError};
use lockstep_runtime::config::ConfigError;

/// How the program ends. The numbers are a promise to scripts; `docs/operations.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failed = 1,
    /// Not typed as it must be.
    Usage = 2,
    /// The preflight refused.
    Refused = 3,
    /// The upgrade fell back.
    FellBack = 4,
    /// The evaluation waits for the operator.
    Inconclusive = 5,
}

/// Why a command did not end well: a diagnostic with code, sentence and help.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] ConfigError),
    /// Anything else.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Told(#[from] Told),
}

/// A failure in words.
#[derive(Debug)]
pub struct Told {
    /// A code such as `LS0805`.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// What to do next; may be empty.
    pub help: String,
    /// How the program ends.
    pub exit: Exit,
    /// What else is to stand in the JSON object beside `error`; null for nothing.
    pub beside: serde_json::Value,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Told {}

impl miette::Diagnostic for Told {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        (!self.help.is_empty()).then(|| Box::new(&self.help) as Box<dyn std::fmt::Display + 'a>)
    }
}

impl Failure {
    /// A failure in words.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        let beside = serde_json::Value::Null;
        Failure::Told(Told { code: code.into(), message: message.into(), help: help.into(), exit, beside })
    }

    /// The same, with the fields of an object beside it in JSON.
    pub fn beside(self, beside: serde_json::Value) -> Self {
        match self {
            Failure::Told(told) => Failure::Told(Told { beside, ..told }),
            config => config,
        }
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Config(_) => Exit::Usage,
            Failure::Told(told) => told.exit,
        }
    }

    /// As one JSON object.
    pub fn json(&self) -> serde_json::Value {
        use miette::Diagnostic as _;
        let text = |part: Option<Box<dyn std::fmt::Display + '_>>| part.map(|part| part.to_string());
        let (code, help) = match self {
            Failure::Config(error) => (text(error.code()), text(error.help())),
            Failure::Told(told) => (text(told.code()), text(told.help())),
        };
        let mut json = match self {
            Failure::Told(Told { beside: serde_json::Value::Object(beside), .. }) => beside.clone(),
            _ => serde_json::Map::new(),
        };
        json.insert(
            "error".into(),
            serde_json::json!({"code": code, "message": self.to_string(), "help": help}),
        );
        json.into()
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Failure::new(Exit::Failed, error.code(), error.to_string(), error.help())
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Failure::new(Exit::Failed, &error.code, error.message, error.help)
    }
}

/// The same failure, as a preflight's: what concerns the file, the pair of versions, what runs beside it, or another upgrade
/// under way is a refusal.
pub fn of_preflight(error: AdminError) -> Failure {
    let refused = ["LS04", UNDER_WAY, "LS071", "LS073"].iter().any(|codes| error.code.starts_with(codes));
    let exit = if refused { Exit::Refused } else { Exit::Failed };
    Failure::new(exit, &error.code, error.message, error.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_refuses_what_it_looks_at_and_nothing_else() {
        let exit = |code: &str| {
            of_preflight(AdminError { code: code.into(), message: String::new(), help: String::new() }).exit()
        };
        assert_eq!(exit("LS0410"), Exit::Refused);
        assert_eq!(exit("LS0711"), Exit::Refused);
        assert_eq!(exit("LS0730"), Exit::Refused);
        // As `upgrade plan` ends, which lists it among the refusals.
        assert_eq!(exit("LS0702"), Exit::Refused);
        assert_eq!(exit("LS0631"), Exit::Failed);
    }

    #[test]
    fn a_failure_reads_the_same_in_both_forms() {
        let failure = Failure::new(Exit::Failed, "LS0801", "no processor answers", "is it running?");
        assert_eq!(
            lockstep_runtime::config::report::render(&failure),
            "error LS0801: no processor answers\n   help: is it running?\n"
        );
        assert_eq!(
            failure.json().to_string(),
            r#"{"error":{"code":"LS0801","help":"is it running?","message":"no processor answers"}}"#
        );
        let failure = failure.beside(serde_json::json!({"last": 7}));
        assert_eq!(failure.json()["last"], 7);
        assert_eq!(failure.json()["error"]["code"], "LS0801");
    }
}
