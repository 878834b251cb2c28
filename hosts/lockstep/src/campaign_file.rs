//! A campaign written down in RON, for `lockstep upgrade start FILE.ron`. Flags on the command line come after it.
//!
//! ```ron
//! (
//!     application: "ledger",
//!     target: "libledger_v2.so",
//!     why: "fees, ticket 1182",
//!     gates: (time_min_ms: 60000, events_min: 5000),
//!     check: (run: [command("./sums-are-right"), procedure(name: "audit")], every_ms: 5000),
//!     decide: operator,
//!     retire: ["close_account"],
//! )
//! ```
//!
//! Invariant: every mistake is shown with line and column, whoever finds it.

use std::path::{Path, PathBuf};

use lockstep_core::campaign::{Decide, Gates, OwnCheck, Redundancy};
use lockstep_runtime::admin::protocol::UpgradeOptions;
use lockstep_runtime::config::Key::{At, Field};
use lockstep_runtime::config::{ConfigError, Key, load, read};
use serde::Deserialize;

use crate::args::{Campaign, DecideWord, RedundancyWord};
use crate::failure::{Exit, Failure};
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
    #[serde(default)]
    check: WrittenCheck,
    #[serde(default)]
    evaluate: Option<bool>,
    #[serde(default)]
    why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenCheck {
    run: Vec<WrittenRun>,
    every_ms: Option<u64>,
    time_max_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum WrittenRun {
    Command(String),
    Procedure {
        name: String,
        #[serde(default)]
        parameters: Option<String>,
    },
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
        let mut wanted = from_text(&load(&file)?, &file)?;
        wanted.application = campaign.target.application().or(wanted.application);
        wanted
    } else {
        Wanted {
            application: campaign.target.application(),
            target: whole(&file),
            options: UpgradeOptions::default(),
        }
    };
    flags(campaign, &mut wanted.options)?;
    Ok(wanted)
}

