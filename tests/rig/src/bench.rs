//! `lockstep bench` as the drills run it: which load, against what, and the figures that they look at.

use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Failure;
use crate::artifacts::Artifacts;
use crate::child;
use crate::limit::Limit;
use crate::pair::Pair;

/// What a load is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whom {
    /// Where it listens.
    pub addresses: Vec<String>,
    /// The processes whose time is measured.
    pub pids: Vec<u32>,
}

impl Whom {
    /// A pair, over the binary protocol.
    #[must_use]
    pub fn pair(pair: &Pair) -> Self {
        Whom { addresses: pair.events(), pids: (0..2).map(|at| pair.node(at).ready().pid).collect() }
    }

    /// A pair, over HTTP.
    #[must_use]
    pub fn pair_over_http(pair: &Pair) -> Self {
        Whom { addresses: (0..2).map(|at| pair.node(at).ready().http.clone()).collect(), ..Self::pair(pair) }
    }

    /// `limit`.
    #[must_use]
    pub fn limit(limit: &Limit) -> Self {
        Whom { addresses: vec![limit.address().to_owned()], pids: limit.pids().into() }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Transfers of the ledger, in `postcard`.
    Transfers,
    /// Transfers of the ledger, over HTTP.
    TransfersOverHttp,
    /// Balances of the ledger, in `postcard`.
    Balances,
    /// Documents of the archive, of so many bytes.
    Documents {
        /// How long each is.
        bytes: u32,
    },
    /// Reservations of the archive, each of so many work units.
    Reservations {
        /// How many work units one runs, at least 2.
        units: u32,
    },
}

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shape {
    /// What is sent.
    pub what: What,
    /// How many accounts, or documents, there are.
    pub accounts: u64,
    /// Connections.
    pub connections: u32,
    /// Events under way on each.
    pub in_flight: u32,
    /// Events due a second; closed if not said.
    pub rate_per_s: Option<f64>,
    /// How long it is measured.
    pub seconds: f64,
    /// How long it runs before.
    pub warm_up_seconds: f64,
    /// Whether answers are told by millisecond.
    pub timeline: bool,
}

impl Shape {
    /// Transfers between so many accounts, as many as the pair answers, counted from the begin.
    #[must_use]
    pub fn closed(accounts: u64, connections: u32, in_flight: u32, seconds: f64) -> Self {
        Shape {
            what: What::Transfers,
            accounts,
            connections,
            in_flight,
            rate_per_s: None,
            seconds,
            warm_up_seconds: 0.0,
            timeline: false,
        }
    }
}

/// Latencies, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// 99.9.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// What `lockstep bench` tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Answers.
    pub events: u64,
    /// Answers a second.
    pub rate_per_s: f64,
    /// Of these, refusals.
    pub refused: u64,
    /// Of these, faults.
    pub faulted: u64,
    /// Without an answer at the end.
    pub unanswered: u64,
    /// Latencies.
    pub latency_us: Latencies,
    /// The longest time without an answer.
    pub longest_gap_ms: f64,
    /// Of all processes, for 1,000 events; none when one of them ended.
    pub cpu_s_per_1000: Option<f64>,
    /// The load's own.
    pub load_cpu_s: f64,
    /// The machine's, over a minute.
    pub load_average: Option<f64>,
    /// Answers in each millisecond, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers_per_ms: Option<Vec<u32>>,
}

/// The command of a load.
#[must_use]
pub fn command(artifacts: &Artifacts, whom: &Whom, shape: &Shape) -> Command {
    let mut command = child::guarded(artifacts.rig(), artifacts.lockstep());
    command.args(["bench", "--output", "json"]);
    let accounts = [
        "--prepare",
        "open_accounts",
        "--prepare-parameters",
        r#"{"first":{key},"count":250,"cents":1000000000}"#,
        "--prepare-step",
        "250",
    ];
    let transfer = r#"{"from":"acc{key}","to":"acc{other}","cents":{random:1-100}}"#;
    match shape.what {
        What::Transfers => {
            command.args(["ledger", "transfer", transfer, "--encoding", "postcard"]).args(accounts);
        }
        What::TransfersOverHttp => {
            command.args(["ledger", "transfer", transfer, "--protocol", "http"]).args(accounts);
        }
        What::Balances => {
            let balance = r#"{"account":"acc{key}"}"#;
            command.args(["ledger", "balance", balance, "--encoding", "postcard"]).args(accounts);
        }
        What::Documents { bytes } => {
            let document = r#"{"number":{key}}"#;
            command.args(["archive", "file", document, "--encoding", "postcard", "--body-bytes"]);
            command.arg(bytes.to_string());
            // Each has its row before the load counts.
            command.args(["--prepare", "reserve", "--prepare-parameters", r#"{"first":{key},"count":64}"#]);
            command.args(["--prepare-step", "64"]);
        }
        What::Reservations { units } => {
            // One unit looks at the whole, each other one keeps a place.
            let places = format!(r#"{{"first":{{key}},"count":{}}}"#, units - 1);
            command.args(["archive", "reserve", &places, "--encoding", "postcard"]);
        }
    }
    for address in &whom.addresses {
        command.args(["--address", address]);
    }
    for pid in &whom.pids {
        command.arg("--pid").arg(pid.to_string());
    }
    if let Some(rate) = shape.rate_per_s {
        command.arg("--rate").arg(rate.to_string());
    }
    for (flag, value) in [
        ("--keys", shape.accounts.to_string()),
        ("--connections", shape.connections.to_string()),
        ("--in-flight", shape.in_flight.to_string()),
        ("--seconds", shape.seconds.to_string()),
        ("--warm-up-seconds", shape.warm_up_seconds.to_string()),
    ] {
        command.args([flag, &value]);
    }
    if shape.timeline {
        command.arg("--timeline");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Runs a load to its end.
///
/// # Errors
/// When it fails: with its own words.
pub fn run(artifacts: &Artifacts, whom: &Whom, shape: &Shape) -> Result<Figures, Failure> {
    let output = child::output(&mut command(artifacts, whom, shape))?;
    figures(&output.stdout)
}

/// The figures that a load has printed.
///
/// # Errors
/// When it has failed: with its own words.
pub fn figures(printed: &[u8]) -> Result<Figures, Failure> {
    let said: Value = serde_json::from_slice(printed)?;
    if let Some(error) = said.get("error") {
        return Err(Failure::new(format!("the load has failed: {} {}", error["code"], error["message"])));
    }
    Ok(serde_json::from_value(said)?)
}
