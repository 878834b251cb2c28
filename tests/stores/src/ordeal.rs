//! Kills and damages of all candidates, and the table of what came of them.

use std::path::Path;

use comfy_table::Table;
use serde::Serialize;

use crate::Args;
use crate::candidates::{Candidate, Failure};
use crate::crash::{self, Crashes};
use crate::damage::{self, Damages, Extent, Kind};
use crate::measures;

/// What is asked of the command.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Which; all that survive a crash unless said.
    #[arg(long, value_enum, value_delimiter = ',')]
    candidates: Vec<Candidate>,
    /// How often the writer of each is killed.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// A writer is killed after so many commits at most; and a log that is damaged has so many.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..))]
    commits: u64,
    /// The newest file is damaged in so many places near its end, each time in one.
    #[arg(long, default_value_t = 8)]
    places: usize,
    /// Beside the places near its end, so many bits of the newest file are flipped, one at a time.
    #[arg(long, default_value_t = 60)]
    flips: u64,
    /// What the moments and places follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Serialize)]
struct Row {
    candidate: Candidate,
    crashes: Crashes,
    damages: Vec<Damages>,
}

impl Row {
    /// Kills lose nothing, and of damage something is said; zeros at the end apart, which nothing can be told of.
    fn holds(&self) -> bool {
        let said = |damages: &Damages| damages.kind == Kind::Zero || damages.holds();
        self.crashes.holds() && self.damages.iter().all(said)
    }
}

/// Tries all, prints the table or one object; whether our own store held.
///
/// # Errors
/// When something can't be tried.
pub fn run(asked: &Asked, args: &Args, directory: &Path) -> Result<bool, Failure> {
    let mut chosen = asked.candidates.clone();
    if chosen.is_empty() {
        chosen.extend_from_slice(&Candidate::SURVIVORS);
    }
    let machine = measures::machine()?;
    let mut rows = Vec::new();
    for candidate in chosen {
        let kills = (asked.kills, asked.commits);
        let crashes = crash::kill(candidate, kills, asked.seed, args, directory)?;
        let extent = Extent { records: asked.commits, places: asked.places, flips: asked.flips };
        let damages = damage::damage(candidate, extent, asked.seed, args, directory)?;
        rows.push(Row { candidate, crashes, damages });
    }
    let holds = rows.iter().filter(|row| row.candidate == Candidate::Own).all(Row::holds);
    if args.json() {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let mut told = serde_json::json!(row);
                told["holds"] = row.holds().into();
                told
            })
            .collect();
        println!("{}", serde_json::json!({"machine": machine, "candidates": rows, "holds": holds}));
        return Ok(holds);
    }
    println!("{}", table(&rows));
    for row in &rows {
        let silent = row.damages.iter().filter(|damages| damages.kind != Kind::Zero);
        let silent = silent.flat_map(|damages| &damages.silent);
        for line in row.crashes.problems().iter().chain(silent).take(12) {
            println!("{}: {line}", row.candidate.name());
        }
    }
    println!("\n{machine}; seed {}", asked.seed);
    Ok(holds)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    let mut head = vec!["".to_owned(), "killed with SIGKILL".to_owned()];
    head.extend(Kind::ALL.map(|kind| kind.name().to_owned()));
    table.set_header(head);
    for row in rows {
        let mut cells = vec![row.candidate.name().to_owned(), row.crashes.in_short()];
        cells.extend(row.damages.iter().map(Damages::in_short));
        table.add_row(cells);
    }
    table
}
