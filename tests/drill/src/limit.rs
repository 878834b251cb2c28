//! `limit` by itself, for a load that somebody runs by hand.

use std::time::Duration;

use rig::artifacts::Artifacts;
use rig::limit::Limit;
use rig::{Failure, interrupt};
use serde_json::json;

use crate::{Outcome, say};

/// Starts it, says where it is, and waits for Ctrl-C.
///
/// # Errors
/// When it does not start.
pub fn run() -> Result<Outcome, Failure> {
    say("building with cargo");
    let artifacts = Artifacts::build(|_| {})?;
    let limit = Limit::start(artifacts.rig())?;
    let (address, pids) = (limit.address(), limit.pids());
    let load = format!(
        "{} bench ledger transfer '{}' --encoding postcard --keys 4000 \\\n  --prepare open_accounts \
         --prepare-parameters '{}' --prepare-step 250 \\\n  --address {address} --pid {} --pid {}",
        artifacts.lockstep().display(),
        r#"{"from":"acc{key}","to":"acc{other}","cents":{random:1-100}}"#,
        r#"{"first":{key},"count":250,"cents":1000000000}"#,
        pids[0],
        pids[1],
    );
    say(&format!("limit serves; a load for it:\n{load}"));
    while interrupt::check().is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Outcome { ok: true, json: json!({"address": address, "pids": pids}), text: "ended".into() })
}
