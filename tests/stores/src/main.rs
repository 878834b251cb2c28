//! `stores`: what the redo log and the checkpoint are made of, against what else they could be made of. Speed, stalls, cost;
//! and what is there after a kill and in damaged files. `docs/store-choice.md` is what came of it.
//!
//! Every run is a process of its own, in a directory of its own, and is killed at its end. Candidates take turns.
#![forbid(unsafe_code)]

mod candidates;
mod checkpoint;
mod child;
mod crash;
mod damage;
mod measures;
mod ordeal;
mod redo;
mod transfers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use candidates::Failure;
use child::Job;

/// What the redo log and the checkpoint are made of, against what else they could be made of.
#[derive(Debug, Parser)]
#[command(name = "stores", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// One JSON object on standard output instead of tables.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Say nothing on standard error while it goes on.
    #[arg(long, global = true)]
    quiet: bool,
    /// Where files are made, and removed at the end; the system's own place for temporary files unless said.
    #[arg(long, global = true)]
    directory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The redo log: commits, their latencies and stalls, what they cost, and how long opening it again takes.
    Redo(redo::Asked),
    /// The redo log: writers killed at any moment, and damaged files. Ends with 1 unless our own store held.
    Crash(ordeal::Asked),
    /// The checkpoint: rows written and read.
    Checkpoint(checkpoint::Asked),
    /// One job, for another process of this program.
    #[command(hide = true)]
    Child {
        /// The job, as JSON.
        job: String,
    },
}

impl Args {
    /// Whether the outcome is for programs.
    #[must_use]
    pub fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// A line about how it goes.
    pub fn progress(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }
}

/// A processor's, so that candidates are compared under what they would have there.
#[global_allocator]
static HEAP: lockstep_os::heap::Heap = lockstep_os::heap::Heap;

fn main() -> ExitCode {
    lockstep_os::heap::set_up();
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("stores: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool, Failure> {
    let directory = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("lockstep-stores-");
        match &args.directory {
            Some(directory) => builder.tempdir_in(directory),
            None => builder.tempdir(),
        }
    };
    match &args.command {
        Command::Redo(asked) => redo::run(asked, args, directory()?.path()),
        Command::Crash(asked) => ordeal::run(asked, args, directory()?.path()),
        Command::Checkpoint(asked) => checkpoint::run(asked, args, directory()?.path()),
        Command::Child { job } => {
            let job: Job = serde_json::from_str(job)?;
            child::carry_out(&job)?;
            Ok(true)
        }
    }
}
