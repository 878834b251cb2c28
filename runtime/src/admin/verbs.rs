//! Carries out what operators ask: groups' commands go to the core, files are looked at here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::campaign::CampaignPlan;
use lockstep_core::command::{Command, CommandError, CommandReply, GroupStatus, Role};
use lockstep_core::descriptor::ApplicationDescriptor;
use lockstep_core::verdict::{Comparison, Pairing, Verdict, compare, rows_unread};

use super::protocol::{
    AdminError, AdminReply, AdminRequest, AdminResponse, AdminVerb, FeaturesVerb, GroupReport, PluginReport,
    PluginStatus, PluginVerb, ProcessorStatus, UpgradeOptions, UpgradeVerb,
};
use super::{View, groups, preflight};
use crate::engine::failpoints::Failpoint;
use crate::engine::inbound::{EngineHandle, Inbound};
use crate::plugins::{CheckedPlugin, Failure, check_file};
use crate::trail::{TrailEntry, What};

/// The pair is not in lock step.
pub(super) const NOT_IN_LOCK_STEP: &str = "LS0631";
/// The code of what is refused because an upgrade is under way.
pub const UNDER_WAY: &str = "LS0702";
/// Two versions can't run as a pair.
pub(super) const INCOMPATIBLE: &str = "LS0711";
/// A version can't work on the rows that are there.
pub(super) const UNREADABLE: &str = "LS0714";

/// How long the active may take to tell how it is.
const ACTIVE_TIME_MAX: Duration = Duration::from_secs(1);

pub(super) type Reply = Result<AdminReply, AdminError>;

pub(super) fn error(code: &str, message: impl Into<String>, help: &str) -> AdminError {
    AdminError { code: code.into(), message: message.into(), help: help.into() }
}

/// The engine takes no more, or is gone.
pub(super) fn busy(message: impl Into<String>) -> AdminError {
    error("LS0815", message, "ask again")
}

fn refused(failure: Failure) -> AdminError {
    AdminError { code: failure.code, message: failure.message, help: failure.help }
}

/// Carries out one request.
pub(super) async fn carry_out(view: &View, request: AdminRequest) -> AdminResponse {
    let by = if request.by.is_empty() { "(unknown)".to_owned() } else { request.by.clone() };
    // Those that only look are asked again and again by tools that watch.
    if request.verb.only_looks() {
        tracing::debug!(by, verb = ?request.verb, "an operator looks");
    } else {
        tracing::info!(by, verb = ?request.verb, "an operator asks");
    }
    let asked = (!request.verb.only_looks())
        .then(|| (application_of(view, &request), in_words(&request.verb), request.why.clone()));
    let result = verb(view, request, by.clone()).await;
    if let Some((application, command, why)) = asked {
        let result = match &result {
            Ok(AdminReply::Done) => "done".to_owned(),
            Ok(_) => "accepted".to_owned(),
            Err(error) => format!("{}: {}", error.code, error.message),
        };
        view.trail.add(TrailEntry::now(application.as_deref(), &by, &why, What::Command { command, result }));
        if let Some(engine) = view.engines.all().find(|engine| engine.face().linked()) {
            // Without room the partner hears of it with the next one.
            let _ = engine.tell(Inbound::TrailGrown);
        }
    }
    match result {
        Ok(reply) => AdminResponse::Ok(Box::new(reply)),
        Err(error) => AdminResponse::Error(error),
    }
}

/// The application that a request is for: that which is named, or the only one; none where it is for the processor.
fn application_of(view: &View, request: &AdminRequest) -> Option<String> {
    let only = || {
        let mut names = view.engines.names();
        names.next().filter(|_| names.next().is_none()).map(str::to_owned)
    };
    match request.verb {
        AdminVerb::Shutdown => None,
        _ => request.application.clone().or_else(only),
    }
}

/// A way out of an upgrade, as it is typed.
fn alone(verb: &str, partner_gone: bool) -> String {
    format!("{verb}{}", if partner_gone { " --partner-gone" } else { "" })
}

