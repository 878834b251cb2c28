//! The arbiter's directory: unwritable, full, lost.

use std::time::Duration;

use rig::Failure;

use super::mount::Tmpfs;
use super::row::{Ending, Fault, Site};
use super::stage::{AWAY, Stage};

/// The arbiter's file system, in KiB.
const KIB: u64 = 256;
/// For so long nobody may become active.
const WATCHED: Duration = Duration::from_secs(4);

/// How the arbiter is kept from writing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    ReadOnly,
    Full,
}

impl How {
    fn word(self) -> &'static str {
        if self == How::ReadOnly { "unwritable" } else { "full" }
    }

    fn begin(self, tmpfs: &Tmpfs) -> Result<(), Failure> {
        if self == How::ReadOnly { tmpfs.read_only(true) } else { tmpfs.fill() }
    }

    fn end(self, tmpfs: &Tmpfs) -> Result<(), Failure> {
        if self == How::ReadOnly { tmpfs.read_only(false) } else { tmpfs.make_room() }
    }
}

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let mut all = Vec::new();
    for how in [How::ReadOnly, How::Full] {
        let name = format!("arbiter {} 3 s", how.word());
        all.push(Fault::new(name, "serves on: the record does not change", move |site| calm(site, how)));
        let name = format!("arbiter {}, active killed", how.word());
        let expected = "nobody serves until the arbiter can write; then the standby takes over";
        all.push(Fault::new(name, expected, move |site| killed(site, how, true)));
        let name = format!("arbiter {}, standby killed", how.word());
        let expected = "no answer until the arbiter can write; then the active goes on alone";
        all.push(Fault::new(name, expected, move |site| killed(site, how, false)));
    }
    let expected = "serves on; nobody becomes active by itself without the record; it serves with it again";
    all.push(Fault::new("arbiter lost while both run, back after both ended", expected, lost));
    let expected =
        "nobody becomes active by itself; after `lockstep force` one serves, and the other follows it";
    all.push(Fault::new("arbiter lost for good, force", expected, forced));
    all
}

/// A pair whose arbiter is on a small file system of its own.
fn on_tmpfs(site: &Site<'_>) -> Result<Result<(Tmpfs, Stage), String>, Failure> {
    match Tmpfs::mount(&site.directory.join("arbiter"), KIB)? {
        Ok(tmpfs) => Ok(Ok((tmpfs, Stage::begin(site)?))),
        Err(reason) => Ok(Err(reason)),
    }
}

fn calm(site: &Site<'_>, how: How) -> Result<Ending, Failure> {
    let (tmpfs, mut stage) = match on_tmpfs(site)? {
        Ok(both) => both,
        Err(reason) => return Ok(Ending::Skipped(reason)),
    };
    stage.begins()?;
    how.begin(&tmpfs)?;
    stage.pass(Duration::from_secs(3))?;
    how.end(&tmpfs)?;
    let ending = stage.finish();
    drop(tmpfs);
    ending
}

fn killed(site: &Site<'_>, how: How, kill_active: bool) -> Result<Ending, Failure> {
    let (tmpfs, mut stage) = match on_tmpfs(site)? {
        Ok(both) => both,
        Err(reason) => return Ok(Ending::Skipped(reason)),
    };
    let active = stage.active()?;
    let at = if kill_active { active } else { 1 - active };
    stage.begins()?;
    how.begin(&tmpfs)?;
    stage.kill(at);
    if kill_active {
        stage.expect_nobody_serves(Duration::from_secs(2))?;
    } else {
        stage.pass(Duration::from_secs(1))?;
        let before = stage.answered();
        stage.pass(Duration::from_secs(2))?;
        let after = stage.answered();
        stage.expect(before == after, "answers left while the record had a standby that was dead (R4)");
    }
    how.end(&tmpfs)?;
    stage.wait_serves(1 - at)?;
    stage.back(at)?;
    let ending = stage.finish();
    drop(tmpfs);
    ending
}

fn forced(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    // Terms have come and gone: the new record goes on behind them.
    stage.pair.switch_over()?;
    stage.begins()?;
    for at in 0..2 {
        stage.end(at)?;
    }
    std::fs::remove_dir_all(site.directory.join("arbiter"))?;
    stage.back(0)?;
    stage.expect_nobody_serves(WATCHED)?;
    // Both hold everything that was acknowledged. It is refused where the other one can be heard.
    let artifacts = stage.pair.artifacts().clone();
    stage.pair.node(0).lockstep(&artifacts, &["force", "ledger"])?;
    stage.wait_serves(0)?;
    stage.back(1)?;
    stage.finish()
}

fn lost(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let (arbiter, aside) = (site.directory.join("arbiter"), site.directory.join("arbiter.aside"));
    stage.begins()?;
    std::fs::rename(&arbiter, &aside)?;
    let before = stage.answered();
    stage.pass(Duration::from_secs(3))?;
    let after = stage.answered();
    stage.expect(after > before, "the service ended with the arbiter's directory");
    for at in 0..2 {
        stage.kill(at);
    }
    for at in 0..2 {
        stage.back(at)?;
    }
    stage.expect_nobody_serves(WATCHED)?;
    for at in 0..2 {
        stage.end(at)?;
    }
    std::fs::remove_dir_all(&arbiter)?;
    std::fs::rename(&aside, &arbiter)?;
    std::thread::sleep(AWAY);
    stage.pair.start_again()?;
    stage.finish()
}
