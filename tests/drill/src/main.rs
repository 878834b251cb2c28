//! All long exercises of Lockstep in one binary: `cargo run --release -p drill -- NAME [--json]`.
//!
//! Most run real processors, real plugin files and a real load process; `sim`, `model` and `mutants` need none. Each exits with 0
//! only if everything held.
#![forbid(unsafe_code)]

mod bench;
mod curves;
mod cuts;
mod faults;
mod growth;
mod kill;
mod limit;
mod matrix;
mod memory;
mod mixed;
mod model;
mod mutants;
mod outside;
mod plots;
mod profile;
mod recovery;
mod sim;
mod spread;
mod swap_rows;
mod swaps;
mod switchovers;
mod upgrades;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lockstep_sim::chaos::Generation;
use rig::Failure;
use rig::artifacts::Artifacts;
use serde_json::Value;

/// Long exercises of Lockstep: real processors, real plugins, real load.
#[derive(Debug, Parser)]
#[command(name = "drill", version)]
struct Arguments {
    #[command(subcommand)]
    exercise: Exercise,
    /// One JSON object on standard output; everything else goes to standard error.
    #[arg(long, global = true)]
    json: bool,
    /// Leave the directory with logs and databases in place.
    #[arg(long, global = true)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum Exercise {
    /// Swap versions under traffic: after each swap the old library is gone from the process.
    Swaps {
        /// How often.
        #[arg(long, default_value_t = 20)]
        count: u64,
        /// Transfers a second meanwhile.
        #[arg(long, default_value_t = 1_000)]
        rate: u64,
        /// All of them in one process, between two versions, which serve in turn every ninth time. By default the two
        /// processors take turns, between three, and each version serves.
        #[arg(long)]
        one_host: bool,
    },
    /// Planned switchovers under an open load: how long clients get no answer.
    Switchovers {
        /// How often.
        #[arg(long, default_value_t = 100)]
        count: u64,
        /// Transfers a second; half of saturation, which is measured first, unless said.
        #[arg(long)]
        rate: Option<u64>,
        /// `fsync` or `replicated`; the default of a processor unless said.
        #[arg(long)]
        durability: Option<String>,
    },
    /// Kill and stop active, standby and command line in every step of an upgrade.
    Upgrades {
        /// Only cells whose name contains this, as `202 load-first active kill`.
        #[arg(long)]
        only: Option<String>,
        /// Write the table as a page to this file.
        #[arg(long)]
        page: Option<PathBuf>,
    },
    /// Real faults of processes, links, disks, files, clocks, memory and clients, one after the other under load.
    Faults {
        /// Only faults whose name contains this.
        #[arg(long)]
        only: Option<String>,
        /// Name them all, and bring none about.
        #[arg(long, conflicts_with_all = ["only", "page"])]
        list: bool,
        /// Write the table as a page to this file; with `--only`, into the table that it has.
        #[arg(long)]
        page: Option<PathBuf>,
    },
    /// Processor time of an event while versions differ, against ordinary lock step.
    Mixed {
        /// How often each is measured.
        #[arg(long, default_value_t = 3)]
        rounds: u64,
        /// How long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Transfers a second meanwhile.
        #[arg(long, default_value_t = 10_000)]
        rate: u64,
    },
    /// Kill the active under load, again and again, start it again, audit.
    Kill {
        /// How often.
        #[arg(long, default_value_t = 10)]
        count: u64,
        /// With an archive beside the ledger that makes each processor this large, in megabytes.
        #[arg(long, default_value_t = 0)]
        resident_mb: u64,
        /// Audit after so many kills each: it ends both processors and reads all that they hold.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        audit_every: u64,
    },
    /// How long it takes to be whole again: a standby that missed 100,000 events, an empty one, a start with many rows.
    Recovery {
        /// So many accounts for the start.
        #[arg(long, default_value_t = 1_000_000)]
        rows: u32,
        /// The copy is of at least so many megabytes of rows.
        #[arg(long, default_value_t = 1_000)]
        copy_mb: u64,
    },
    /// Cut the stream between the processors at every frame of a batch and kill the active there.
    Cuts {
        /// The most cuts; all frames of the batch unless said.
        #[arg(long)]
        count: Option<u64>,
    },
    /// Seeds of the simulated world's chaos: the real core over a simulated disk, network and clock.
    Sim {
        /// How many.
        #[arg(long, default_value_t = 300)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Only this one, again.
        #[arg(long, conflicts_with_all = ["seeds", "from"])]
        seed: Option<u64>,
        /// Print what happened in it.
        #[arg(long, requires = "seed")]
        story: bool,
        /// With the real store beside each simulated disk.
        #[arg(long)]
        real_store: bool,
        /// Long lives: a hundred faults and more for one pair, checked at rest in between.
        #[arg(long)]
        long: bool,
        /// So many groups of one application on the pair, with campaigns over all of them.
        #[arg(long, default_value_t = 1, conflicts_with_all = ["long", "real_store"], value_parser = clap::value_parser!(u16).range(1..=8))]
        groups: u16,
        /// What a seed means: the latest unless said. Earlier ones inject less.
        #[arg(long, value_parser = generation)]
        generation: Option<Generation>,
    },
    /// Every order of messages, swaps, deaths and commands within small bounds, over the core's own groups.
    Model {
        /// Only this search.
        #[arg(long)]
        only: Option<String>,
        /// From one state in so many it is looked whether all comes to rest.
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
        settle_one_in: u64,
        /// A search that takes longer is broken off, and fails.
        #[arg(long, default_value_t = 600)]
        seconds_max: u64,
    },
    /// Deliberate bugs, one after the other in a copy of the workspace: each must be found.
    Mutants {
        /// Only this one.
        #[arg(long)]
        only: Option<String>,
        /// From this one on, in the order of their names: to go on with a hunt that was interrupted.
        #[arg(long, conflicts_with = "only")]
        from: Option<String>,
    },
    /// What `plots` draws: latency at rising rates, answers by millisecond around a failover and in an upgrade, cost against the
    /// size of the state.
    Curves {
        /// How long each figure is measured.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        /// `fsync` or `replicated`.
        #[arg(long)]
        durability: Option<String>,
    },
    /// How each figure changes with 10,000 to 10 million rows, 1 to 64 partitions, 1 to 4,000 connections, bodies of 100 bytes to
    /// 1 MB, 4 to 64 work units.
    Growth {
        /// Only what contains this of `rows`, `partitions`, `connections`, `bodies`, `units`.
        #[arg(long)]
        only: Option<String>,
        /// How long each figure is measured.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
    },
    /// Draw what `curves --json`, `growth --json` and `bench --matrix --json` have printed into files.
    Plots {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The folder of the pictures.
        #[arg(long)]
        into: PathBuf,
    },
    /// A processor's resident memory over many millions of transfers.
    Memory {
        /// How many millions.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        millions: u64,
        /// How much of the recent stream is kept; a processor's default unless said.
        #[arg(long)]
        recent_mb: Option<u64>,
    },
    /// What the hosts do under load, for a compiler that lays out their code by it: they are built to count, run, and what they
    /// counted is written to a file.
    Profile {
        /// How long each load runs.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        /// The file; `lockstep.profdata` in cargo's target folder unless said.
        #[arg(long)]
        into: Option<PathBuf>,
    },
    /// Start `limit`, the two processes that a pair is measured against, for a load of your own; Ctrl-C ends it.
    Limit,
    /// Throughput: 8 connections with 64 transfers in flight each; with --matrix end-to-end figures, row by row beside `limit`.
    Bench {
        /// How long each figure is measured.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        /// All rows, each beside `limit`.
        #[arg(long, conflicts_with_all = ["clients", "in_flight", "durability"])]
        matrix: bool,
        /// Only rows of the matrix whose name contains this, as `8x256`.
        #[arg(long, conflicts_with_all = ["clients", "in_flight", "durability"])]
        only: Option<String>,
        /// How often each row of the matrix is measured; the medians count.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        rounds: u64,
        /// Fail when a row of the matrix misses what is asked of it.
        #[arg(long)]
        strict: bool,
        /// How many clients.
        #[arg(long, default_value_t = 8)]
        clients: usize,
        /// Transfers under way a client.
        #[arg(long, default_value_t = 64)]
        in_flight: usize,
        /// `fsync` or `replicated`.
        #[arg(long)]
        durability: Option<String>,
    },
}

