//! A processor that gets no more memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rig::node::Settings;
use rig::{Failure, interrupt};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::processes::Whom;
use super::row::{Ending, Fault, Site};
use super::stage::{Plan, Stage};

/// What it gets beyond what it has, in bytes.
const ROOM: u64 = 8 << 20;
/// By then it has used that up.
const USED_UP_MAX: Duration = Duration::from_secs(90);

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let expected = "its process ends, the partner serves; it comes back with memory";
    Whom::ALL
        .into_iter()
        .map(|whom| {
            Fault::new(format!("out of memory: {}", whom.word()), expected, move |site| out(site, whom))
        })
        .collect()
}

fn out(site: &Site<'_>, whom: Whom) -> Result<Ending, Failure> {
    // The heap takes its room from the system in small pieces, so that it has to ask soon.
    let small = || {
        let environment = vec![("MIMALLOC_ARENA_RESERVE".into(), PathBuf::from("32MiB"))];
        Settings { environment, ..Settings::default() }
    };
    let mut stage = Stage::with(site, Plan { nodes: [small(), small()], ..Plan::of(site) }.at_full_load())?;
    let at = whom.of(&stage)?;
    let raw = stage.pair.node(at).ready().pid;
    let pid = i32::try_from(raw).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::new(format!("{raw} is no process")))?;
    stage.excuse(at);
    stage.begins()?;
    let limit = address_space(raw)? + ROOM;
    let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
    prlimit(Some(pid), Resource::As, limit).map_err(std::io::Error::from)?;
    let until = Instant::now() + USED_UP_MAX;
    while stage.pair.node_mut(at).runs() {
        interrupt::check()?;
        if Instant::now() > until {
            return Err(Failure::new(format!("the memory was not used up in {USED_UP_MAX:?}")));
        }
        stage.pass(Duration::from_millis(20))?;
    }
    stage.pair.node_mut(at).wait_end()?;
    stage.wait_serves(1 - at)?;
    stage.back(at)?;
    stage.finish()
}

/// What a process has of the address space, in bytes.
fn address_space(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| Failure::new("the kernel does not say how large the process is"))
}
