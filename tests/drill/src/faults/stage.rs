//! A pair under load to which something happens: brought into lock step before, and held against its clients' record after.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use lockstep_core::command::Role;
use rig::audit::Killed;
use rig::load::{Load, LoadSettings, Pace};
use rig::node::Settings;
use rig::pair::Pair;
use rig::proxy::LinkProxy;
use rig::{Failure, admin, interrupt};
use serde_json::json;

use super::row::{Ending, Seen, Site};

/// The pair is whole again by then, whatever happened to it.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// How long a killed processor stays away.
pub const AWAY: Duration = Duration::from_millis(300);
/// Answers that are waited for before the fault and after it.
const ANSWERS: u64 = 100;
/// A request is tried for so long: longer than any fault takes the service away.
const DEADLINE_MS: u64 = 60_000;

/// How the pair is set up.
pub struct Plan<'a> {
    /// What it runs.
    pub plugin: &'a Path,
    /// Of a and b.
    pub nodes: [Settings; 2],
    /// What clients send.
    pub pace: Pace,
    /// The link goes through a proxy.
    pub proxied: bool,
}

impl<'a> Plan<'a> {
    /// Version 1 of the ledger with defaults, and 500 transfers a second.
    pub fn of(site: &Site<'a>) -> Self {
        Plan {
            plugin: site.artifacts.ledger_v1(),
            nodes: [Settings::default(), Settings::default()],
            pace: Pace::Open { rate_per_s: 500.0 },
            proxied: false,
        }
    }

    /// As much as the pair takes: the redo log and the memory grow fast.
    pub fn at_full_load(self) -> Self {
        Plan { pace: Pace::Closed { in_flight: 32 }, ..self }
    }
}

/// The pair, its load, and what is known of the fault.
pub struct Stage {
    /// The pair.
    pub pair: Pair,
    /// The way between the two, if that was asked for.
    pub proxy: Option<LinkProxy>,
    load: Load,
    excused: Vec<Killed>,
    problems: Vec<String>,
}

impl Stage {
    /// A pair with defaults, under load.
    pub fn begin(site: &Site<'_>) -> Result<Self, Failure> {
        Stage::with(site, Plan::of(site))
    }

    /// A pair that is set up like this, under load.
    pub fn with(site: &Site<'_>, plan: Plan<'_>) -> Result<Self, Failure> {
        let Plan { plugin, mut nodes, pace, proxied } = plan;
        let proxy = if proxied { Some(LinkProxy::new()?) } else { None };
        if let Some(proxy) = &proxy {
            for (at, node) in nodes.iter_mut().enumerate() {
                node.peer = Some(proxy.peer_of(at));
            }
        }
        let pair = Pair::launch(site.artifacts, site.directory, plugin, nodes)?;
        if let Some(proxy) = &proxy {
            proxy.connect([&pair.node(0).ready().link, &pair.node(1).ready().link])?;
        }
        pair.wait_in_lock_step(WHOLE_MAX)?;
        let mut settings = LoadSettings::new(pair.events(), pace, site.directory.join("load.record"));
        settings.clients = 4;
        settings.accounts = 2_000;
        settings.deadline_ms = DEADLINE_MS;
        let mut load = Load::start(site.artifacts.rig(), settings)?;
        load.phase("before")?;
        load.wait_answers(ANSWERS)?;
        Ok(Stage { pair, proxy, load, excused: Vec::new(), problems: Vec::new() })
    }

    /// The way between the two.
    pub fn link(&self) -> Result<&LinkProxy, Failure> {
        self.proxy.as_ref().ok_or_else(|| Failure::new("this pair has no proxy"))
    }

    /// The active's place.
    pub fn active(&self) -> Result<usize, Failure> {
        self.pair.active()
    }

    /// From here on what clients see is the fault's doing.
    pub fn begins(&mut self) -> Result<(), Failure> {
        self.load.phase("fault").map(drop)
    }

    /// The processor at `at` may drop connections from now until the pair is whole again.
    pub fn excuse(&mut self, at: usize) {
        let address = self.pair.node(at).ready().events.clone();
        self.excused.push(Killed { address, from_ms: now_ms(), until_ms: u64::MAX });
    }

