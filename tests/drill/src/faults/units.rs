//! Work units that do to their host whatever a work unit can do.

use std::time::Duration;

use lockstep_client::{CallError, Encoding, Reply};
use rig::Failure;
use rig::clients::ClientThread;
use rig::node::Settings;

use super::row::{Ending, Fault, Site};
use super::stage::{Plan, Stage};

/// A client gets its answer by then.
const ANSWERED_MAX: Duration = Duration::from_secs(40);

/// What a unit does, what its client is told, and whether its process ends of it.
const MISHAPS: [(&str, &str, &str, bool); 6] = [
    ("panic", "panic", "its client gets a fault, nobody else notices", false),
    ("late", "deadline", "its client gets a fault, nobody else notices", false),
    ("hang", "hung", "the partner takes over, the engine is built anew, the event never runs again", false),
    ("segfault", "killed", "the partner takes over, the event never runs again", true),
    ("abort", "killed", "the partner takes over, the event never runs again", true),
    ("overflow", "killed", "the partner takes over, the event never runs again", true),
];

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let mut all: Vec<Fault> = MISHAPS
        .into_iter()
        .map(|(how, kind, expected, ends)| {
            Fault::new(format!("work unit: {how}"), expected, move |site| happens(site, how, kind, ends))
        })
        .collect();
    let expected = "the active goes on alone; the standby comes back in the same process";
    all.push(Fault::new("work unit: hang on the standby alone", expected, hangs_there));
    all
}

/// Asks for a mishap, and gives what came of it.
fn ask(stage: &Stage, how: &str) -> Result<Result<Reply, CallError>, Failure> {
    let thread = ClientThread::new()?;
    let client = thread.connect(lockstep_client::connect(stage.pair.events()).deadline(ANSWERED_MAX))?;
    let parameters = format!("{{\"how\":\"{how}\"}}").into_bytes();
    thread
        .ask(async move { client.submit_raw("mishap", Encoding::Json, parameters, Vec::new()).await })
        .wait()
}

fn happens(site: &Site<'_>, how: &str, wanted: &str, ends: bool) -> Result<Ending, Failure> {
    let mut stage = Stage::with(site, Plan { plugin: site.artifacts.ledger_v1_deadly(), ..Plan::of(site) })?;
    let at = stage.active()?;
    if ends || how == "hang" {
        stage.excuse(at);
    }
    stage.begins()?;
    match ask(&stage, how)? {
        Err(CallError::Faulted { kind, unit, .. }) if kind == wanted && unit == "strike" => {}
        other => stage.problem(format!("its client was told {other:?}, not a fault of kind `{wanted}`")),
    }
    if ends {
        stage.pair.node_mut(at).wait_end()?;
        stage.back(at)?;
    }
    stage.finish()
}

fn hangs_there(site: &Site<'_>) -> Result<Ending, Failure> {
    let hangs = Settings {
        environment: vec![("LEDGER_HANGS".into(), site.directory.to_owned())],
        ..Settings::default()
    };
    let plan = Plan {
        plugin: site.artifacts.ledger_v1_deadly(),
        nodes: [Settings::default(), hangs],
        ..Plan::of(site)
    };
    let mut stage = Stage::with(site, plan)?;
    if stage.active()? == 1 {
        stage.pair.switch_over()?;
    }
    stage.excuse(1);
    stage.begins()?;
    if let Err(error) = ask(&stage, "hang_there")? {
        stage.problem(format!("its client was told {error}, and the active did not hang"));
    }
    stage.pass(Duration::from_secs(2))?;
    stage.finish()
}
