//! `lockstep`: the operators' command line.
//!
//! Talks to a processor over its admin socket, so no port is opened for operators; reads the database of a stopped
//! processor directly, and plugin files without any processor. Verbs, flags, exit status and JSON are alike for all commands.
//! Deliberately absent: decisions. What is allowed when is the core's business; this only asks, shows and waits.
//!
//! A library beside the program, so that `tests/fuzz` reaches what reads campaign files, templates and answers.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod campaign_file;
mod commands;
#[doc(hidden)]
pub mod decoders;
mod failure;
mod render;
mod session;
mod watch;

use clap::Parser as _;

use args::{Cli, Output};

/// Does what the command line asks for, and gives the exit status.
#[must_use]
pub fn run() -> i32 {
    lockstep_runtime::plugins::probe_if_asked();
    let cli = Cli::parse();
    let output = cli.global.output;
    let exit = match commands::run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            eprint!("{}", lockstep_runtime::config::report::render(&failure));
            if output == Output::Json {
                println!("{}", failure.json());
            }
            failure.exit()
        }
    };
    exit as i32
}
