//! A campaign written down in RON, for `lockstep upgrade start FILE.ron`. Flags on the command line come after it.
//!
//! ```ron
//! (
//!     application: "ledger",
//!     target: "libledger_v2.so",
//!     gates: (time_min_ms: 60000, events_min: 5000),
//!     decide: operator,
//!     retire: ["close_account"],
//! )
//! ```

use std::path::{Path, PathBuf};

use lockstep_core::campaign::{Decide, Gates, Redundancy};
use lockstep_runtime::admin::protocol::UpgradeOptions;
use lockstep_runtime::config::{ConfigError, read};
use serde::Deserialize;

use crate::args::{Campaign, DecideWord, RedundancyWord};
use crate::failure::Failure;
use crate::session::whole;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    application: Option<String>,
    target: PathBuf,
    #[serde(default)]
    gates: WrittenGates,
    #[serde(default)]
    decide: Option<DecideWord>,
    #[serde(default)]
    rollback_after_ms: Option<u64>,
    #[serde(default)]
    step_time_max_ms: Option<u64>,
    #[serde(default)]
    redundancy: Option<RedundancyWord>,
    #[serde(default)]
    enable_features: Option<bool>,
    #[serde(default)]
    notify: Option<String>,
    #[serde(default)]
    retire: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenGates {
    time_min_ms: Option<u64>,
    events_min: Option<u64>,
    time_max_ms: Option<u64>,
    faults_max: Option<u64>,
    divergences_max: Option<u64>,
    latency_ratio_max_percent: Option<u64>,
    latency_floor_us: Option<u64>,
}

/// An application, its target and how to go about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The application, if it is named.
    pub application: Option<String>,
    /// The target's plugin, the whole path.
    pub target: PathBuf,
    /// How.
    pub options: UpgradeOptions,
}

/// What the command line and, where FILE is one, the campaign file ask for.
pub fn wanted(campaign: &Campaign) -> Result<Wanted, Failure> {
    let file = campaign.target.file();
    let mut wanted = if file.extension().is_some_and(|extension| extension == "ron") {
        let text = std::fs::read_to_string(&file).map_err(|error| ConfigError::unreadable(&file, &error))?;
        let mut wanted = from_text(&text, &file)?;
        wanted.application = campaign.target.application().or(wanted.application);
        wanted
    } else {
        Wanted {
            application: campaign.target.application(),
            target: whole(&file),
            options: UpgradeOptions::default(),
        }
    };
    flags(campaign, &mut wanted.options);
    Ok(wanted)
}

fn from_text(text: &str, file: &Path) -> Result<Wanted, ConfigError> {
    let written: Written = read(text, file)?;
    let mut options = UpgradeOptions::default();
    let Gates {
        time_min_ms,
        events_min,
        time_max_ms,
        faults_max,
        divergences_max,
        latency_ratio_max_percent,
        latency_floor_us,
    } = &mut options.gates;
    let gates = written.gates;
    put(time_min_ms, gates.time_min_ms);
    put(events_min, gates.events_min);
    put(time_max_ms, gates.time_max_ms);
    put(faults_max, gates.faults_max);
    put(divergences_max, gates.divergences_max);
    put(latency_ratio_max_percent, gates.latency_ratio_max_percent);
    put(latency_floor_us, gates.latency_floor_us);
    put(&mut options.decide, written.decide.map(decide));
    put(&mut options.rollback_after_ms, written.rollback_after_ms);
    put(&mut options.step_time_max_ms, written.step_time_max_ms);
    put(&mut options.redundancy, written.redundancy.map(redundancy));
    put(&mut options.enable_features, written.enable_features);
    put(&mut options.notify, written.notify);
    options.retire = written.retire;
    let target = whole(&file.parent().unwrap_or(Path::new("")).join(written.target));
    Ok(Wanted { application: written.application, target, options })
}

fn flags(campaign: &Campaign, options: &mut UpgradeOptions) {
    put(&mut options.gates.time_min_ms, campaign.time_min_ms);
    put(&mut options.gates.events_min, campaign.events_min);
    put(&mut options.gates.time_max_ms, campaign.time_max_ms);
    put(&mut options.gates.faults_max, campaign.faults_max);
    put(&mut options.gates.divergences_max, campaign.divergences_max);
    put(&mut options.gates.latency_ratio_max_percent, campaign.latency_ratio_max_percent);
    put(&mut options.gates.latency_floor_us, campaign.latency_floor_us);
    put(&mut options.decide, campaign.decide.map(decide));
    put(&mut options.rollback_after_ms, campaign.rollback_after_ms);
    put(&mut options.step_time_max_ms, campaign.step_time_max_ms);
    put(&mut options.redundancy, campaign.redundancy.map(redundancy));
    put(&mut options.enable_features, campaign.no_features.then_some(false));
    put(&mut options.notify, campaign.notify.clone());
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn decide(word: DecideWord) -> Decide {
    match word {
        DecideWord::Automatic => Decide::Automatic,
        DecideWord::Operator => Decide::Operator,
    }
}

fn redundancy(word: RedundancyWord) -> Redundancy {
    match word {
        RedundancyWord::Keep => Redundancy::Keep,
        RedundancyWord::Isolate => Redundancy::Isolate,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command, Upgrade};

    fn campaign(line: &str) -> Campaign {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Upgrade(Upgrade::Plan(campaign)) => campaign,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_and_then_flags() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("campaign.ron");
        let text = r#"(application: "ledger", target: "v2.so", gates: (time_min_ms: 5, events_min: 6), decide: operator, notify: "logger $LOCKSTEP_CHANGE", retire: ["close"])"#;
        std::fs::write(&file, text).unwrap();
        let wanted = wanted(&campaign(&format!(
            "lockstep upgrade plan {} --events-min 7 --redundancy isolate --no-features",
            file.display()
        )))
        .unwrap();
        assert_eq!(wanted.application.as_deref(), Some("ledger"));
        assert_eq!(wanted.target, directory.path().join("v2.so"));
        let gates = Gates { time_min_ms: 5, events_min: 7, ..Gates::default() };
        let options = UpgradeOptions {
            gates,
            decide: Decide::Operator,
            redundancy: Redundancy::Isolate,
            enable_features: false,
            notify: "logger $LOCKSTEP_CHANGE".into(),
            retire: vec!["close".into()],
            ..UpgradeOptions::default()
        };
        assert_eq!(wanted.options, options);
    }

    #[test]
    fn a_mistake_in_the_file_is_shown_in_its_place() {
        let error = from_text("(target: \"x\", gates: (time_min: 5))", Path::new("c.ron")).unwrap_err();
        assert_eq!(
            lockstep_runtime::config::report::render(&error).lines().take(2).collect::<Vec<_>>(),
            [
                "error LS0112: `time_min` is not a field of this file",
                "   c.ron:1:23  (target: \"x\", gates: (time_min: 5))"
            ]
        );
    }
}