    /// Something is wrong, beside the audit.
    pub fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Something is wrong unless this holds.
    pub fn expect(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.problem(otherwise);
        }
    }

    /// Arms a failpoint of the processor at `at`, which may not live to answer.
    pub fn arm(&mut self, at: usize, point: &str, action: &str, after: u64) -> Result<(), Failure> {
        let armed = json!({"failpoint": {"point": point, "action": action, "after": after}});
        match admin::ask(&self.pair.node(at).ready().admin, &armed) {
            Err(failure) if self.pair.node_mut(at).runs() => Err(failure),
            _ => Ok(()),
        }
    }

    /// `SIGKILL` for the processor at `at`.
    pub fn kill(&mut self, at: usize) {
        self.excuse(at);
        self.pair.node_mut(at).kill();
    }

    /// The same, and waits until it is gone.
    pub fn end(&mut self, at: usize) -> Result<(), Failure> {
        self.kill(at);
        self.pair.node_mut(at).wait_gone()
    }

    /// Ends the standby, then, once it lacks what was acknowledged since, the active too; gives the active's place.
    pub fn end_one_after_the_other(&mut self) -> Result<usize, Failure> {
        let active = self.active()?;
        self.kill(1 - active);
        self.wait_serves(active)?;
        self.begins()?;
        self.wait_answers(200)?;
        self.end(active)?;
        Ok(active)
    }

    /// Ends both, puts `aside` in place of the directory `data`, and starts both again.
    pub fn start_again_with(&mut self, aside: &Path, data: &Path) -> Result<(), Failure> {
        for at in 0..2 {
            self.end(at)?;
        }
        std::fs::remove_dir_all(data)?;
        std::fs::rename(aside, data)?;
        self.pair.start_again()
    }

    /// Starts the processor at `at` again after a while.
    pub fn back(&mut self, at: usize) -> Result<(), Failure> {
        std::thread::sleep(AWAY);
        self.pair.restart(at)
    }

    /// Waits until the processor at `at` serves alone.
    pub fn wait_serves(&self, at: usize) -> Result<(), Failure> {
        let serves = |group: &lockstep_core::command::GroupStatus| {
            let alone = group.members.iter().filter(|member| member.in_sync).count() == 1;
            admin::own_role(group) == Some(Role::Active) && alone
        };
        self.pair.wait_at(at, "one that serves alone", WHOLE_MAX, Duration::from_millis(5), serves).map(drop)
    }

    /// Waits until so many more requests are answered than when the fault began.
    pub fn wait_answers(&mut self, answers: u64) -> Result<(), Failure> {
        self.load.wait_answers(answers)
    }

    /// How many requests were answered since the fault began, as far as the load has said.
    pub fn answered(&mut self) -> u64 {
        self.load.glance().events
    }

    /// Lets `time` pass under load.
    pub fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(20).min(time));
            self.load.glance();
        }
        Ok(())
    }

    /// Nobody says of itself that it is active for `time`; else it is a problem.
    pub fn expect_nobody_serves(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            interrupt::check()?;
            if let Ok(at) = self.pair.active() {
                let name = self.pair.node(at).name().to_owned();
                self.problem(format!("{name} became active, and it lacks what was acknowledged"));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether the log of the processor at `at` has this word.
    pub fn log_has(&self, at: usize, word: &str) -> bool {
        std::fs::read_to_string(self.pair.node(at).log()).is_ok_and(|log| log.contains(word))
    }

    /// The fault is over: waits until the pair is whole and serves, stops the load, ends both, and audits.
    pub fn finish(mut self) -> Result<Ending, Failure> {
        self.pair.wait_in_lock_step(WHOLE_MAX)?;
        let service_ms = self.load.phase("after")?.longest_gap_ms;
        self.load.wait_answers(ANSWERS)?;
        for excused in &mut self.excused {
            excused.until_ms = now_ms();
        }
        let stopped = self.load.stop()?;
        self.problems.extend(stopped.done.failures.iter().take(3).cloned());
        let audit = self.pair.end_and_audit(&stopped.record, &stopped.done.dropped, &self.excused)?;
        Ok(Ending::Seen(Seen { service_ms, audit, problems: self.problems }))
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}
