//! `--watch`: shows an upgrade until it is over. Steps that are over become lines; what is under way is redrawn in
//! place on a terminal; where there is none, it is printed when there is something new to say: another step, a pause, what the
//! gates say together.

use std::io::IsTerminal as _;
use std::mem::Discriminant;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockstep_core::campaign::{CampaignRecord, Decide, Judgement, Step};
use lockstep_core::command::CampaignStatus;
use lockstep_runtime::admin::protocol::{AdminReply, AdminVerb, UpgradeVerb};
use serde_json::json;

use crate::args::Output;
use crate::failure::{Exit, Failure};
use crate::render::campaign::{accept, inconclusive, outcome, steps_over, under_way};
use crate::session::{Session, unexpected, write_out};

/// How often the processor is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// A processor that cannot be asked for so long is given up: it may be changing roles or starting again.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A campaign that was started is seen within this time, also by the standby.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

type Progress = (Option<CampaignStatus>, Option<CampaignRecord>);

/// Where the upgrade stands, and the last one that is over.
pub fn progress(session: &Session, application: Option<&str>) -> Result<Progress, Failure> {
    match session.ask(application, AdminVerb::Upgrade(UpgradeVerb::Status))? {
        AdminReply::Upgrade { current, last } => {
            Ok((current.map(|status| *status), last.map(|record| *record)))
        }
        other => Err(unexpected(&other)),
    }
}

/// The number of the last upgrade that is over; 0 if there was none.
pub fn last_ended(session: &Session, application: Option<&str>) -> Result<u64, Failure> {
    Ok(progress(session, application)?.1.map_or(0, |record| record.id))
}

/// What is known from one look.
enum Look {
    /// It goes on.
    Goes(Box<CampaignStatus>),
    /// It is over.
    Over(Box<CampaignRecord>),
    /// There is none yet.
    NotYet,
}

/// `after`: the campaign was just started, and that number was the last before it.
fn look((current, last): Progress, after: Option<u64>, seen: Option<u64>) -> Look {
    if let Some(status) = current {
        return Look::Goes(Box::new(status));
    }
    match (last, seen, after) {
        (Some(record), Some(seen), _) if record.id == seen => Look::Over(Box::new(record)),
        (Some(record), None, Some(after)) if record.id > after => Look::Over(Box::new(record)),
        _ => Look::NotYet,
    }
}