/// A command as it is typed, without its application.
fn in_words(verb: &AdminVerb) -> String {
    match verb {
        AdminVerb::Status => "status".into(),
        AdminVerb::Isolate => "isolate".into(),
        AdminVerb::Integrate => "integrate".into(),
        AdminVerb::SwitchOver => "switchover".into(),
        AdminVerb::Force => "force".into(),
        AdminVerb::Features(FeaturesVerb::List) => "features list".into(),
        AdminVerb::Features(FeaturesVerb::Enable { features }) => {
            format!("features enable {}", features.join(" ")).trim_end().into()
        }
        AdminVerb::Features(FeaturesVerb::Disable { feature }) => format!("features disable {feature}"),
        AdminVerb::Plugin(PluginVerb::List) => "plugin list".into(),
        AdminVerb::Plugin(PluginVerb::Load { path }) => format!("plugin load {}", path.display()),
        AdminVerb::Upgrade(UpgradeVerb::Plan { target, .. }) => format!("upgrade plan {}", target.display()),
        AdminVerb::Upgrade(UpgradeVerb::Start { target, .. }) => {
            format!("upgrade start {}", target.display())
        }
        AdminVerb::Upgrade(UpgradeVerb::Status) => "upgrade status".into(),
        AdminVerb::Upgrade(UpgradeVerb::Pause) => "upgrade pause".into(),
        AdminVerb::Upgrade(UpgradeVerb::Resume) => "upgrade resume".into(),
        AdminVerb::Upgrade(UpgradeVerb::Accept { partner_gone }) => alone("upgrade accept", *partner_gone),
        AdminVerb::Upgrade(UpgradeVerb::Abort { partner_gone }) => alone("upgrade abort", *partner_gone),
        AdminVerb::Upgrade(UpgradeVerb::History) => "upgrade history".into(),
        AdminVerb::Audit { .. } => "audit".into(),
        AdminVerb::HoldCheckpoints { ms } => format!("(hold checkpoints for {ms} ms)"),
        AdminVerb::Failpoint(failpoint) => format!("(failpoint {})", failpoint.point),
        AdminVerb::Shutdown => "shutdown".into(),
    }
}

async fn verb(view: &View, request: AdminRequest, by: String) -> Reply {
    let application = request.application.as_deref();
    match request.verb {
        AdminVerb::Status => status(view, application).await,
        AdminVerb::Audit { count } => {
            if let Some(name) = application {
                engine(view, Some(name))?;
            }
            Ok(AdminReply::Audit(view.trail.latest(application, count)))
        }
        AdminVerb::Shutdown => {
            // The processor's own loop stops it; a second word changes nothing.
            let _ = view.stop.try_send(());
            Ok(AdminReply::Accepted)
        }
        AdminVerb::Plugin(PluginVerb::List) => {
            if view.generations.memory().kept > 0 {
                // What held a library may be gone. To close it runs code of the plugin's, which may take its time.
                let generations = view.generations.clone();
                let tried = tokio::task::spawn_blocking(move || generations.retry_kept()).await;
                tried.unwrap_or_else(|joined| tracing::warn!(%joined, "kept libraries were not tried again"));
            }
            let (all, memory) = (view.generations.list(), view.generations.memory());
            let wanted = |each: &PluginStatus| application.is_none_or(|name| each.application == name);
            Ok(AdminReply::Plugins { plugins: all.into_iter().filter(wanted).collect(), memory })
        }
        AdminVerb::Plugin(PluginVerb::Load { path }) => {
            load(view, groups::of(view, application)?, path).await
        }
        AdminVerb::Failpoint(failpoint) => {
            let armed = Failpoint::try_from(&failpoint)
                .map_err(|why| error("LS0820", why, "see docs/operations.md, failpoints"))?;
            tell(groups::one(view, application, request.partition)?, Inbound::Arm(armed))?;
            Ok(AdminReply::Done)
        }
        AdminVerb::HoldCheckpoints { ms } => {
            view.holds.hold(groups::one(view, application, request.partition)?, ms).await
        }
        AdminVerb::Isolate => groups::isolate(groups::of(view, application)?).await,
        AdminVerb::Integrate => groups::ask_all(groups::of(view, application)?, &Command::Integrate).await,
        AdminVerb::SwitchOver => groups::switch_over(groups::of(view, application)?).await,
        AdminVerb::Force => groups::force(groups::of(view, application)?).await,
        AdminVerb::Features(FeaturesVerb::List) => {
            let GroupStatus { features, migration, formats, .. } =
                group_status(engine(view, application)?).await?;
            Ok(AdminReply::Features { features, migration, formats })
        }
        AdminVerb::Features(FeaturesVerb::Enable { features }) => {
            groups::enable(groups::of(view, application)?, features).await
        }
        AdminVerb::Features(FeaturesVerb::Disable { feature }) => {
            groups::disable(groups::of(view, application)?, feature).await
        }
        AdminVerb::Upgrade(verb) => upgrade(view, application, verb, by, request.why.clone()).await,
    }
}

