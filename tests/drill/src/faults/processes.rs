//! Processors that die or stand still: at each failpoint of the effect executor, by signals, one or both.

use std::time::Duration;

use rig::Failure;

use super::row::{Ending, Fault, Site};
use super::stage::Stage;

/// How long a stopped processor stands still.
const STOPPED: Duration = Duration::from_secs(5);

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The one that serves.
    Active,
    /// The other one.
    Standby,
}

impl Whom {
    /// Both of them.
    pub const ALL: [Whom; 2] = [Whom::Active, Whom::Standby];

    /// As in names.
    pub fn word(self) -> &'static str {
        match self {
            Whom::Active => "active",
            Whom::Standby => "standby",
        }
    }

    /// Its place.
    pub fn of(self, stage: &Stage) -> Result<usize, Failure> {
        let active = stage.active()?;
        Ok(if self == Whom::Active { active } else { 1 - active })
    }
}

/// Whom, at which failpoint, with which action, after how many times.
const FAILPOINTS: [(Whom, &str, &str, u64); 13] = [
    (Whom::Active, "before-step-up", "kill", 40),
    (Whom::Active, "after-step-up", "kill", 40),
    (Whom::Active, "after-frame", "kill", 40),
    (Whom::Active, "link-bytes", "kill", 3_001),
    (Whom::Active, "before-answer", "kill", 20),
    (Whom::Active, "turn", "kill", 0),
    (Whom::Active, "turn", "panic", 0),
    (Whom::Active, "append", "fail", 0),
    (Whom::Standby, "after-frame", "kill", 40),
    (Whom::Standby, "link-bytes", "kill", 501),
    (Whom::Standby, "turn", "kill", 0),
    (Whom::Standby, "turn", "panic", 0),
    (Whom::Standby, "append", "fail", 0),
];

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let mut all: Vec<Fault> = FAILPOINTS.into_iter().map(at_failpoint).collect();
    for whom in Whom::ALL {
        let name = format!("{} stalls: engine 1.5 s", whom.word());
        let expected = "serves on, or the partner takes over";
        all.push(Fault::new(name, expected, move |site| stalled(site, whom)));
        let name = format!("{} stopped 5 s (SIGSTOP)", whom.word());
        let expected = "the partner serves meanwhile; the stopped one comes back behind it";
        all.push(Fault::new(name, expected, move |site| stopped(site, whom)));
    }
    let expected = "serves once one is back; the other comes back behind it";
    for (first, second) in [(Whom::Active, "standby"), (Whom::Standby, "active")] {
        let name = format!("both killed, {} back first, then {second}", first.word());
        all.push(Fault::new(name, expected, move |site| both(site, Some(first))));
    }
    all.push(Fault::new("both killed, both back at once", expected, |site| both(site, None)));
    all
}

fn at_failpoint((whom, point, action, after): (Whom, &'static str, &'static str, u64)) -> Fault {
    let expected = match whom {
        Whom::Active => "the standby takes over; the dead one comes back behind it",
        Whom::Standby => "the active goes on alone; the dead one comes back behind it",
    };
    let name = format!("{} {action} at {point}", whom.word());
    Fault::new(name, expected, move |site| {
        let mut stage = Stage::begin(site)?;
        let at = whom.of(&stage)?;
        stage.excuse(at);
        stage.begins()?;
        stage.arm(at, point, action, after)?;
        let ended = stage.pair.node_mut(at).wait_end()?;
        stage.expect(!ended.success(), "it ended as if nothing had happened");
        stage.wait_serves(1 - at)?;
        stage.back(at)?;
        stage.finish()
    })
}

fn stalled(site: &Site<'_>, whom: Whom) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let at = whom.of(&stage)?;
    stage.excuse(at);
    stage.begins()?;
    stage.arm(at, "stall-ms", "fail", 1_500)?;
    stage.pass(Duration::from_millis(2_500))?;
    stage.finish()
}

fn stopped(site: &Site<'_>, whom: Whom) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let at = whom.of(&stage)?;
    stage.excuse(at);
    stage.begins()?;
    stage.pair.node_mut(at).process().ok_or_else(|| Failure::new("there is no process"))?.stop();
    stage.pass(STOPPED)?;
    let partner = stage.active();
    stage.expect(partner.is_ok_and(|active| active == 1 - at), "the partner does not serve meanwhile");
    stage.pair.node_mut(at).process().ok_or_else(|| Failure::new("there is no process"))?.go_on();
    stage.pass(Duration::from_millis(500))?;
    stage.finish()
}

/// Both die at once; `first` is back first, or both are at the same time.
fn both(site: &Site<'_>, first: Option<Whom>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let first = first.map(|whom| whom.of(&stage)).transpose()?;
    stage.begins()?;
    for at in 0..2 {
        stage.kill(at);
    }
    for at in 0..2 {
        stage.pair.node_mut(at).wait_gone()?;
    }
    match first {
        Some(at) => {
            stage.back(at)?;
            stage.wait_serves(at)?;
            stage.back(1 - at)?;
        }
        None => stage.pair.start_again()?,
    }
    stage.finish()
}
