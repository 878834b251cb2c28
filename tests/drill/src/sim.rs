//! Many seeds of the simulated world's chaos, on one thread: the real core over a simulated disk, network and clock,
//! checked all the time. The report counts what was injected and what was reached; of what must be reached, a zero
//! fails.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lockstep_sim::chaos::{self, Generation};
use lockstep_sim::world::Seen;
use lockstep_sim::{long, several};
use rig::{Failure, interrupt};
use serde_json::json;

use crate::{Outcome, say};

/// With fewer seeds than this it is no surprise that something was not reached.
const SEEDS_FOR_ALL: u64 = 1_000;
/// What is done to the pair, by the beginning of its count's name.
const FAULTS: [&str; 19] = [
    "kill of active",
    "kill of standby",
    "kill of starting",
    "kill of isolated",
    "cut",
    "one-way cut",
    "partition",
    "delay",
    "pause",
    "slow sync",
    "clock jump",
    "damaged disk",
    "disk replaced",
    "unknown swap",
    "failed disk of an active with a standby",
    "failed disk of a standby",
    "failed disk of an active alone",
    "hang in a unit",
    "power lost under replicated",
];
/// The same of links and disks; the last three are reached.
const DISORDER: [&str; 8] = [
    "full disk",
    "link dialled anew",
    "late answers of the arbiter",
    "late requests of clients",
    "late words of deaths",
    "write refused by a full disk",
    "write of an active alone refused by a full disk",
    "answer without a disk",
];
/// What else is asked of it, likewise.
const ASKED: [&str; 8] = [
    "client retry",
    "client gone for ever",
    "client in a new session",
    "version change asked for",
    "switchover asked for",
    "isolation asked for",
    "campaign asked for",
    "abort of a campaign asked for",
];
/// What it must have gone through, likewise.
const REACHED: [&str; 72] = [
    "role active",
    "role standby",
    "role isolated",
    "lock step",
    "shipped",
    "transfer faulted",
    "disk lost what was not synced",
    "catch-up by entries",
    "copy",
    "cut back",
    "diverged",
    "discarded",
    "retired",
    "grow",
    "shrink",
    "promotion",
    "switchover",
    "restart alone",
    "half-way transfer 0 RunAgain",
    "half-way transfer 1 Completed",
    "half-way transfer 2 Completed",
    "half-way transfer 3 Completed",
    "half-way transfer 4 Completed",
    "half-way transfer 5 Completed",
    // Shipped: run again from the start, however far it was.
    "half-way shipped",
    "half-way careful 0 RunAgain",
    "half-way careful 1 RolledBack",
    "half-way careful 2 RolledBack",
    "half-way careful 3 RolledBack",
    "half-way careful 4 RolledBack",
    "half-way upload 0 RolledBack",
    "half-way upload 1 RolledBack",
    "half-way upload 2 RolledBack",
    "half-way upload 3 RolledBack",
    "deed",
    "deed undone",
    "undone",
    "half-way letter 2 RolledBack",
    "half-way letter 4 RolledBack",
    "half-way wire 0 RunAgain",
    // Undone, and run again from the start.
    "half-way shipped wire 2 RunAgain",
    "half-way shipped letter",
    "campaign LoadFirst",
    "campaign SwitchOver",
    "campaign Evaluate",
    "campaign IsolateSecond",
    "campaign LoadSecond",
    "campaign Enable",
    "campaign Done",
    "campaign BackSwitchOver",
    "campaign BackLoad",
    "campaign FellBack",
    "arbiter unreachable",
    "death in a unit with a note",
    "death in a unit without a note",
    "death note, own",
    "death note, heard",
    "note recorded",
    "late unit",
    "timer fired",
    "message told",
    "message taken told",
    "message heard",
    "word between groups lost",
    "word between groups doubled",
    "stop for a failed disk",
    "reads alone",
    "tail settled",
    "reply compared with the model, committed",
    "reply compared with the model, refused",
    "reply compared with the model, faulted",
    "reply compared with the model, a read",
];

/// What must be done to several groups, likewise.
const FAULTS_OF_GROUPS: [&str; 8] = [
    "kill of active",
    "kill of standby",
    "cut",
    "one-way cut",
    "partition",
    "delay",
    "pause",
    "unknown swap",
];
const ASKED_OF_GROUPS: [&str; 3] =
    ["switchover asked for", "campaign asked for", "abort of a campaign asked for"];
const REACHED_BY_GROUPS: [&str; 14] = [
    "promotion",
    "switchover",
    "catch-up by entries",
    "copy",
    "cut back",
    "shipped",
    "lock step",
    "campaign LoadFirst",
    "campaign Evaluate",
    "campaign LoadSecond",
    "campaign Done",
    "campaign BackSwitchOver",
    "campaign BackLoad",
    "campaign FellBack",
];

/// Which lives are run.
#[derive(Clone, Copy)]
pub struct Lives {
    /// Long ones: a hundred faults and more each.
    pub long: bool,
    /// Over the real store.
    pub real_store: bool,
    /// With so many groups of one application.
    pub groups: u16,
    /// What a seed means.
    pub generation: Generation,
}

