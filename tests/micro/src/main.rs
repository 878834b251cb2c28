//! `micro`: the parts of the hot path one at a time, for profilers; and the instructions that each takes, as `valgrind`
//! counts them, against a baseline that is kept with the source.
#![forbid(unsafe_code)]

mod instructions;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use micro::{BATCH, Part};

/// What processors run with.
#[global_allocator]
static ALLOCATOR: lockstep_os::heap::Heap = lockstep_os::heap::Heap;

/// The hot path's parts, one at a time.
#[derive(Parser)]
#[command(name = "micro", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one part, to be profiled, and print the time that one piece of it takes.
    Run {
        /// Which.
        #[arg(value_parser = part)]
        part: Part,
        /// So many rounds of 64.
        #[arg(long, default_value_t = 2_000)]
        rounds: u64,
    },
    /// Count the instructions of every part with `valgrind --tool=callgrind`, and compare them with the baseline. Ends
    /// with 1 when one takes more than 5 % above it.
    Instructions {
        /// The baseline.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.ron"))]
        baseline: PathBuf,
        /// Write what was counted there.
        #[arg(long)]
        write: bool,
    },
}

fn part(name: &str) -> Result<Part, String> {
    let names = Part::ALL.map(Part::name).join(", ");
    Part::named(name).ok_or_else(|| format!("the parts are {names}"))
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run { part, rounds } => {
            run(part, rounds);
            ExitCode::SUCCESS
        }
        Command::Instructions { baseline, write } => match instructions::run(&baseline, write) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                eprintln!("micro: {why}");
                ExitCode::from(2)
            }
        },
    }
}

fn run(part: Part, rounds: u64) {
    let mut work = part.prepare();
    let begun = Instant::now();
    (0..rounds).for_each(|_| work.round());
    let ns = begun.elapsed().as_nanos() as f64 / (rounds.max(1) as f64 * BATCH as f64);
    println!("{}: {ns:.0} ns each, over {rounds} rounds of {BATCH}", part.name());
}