/// What came of an exercise.
pub struct Outcome {
    /// Whether everything held.
    pub ok: bool,
    /// For programs; gets the field `ok`.
    pub json: Value,
    /// For people.
    pub text: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(Outcome { ok, mut json, text }) => {
            json["ok"] = ok.into();
            if arguments.json {
                println!("{json}");
            } else {
                println!("{text}\n{}", if ok { "ok" } else { "FAILED" });
            }
            if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            if arguments.json {
                println!("{}", serde_json::json!({"ok": false, "error": failure.to_string()}));
            }
            eprintln!("drill: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn generation(text: &str) -> Result<Generation, String> {
    let generation = text.parse().ok().and_then(Generation::numbered);
    generation.ok_or_else(|| "a number from 1 on, up to the latest generation".into())
}

fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    rig::interrupt::listen()?;
    let real = |exercise: &dyn Fn(&Artifacts, &Path) -> Result<Outcome, Failure>| {
        with_processors(arguments.keep, exercise)
    };
    match &arguments.exercise {
        Exercise::Swaps { count, rate, one_host } => {
            let plan = swaps::Plan { count: *count, rate: *rate, one_host: *one_host };
            real(&|artifacts, at| swaps::run(artifacts, at, &plan))
        }
        Exercise::Switchovers { count, rate, durability } => {
            real(&|artifacts, at| switchovers::run(artifacts, at, *count, *rate, durability.clone()))
        }
        Exercise::Upgrades { only, page } => {
            real(&|artifacts, at| upgrades::run(artifacts, at, only.as_deref(), page.as_deref()))
        }
        Exercise::Faults { list: true, .. } => Ok(faults::list()),
        Exercise::Faults { only, page, .. } => {
            real(&|artifacts, at| faults::run(artifacts, at, only.as_deref(), page.as_deref()))
        }
        Exercise::Mixed { rounds, seconds, rate } => {
            real(&|artifacts, at| mixed::run(artifacts, at, *rounds, *seconds, *rate))
        }
        Exercise::Kill { count, resident_mb, audit_every } => {
            real(&|artifacts, at| kill::run(artifacts, at, (*count, *audit_every), *resident_mb))
        }
        Exercise::Recovery { rows, copy_mb } => {
            real(&|artifacts, at| recovery::run(artifacts, at, *rows, *copy_mb))
        }
        Exercise::Cuts { count } => real(&|artifacts, at| cuts::run(artifacts, at, *count)),
        Exercise::Curves { seconds, durability } => {
            real(&|artifacts, at| curves::run(artifacts, at, *seconds, durability.clone()))
        }
        Exercise::Memory { millions, recent_mb } => {
            real(&|artifacts, at| memory::run(artifacts, at, *millions, *recent_mb))
        }
        Exercise::Growth { only, seconds } => {
            real(&|artifacts, at| growth::run(artifacts, at, only.as_deref(), *seconds))
        }
        Exercise::Plots { files, into } => plots::run(files, into),
        Exercise::Profile { seconds, into } => {
            in_directory(arguments.keep, &|at| profile::run(at, *seconds, into.as_deref()))
        }
        Exercise::Limit => limit::run(),
        Exercise::Bench { seconds, clients, in_flight, durability, matrix, only, rounds, strict } => {
            let plan =
                matrix::Plan { only: only.as_deref(), seconds: *seconds, rounds: *rounds, strict: *strict };
            real(&|artifacts, at| match *matrix || only.is_some() {
                true => matrix::run(artifacts, at, &plan),
                false => bench::run(artifacts, at, *seconds, *clients, *in_flight, durability.clone()),
            })
        }
        Exercise::Sim { seeds, from, seed, story, real_store, long, groups, generation } => {
            let generation = generation.unwrap_or(lockstep_sim::chaos::LATEST);
            let lives = sim::Lives { long: *long, real_store: *real_store, groups: *groups, generation };
            match seed {
                Some(seed) => Ok(sim::replay(*seed, *story, lives)),
                None => sim::run(*from, *seeds, lives),
            }
        }
        Exercise::Model { only, settle_one_in, seconds_max } => {
            model::run(only.as_deref(), *settle_one_in, *seconds_max)
        }
        Exercise::Mutants { only, from } => mutants::run(only.as_deref(), from.as_deref()),
    }
}

/// Builds everything and runs an exercise with real processors, in a directory of its own.
fn with_processors(
    keep: bool,
    exercise: &dyn Fn(&Artifacts, &Path) -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    say("building with cargo");
    let artifacts = Artifacts::build(|_| {})?;
    in_directory(keep, &|directory| exercise(&artifacts, directory))
}

/// Runs an exercise in a directory of its own.
fn in_directory(
    keep: bool,
    exercise: &dyn Fn(&Path) -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    let directory = tempfile::Builder::new().prefix("lockstep-drill-").tempdir()?;
    let outcome = exercise(directory.path());
    if keep {
        eprintln!("everything is left in {}", directory.keep().display());
    }
    outcome
}

/// A line about how it goes.
pub fn say(line: &str) {
    eprintln!("{line}");
}
