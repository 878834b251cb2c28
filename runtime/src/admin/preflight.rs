//! The preflight of a campaign: everything that can be known before it begins. It changes nothing.
//!
//! What makes any further look pointless is an error at once: no plugin for this host, another application, the file that
//! runs already, a pair that is not in lock step. All else is collected, so that an operator sees every reason at once.
//!
//! The file is hashed and tried on both hosts, as they may differ: the partner's gets the bytes over the link.
//! Derived tables need no look: a version that declares one has its `translate` by construction, and their rows are built
//! before the version is announced (R17).

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::campaign::OwnCheck;
use lockstep_core::command::{FeatureState, GroupStatus, MemberStatus, Role};
use lockstep_core::descriptor::ApplicationDescriptor;
use lockstep_core::ids::PluginHash;
use lockstep_core::verdict::{
    Comparison, Lack, Objection, Pairing, compare_retiring, objections, rows_unread,
};

use super::View;
use super::groups;
use super::protocol::{AdminError, UpgradeOptions, UpgradePlan};
use super::verbs::{INCOMPATIBLE, NOT_IN_LOCK_STEP, UNDER_WAY, UNREADABLE};
use super::verbs::{error, group_status, look_at, refuse_foreign, report};
use crate::engine::inbound::{EngineHandle, Inbound};
use crate::plugins::{CheckedPlugin, Failure, room_for, unanswered};
use crate::plugins::{NO_ROOM, NOT_PASSED_ON, UNANSWERED};

/// How long the partner's host may take to try a file.
const PARTNER_TIME_MAX: Duration = Duration::from_secs(30);

/// Looks at everything, and makes the plan; `plan.refusals` says what is against it.
pub(super) async fn plan(
    view: &View,
    application: Option<&str>,
    target: &std::path::Path,
    options: UpgradeOptions,
    keeps: bool,
) -> Result<(UpgradePlan, Arc<CheckedPlugin>), AdminError> {
    let begun = Instant::now();
    let engines = groups::of(view, application)?;
    let engine = &engines[0];
    let checked = look_at(target.to_owned()).await?;
    refuse_foreign(engine, &checked)?;
    let running = engine.face().descriptor();
    if checked.hash == running.hash {
        let message = format!("{} is the file that runs, version {}", target.display(), running.version);
        return Err(error("LS0712", message, "name the file of another version"));
    }
    let mut statuses = Vec::with_capacity(engines.len());
    for engine in engines {
        statuses.push(group_status(engine).await?);
    }
    let status = &statuses[0];
    let (standby, active) = (connected(status, Role::Standby)?, connected(status, Role::Active)?);
    let new = &checked.descriptor;
    let comparison = compare_retiring(&running, new, &options.retire);
    let bytes = needed_bytes(&checked, &running, &statuses);
    let mut refusals = of_versions(&running, new, &statuses, &options);
    refusals.extend(of_checks(&comparison, new, &options));
    if let Some(campaign) = &status.campaign {
        let message = format!("a campaign is under way at step {}", campaign.record.step.figure());
        refusals.push(error(UNDER_WAY, message, "see `lockstep upgrade status`; wait, or abort it"));
    }
    refusals.extend(of_receivers(view, new).await);
    refusals.extend(room_for(view.generations.keep(), bytes).err().map(|why| no_room(&view.node.0, &why)));
    refusals.extend(of_partner(engine, &checked, bytes, keeps).await.err());
    let features = if options.enable_features { new_features(status, new) } else { Vec::new() };
    let formats = rising(&running, new).next().is_some();
    let plan = UpgradePlan {
        application: engine.application.to_string(),
        from: running.version,
        to: report(&checked),
        units: shipped_units(&running, new, &comparison),
        comparison,
        refusals,
        first: standby.node.clone(),
        second: active.node.clone(),
        raises_floor: options.enable_features && (!features.is_empty() || formats),
        features,
        options,
        preflight_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    Ok((plan, checked))
}

/// The member with this role. Nobody is isolated, and no version changed, without both.
fn connected(status: &GroupStatus, role: Role) -> Result<&MemberStatus, AdminError> {
    let found = status.members.iter().find(|member| member.role == role && member.connected);
    found.ok_or_else(|| {
        error(NOT_IN_LOCK_STEP, "the pair is not in lock step", "wait until `lockstep status` shows it so")
    })
}

/// Tables whose rows get a newer format.
fn rising<'a>(
    old: &'a ApplicationDescriptor,
    new: &'a ApplicationDescriptor,
) -> impl Iterator<Item = &'a str> {
    new.tables.iter().filter_map(|table| {
        let before = old.tables.iter().find(|before| before.name == table.name)?;
        (before.format < table.format && table.derived_from.is_none()).then_some(table.name.as_str())
    })
}

