//! The wall clock of a processor, set back and forth.

use std::time::Duration;

use rig::Failure;

use super::processes::Whom;
use super::row::{Ending, Fault, Site};
use super::shim::Shim;
use super::stage::{Plan, Stage};

const DAY_S: i64 = 86_400;

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let expected = "nothing: no decision rests on the wall clock";
    Whom::ALL
        .into_iter()
        .map(|whom| {
            let name = format!("clock of the {} set a day on, two back, and right", whom.word());
            Fault::new(name, expected, move |site| set(site, whom))
        })
        .collect()
}

fn set(site: &Site<'_>, whom: Whom) -> Result<Ending, Failure> {
    let shims = match Shim::pair(site.directory)? {
        Ok(shims) => shims,
        Err(reason) => return Ok(Ending::Skipped(reason)),
    };
    let nodes = [shims[0].settings(), shims[1].settings()];
    let mut stage = Stage::with(site, Plan { nodes, ..Plan::of(site) })?;
    let at = whom.of(&stage)?;
    let (active, term) = (stage.active()?, stage.pair.group(at)?.term);
    stage.begins()?;
    for seconds in [DAY_S, -DAY_S, 3_600, -1, 0] {
        shims[at].set_clock(seconds)?;
        stage.pass(Duration::from_millis(1_500))?;
    }
    let now = stage.active()?;
    let same = now == active && stage.pair.group(at)?.term == term;
    stage.expect(same, "another one serves, or in another term");
    stage.finish()
}