/// The engine of the group that has the campaign's record, and stands for its application (R1).
fn engine<'a>(view: &'a View, application: Option<&str>) -> Result<&'a EngineHandle, AdminError> {
    groups::one(view, application, None)
}

fn tell(engine: &EngineHandle, inbound: Inbound) -> Result<(), AdminError> {
    engine.tell(inbound).map_err(|too_much| busy(too_much.to_string()))
}

pub(super) async fn ask(engine: &EngineHandle, command: Command) -> Result<CommandReply, AdminError> {
    let result = engine.command(command).await.map_err(|too_much| busy(too_much.to_string()))?;
    result.map_err(|refused| {
        let (code, help) = match &refused {
            CommandError::NoActive => ("LS0630", "wait for a takeover, or see `lockstep status`"),
            CommandError::NotInSync(_) => {
                (NOT_IN_LOCK_STEP, "wait until `lockstep status` shows the pair in lock step")
            }
            CommandError::CampaignUnderWay(_) => {
                (UNDER_WAY, "see `lockstep upgrade status`; wait, or abort it")
            }
            CommandError::NoCampaign => ("LS0703", "`lockstep upgrade history` lists those that are over"),
            CommandError::NotNow(_) => ("LS0632", "see `lockstep status`, and ask again when it fits"),
            CommandError::NotBuilt(_) => ("LS0633", "see the changelog"),
        };
        error(code, refused.to_string(), help)
    })
}

async fn group(view: &View, application: Option<&str>, command: Command) -> Reply {
    Ok(match ask(engine(view, application)?, command).await? {
        CommandReply::Done | CommandReply::Status(_) | CommandReply::Leg(_) => AdminReply::Done,
        CommandReply::Accepted => AdminReply::Accepted,
    })
}

async fn asked_status(engine: &EngineHandle, command: Command) -> Result<GroupStatus, AdminError> {
    match ask(engine, command).await? {
        CommandReply::Status(status) => Ok(*status),
        _ => Err(error("LS0816", "the core did not answer with its status", "ask again")),
    }
}

/// The group as its active sees it, who alone has the figures of traffic and evaluation.
async fn active_status(engine: &EngineHandle) -> Result<GroupStatus, AdminError> {
    let asked = asked_status(engine, Command::ActiveStatus);
    let late = |_| error("LS0816", "the active did not answer with its status", "ask again");
    tokio::time::timeout(ACTIVE_TIME_MAX, asked).await.map_err(late)?
}

/// The group as this processor sees it; where there is an active, with that one's figures.
pub(super) async fn group_status(engine: &EngineHandle) -> Result<GroupStatus, AdminError> {
    let own = asked_status(engine, Command::Status).await?;
    if own.members[0].role == Role::Active {
        return Ok(own);
    }
    Ok(match active_status(engine).await {
        Ok(active) => seen_from(own, active),
        Err(_) => own,
    })
}

/// What this processor says of itself, and what the active says of itself and of the group.
fn seen_from(own: GroupStatus, active: GroupStatus) -> GroupStatus {
    let node = own.members[0].node.clone();
    let others = active.members.into_iter().filter(|member| member.node != node);
    let members = own.members.into_iter().take(1).chain(others).collect();
    GroupStatus {
        members,
        counts: own.counts,
        half_way: own.half_way,
        table_bytes: own.table_bytes,
        table_bytes_max: own.table_bytes_max,
        notes: active.notes,
        application: active.application,
        partition: active.partition,
        partitions: active.partitions,
        epoch: active.epoch,
        term: active.term,
        held: active.held,
        features: active.features,
        migration: active.migration,
        formats: active.formats,
        floor: active.floor,
        shipped: active.shipped,
        campaign: active.campaign,
        campaigns: active.campaigns,
        latency_us: active.latency_us,
        events_per_s: active.events_per_s,
    }
}