/// Waits until the upgrade is over and says how it ended. `after`: see [`look`]; none: whatever is under way.
pub fn until_over(session: &Session, application: Option<&str>, after: Option<u64>) -> Result<Exit, Failure> {
    let mut screen = Screen::new(session.output);
    let name = application.unwrap_or("");
    let begun = Instant::now();
    let mut answered = Instant::now();
    let mut seen = None;
    loop {
        let progress = match progress(session, application) {
            Ok(progress) => progress,
            Err(failure) if answered.elapsed() > SILENCE_MAX => return Err(failure),
            Err(failure) => {
                screen.waits(&failure)?;
                std::thread::sleep(ASK_EVERY);
                continue;
            }
        };
        answered = Instant::now();
        match look(progress, after, seen) {
            Look::Goes(status) => {
                seen = Some(status.record.id);
                screen.show(name, &status)?;
                if let Some(why) = inconclusive(&status)
                    && status.record.plan.decide == Decide::Automatic
                {
                    screen.finish(&[])?;
                    let message = format!("the evaluation is inconclusive: {why}");
                    let help = format!("{}, or abort; otherwise it falls back by itself", accept(name));
                    let failure = Failure::new(Exit::Inconclusive, "LS0720", message, help);
                    return Err(failure.beside(json!({"current": status, "last": null})));
                }
            }
            Look::Over(record) => {
                screen.finish(&steps_over(&record))?;
                let progress = json!({"current": null, "last": record});
                if record.step == Step::Done {
                    session.print("", &progress)?;
                    return Ok(Exit::Ok);
                }
                let help = "the old version serves; see the processors' logs for the faults themselves";
                let failure = Failure::new(Exit::FellBack, "LS0721", outcome(&record), help);
                return Err(failure.beside(progress));
            }
            Look::NotYet if after.is_some() && seen.is_none() && begun.elapsed() < SEEN_WITHIN => {}
            Look::NotYet => {
                let help = "`lockstep upgrade history` lists those that are over";
                return Err(Failure::new(Exit::Failed, "LS0722", "no upgrade is under way", help));
            }
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Where lines go.
struct Screen {
    bar: ProgressBar,
    text: bool,
    lines: usize,
    /// What the lines without a terminal have said last.
    last_plain: Option<Said>,
    waits: bool,
}

/// What is worth another line where nothing is redrawn.
#[derive(PartialEq, Eq)]
struct Said {
    step: Step,
    paused: bool,
    accepted: bool,
    judgement: Option<Discriminant<Judgement>>,
}

impl Said {
    fn of(status: &CampaignStatus) -> Self {
        let CampaignRecord { step, paused, accepted, .. } = status.record;
        let judgement = status.judgement.as_ref().map(std::mem::discriminant);
        Said { step, paused, accepted, judgement }
    }
}

impl Screen {
    fn new(output: Output) -> Self {
        let live = output == Output::Text && std::io::stdout().is_terminal();
        let target = if live { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style =
            ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        bar.set_style(style);
        Screen { bar, text: output == Output::Text, lines: 0, last_plain: None, waits: false }
    }

    fn line(&self, line: &str) -> Result<(), Failure> {
        if self.bar.is_hidden() {
            return write_out(format!("{line}\n").as_bytes());
        }
        self.bar.println(line);
        Ok(())
    }

    fn lines(&mut self, over: &[String]) -> Result<(), Failure> {
        for line in over.get(self.lines..).unwrap_or(&[]) {
            self.line(line)?;
        }
        self.lines = self.lines.max(over.len());
        Ok(())
    }

    /// The processor does not answer, and is asked again.
    fn waits(&mut self, failure: &Failure) -> Result<(), Failure> {
        if !self.text || std::mem::replace(&mut self.waits, true) {
            return Ok(());
        }
        self.line(&format!(" ..  no answer yet: {failure}; asked again for {} s", SILENCE_MAX.as_secs()))
    }

    fn show(&mut self, application: &str, status: &CampaignStatus) -> Result<(), Failure> {
        if !self.text {
            return Ok(());
        }
        self.waits = false;
        self.lines(&steps_over(&status.record))?;
        let now = under_way(application, status);
        if self.bar.is_hidden() {
            let said = Some(Said::of(status));
            if self.last_plain != said {
                self.last_plain = said;
                for line in &now {
                    self.line(line)?;
                }
            }
        } else {
            self.bar.set_message(now.join("\n"));
            self.bar.tick();
        }
        Ok(())
    }

    fn finish(&mut self, over: &[String]) -> Result<(), Failure> {
        if self.text {
            self.lines(over)?;
        }
        self.bar.finish_and_clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_core::campaign::{CampaignPlan, Gates, OwnChecks, Redundancy};
    use lockstep_core::ids::{Micros, NodeId, PluginHash};

    fn record(id: u64) -> CampaignRecord {
        CampaignRecord {
            id,
            plan: CampaignPlan {
                from: Default::default(),
                from_hash: PluginHash::default(),
                to: Default::default(),
                to_hash: PluginHash::default(),
                redundancy: Redundancy::Keep,
                gates: Gates::default(),
                own_checks: OwnChecks::default(),
                decide: Decide::Automatic,
                rollback_after_ms: 0,
                step_time_max_ms: 0,
                enable_features: true,
                notify: String::new(),
                retire: vec![],
                only_new: vec![],
                started_by: String::new(),
                why: String::new(),
            },
            step: Step::Done,
            revision: 9,
            no_way_back: false,
            attempt: 0,
            since: Micros(0),
            first: NodeId("b".into()),
            yardstick_p99_us: 0,
            longest_gap: Micros(0),
            paused: false,
            paused_at: Micros(0),
            accepted: true,
            partner_gone: false,
            reason: String::new(),
            trail: vec![],
        }
    }

    #[test]
    fn an_older_campaign_is_not_taken_for_the_one_just_started() {
        assert!(matches!(look((None, Some(record(5))), Some(5), None), Look::NotYet));
        assert!(matches!(look((None, Some(record(9))), Some(5), None), Look::Over(_)));
        assert!(matches!(look((None, Some(record(9))), None, Some(9)), Look::Over(_)));
        assert!(matches!(look((None, Some(record(8))), None, Some(9)), Look::NotYet));
        assert!(matches!(look((None, Some(record(8))), None, None), Look::NotYet));
    }
}
