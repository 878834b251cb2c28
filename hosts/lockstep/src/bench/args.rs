//! What can be typed behind `lockstep bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What stands below the flags in `--help`.
const TEMPLATES: &str = "\
PARAMETERS is JSON. These placeholders are filled in for each event, inside and outside of strings:
  {key}          the number of a key, from 0 to --keys minus 1, drawn as --distribution says
  {other}        the same for another key than {key}
  {seq}          the number of the event in this run, from 0
  {connection}   the number of the connection that sends it, from 0
  {random}       a random number below 2^53
  {random:A-B}   a random number from A to B

With --encoding postcard the parameters are sent in the binary form that clients in Rust use. The template says the
types: text is a string, a whole number an unsigned integer, true and false a bool, [..] a list, {..} a struct with
its fields in the order of the procedure's type. Other types have to be sent as JSON.

Without --rate the load is closed: each connection keeps --in-flight events under way, and an answer brings the next
event. With --rate it is open: events are due at that rate whatever the answers do, and each latency counts from the
moment when its event was due.

Where the application has several partitions, connections are spread over them. Without --partition-key each has a
key of its partition, and --prepare runs in each partition for all keys.

Example:
  lockstep bench ledger transfer '{\"from\":\"acc{key}\",\"to\":\"acc{other}\",\"cents\":{random:1-100}}' \\
    --prepare open_accounts --prepare-parameters '{\"first\":{key},\"count\":250,\"cents\":1000000}' --prepare-step 250 \\
    --keys 4000 --config a.ron --partner b.ron";

/// A load against a running pair.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = TEMPLATES)]
pub struct Bench {
    /// The application
    pub application: String,
    /// The procedure that each event runs
    pub procedure: String,
    /// Its control parameters, JSON with placeholders such as {key}; `--help` lists them
    #[arg(default_value = "{}")]
    pub parameters: String,
    /// Where the pair listens, once for each processor; by default what --config and --partner say
    #[arg(long, value_name = "HOST:PORT", num_args = 1)]
    pub address: Vec<String>,
    /// The configuration of the other processor, for its address and its process
    #[arg(long, value_name = "FILE")]
    pub partner: Option<PathBuf>,
    /// A process whose processor time is to be measured; by default those of --config and --partner
    #[arg(long, value_name = "PID", num_args = 1)]
    pub pid: Vec<u32>,
    /// How events are sent
    #[arg(long, value_enum, default_value_t = Protocol::Binary)]
    pub protocol: Protocol,
    /// How control parameters are encoded; HTTP takes JSON alone
    #[arg(long, value_enum, default_value_t = Encoding::Json)]
    pub encoding: Encoding,
    /// How many connections, each with a session of its own
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub connections: u32,
    /// How many events a connection has under way, at most under an open load; over HTTP it is 1
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub in_flight: u32,
    /// Events a second over all connections, whatever the answers do: an open load
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub rate: Option<f64>,
    /// How long it is measured
    #[arg(long, value_name = "S", default_value = "10", value_parser = positive)]
    pub seconds: f64,
    /// How long the load runs before it counts
    #[arg(long, value_name = "S", default_value = "2", value_parser = not_negative)]
    pub warm_up_seconds: f64,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub keys: u64,
    /// How keys are drawn
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub distribution: Distribution,
    /// With `--distribution zipf`: how much more often the first keys are drawn
    #[arg(long, value_name = "S", default_value = "0.99", value_parser = positive)]
    pub zipf_exponent: f64,
    /// What the random numbers begin with: the same seed draws the same keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The partition key of each event, with placeholders
    #[arg(long, value_name = "TEMPLATE")]
    pub partition_key: Option<String>,
    /// Ancillary data of each event, in bytes
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub body_bytes: u32,
    /// A procedure to run once for each key before the load; what it refuses, as an account that exists, is no failure
    #[arg(long, value_name = "PROCEDURE")]
    pub prepare: Option<String>,
    /// Its control parameters, with placeholders
    #[arg(long, value_name = "PARAMETERS", default_value = "{}", requires = "prepare")]
    pub prepare_parameters: String,
    /// Run it for every so many keys only, with the first of them in {key}
    #[arg(long, value_name = "N", default_value_t = 1, requires = "prepare", value_parser = clap::value_parser!(u64).range(1..))]
    pub prepare_step: u64,
    /// Give up when nothing was answered for so long
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub silence_max_ms: u64,
    /// Add the number of answers in each millisecond to the JSON
    #[arg(long)]
    pub timeline: bool,
}

/// How events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The binary event protocol
    Binary,
    /// HTTP, with an Idempotency-Key each
    Http,
}

/// How control parameters are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As JSON
    Json,
    /// In the binary form that clients in Rust use
    Postcard,
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// All alike
    Uniform,
    /// Key 0 most often, each next one less often
    Zipf,
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "write a number".into())
}

fn positive(text: &str) -> Result<f64, String> {
    number(text).and_then(|number| if number > 0.0 { Ok(number) } else { Err("more than 0".into()) })
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text).and_then(|number| if number >= 0.0 { Ok(number) } else { Err("not below 0".into()) })
}