/// What an upgrade needs on each host's disk, in bytes: the file, and, where rows are written anew, room for them in the
/// redo log and in the next checkpoint.
fn needed_bytes(checked: &CheckedPlugin, old: &ApplicationDescriptor, statuses: &[GroupStatus]) -> u64 {
    /// What a processor at work needs meanwhile: redo segments that are made ahead.
    const AT_WORK_BYTES: u64 = 64 << 20;
    let rows: u64 = statuses.iter().map(|status| status.table_bytes).sum();
    let rewritten = if rising(old, &checked.descriptor).next().is_some() { 2 * rows } else { 0 };
    AT_WORK_BYTES + checked.bytes + rewritten
}

fn no_room(node: &str, why: &str) -> AdminError {
    error(NO_ROOM, format!("{node}: {why}"), "make room in the data directory's file system")
}

/// What the two versions, and the rows that there are, have against each other.
fn of_versions(
    old: &ApplicationDescriptor,
    new: &ApplicationDescriptor,
    statuses: &[GroupStatus],
    options: &UpgradeOptions,
) -> Vec<AdminError> {
    let mut refusals: Vec<AdminError> =
        objections(old, new, &options.retire).into_iter().map(of_objection).collect();
    for name in &options.retire {
        let retires = old.procedure(name).is_some() && new.procedure(name).is_none();
        if !retires {
            let message = format!(
                "`retire` names `{name}`, which is no procedure that {} has and {} lacks",
                old.version, new.version
            );
            let help = "`lockstep upgrade plan` lists the procedures of both";
            refusals.push(error("LS0713", message, help));
        }
    }
    let mut unread: Vec<String> = Vec::new();
    for status in statuses {
        let oldest = status.formats.iter().map(|formats| (formats.table.as_str(), formats.oldest));
        unread.extend(
            rows_unread(oldest, new).into_iter().filter(|why| !unread.contains(why)).collect::<Vec<_>>(),
        );
        if new.version < status.floor {
            let message = format!(
                "{} is below the floor {}: features or formats of it are in use (R31)",
                new.version, status.floor
            );
            refusals.push(error(UNREADABLE, message, "choose a version at or above the floor"));
        }
    }
    let help = "wait until `lockstep features list` shows the migration through";
    refusals.extend(unread.into_iter().map(|why| error(UNREADABLE, why, help)));
    refusals.dedup();
    refusals
}

fn of_objection(objection: Objection) -> AdminError {
    match objection.lacks {
        Some(Lack::Reader) => error(
            "LS0715",
            objection.why,
            "keep the reader of the older format in the new version (`.older`)",
        ),
        Some(Lack::Undo) => error("LS0716", objection.why, "keep the undo under its name in both versions"),
        None => error(INCOMPATIBLE, objection.why, "correct the new version"),
    }
}