async fn status(view: &View, application: Option<&str>) -> Reply {
    if let Some(name) = application {
        engine(view, Some(name))?;
    }
    let wanted = |engine: &&EngineHandle| application.is_none_or(|name| *engine.application == *name);
    // All at once: an active that does not answer is waited for once.
    let asked: Vec<_> = view.engines.all().filter(wanted).cloned().collect();
    let asked: Vec<_> = asked
        .into_iter()
        .map(|engine| {
            actix_rt::spawn(async move {
                let group = group_status(&engine).await?;
                Ok(GroupReport { group, last_change: engine.face().last_change() })
            })
        })
        .collect();
    let mut groups = Vec::new();
    for report in asked {
        groups.push(report.await.map_err(|_| error("LS0816", "a group did not answer", "ask again"))??);
    }
    let up_ms = u64::try_from(view.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(AdminReply::Status(ProcessorStatus {
        node: view.node.clone(),
        pid: std::process::id(),
        up_ms,
        groups,
    }))
}

/// Reads, checks and probes a file on a thread that may wait.
pub(super) async fn look_at(path: PathBuf) -> Result<Arc<CheckedPlugin>, AdminError> {
    if !path.is_absolute() {
        let help = "give the whole path of the file";
        return Err(error("LS0821", format!("{} is not an absolute path", path.display()), help));
    }
    let checked = tokio::task::spawn_blocking(move || check_file(&path)).await;
    match checked {
        Ok(Ok(checked)) => Ok(Arc::new(checked)),
        Ok(Err(failure)) => Err(refused(failure)),
        Err(joined) => {
            Err(error("LS0822", format!("the check did not end: {joined}"), "see the processor's log"))
        }
    }
}

pub(super) fn report(checked: &CheckedPlugin) -> PluginReport {
    PluginReport {
        path: checked.path.clone(),
        hash: checked.hash,
        bytes: checked.bytes,
        application: checked.descriptor.name.clone(),
        version: checked.descriptor.version,
        warnings: checked.warnings.clone(),
    }
}

pub(super) fn refuse_foreign(engine: &EngineHandle, checked: &CheckedPlugin) -> Result<(), AdminError> {
    let (here, there) = (&*engine.application, &checked.descriptor.name);
    if here == there {
        return Ok(());
    }
    let message = format!("{} is application `{there}`, not `{here}`", checked.path.display());
    Err(error("LS0710", message, "name a file of that application"))
}

/// A version that dropped its reader of a format is refused while rows of any partition may stand in it (R31).
async fn refuse_unread(engines: &[EngineHandle], new: &ApplicationDescriptor) -> Result<(), AdminError> {
    for engine in engines {
        let status = group_status(engine).await?;
        let oldest = status.formats.iter().map(|formats| (formats.table.as_str(), formats.oldest));
        let unread = rows_unread(oldest, new);
        if !unread.is_empty() {
            let help = "wait until `lockstep features list` shows the migration through";
            return Err(error(UNREADABLE, unread.join("; "), help));
        }
    }
    Ok(())
}

/// Outside of a campaign, the other way round counts as well: a way back may be a lower version.
async fn load(view: &View, engines: &[EngineHandle], path: PathBuf) -> Reply {
    let engine = &engines[0];
    let checked = look_at(path).await?;
    refuse_foreign(engine, &checked)?;
    groups::same_active(engines).await?;
    let running = engine.face().descriptor();
    let lower = checked.descriptor.version < running.version;
    let comparison =
        if lower { compare(&checked.descriptor, &running) } else { compare(&running, &checked.descriptor) };
    refuse_unread(engines, &checked.descriptor).await?;
    if comparison.verdict == Verdict::Incompatible {
        return Err(error(
            INCOMPATIBLE,
            comparison.reasons.join("; "),
            "the two versions can't run as a pair",
        ));
    }
    if let Some(unanswered) = preflight::unanswered_here(view, &checked.descriptor).into_iter().next() {
        return Err(unanswered);
    }
    keep(view, &checked)?;
    groups::ask_all(engines, &Command::Load { hash: checked.hash }).await
}

fn keep(view: &View, checked: &CheckedPlugin) -> Result<(), AdminError> {
    let kept = view.generations.keep().put(&checked.file);
    kept.map(|_| ()).map_err(|error| refused(Failure::not_kept(&error)))
}

async fn upgrade(
    view: &View,
    application: Option<&str>,
    verb: UpgradeVerb,
    by: String,
    why: String,
) -> Reply {
    match verb {
        UpgradeVerb::Plan { target, options } => {
            let (plan, _) = preflight::plan(view, application, &target, options, false).await?;
            Ok(AdminReply::Plan(Box::new(plan)))
        }
        UpgradeVerb::Start { target, mut options } => {
            if !why.is_empty() {
                options.why = why;
            }
            start(view, application, &target, options, by).await
        }
        UpgradeVerb::Status => {
            // A standby has no figures of the evaluation, and none at all are better than wrong ones.
            let status = active_status(engine(view, application)?).await?;
            let last = status.campaigns.last().cloned().map(Box::new);
            Ok(AdminReply::Upgrade { current: status.campaign.map(Box::new), last })
        }
        UpgradeVerb::History => {
            Ok(AdminReply::History(group_status(engine(view, application)?).await?.campaigns))
        }
        UpgradeVerb::Pause => group(view, application, Command::PauseCampaign).await,
        UpgradeVerb::Resume => group(view, application, Command::ResumeCampaign).await,
        UpgradeVerb::Accept { partner_gone } => {
            group(view, application, Command::AcceptCampaign { partner_gone }).await
        }
        UpgradeVerb::Abort { partner_gone } => {
            group(view, application, Command::AbortCampaign { partner_gone }).await
        }
    }
}

async fn start(
    view: &View,
    application: Option<&str>,
    target: &Path,
    options: UpgradeOptions,
    by: String,
) -> Reply {
    let (plan, checked) = preflight::plan(view, application, target, options.clone(), true).await?;
    if let Some(first) = plan.refusals.first() {
        let all: Vec<_> = plan.refusals.iter().map(|refusal| refusal.message.as_str()).collect();
        return Err(error(&first.code, all.join("; "), &first.help));
    }
    let engine = engine(view, application)?;
    let running = engine.face().descriptor();
    keep(view, &checked)?;
    let campaign = CampaignPlan {
        from: running.version,
        from_hash: running.hash,
        to: checked.descriptor.version,
        to_hash: checked.hash,
        redundancy: options.redundancy,
        gates: options.gates,
        own_checks: options.own_checks,
        decide: options.decide,
        rollback_after_ms: options.rollback_after_ms,
        step_time_max_ms: options.step_time_max_ms,
        enable_features: options.enable_features,
        notify: options.notify,
        retire: options.retire,
        only_new: named(&plan.comparison, &Pairing::OnlyNew),
        started_by: by,
        why: options.why,
    };
    ask(engine, Command::StartCampaign(Box::new(campaign))).await?;
    Ok(AdminReply::Plan(Box::new(plan)))
}

fn named(comparison: &Comparison, pairing: &Pairing) -> Vec<String> {
    let of_that_kind = comparison.procedures.iter().filter(|procedure| procedure.pairing == *pairing);
    of_that_kind.map(|procedure| procedure.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use lockstep_core::command::{CampaignStatus, MemberStatus};
    use lockstep_core::ids::{NodeId, Number};

    use super::*;

    fn member(node: &str, role: Role, last: u64) -> MemberStatus {
        MemberStatus {
            node: NodeId(node.into()),
            role,
            version: None,
            hash: None,
            last: Number(last),
            in_sync: true,
            connected: true,
        }
    }

    fn status(members: Vec<MemberStatus>, events_per_s: u64, committed: u64) -> GroupStatus {
        GroupStatus {
            application: "ledger".into(),
            partition: 0,
            partitions: 1,
            epoch: Default::default(),
            term: Default::default(),
            members,
            held: Number(0),
            features: vec![],
            migration: None,
            formats: vec![],
            floor: Default::default(),
            shipped: Default::default(),
            campaign: None::<CampaignStatus>,
            campaigns: vec![],
            counts: lockstep_core::command::Counts { committed, ..Default::default() },
            half_way: vec![],
            latency_us: (0, 0),
            events_per_s,
            table_bytes: 0,
            table_bytes_max: 0,
            notes: vec![],
        }
    }

    #[test]
    fn a_standby_tells_of_itself_and_has_the_actives_figures() {
        let own = status(vec![member("b", Role::Standby, 7), member("a", Role::Active, 5)], 0, 3);
        let active = status(vec![member("a", Role::Active, 9), member("b", Role::Standby, 6)], 120, 8);
        let seen = seen_from(own, active);
        assert_eq!(seen.members, [member("b", Role::Standby, 7), member("a", Role::Active, 9)]);
        assert_eq!((seen.events_per_s, seen.counts.committed), (120, 3));
    }
}