/// A mistake that the reader does not find.
struct Mistakes<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Mistakes<'_> {
    fn at(&self, at: &[Key], message: String, label: &str, help: &str) -> ConfigError {
        ConfigError::at_value("LS0122", self.text, self.file, at, message, label, help)
    }

    /// What is read well and makes no sense.
    fn find(&self, written: &Written) -> Result<(), ConfigError> {
        let gates = &written.gates;
        if let (Some(least), Some(longest)) = (gates.time_min_ms, gates.time_max_ms)
            && longest < least
        {
            return Err(self.at(
                &[Field("gates"), Field("time_max_ms")],
                "`gates.time_max_ms` is less than `gates.time_min_ms`".into(),
                &format!("expected {least} or more"),
                "the evaluation is inconclusive after the longest time, which includes the least",
            ));
        }
        if written.evaluate == Some(false) && (!written.check.run.is_empty() || gates.asks_for_time()) {
            return Err(self.at(
                &[Field("evaluate")],
                "`evaluate: false` and what is to be evaluated contradict each other".into(),
                "nothing is evaluated",
                "leave out `evaluate`, or `check` and the least time and events in `gates`",
            ));
        }
        let zero = |value: Option<u64>| value == Some(0);
        let times: [(&'static str, Option<u64>); 2] =
            [("every_ms", written.check.every_ms), ("time_max_ms", written.check.time_max_ms)];
        if let Some((name, _)) = times.iter().find(|(_, value)| zero(*value)) {
            return Err(self.at(
                &[Field("check"), Field(name)],
                format!("`check.{name}` is 0"),
                "expected 1 or more",
                "leave the field out for its default",
            ));
        }
        for (index, run) in written.check.run.iter().enumerate() {
            let at = [Field("check"), Field("run"), At(index)];
            match run {
                WrittenRun::Command(line) if line.trim().is_empty() => {
                    let help = "write what a shell is to run";
                    return Err(self.at(&at, "a check has an empty command".into(), "expected a line", help));
                }
                WrittenRun::Procedure { parameters: Some(parameters), .. } => {
                    if let Err(error) = serde_json::from_str::<serde_json::Value>(parameters) {
                        let at = [at[0], at[1], at[2], Field("parameters")];
                        let help = "write the procedure's parameters as an HTTP client would send them";
                        return Err(self.at(
                            &at,
                            format!("the parameters of a check are not JSON: {error}"),
                            "expected JSON",
                            help,
                        ));
                    }
                }
                WrittenRun::Command(_) | WrittenRun::Procedure { parameters: None, .. } => {}
            }
        }
        Ok(())
    }
}

impl WrittenGates {
    fn asks_for_time(&self) -> bool {
        self.time_min_ms.is_some_and(|least| least > 0) || self.events_min.is_some_and(|least| least > 0)
    }
}

/// What an HTTP client sends of a procedure without parameters.
const NO_PARAMETERS: &str = "{}";

fn own_check(written: WrittenRun) -> OwnCheck {
    match written {
        WrittenRun::Command(line) => OwnCheck::Command(line),
        WrittenRun::Procedure { name, parameters } => {
            OwnCheck::Procedure { name, parameters: parameters.unwrap_or_else(|| NO_PARAMETERS.into()) }
        }
    }
}

/// `NAME` or `NAME JSON`.
fn check_procedure(written: &str) -> Result<OwnCheck, Failure> {
    let (name, parameters) =
        written.trim().split_once(char::is_whitespace).unwrap_or((written, NO_PARAMETERS));
    if let Err(error) = serde_json::from_str::<serde_json::Value>(parameters) {
        let message = format!("--check-procedure: the parameters of `{name}` are not JSON: {error}");
        let help = "write for example --check-procedure 'audit {\"table\": \"accounts\"}'";
        return Err(Failure::new(Exit::Usage, "LS0827", message, help));
    }
    Ok(OwnCheck::Procedure { name: name.trim().into(), parameters: parameters.trim().into() })
}

/// On at once: nothing is waited for or compared. What faults, diverges or kills still leads back.
fn do_not_evaluate(options: &mut UpgradeOptions) {
    options.gates.time_min_ms = 0;
    options.gates.events_min = 0;
    options.gates.latency_ratio_max_percent = 0;
    options.own_checks.checks.clear();
}

pub(crate) fn from_text(text: &str, file: &Path) -> Result<Wanted, ConfigError> {
    let written: Written = read(text, file)?;
    Mistakes { text, file }.find(&written)?;
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
    options.why = written.why;
    options.own_checks.checks = written.check.run.into_iter().map(own_check).collect();
    put(&mut options.own_checks.every_ms, written.check.every_ms);
    put(&mut options.own_checks.time_max_ms, written.check.time_max_ms);
    if written.evaluate == Some(false) {
        do_not_evaluate(&mut options);
    }
    let target = whole(&file.parent().unwrap_or(Path::new("")).join(written.target));
    Ok(Wanted { application: written.application, target, options })
}

fn flags(campaign: &Campaign, options: &mut UpgradeOptions) -> Result<(), Failure> {
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
    for line in &campaign.check_command {
        options.own_checks.checks.push(OwnCheck::Command(line.clone()));
    }
    for written in &campaign.check_procedure {
        options.own_checks.checks.push(check_procedure(written)?);
    }
    if campaign.no_evaluation {
        do_not_evaluate(options);
    }
    Ok(())
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
    fn checks_of_the_file_and_of_flags_are_all_run() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("campaign.ron");
        let text = r#"(target: "v2.so", why: "fees", check: (run: [command("./sums"), procedure(name: "audit")], every_ms: 5000))"#;
        std::fs::write(&file, text).unwrap();
        let mut campaign = campaign(&format!("lockstep upgrade plan {}", file.display()));
        campaign.check_procedure = vec![r#"count {"table": "accounts"}"#.into()];
        let options = wanted(&campaign).unwrap().options;
        let procedure = |name: &str, parameters: &str| OwnCheck::Procedure {
            name: name.into(),
            parameters: parameters.into(),
        };
        assert_eq!(
            options.own_checks.checks,
            [
                OwnCheck::Command("./sums".into()),
                procedure("audit", "{}"),
                procedure("count", r#"{"table": "accounts"}"#)
            ]
        );
        assert_eq!((options.own_checks.every_ms, options.why.as_str()), (5_000, "fees"));
        campaign.check_procedure = vec!["count {".into()];
        assert!(wanted(&campaign).is_err());
    }

    #[test]
    fn without_an_evaluation_nothing_is_waited_for() {
        let options = wanted(&campaign("lockstep upgrade plan v2.so --no-evaluation")).unwrap().options;
        let gates = Gates { time_min_ms: 0, events_min: 0, latency_ratio_max_percent: 0, ..Gates::default() };
        assert_eq!(options, UpgradeOptions { gates, ..UpgradeOptions::default() });
        assert!(
            Cli::try_parse_from("lockstep upgrade plan v2.so --no-evaluation --events-min 7".split(' '))
                .is_err()
        );
    }

    #[test]
    fn what_makes_no_sense_is_shown_in_its_place() {
        let cases = [
            (
                "(target: \"x\", gates: (time_min_ms: 5, time_max_ms: 4))",
                "1:52",
                "`gates.time_max_ms` is less",
            ),
            ("(target: \"x\", evaluate: false, check: (run: [command(\"./c\")]))", "1:25", "contradict"),
            ("(target: \"x\", check: (every_ms: 0))", "1:33", "`check.every_ms` is 0"),
            ("(target: \"x\", check: (run: [command(\" \")]))", "1:29", "an empty command"),
            (
                "(target: \"x\", check: (run: [procedure(name: \"a\", parameters: \"{\")]))",
                "1:62",
                "are not JSON",
            ),
        ];
        for (text, place, message) in cases {
            let error = from_text(text, Path::new("c.ron")).unwrap_err();
            let shown = lockstep_runtime::config::report::render(&error);
            assert!(shown.contains(&format!("c.ron:{place} ")), "{shown}");
            assert!(shown.contains(message), "{shown}");
        }
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
