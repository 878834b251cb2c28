//! The main job in one command: a ledger upgraded under live load, and nothing lost.
//!
//! ```text
//! cargo run --release -p quickstart [-- --seconds 60 --rate 2000 --json]
//! ```
//!
//! Starts two real processors with their databases in a temporary directory, and a separate load process that sends
//! transfers over the network all the way through. Then: a rolling upgrade from version 1 to version 2, accepted, its
//! feature enabled; a `SIGKILL` of the active in mid-load, and its return; an upgrade to a broken version, which falls
//! back by itself. At the end the stopped processors' databases are held against what the clients were told.
#![forbid(unsafe_code)]

mod display;
mod report;
mod stages;

use std::process::ExitCode;

use clap::Parser;
use rig::Failure;

use crate::display::Display;
use crate::report::Report;

/// A ledger upgraded under live load: rolling upgrade, crash, fallback, audit.
#[derive(Debug, Parser)]
#[command(name = "quickstart", version)]
struct Arguments {
    /// How long the whole takes, about; at least 20.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(20..=3_600))]
    seconds: u64,
    /// Transfers a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=20_000))]
    rate: u64,
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    json: bool,
    /// Leave the directory with logs and databases in place, and say where it is.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let display = Display::new();
    let result = run(&arguments, &display);
    display.end();
    match result {
        Ok(report) => {
            if arguments.json {
                println!("{}", report.json());
            } else {
                println!("{}", report.table());
            }
            if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            if arguments.json {
                println!("{}", serde_json::json!({"ok": false, "error": failure.to_string()}));
            }
            eprintln!("quickstart: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, display: &Display) -> Result<Report, Failure> {
    rig::interrupt::listen()?;
    let directory = tempfile::Builder::new().prefix("lockstep-quickstart-").tempdir()?;
    let result = stages::run(arguments.seconds, arguments.rate, directory.path(), display);
    if arguments.keep {
        eprintln!("everything is left in {}", directory.keep().display());
    }
    result
}
