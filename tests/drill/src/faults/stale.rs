//! Processors that come back with less than was acknowledged: behind, or with nothing at all.

use std::time::Duration;

use rig::Failure;

use super::row::{Ending, Fault, Site};
use super::stage::Stage;

/// For so long nobody may become active.
const WATCHED: Duration = Duration::from_secs(5);

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    vec![
        Fault::new(
            "drop the standby, write, kill the active, start the standby",
            "the one that is behind serves nobody; it follows once the other is back",
            behind,
        ),
        Fault::new(
            "data directory of the standby wiped",
            "comes back under a new store's id, as a copy",
            standby_wiped,
        ),
        Fault::new(
            "data directory of the active wiped",
            "the partner takes over; it comes back as a copy",
            active_wiped,
        ),
        Fault::new(
            "data directory of the only one in sync wiped",
            "nobody serves, neither it nor the one that is behind; with the directory back it serves",
            only_one_wiped,
        ),
    ]
}

fn behind(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let active = stage.end_one_after_the_other()?;
    stage.back(1 - active)?;
    stage.expect_nobody_serves(WATCHED)?;
    stage.back(active)?;
    stage.finish()
}

fn standby_wiped(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let at = 1 - stage.active()?;
    stage.begins()?;
    wipe(&mut stage, at)?;
    stage.back(at)?;
    stage.finish()
}

fn active_wiped(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let at = stage.active()?;
    stage.begins()?;
    wipe(&mut stage, at)?;
    stage.back(at)?;
    stage.finish()
}

fn wipe(stage: &mut Stage, at: usize) -> Result<(), Failure> {
    stage.end(at)?;
    stage.wait_serves(1 - at)?;
    Ok(std::fs::remove_dir_all(stage.pair.node(at).data())?)
}

fn only_one_wiped(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let active = stage.end_one_after_the_other()?;
    let data = stage.pair.node(active).data();
    let aside = site.directory.join("data.aside");
    std::fs::rename(&data, &aside)?;
    for at in [active, 1 - active] {
        stage.back(at)?;
    }
    stage.expect_nobody_serves(WATCHED)?;
    stage.start_again_with(&aside, &data)?;
    stage.finish()
}
