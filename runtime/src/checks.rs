//! The user's own checks during an evaluation (R30): programs on the active's host, procedures of the application.
//!
//! A run has a thread of its own, as checks wait; it takes the checks of the campaign one after the other, ends at the
//! first one that does not pass, and gives the core one verdict.
//!
//! A program ends with 0 if all is well, with 75 (`EX_TEMPFAIL`) if it can't tell, and with anything else if something is
//! wrong; its last line says what. A procedure passes with the reply `null`, `true` or `{"pass": true, ...}`, fails with a
//! refusal, a fault, `false` or `{"pass": false, "why": "..."}`, and can't tell otherwise.
//!
//! Deliberately absent: what a verdict leads to, and when checks are run: the core decides.
//! Invariants: a check takes no longer than the campaign says; no program outlives its check.

pub(crate) mod procedure;
mod program;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::campaign::{CampaignRecord, CheckVerdict, OwnCheck};
use lockstep_core::ids::NodeId;
use lockstep_core::input::Input;

use crate::engine::inbound::{EngineHandle, Inbound};

/// A check failed, or could not be run.
const CHECK: &str = "LS0705";

/// What a check is told of the processor that runs it.
pub struct Site {
    /// Its name.
    pub node: NodeId,
    /// Where it serves HTTP.
    pub http: SocketAddr,
    /// Where it serves binary clients.
    pub events: SocketAddr,
    /// Its admin socket.
    pub admin: PathBuf,
}

/// Runs the checks of `campaign` on a thread of their own; the first of `engines`, which are those of the application's
/// partitions, is told the verdict of this `run`.
pub fn launch(run: u64, campaign: CampaignRecord, engines: Vec<EngineHandle>, site: Arc<Site>) {
    let engine = engines[0].clone();
    let on_thread = engine.clone();
    let thread = std::thread::Builder::new().name("own-checks".into()).spawn(move || {
        let verdict = all(run, &campaign, &engines, &site);
        match &verdict {
            CheckVerdict::Pass => tracing::debug!(run, "the user's own checks passed"),
            CheckVerdict::Fail(why) => {
                tracing::warn!(code = CHECK, run, why, "a check of the user's own failed")
            }
            CheckVerdict::Inconclusive(why) => {
                tracing::warn!(code = CHECK, run, why, "a check of the user's own could not be run");
            }
        }
        on_thread.tell_waiting(Inbound::Input(Input::Checked { run, verdict }));
    });
    if let Err(error) = thread {
        let verdict = CheckVerdict::Inconclusive(format!("there is no thread for it: {error}"));
        // The core does not wait for ever.
        let _ = engine.tell(Inbound::Input(Input::Checked { run, verdict }));
    }
}

fn all(run: u64, campaign: &CampaignRecord, engines: &[EngineHandle], site: &Site) -> CheckVerdict {
    let time_max = Duration::from_millis(campaign.plan.own_checks.time_max_ms);
    for check in &campaign.plan.own_checks.checks {
        let until = Instant::now() + time_max;
        let verdict = match check {
            OwnCheck::Command(line) => {
                program::run(line, &environment(&engines[0].application, campaign, site), until)
            }
            OwnCheck::Procedure { name, parameters } => {
                procedure::run(run, campaign, name, parameters, engines, until)
            }
        };
        if verdict != CheckVerdict::Pass {
            return verdict;
        }
    }
    CheckVerdict::Pass
}

/// What a program finds in its environment.
fn environment(application: &str, campaign: &CampaignRecord, site: &Site) -> Vec<(&'static str, String)> {
    vec![
        ("LOCKSTEP_APPLICATION", application.to_owned()),
        ("LOCKSTEP_CAMPAIGN", campaign.id.to_string()),
        ("LOCKSTEP_OLD_VERSION", campaign.plan.from.to_string()),
        ("LOCKSTEP_NEW_VERSION", campaign.plan.to.to_string()),
        ("LOCKSTEP_NODE", site.node.to_string()),
        ("LOCKSTEP_HTTP", site.http.to_string()),
        ("LOCKSTEP_EVENTS", site.events.to_string()),
        ("LOCKSTEP_ADMIN", site.admin.display().to_string()),
    ]
}

/// What was said last, in one line of a bounded length.
fn last_line(text: &str) -> Option<String> {
    const CHARS_MAX: usize = 200;
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.chars().take(CHARS_MAX).collect())
}