impl Lives {
    fn run(self, seed: u64) -> Seen {
        match self.long {
            _ if self.groups > 1 => several::run(seed, self.groups),
            true => chaos::seen(&long::run(self.generation, seed, false, self.real_store)),
            false if self.real_store => chaos::seen(&chaos::run_over_real_store(self.generation, seed)),
            false => chaos::seen(&chaos::run_as(self.generation, seed, false)),
        }
    }

    /// What the command line says for them.
    fn flags(self) -> String {
        let flags = [(self.long, " --long"), (self.real_store, " --real-store")];
        let flags: String = flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| *flag).collect();
        let groups = if self.groups > 1 { format!(" --groups {}", self.groups) } else { String::new() };
        match self.generation {
            chaos::LATEST => format!("{flags}{groups}"),
            other => format!("{flags}{groups} --generation {}", other as usize + 1),
        }
    }
}

/// Runs `seeds` seeds from `from` on.
///
/// # Errors
/// When it is interrupted before the first seed.
pub fn run(from: u64, seeds: u64, lives: Lives) -> Result<Outcome, Failure> {
    interrupt::check()?;
    let said = Arc::new(Mutex::new(String::new()));
    let before = take_hook();
    let into = said.clone();
    set_hook(Box::new(move |panic| {
        *into.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    let begun = Instant::now();
    let (mut counts, mut failed, mut told) = (BTreeMap::<String, u64>::new(), Vec::new(), begun);
    let mut done = 0;
    for seed in from..from.saturating_add(seeds) {
        if interrupt::check().is_err() {
            say("interrupted; this is what was done so far");
            break;
        }
        match catch_unwind(AssertUnwindSafe(|| lives.run(seed))) {
            Ok(seen) => seen.counts.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n),
            Err(_) => {
                let why = said.lock().unwrap_or_else(PoisonError::into_inner).replace('\n', " ");
                say(&format!("seed {seed} broke the promise: {why}"));
                failed.push((seed, why));
            }
        }
        done += 1;
        if told.elapsed().as_secs() >= 1 {
            told = Instant::now();
            say(&format!("{done} of {seeds} seeds, {} failed", failed.len()));
        }
    }
    set_hook(before);
    let seconds = begun.elapsed().as_secs_f64();
    let count =
        |name: &str| counts.iter().filter(|(what, _)| what.starts_with(name)).map(|(_, n)| n).sum::<u64>();
    let faults: u64 = FAULTS.iter().chain(&DISORDER[..5]).map(|name| count(name)).sum();
    // Several groups get the faults that concern them together; the rest is one pair's.
    let due: [&[&str]; 4] = match lives.groups {
        0 | 1 => [&FAULTS, &ASKED, &REACHED, &DISORDER],
        _ => [&FAULTS_OF_GROUPS, &ASKED_OF_GROUPS, &REACHED_BY_GROUPS, &[]],
    };
    let missing: Vec<&str> = due
        .concat()
        .into_iter()
        .chain(lives.real_store.then_some("checkpoint"))
        .filter(|name| lives.generation >= chaos::LATEST && done >= SEEDS_FOR_ALL && count(name) == 0)
        .collect();
    let ok = failed.is_empty() && missing.is_empty() && done > 0;
    let mut text = String::new();
    for (what, n) in &counts {
        text += &format!("{n:>12}  {what}\n");
    }
    text += &format!(
        "{done} seeds from {from} on, {faults} faults injected, {seconds:.1} s, {} failed",
        failed.len()
    );
    for (seed, _) in failed.iter().take(20) {
        let flags = lives.flags();
        text += &format!("\nreplay: cargo run --release -p drill -- sim{flags} --seed {seed} --story");
    }
    if !missing.is_empty() {
        text += &format!("\nnever reached: {}", missing.join(", "));
    }
    let failed: Vec<_> = failed.iter().map(|(seed, why)| json!({"seed": seed, "why": why})).collect();
    let json = json!({
        "seeds": done, "from": from, "long": lives.long, "groups": lives.groups, "real_store": lives.real_store, "faults": faults, "seconds": seconds, "failed": failed,
        "never_reached": missing, "counts": counts,
    });
    Ok(Outcome { ok, json, text })
}

/// Runs one seed again, bit for bit; with `story` what happened is printed.
#[must_use]
pub fn replay(seed: u64, story: bool, lives: Lives) -> Outcome {
    let end = catch_unwind(|| match (story, lives.long) {
        (false, _) => drop(lives.run(seed)),
        (true, _) if lives.groups > 1 => several::tell(seed, lives.groups),
        (true, false) => chaos::tell(lives.generation, seed, lives.real_store),
        (true, true) => long::tell(lives.generation, seed, lives.real_store),
    });
    let text =
        format!("seed {seed}: {}", if end.is_ok() { "the promise holds" } else { "the promise is broken" });
    Outcome { ok: end.is_ok(), json: json!({"seed": seed}), text }
}