/// Checks of the user's own that could never be run.
fn of_checks(
    comparison: &Comparison,
    new: &ApplicationDescriptor,
    options: &UpgradeOptions,
) -> Vec<AdminError> {
    let mut refusals = Vec::new();
    for check in &options.own_checks.checks {
        let OwnCheck::Procedure { name, .. } = check else { continue };
        let refused = comparison
            .procedures
            .iter()
            .any(|each| each.name == *name && matches!(each.pairing, Pairing::OnlyNew | Pairing::Retired));
        let why = match new.procedure(name) {
            None => format!("the check `{name}` is no procedure of {}", new.version),
            Some(_) if refused => {
                format!(
                    "the check `{name}` is refused until the upgrade is through: only {} has it",
                    new.version
                )
            }
            Some(_) => continue,
        };
        refusals.push(error("LS0719", why, "name a procedure of both versions, or declare it `one_sided`"));
    }
    refusals
}

/// Messages that nobody would take on this host.
pub(super) fn unanswered_here(view: &View, new: &ApplicationDescriptor) -> Vec<AdminError> {
    let versions: Vec<_> =
        view.engines.applications().map(|(_, engines)| engines[0].face().descriptor()).collect();
    let here = |failure: Failure| AdminError {
        code: failure.code,
        message: format!("{}: {}", view.node, failure.message),
        help: failure.help,
    };
    unanswered(new, &versions).into_iter().map(here).collect()
}

/// Messages that nobody would take: on this host, and while another application's upgrade is under way, which may still go
/// back. The partner's host looks at its own side when it tries the file.
async fn of_receivers(view: &View, new: &ApplicationDescriptor) -> Vec<AdminError> {
    let mut refusals = unanswered_here(view, new);
    for receiver in new.sends.iter().flatten().filter(|receiver| receiver.application != new.name) {
        let (application, procedure) = (&receiver.application, &receiver.procedure);
        let Some(engines) = view.engines.of(application) else { continue };
        let campaign = group_status(&engines[0]).await.ok().and_then(|status| status.campaign);
        let Some(plan) = campaign.map(|campaign| campaign.record.plan) else { continue };
        if plan.only_new.contains(procedure) || plan.retire.contains(procedure) {
            let message = format!(
                "{} {} sends messages to `{procedure}` of `{application}`, which only one of {} and {} has, and that \
                 upgrade is under way",
                new.name, new.version, plan.from, plan.to
            );
            let help = format!("see `lockstep upgrade status {application}`; wait for its end");
            refusals.push(AdminError { code: UNANSWERED.into(), message, help });
        }
    }
    refusals
}

/// The partner's host tries the file itself, and looks whether it has room.
async fn of_partner(
    engine: &EngineHandle,
    checked: &CheckedPlugin,
    bytes: u64,
    keeps: bool,
) -> Result<(), AdminError> {
    let silent = |why: &str| {
        error(
            NOT_PASSED_ON,
            format!("the partner's host was not asked: {why}"),
            "see that the link is up, then ask again",
        )
    };
    let (reply, answer) = tokio::sync::oneshot::channel();
    let hash: PluginHash = checked.hash;
    let probe = Inbound::ProbePartner { hash, content: checked.file.bytes().clone(), bytes, keeps, reply };
    engine.tell(probe).map_err(|busy| silent(&busy.to_string()))?;
    match tokio::time::timeout(PARTNER_TIME_MAX, answer).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => Err(silent("the link broke")),
        Err(_) => Err(silent("it gave no answer")),
    }
}

fn new_features(status: &GroupStatus, target: &ApplicationDescriptor) -> Vec<String> {
    let on = |name: &str| {
        status.features.iter().any(|(feature, _, is)| feature == name && *is != FeatureState::Off)
    };
    target.features.iter().map(|feature| feature.name.clone()).filter(|name| !on(name)).collect()
}

fn shipped_units(
    old: &ApplicationDescriptor,
    new: &ApplicationDescriptor,
    comparison: &Comparison,
) -> Vec<(String, u32, u32)> {
    let count = |descriptor: &ApplicationDescriptor, name: &str| {
        descriptor.procedure(name).map_or(0, |(_, procedure)| procedure.units.len() as u32)
    };
    let shipped = comparison.procedures.iter().filter(|pairing| pairing.pairing == Pairing::Shipped);
    shipped
        .map(|pairing| (pairing.name.clone(), count(old, &pairing.name), count(new, &pairing.name)))
        .collect()
}
