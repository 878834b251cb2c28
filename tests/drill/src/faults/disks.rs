//! Disks that are full, or whose syncs fail.

use std::time::{Duration, Instant};

use rig::{Failure, interrupt};

use super::mount::Tmpfs;
use super::processes::Whom;
use super::row::{Ending, Fault, Site};
use super::shim::Shim;
use super::stage::{Plan, Stage};

/// A data directory of this size, in KiB: room for the plugin and some redo segments.
const KIB: u64 = 400 << 10;
/// By then a full disk is noticed: the segments that were made ahead have to be used up.
const NOTICED_MAX: Duration = Duration::from_secs(90);

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let mut all = Vec::new();
    for whom in Whom::ALL {
        let expected = "its process ends, the partner serves; it comes back once there is room";
        all.push(Fault::new(format!("disk full: {}", whom.word()), expected, move |site| full(site, whom)));
    }
    for whom in Whom::ALL {
        let expected = "its process ends, the partner serves; its store comes back as a copy";
        let name = format!("sync fails: {}", whom.word());
        all.push(Fault::new(name, expected, move |site| sync_fails(site, whom)));
    }
    all
}

fn full(site: &Site<'_>, whom: Whom) -> Result<Ending, Failure> {
    let mounts = ["data-a", "data-b"].map(|name| Tmpfs::mount(&site.directory.join(name), KIB));
    let [a, b] = mounts;
    let tmpfs = match (a?, b?) {
        (Ok(a), Ok(b)) => [a, b],
        (Err(reason), _) | (_, Err(reason)) => return Ok(Ending::Skipped(reason)),
    };
    let mut stage = Stage::with(site, Plan::of(site).at_full_load())?;
    let at = whom.of(&stage)?;
    stage.excuse(at);
    stage.begins()?;
    tmpfs[at].fill()?;
    let until = Instant::now() + NOTICED_MAX;
    while stage.pair.node_mut(at).runs() {
        interrupt::check()?;
        if Instant::now() > until {
            return Err(Failure::new(format!("the full disk was not noticed in {NOTICED_MAX:?}")));
        }
        stage.pass(Duration::from_millis(20))?;
    }
    stage.pair.node_mut(at).wait_end()?;
    stage.wait_serves(1 - at)?;
    tmpfs[at].make_room()?;
    stage.back(at)?;
    let ending = stage.finish();
    drop(tmpfs);
    ending
}

fn sync_fails(site: &Site<'_>, whom: Whom) -> Result<Ending, Failure> {
    let shims = match Shim::pair(site.directory)? {
        Ok(shims) => shims,
        Err(reason) => return Ok(Ending::Skipped(reason)),
    };
    let nodes = [shims[0].settings(), shims[1].settings()];
    let mut stage = Stage::with(site, Plan { nodes, ..Plan::of(site) })?;
    let at = whom.of(&stage)?;
    stage.excuse(at);
    stage.begins()?;
    shims[at].fail_syncs(1)?;
    stage.pair.node_mut(at).wait_end()?;
    stage.wait_serves(1 - at)?;
    shims[at].fail_syncs(0)?;
    stage.back(at)?;
    stage.finish()
}
