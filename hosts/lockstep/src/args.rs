//! What can be typed. Verbs and flags are alike for all commands; nothing is decided here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::args::Bench;

/// The operators' command line of Lockstep.
#[derive(Debug, Parser)]
#[command(
    name = "lockstep",
    version,
    about = "Operates a pair of Lockstep processors",
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused by the preflight, \
                  4 the upgrade fell back, 5 the evaluation is inconclusive.\n\
                  The processor is found by --config, by LOCKSTEP_CONFIG, or by lockstep.ron in the working directory."
)]
pub struct Cli {
    /// Flags of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of all commands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The configuration of the processor to talk to
    #[arg(long, global = true, value_name = "FILE", env = "LOCKSTEP_CONFIG", default_value = "lockstep.ron")]
    pub config: PathBuf,
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Do not ask before something that can harm
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// Why, for the audit trail
    #[arg(long, global = true, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// Wait at most this long for an answer
    #[arg(long, global = true, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON object on standard output
    Json,
}

/// An application's name, where a processor runs several.
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    /// The application; may be left out where the processor runs only one
    pub application: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the pair: roles, versions, numbers, features, campaign
    Status(Which),
    /// Take the standby out of service
    Isolate(Which),
    /// Bring an isolated standby back
    Integrate(Which),
    /// Make the standby the active one, at a procedure boundary
    Switchover(Which),
    /// Become active although another recorded processor cannot be heard; may lose data
    Force(Which),
    /// Features of the running version
    #[command(subcommand)]
    Features(Features),
    /// Make a plugin's package, with tests and the configurations of a pair
    New(New),
    /// Plugin files
    #[command(subcommand)]
    Plugin(Plugin),
    /// The rolling upgrade
    #[command(subcommand)]
    Upgrade(Upgrade),
    /// The database of a stopped processor
    #[command(subcommand)]
    Db(Db),
    /// Send a load of any procedure to the pair and measure it
    Bench(Box<Bench>),
    /// Show the audit trail: who asked either processor for what, when and why, and what changed in this one
    Audit {
        /// The application.
        #[command(flatten)]
        which: Which,
        /// So many of the latest entries
        #[arg(long, value_name = "N", default_value_t = 100)]
        last: usize,
    },
    /// Stop the processor in order; its partner takes over
    Shutdown,
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A package to make.
#[derive(Clone, Debug, Args)]
pub struct New {
    /// The name of the package and of the application
    pub name: String,
    /// The sources of Lockstep, instead of those that this program was built from
    #[arg(long, value_name = "DIRECTORY")]
    pub checkout: Option<PathBuf>,
    /// The first of the six ports of the pair's configurations
    #[arg(long, value_name = "PORT", default_value_t = 7101, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    pub port: u16,
}

/// Features of the running version.
#[derive(Debug, Subcommand)]
pub enum Features {
    /// Show them
    List(Which),
    /// Switch features on, on both sides at the same point of the stream; all of the version when none is named
    Enable {
        /// The application
        application: String,
        /// The features
        features: Vec<String>,
    },
    /// Switch a feature off; the floor stays
    Disable {
        /// The application
        application: String,
        /// The feature
        feature: String,
    },
}

/// Plugin files.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Check a file, try it, and show what it is; needs no processor and changes nothing
    Check {
        /// The file
        file: PathBuf,
        /// Judge the pair of versions that it makes with this one
        #[arg(long, value_name = "OLD")]
        against: Option<PathBuf>,
    },
    /// Let the standby change to a file, outside of any campaign
    Load(Target),
    /// Show the generations that this process has loaded, and which are gone
    List(Which),
    /// Refused: a plugin is unloaded by the swap that replaces it
    Unload(Which),
}

/// `[APPLICATION] FILE`.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The file; before it the application, where the processor runs several
    #[arg(num_args = 1..=2, required = true, value_names = ["APPLICATION", "FILE"])]
    words: Vec<String>,
}

impl Target {
    /// The application, if it is named.
    pub fn application(&self) -> Option<String> {
        (self.words.len() == 2).then(|| self.words[0].clone())
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.words.last().map(PathBuf::from).unwrap_or_default()
    }
}

/// The rolling upgrade.
#[derive(Debug, Subcommand)]
pub enum Upgrade {
    /// Check the target and show the steps and their ways back; changes nothing
    Plan(Campaign),
    /// Start: FILE is the target's plugin, or a campaign file in RON
    Start {
        /// The target and how to go about it.
        #[command(flatten)]
        campaign: Campaign,
        /// Stay until it is over
        #[arg(long)]
        watch: bool,
    },
    /// Show where it stands
    Status {
        /// The application.
        #[command(flatten)]
        which: Which,
        /// Stay until it is over
        #[arg(long)]
        watch: bool,
    },
    /// Begin no new step
    Pause(Which),
    /// Go on
    Resume(Which),
    /// Accept the new version, in any step: from then on only what fails leads back
    Accept(WayOut),
    /// Return to the old version on both sides, from any step before the features are enabled
    Abort(WayOut),
    /// Show upgrades that are over, and what was asked and changed
    History(Which),
}

/// How a campaign is to end.
#[derive(Clone, Debug, Args)]
pub struct WayOut {
    /// The application.
    #[command(flatten)]
    pub which: Which,
    /// The other processor is gone for good: this one goes on alone, and changes its version in place
    #[arg(long)]
    pub partner_gone: bool,
}

