//! Half-way recovery, really run: the stream between the processors is cut at every frame of a batch, the active is
//! killed there, and the standby takes over with whatever had arrived. The report counts takeovers by procedure and by
//! step-ups that had arrived; a zero fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use lockstep_client::{CallError, Client, Reply};
use lockstep_core::command::HalfWay;
use rig::artifacts::Artifacts;
use rig::clients::{Asked, ClientThread};
use rig::ledger;
use rig::load::record::{Ended, LoadRecord, Opened, Told};
use rig::node::Settings;
use rig::pair::Pair;
use rig::proxy::LinkProxy;
use rig::{Failure, interrupt};
use serde_json::{Value, json};

use crate::{Outcome, say};

/// What each account begins with.
const CENTS_EACH: u64 = 1_000_000;
/// Accounts that transfers move money between; each batch opens one more.
const ACCOUNTS_FIRST: u32 = 4;
/// Transfers before and after the opening of an account in a batch.
const TRANSFERS: u32 = 2;

/// The client of all batches and what it was told.
struct Batches {
    thread: ClientThread,
    client: Client,
    transfers: Vec<Ended>,
    accounts: u32,
    problems: Vec<String>,
}

/// A batch under way: each transfer, or the opening of an account, with its answer.
type UnderWay = Vec<(Option<(u32, u32, u64)>, Asked<Result<Reply, CallError>>)>;

/// Cuts at `count` frames, or at all of a batch.
///
/// # Errors
/// When the pair can't be brought back.
pub fn run(artifacts: &Artifacts, directory: &Path, count: Option<u64>) -> Result<Outcome, Failure> {
    let proxy = LinkProxy::new()?;
    // Each step-up is a place to cut at.
    let more = || "    step_ups: apart,\n".to_owned();
    let settings =
        [0, 1].map(|at| Settings { peer: Some(proxy.peer_of(at)), more: more(), ..Settings::default() });
    let mut pair = Pair::launch(artifacts, directory, artifacts.ledger_v1(), settings)?;
    proxy.connect([&pair.node(0).ready().link, &pair.node(1).ready().link])?;
    pair.wait_in_lock_step(Duration::from_secs(30))?;
    let mut batches = Batches::new(&pair)?;
    let mut taken_over: BTreeMap<HalfWay, u64> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    let mut frames = 0;
    while count.is_none_or(|count| frames < count) {
        interrupt::check()?;
        pair.wait_quiet(Duration::from_secs(30))?;
        let active = pair.active()?;
        let survivor = 1 - active;
        let before = half_way(&pair, survivor)?;
        proxy.arm(active, frames);
        let batch = batches.send();
        if !proxy.wait_cut(Duration::from_secs(3)) {
            // The batch has no further frame: this was the last round, without a cut.
            let passed = proxy.disarm();
            batches.collect(batch)?;
            if passed < frames {
                return Err(Failure::new(format!("a batch had {passed} frames, and one before it {frames}")));
            }
            break;
        }
        let killed = Instant::now();
        pair.node_mut(active).kill();
        batches.collect(batch)?;
        let answered = killed.elapsed();
        slowest = slowest.max(answered);
        let answered_ms = answered.as_secs_f64() * 1e3;
        for (found, times) in half_way(&pair, survivor)? {
            let new = times - before.get(&found).copied().unwrap_or(0);
            if new > 0 {
                say(&format!(
                    "cut after {frames:>3} frames, answered after {answered_ms:>6.1} ms: {found:?}"
                ));
                *taken_over.entry(found).or_default() += new;
            }
        }
        proxy.heal();
        pair.restart(active)?;
        pair.wait_in_lock_step(Duration::from_secs(30))?;
        frames += 1;
    }
    let units = ledger::units_of_v1();
    let record = LoadRecord {
        opened: Opened { first: 0, accounts: batches.accounts, cents_each: CENTS_EACH },
        transfers: std::mem::take(&mut batches.transfers),
    };
    let mut problems = std::mem::take(&mut batches.problems);
    drop(batches);
    let audit = pair.end_and_audit(&record, &[], &[])?;
    let (table, rows) = table(&units, &taken_over, count.is_none(), &mut problems);
    let ok = audit.holds() && problems.is_empty() && frames > 0;
    let slowest_ms = slowest.as_secs_f64() * 1e3;
    let mut text =
        format!("{frames} cuts, one at each frame; slowest batch answered after {slowest_ms:.0} ms\n{table}");
    for problem in problems.iter().chain(&audit.problems) {
        text += &format!("\nproblem: {problem}");
    }
    let json = json!({
        "cuts": frames, "takeovers": rows, "problems": problems, "audit": audit, "slowest_ms": slowest_ms,
    });
    Ok(Outcome { ok, json, text })
}

