//! The checkpoint of a processor that is down, damaged, and its start under full load.
//!
//! A checkpoint is made once 64 to 128 MB of redo wait for it, so there is one only after some seconds of full load. Little of the
//! recent stream is kept here: the redo behind the checkpoint then does not reach back to the first record, and without the
//! checkpoint the store is worth nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use rig::node::Settings;
use rig::{Failure, interrupt};

use super::files::{Damage, damage, find};
use super::row::{Ending, Fault, Site};
use super::stage::{Plan, Stage};

const CHECKPOINT: &str = "ledger/0/store-*/checkpoint.redb";
const FIRST_SEGMENT: &str = "ledger/0/store-*/redo-0000000001.log";
/// By then there is a checkpoint that replaces the first segment. Under full load it gives way until 128 MB wait for it.
const MADE_MAX: Duration = Duration::from_secs(300);
/// By then the pair is whole again.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// What the log says of a store that can't be relied on.
const DAMAGED: &str = "LS0503";

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let cases = [("bits flipped", Damage::Rot), ("cut off", Damage::Cut), ("gone", Damage::Remove)];
    let expected = "noticed at its start; the processor comes back as a copy";
    let fault = |(name, kind)| {
        Fault::new(format!("standby's checkpoint: {name}"), expected, move |site| standby(site, kind))
    };
    cases.into_iter().map(fault).collect()
}

fn standby(site: &Site<'_>, kind: Damage) -> Result<Ending, Failure> {
    let little_kept = || Settings { more: "    recent_mb: 1,\n".into(), ..Settings::default() };
    let plan = Plan { nodes: [little_kept(), little_kept()], ..Plan::of(site) };
    let mut stage = Stage::with(site, plan.at_full_load())?;
    let at = 1 - stage.active()?;
    let data = stage.pair.node(at).data();
    wait_for_checkpoint(&mut stage, &data)?;
    let before = current(&data)?;
    stage.begins()?;
    stage.end(at)?;
    stage.wait_serves(1 - at)?;
    damage(&data, CHECKPOINT, kind)?;
    stage.back(at)?;
    stage.pair.wait_in_lock_step(WHOLE_MAX)?;
    let noticed = stage.log_has(at, DAMAGED);
    stage.expect(noticed, "its log does not have LS0503");
    let copied = current(&data)? != before;
    stage.expect(copied, "it has the store that it had before");
    stage.finish()
}

fn wait_for_checkpoint(stage: &mut Stage, data: &Path) -> Result<(), Failure> {
    let until = Instant::now() + MADE_MAX;
    while find(data, CHECKPOINT).is_err() || find(data, FIRST_SEGMENT).is_ok() {
        interrupt::check()?;
        if Instant::now() > until {
            return Err(Failure::new(format!("there was no checkpoint in {MADE_MAX:?}")));
        }
        stage.pass(Duration::from_millis(50))?;
    }
    Ok(())
}

/// The store in force.
fn current(data: &Path) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(data.join("ledger/0/current"))?)
}
