//! The active dies in the middle of the standby's change of version (R28), at an exact moment, under load, with the
//! redundancy mode `keep`. The standby must take over with all that was acknowledged, whichever version it is on; the upgrade
//! goes on or falls back, and the audit holds.
//!
//! Moments of the standby: it stops itself there, the active is killed, and then the standby goes on. Moments of the active:
//! it kills itself there. The trial of the file in a child process: the child is stopped until the standby has taken over.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use lockstep_core::command::Role;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::artifacts::Artifacts;
use crate::audit::Killed;
use crate::child::{Process, guarded};
use crate::pair::Pair;
use crate::strike::{
    AWAY, After, GATES, OVER_MAX, STEP_MAX, Struck, now_ms, see_the_end, under_load, wait_stopped,
};
use crate::{Failure, admin, interrupt};

/// The standby takes over by then.
const TAKEOVER_MAX: Duration = Duration::from_secs(20);

/// When the active dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The standby has the order, and nothing of the new version.
    Ordered,
    /// The file is on its way to the standby, which does not have it any more.
    FileSent,
    /// A child of the standby tries it.
    Trial,
    /// It is loaded and started on the standby, and not announced.
    Loaded,
    /// It is announced, and the active has not said from which number on.
    Announced,
    /// The active has said so.
    Answered,
    /// The standby's old thread hands over to the new one.
    HandOver,
}

impl Moment {
    /// All of them, in their order.
    pub const ALL: [Moment; 7] = [
        Moment::Ordered,
        Moment::FileSent,
        Moment::Trial,
        Moment::Loaded,
        Moment::Announced,
        Moment::Answered,
        Moment::HandOver,
    ];

    fn point(self) -> &'static str {
        match self {
            Moment::Ordered | Moment::Trial => "swap-ordered",
            Moment::FileSent => "swap-file",
            Moment::Loaded => "swap-loaded",
            Moment::Announced => "swap-announced",
            Moment::Answered => "swap-answered",
            Moment::HandOver => "swap-hand-over",
        }
    }
}

/// Runs a pair with a load of `rate` transfers a second, upgrades it, and kills the active at `moment`.
///
/// # Errors
/// When the pair can't be run, or the moment does not come.
pub fn run(artifacts: &Artifacts, directory: &Path, rate: f64, moment: Moment) -> Result<Struck, Failure> {
    let (mut pair, load) = under_load(artifacts, directory, rate)?;
    let after = kill_the_active(&mut pair, artifacts.ledger_v2(), moment)?;
    see_the_end(pair, load, after, false)
}

fn arm(pair: &Pair, at: usize, point: &str, action: &str) -> Result<(), Failure> {
    let armed = json!({"failpoint": {"point": point, "action": action}});
    admin::ask(&pair.node(at).ready().admin, &armed).map(drop)
}

fn go_on(pair: &mut Pair, at: usize) {
    if let Some(process) = pair.node_mut(at).process() {
        process.go_on();
    }
}

fn kill_the_active(pair: &mut Pair, target: &Path, moment: Moment) -> Result<After, Failure> {
    let active = pair.active()?;
    let standby = 1 - active;
    let address = pair.node(active).ready().events.clone();
    // The preflight leaves the file with the standby, before the campaign begins: here the active stops in between.
    let kept = if moment == Moment::FileSent {
        arm(pair, active, "step-isolate-first", "stop")?;
        Some(kept_at(pair, standby, target)?)
    } else {
        let (at, action) = match moment {
            Moment::Announced | Moment::Answered => (active, "kill"),
            _ => (standby, "stop"),
        };
        arm(pair, at, moment.point(), action)?;
        None
    };
    // Whoever dies may not live to answer it.
    let mut command = guarded(pair.artifacts().rig(), pair.artifacts().lockstep());
    command.arg("--config").arg(pair.node(active).config());
    command.args(["upgrade", "start", "ledger", &target.display().to_string()]).args(GATES);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut command_line = Process::spawn("the command line", &mut command)?;
    if let Some(kept) = kept {
        wait_stopped(pair.node(active))?;
        std::fs::remove_file(&kept)?;
        arm(pair, standby, moment.point(), "stop")?;
        go_on(pair, active);
    }
    let from_ms = now_ms();
    if matches!(moment, Moment::Announced | Moment::Answered) {
        pair.node_mut(active).wait_end()?;
        wait_taken_over(pair, standby)?;
    } else {
        wait_stopped(pair.node(standby))?;
        if moment == Moment::Trial {
            go_on(pair, standby);
            let child = stop_child(pair.node(standby).ready().pid)?;
            pair.node_mut(active).kill();
            // A trial that is under way keeps nobody from taking over.
            wait_taken_over(pair, standby)?;
            let _gone_meanwhile = kill_process(child, Signal::CONT);
        } else {
            pair.node_mut(active).kill();
            go_on(pair, standby);
            wait_taken_over(pair, standby)?;
        }
    }
    command_line.kill();
    std::thread::sleep(AWAY);
    pair.restart(active)?;
    pair.wait_in_lock_step(OVER_MAX)?;
    Ok((vec![Killed { address, from_ms, until_ms: now_ms() }], Vec::new()))
}

/// Where the processor at `at` keeps the file.
fn kept_at(pair: &Pair, at: usize, file: &Path) -> Result<PathBuf, Failure> {
    let hash = pair.hash_of(file)?;
    Ok(pair.node(at).data().join("plugins").join(format!("{hash}.so")))
}

/// The other one is dead: the one at `at` serves without it, so it had been in sync.
fn wait_taken_over(pair: &Pair, at: usize) -> Result<(), Failure> {
    let until = Instant::now() + TAKEOVER_MAX;
    while !pair.group(at).is_ok_and(|group| admin::own_role(&group) == Some(Role::Active)) {
        interrupt::check()?;
        if Instant::now() > until {
            let name = pair.node(at).name();
            return Err(Failure::new(format!("{name} has not taken over: it was not in sync")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits for a child of `parent`, without a pause, and stops it.
fn stop_child(parent: u32) -> Result<Pid, Failure> {
    let until = Instant::now() + STEP_MAX;
    while Instant::now() < until {
        interrupt::check()?;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // One that has ended meanwhile has no such file.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The state and then the parent stand after the name, which ends with the last parenthesis.
            let parent_of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            if parent_of == Some(&*parent.to_string())
                && let Some(pid) = Pid::from_raw(pid)
            {
                kill_process(pid, Signal::STOP).map_err(std::io::Error::from)?;
                return Ok(pid);
            }
        }
    }
    Err(Failure::new("no child process was seen"))
}