impl Batches {
    /// Connects and opens the first accounts.
    fn new(pair: &Pair) -> Result<Self, Failure> {
        let thread = ClientThread::new()?;
        let connect = lockstep_client::connect(pair.events()).deadline(Duration::from_secs(20));
        let client = thread.connect(connect)?;
        let mut batches =
            Batches { thread, client, transfers: Vec::new(), accounts: 0, problems: Vec::new() };
        for account in 0..ACCOUNTS_FIRST {
            let opening = batches.thread.call(&batches.client, ledger::open_accounts(account, 1, CENTS_EACH));
            batches.collect(vec![(None, opening)])?;
        }
        Ok(batches)
    }

    /// Sends a batch at once: transfers, the opening of an account, transfers.
    fn send(&self) -> UnderWay {
        let mut under_way: UnderWay = Vec::new();
        for number in 0..2 * TRANSFERS {
            if number == TRANSFERS {
                let opening = ledger::open_accounts(self.accounts, 1, CENTS_EACH);
                under_way.push((None, self.thread.call(&self.client, opening)));
            }
            let (from, to) = (number % ACCOUNTS_FIRST, (number + 1) % ACCOUNTS_FIRST);
            let cents = u64::from(self.accounts * 10 + number + 1);
            let transfer = self.thread.call(&self.client, ledger::transfer(from, to, cents));
            under_way.push((Some((from, to, cents)), transfer));
        }
        under_way
    }

    fn collect(&mut self, under_way: UnderWay) -> Result<(), Failure> {
        for (transfer, answer) in under_way {
            let answer = answer.wait()?;
            let Some((from, to, cents)) = transfer else {
                answer.map_err(|error| Failure::new(format!("an account can't be opened: {error}")))?;
                self.accounts += 1;
                continue;
            };
            let told = match answer {
                Ok(reply) => {
                    Told::Committed { sequence: reply.sequence, entry: ledger::entry_of(&reply.bytes)? }
                }
                Err(CallError::Refused { .. }) => Told::Refused,
                Err(CallError::Faulted { .. }) => Told::Faulted,
                Err(error) => {
                    self.problems.push(format!("a transfer got no answer: {error}"));
                    Told::Nothing
                }
            };
            self.transfers.push(Ended { from, to, cents, told });
        }
        Ok(())
    }
}

fn half_way(pair: &Pair, at: usize) -> Result<BTreeMap<HalfWay, u64>, Failure> {
    Ok(pair.group(at)?.half_way.into_iter().collect())
}

fn table(
    units: &BTreeMap<&str, u32>,
    taken_over: &BTreeMap<HalfWay, u64>,
    whole: bool,
    problems: &mut Vec<String>,
) -> (String, Vec<Value>) {
    let mut text = String::from("procedure       step-ups  takeovers");
    let mut rows = Vec::new();
    for (procedure, units) in units {
        for step_ups in 0..=*units {
            let found: Vec<_> = taken_over
                .iter()
                .filter(|(half_way, _)| half_way.procedure == *procedure && half_way.step_ups == step_ups)
                .collect();
            let times: u64 = found.iter().map(|(_, times)| **times).sum();
            let ends: Vec<_> = found.iter().map(|(half_way, _)| format!("{:?}", half_way.end)).collect();
            text +=
                &format!("\n{procedure:<14} {step_ups:>2} of {units:>2} {times:>10}  {}", ends.join(", "));
            rows.push(json!({
                "procedure": procedure, "step_ups": step_ups, "units": units, "takeovers": times, "ends": ends,
            }));
            if times == 0 && whole {
                problems
                    .push(format!("no takeover found `{procedure}` after {step_ups} of {units} step-ups"));
            }
        }
    }
    (text, rows)
}
