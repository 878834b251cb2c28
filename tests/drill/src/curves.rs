//! What `drill plots` draws: latency at rising rates, answers by millisecond around a failover and in an upgrade, and cost
//! against the size of the state.

use std::path::Path;
use std::time::Duration;

use rig::artifacts::Artifacts;
use rig::bench::{self, Figures, Shape, Whom};
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::outside::{cores, load_average};
use crate::{Outcome, say};

/// Parts of saturation at which latencies are measured.
const PARTS: [f64; 8] = [0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97];
/// How many accounts there are, from state to state.
const STATES: [u64; 4] = [4_000, 32_000, 256_000, 1_000_000];
/// Events a second while a gap is looked for.
const GAP_RATE_PER_S: f64 = 5_000.0;
/// How long a load runs before it counts, in seconds.
const WARM_UP_S: f64 = 1.0;

/// A part of saturation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Events due a second.
    pub rate_per_s: f64,
    /// What was seen.
    pub seen: Figures,
}

/// Answers by millisecond around something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// What happened.
    pub what: String,
    /// Events due a second.
    pub rate_per_s: f64,
    /// What was seen; with a timeline.
    pub seen: Figures,
}

/// Cost at a size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// How many accounts there are.
    pub accounts: u64,
    /// The rows' memory as the active estimates it, in bytes.
    pub table_bytes: u64,
    /// What was seen.
    pub seen: Figures,
}

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curves {
    /// Always `curves`.
    pub kind: String,
    /// How many cores there were.
    pub cores: usize,
    /// The machine's load average before.
    pub load_average: f64,
    /// What was due when nothing else was asked for: events a second under a closed load.
    pub saturation_per_s: f64,
    /// Latency at rising rates.
    pub steps: Vec<Step>,
    /// Gaps.
    pub gaps: Vec<Gap>,
    /// Cost against size.
    pub states: Vec<State>,
}

/// Measures each for `seconds`.
///
/// # Errors
/// When something can't be run.
pub fn run(
    artifacts: &Artifacts,
    directory: &Path,
    seconds: u64,
    durability: Option<String>,
) -> Result<Outcome, Failure> {
    let load_average = load_average()?;
    let start = |name: &str| {
        let directory = directory.join(name);
        std::fs::create_dir_all(&directory)?;
        let settings = Settings { durability: durability.clone(), ..Settings::default() };
        Pair::start_with(artifacts, &directory, artifacts.ledger_v1(), [settings.clone(), settings])
    };
    let shape = Shape { warm_up_seconds: WARM_UP_S, ..Shape::closed(STATES[0], 64, 16, seconds as f64) };
    let mut pair = start("steps")?;
    let saturation = bench::run(artifacts, &Whom::pair(&pair), &shape)?.rate_per_s;
    say(&format!("saturation: {saturation:.0} transfers a second"));
    let mut steps = Vec::new();
    for part in PARTS {
        interrupt::check()?;
        let rate_per_s = (saturation * part).round();
        let seen =
            bench::run(artifacts, &Whom::pair(&pair), &Shape { rate_per_s: Some(rate_per_s), ..shape })?;
        say(&format!("{rate_per_s:>9.0} a second: {}", latencies(&seen)));
        steps.push(Step { rate_per_s, seen });
    }
    pair.end()?;
    let rate_per_s = GAP_RATE_PER_S.min((saturation / 2.0).round());
    let gap_shape = Shape { rate_per_s: Some(rate_per_s), timeline: true, seconds: 4.0, ..shape };
    let mut gaps = Vec::new();
    for what in ["failover", "upgrade"] {
        let mut pair = start(what)?;
        let seen = disturbed(artifacts, &mut pair, &gap_shape, what)?;
        say(&format!("{what}: longest gap {:.1} ms", seen.longest_gap_ms));
        gaps.push(Gap { what: what.into(), rate_per_s, seen });
    }
    let mut states = Vec::new();
    for accounts in STATES {
        interrupt::check()?;
        let mut pair = start(&format!("state-{accounts}"))?;
        let seen = bench::run(artifacts, &Whom::pair(&pair), &Shape { accounts, ..shape })?;
        let table_bytes = pair.group(pair.active()?)?.table_bytes;
        let cpu = seen.cpu_s_per_1000.unwrap_or(f64::NAN);
        say(&format!("{accounts:>9} accounts, {table_bytes} bytes: {cpu:.5} s of CPU for 1,000 transfers"));
        states.push(State { accounts, table_bytes, seen });
        pair.end()?;
    }
    let ok =
        steps.iter().all(|step| step.seen.unanswered == 0) && gaps.iter().all(|gap| gap.seen.unanswered == 0);
    let curves = Curves {
        kind: "curves".into(),
        cores: cores(),
        load_average,
        saturation_per_s: saturation,
        steps,
        gaps,
        states,
    };
    let text = format!("load average {load_average} before; `--json` has what `drill plots` draws");
    Ok(Outcome { ok, json: json!(curves), text })
}

fn latencies(figures: &Figures) -> String {
    let latency = &figures.latency_us;
    let [p50, p99, p999] = [latency.p50, latency.p99, latency.p999].map(|us| us / 1e3);
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms")
}

/// A load during which something happens.
fn disturbed(artifacts: &Artifacts, pair: &mut Pair, shape: &Shape, what: &str) -> Result<Figures, Failure> {
    let whom = Whom::pair(pair);
    let before = pair.group(pair.active()?)?.held.0;
    let opened = shape.accounts / 250;
    std::thread::scope(|scope| {
        let load = scope.spawn(|| bench::run(artifacts, &whom, shape));
        // It counts from the end of the warm-up on; a second of ordinary service is to be seen before.
        let rate = shape.rate_per_s.unwrap_or(GAP_RATE_PER_S);
        let ordinary = before + opened + (rate * (shape.warm_up_seconds + 1.0)) as u64;
        pair.wait_until("ordinary service", Duration::from_secs(30), |group| Ok(group.held.0 > ordinary))?;
        match what {
            "failover" => {
                let active = pair.active()?;
                pair.node_mut(active).kill();
            }
            _ => pair.start_upgrade(artifacts.ledger_v2(), Duration::from_millis(500), 100, false)?,
        }
        load.join().map_err(|_| Failure::new("the load can't be waited for"))?
    })
}
