//! The processor that commands talk to: found by its configuration, asked over its admin socket.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_runtime::admin::protocol::{
    AdminError, AdminReply, AdminRequest, AdminResponse, AdminVerb, CallError, call,
};
use lockstep_runtime::config::NodeConfig;

use crate::args::{Global, Output};
use crate::failure::{Exit, Failure};

/// What every command needs.
pub struct Session {
    /// The processor's configuration.
    pub config: NodeConfig,
    /// How to print.
    pub output: Output,
    yes: bool,
    timeout: Duration,
    why: String,
}

impl Session {
    /// Reads the configuration.
    pub fn open(global: &Global) -> Result<Self, Failure> {
        Ok(Session {
            config: NodeConfig::load(&global.config)?,
            output: global.output,
            yes: global.yes,
            timeout: Duration::from_millis(global.timeout_ms),
            why: global.why.clone(),
        })
    }

    /// Asks and tells a refusal from a failure to ask.
    pub fn try_ask(
        &self,
        application: Option<&str>,
        verb: AdminVerb,
    ) -> Result<Result<AdminReply, AdminError>, Failure> {
        let request = AdminRequest {
            application: application.map(str::to_owned),
            partition: None,
            verb,
            by: user(),
            why: self.why.clone(),
        };
        Ok(match call(&self.config.admin, &request, self.timeout)? {
            AdminResponse::Ok(reply) => Ok(*reply),
            AdminResponse::Error(error) => Err(error),
        })
    }

    /// Asks; a refusal is a failure.
    pub fn ask(&self, application: Option<&str>, verb: AdminVerb) -> Result<AdminReply, Failure> {
        Ok(self.try_ask(application, verb)??)
    }

    /// Says what is about to happen and asks for a yes. Without a terminal only `--yes` counts.
    pub fn confirm(&self, harm: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let usage = |message: String| Failure::new(Exit::Usage, "LS0805", message, "say yes with --yes");
        if !std::io::stdin().is_terminal() {
            return Err(usage(format!("{harm} Nobody can be asked: this is no terminal")));
        }
        eprint!("{harm} Go on? [y/N] ");
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        match (read, answer.trim()) {
            (Ok(_), "y" | "Y" | "yes") => Ok(()),
            _ => Err(Failure::new(Exit::Failed, "LS0806", "nothing was changed: you did not say yes", "")),
        }
    }

    /// Prints an answer: `text` for people, `json` for programs.
    pub fn print(&self, text: &str, json: &impl serde::Serialize) -> Result<(), Failure> {
        print(self.output, text, json)
    }
}

/// Prints `text` for people, `json` for programs.
pub fn print(output: Output, text: &str, json: &impl serde::Serialize) -> Result<(), Failure> {
    match output {
        Output::Text => write_out(text.as_bytes()),
        Output::Json => {
            let mut line = serde_json::to_vec(json).map_err(|error| {
                Failure::new(Exit::Failed, "LS0808", error.to_string(), "this is a defect")
            })?;
            line.push(b'\n');
            write_out(&line)
        }
    }
}

/// Writes to standard output. A reader that has gone away, such as `head`, is no failure.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(Exit::Ok as i32),
        Err(error) => {
            Err(Failure::new(Exit::Failed, "LS0809", format!("cannot write the output: {error}"), ""))
        }
    }
}

/// The answer was not of the kind that the question has.
pub fn unexpected(reply: &AdminReply) -> Failure {
    let message = format!("it is of another kind: {reply:?}");
    CallError::NotUnderstood(message).into()
}

/// The whole path of a file as the operator sees it; the processor has another working directory.
pub fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The user's name, for records; it proves nothing.
pub fn user() -> String {
    ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}
