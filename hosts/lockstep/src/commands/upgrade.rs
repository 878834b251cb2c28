//! `lockstep upgrade`. The campaign itself is driven by the active processor; this submits, shows and waits.

use lockstep_runtime::admin::protocol::{AdminReply, AdminVerb, UpgradePlan, UpgradeVerb};
use lockstep_runtime::trail::{KEPT, What};
use serde_json::json;

use super::{acknowledge_as, trail};
use crate::args::{Campaign, Output, Upgrade, WayOut};
use crate::campaign_file::{Wanted, wanted};
use crate::failure::{Exit, Failure, of_preflight};
use crate::render;
use crate::session::{Session, unexpected, write_out};
use crate::watch;

/// Carries out a command about the rolling upgrade.
pub fn run(session: &Session, command: Upgrade) -> Result<Exit, Failure> {
    let simple = |application: Option<String>, verb, accepted: &str| {
        acknowledge_as(session, application.as_deref(), AdminVerb::Upgrade(verb), accepted)
    };
    match command {
        Upgrade::Plan(campaign) => plan(session, &campaign),
        Upgrade::Start { campaign, watch } => start(session, &campaign, watch),
        Upgrade::Status { which, watch } => {
            let application = which.application.as_deref();
            if watch { watch::until_over(session, application, None) } else { status(session, application) }
        }
        Upgrade::Pause(which) => {
            let said = "paused: no new step is begun until `lockstep upgrade resume`";
            simple(which.application, UpgradeVerb::Pause, said)
        }
        Upgrade::Resume(which) => simple(which.application, UpgradeVerb::Resume, "it goes on"),
        Upgrade::Accept(WayOut { which, partner_gone }) => {
            if partner_gone {
                session.confirm("The upgrade ends with this processor alone on the new version.")?;
            }
            simple(
                which.application,
                UpgradeVerb::Accept { partner_gone },
                "accepted; see `lockstep upgrade status`",
            )
        }
        Upgrade::Abort(WayOut { which, partner_gone }) => {
            session.confirm(match partner_gone {
                false => "The upgrade ends; both processors return to the old version.",
                true => "The upgrade ends with this processor alone on the old version.",
            })?;
            let said = "on the way back; see `lockstep upgrade status`";
            simple(which.application, UpgradeVerb::Abort { partner_gone }, said)
        }
        Upgrade::History(which) => {
            match session.ask(which.application.as_deref(), AdminVerb::Upgrade(UpgradeVerb::History))? {
                AdminReply::History(campaigns) => {
                    let mut trail = trail(session, which.application.as_deref(), KEPT)?;
                    trail.retain(|entry| match &entry.what {
                        What::Command { command, .. } => command.starts_with("upgrade "),
                        What::Upgrade { .. } => true,
                        What::Role { .. } => false,
                    });
                    let parts = [render::campaign::history(&campaigns), render::trail::trail(&trail)];
                    let text = parts.join(if trail.is_empty() { "" } else { "\n" });
                    session.print(&text, &json!({"campaigns": campaigns, "trail": trail}))?;
                    Ok(Exit::Ok)
                }
                other => Err(unexpected(&other)),
            }
        }
    }
}

/// Asks for a plan, or for a start that answers with one.
fn ask_for_plan(
    session: &Session,
    application: Option<&str>,
    verb: UpgradeVerb,
) -> Result<UpgradePlan, Failure> {
    match session.try_ask(application, AdminVerb::Upgrade(verb))?.map_err(of_preflight)? {
        AdminReply::Plan(plan) => Ok(*plan),
        other => Err(unexpected(&other)),
    }
}

fn plan(session: &Session, campaign: &Campaign) -> Result<Exit, Failure> {
    let Wanted { application, target, options } = wanted(campaign)?;
    let plan = ask_for_plan(session, application.as_deref(), UpgradeVerb::Plan { target, options })?;
    session.print(&format!("{}nothing was changed\n", render::plan::plan(&plan)), &plan)?;
    Ok(if !plan.refusals.is_empty() { Exit::Refused } else { Exit::Ok })
}

fn start(session: &Session, campaign: &Campaign, watch: bool) -> Result<Exit, Failure> {
    let Wanted { application, target, options } = wanted(campaign)?;
    let before = watch::last_ended(session, application.as_deref())?;
    let plan = ask_for_plan(session, application.as_deref(), UpgradeVerb::Start { target, options })?;
    let name = plan.application.clone();
    if watch {
        if session.output == Output::Text {
            let line = format!(
                " ok  preflight                        {}.{:02} s\n",
                plan.preflight_ms / 1_000,
                plan.preflight_ms % 1_000 / 10
            );
            write_out(line.as_bytes())?;
        }
        return watch::until_over(session, Some(&name), Some(before));
    }
    let text = format!(
        "{} {} -> {}: started\n  watch it:  lockstep upgrade status {name} --watch\n",
        name, plan.from, plan.to.version
    );
    session.print(&text, &plan)?;
    Ok(Exit::Ok)
}

fn status(session: &Session, application: Option<&str>) -> Result<Exit, Failure> {
    let (current, last) = watch::progress(session, application)?;
    let name = application.unwrap_or("");
    let text = render::campaign::status(name, current.as_ref(), last.as_ref());
    session.print(&text, &json!({"current": current, "last": last}))?;
    Ok(Exit::Ok)
}