/// A target and how to go about it.
#[derive(Clone, Debug, Args)]
pub struct Campaign {
    /// The target's plugin or a campaign file.
    #[command(flatten)]
    pub target: Target,
    /// Evaluate at least this long
    #[arg(long, value_name = "MS")]
    pub time_min_ms: Option<u64>,
    /// Evaluate at least this many events
    #[arg(long, value_name = "N")]
    pub events_min: Option<u64>,
    /// Inconclusive with fewer events after this long
    #[arg(long, value_name = "MS")]
    pub time_max_ms: Option<u64>,
    /// More faults than this fail
    #[arg(long, value_name = "N")]
    pub faults_max: Option<u64>,
    /// More divergences than this fail
    #[arg(long, value_name = "N")]
    pub divergences_max: Option<u64>,
    /// A p99 latency above this many percent of the old version's fails; 0 switches the gate off
    #[arg(long, value_name = "PERCENT")]
    pub latency_ratio_max_percent: Option<u64>,
    /// The latency gate does not fail below this p99
    #[arg(long, value_name = "US")]
    pub latency_floor_us: Option<u64>,
    /// Who decides after a passed evaluation
    #[arg(long, value_enum)]
    pub decide: Option<DecideWord>,
    /// Fall back if nobody accepts for this long after the gates passed
    #[arg(long, value_name = "MS")]
    pub rollback_after_ms: Option<u64>,
    /// A step that takes longer than this has failed
    #[arg(long, value_name = "MS")]
    pub step_time_max_ms: Option<u64>,
    /// How redundancy is kept while a processor changes its version
    #[arg(long, value_enum)]
    pub redundancy: Option<RedundancyWord>,
    /// Leave the new features off at 207
    #[arg(long)]
    pub no_features: bool,
    /// Run this line in a shell at each change of the upgrade, on the active's host
    #[arg(long, value_name = "COMMAND")]
    pub notify: Option<String>,
    /// A check of your own: a line for the shell on the active's host; 0 passes, 75 can't tell, all else fails
    #[arg(long, value_name = "LINE")]
    pub check_command: Vec<String>,
    /// A check of your own: a procedure of the target, with its parameters as JSON behind it if it has any
    #[arg(long, value_name = "NAME [JSON]")]
    pub check_procedure: Vec<String>,
    /// Go on at once: no least time, no least number of events, no comparison of latency, no check
    #[arg(long, conflicts_with_all = ["time_min_ms", "events_min", "latency_ratio_max_percent", "check_command", "check_procedure"])]
    pub no_evaluation: bool,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecideWord {
    /// Accepted when the gates pass
    Automatic,
    /// Waits for `lockstep upgrade accept`, up to the rollback timer
    Operator,
}

/// How redundancy is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedundancyWord {
    /// The new version is loaded beside the old one
    Keep,
    /// The standby leaves the in-sync set while it changes
    Isolate,
}

/// The database of a stopped processor.
#[derive(Debug, Subcommand)]
pub enum Db {
    /// Show the store: id, last number, digest, floor, features, tables
    Inspect(Store),
    /// Read all of it and check every checksum
    Verify(Store),
    /// Print every row as a JSON line {"table","key","value"}, keys and values in hexadecimal, after a header line
    Export(Store),
    /// Write all of it into a new directory, from which it can be restored; the processor may run
    Backup {
        /// Which.
        #[command(flatten)]
        store: Store,
        /// The backup's directory; made, or empty
        #[arg(long, value_name = "DIRECTORY")]
        to: PathBuf,
    },
    /// Make the database of a processor that has none, and does not run, from a backup: a store with a new id
    Restore {
        /// Which.
        #[command(flatten)]
        store: Store,
        /// The backup's directory
        #[arg(long, value_name = "DIRECTORY")]
        from: PathBuf,
    },
}

/// Which database.
#[derive(Clone, Debug, Args)]
pub struct Store {
    /// The application.
    #[command(flatten)]
    pub which: Which,
    /// The partition, where the application has several
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub partition: u16,
    /// The store's directory, instead of the one that the configuration leads to
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_anywhere() {
        for line in [
            "lockstep --config a.ron --output json status ledger",
            "lockstep status ledger --config a.ron --output json",
        ] {
            let cli = parse(line);
            assert_eq!(cli.global.config, PathBuf::from("a.ron"));
            assert_eq!(cli.global.output, Output::Json);
            assert!(
                matches!(cli.command, Command::Status(Which { application: Some(name) }) if name == "ledger")
            );
        }
    }

    #[test]
    fn an_application_may_be_left_out() {
        let Command::Upgrade(Upgrade::Start { campaign, watch }) =
            parse("lockstep upgrade start x.so --watch").command
        else {
            panic!("not an upgrade");
        };
        assert!(watch);
        assert_eq!((campaign.target.application(), campaign.target.file()), (None, "x.so".into()));
        let Command::Upgrade(Upgrade::Plan(campaign)) = parse("lockstep upgrade plan ledger x.so").command
        else {
            panic!("not a plan");
        };
        assert_eq!(
            (campaign.target.application(), campaign.target.file()),
            (Some("ledger".into()), "x.so".into())
        );
    }

    #[test]
    fn a_target_is_one_or_two_words() {
        for line in ["lockstep upgrade plan", "lockstep upgrade plan a b c", "lockstep upgrade sideways x"] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
