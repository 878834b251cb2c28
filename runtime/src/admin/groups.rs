//! Operators' commands on all groups of an application (R1): done when all have done it.
//!
//! A command that some groups could not carry out is refused with the first partition that could not; the others have
//! done it, and it can be asked again. Deliberately absent: taking back what others have done.

use lockstep_core::command::{Command, CommandReply, FeatureState, GroupStatus, Role};
use lockstep_core::ids::NodeId;

use super::View;
use super::protocol::{AdminError, AdminReply};
use super::verbs::{Reply, ask, busy, error, group_status};
use crate::engine::inbound::EngineHandle;

/// The groups of the application that a request is for; there is at least one.
pub(super) fn of<'a>(view: &'a View, application: Option<&str>) -> Result<&'a [EngineHandle], AdminError> {
    let mut all = view.engines.applications();
    match application {
        Some(name) => view.engines.of(name).ok_or_else(|| {
            error("LS0813", format!("application `{name}` does not run here"), "see `lockstep status`")
        }),
        None => match (all.next(), all.next()) {
            (Some((_, only)), None) => Ok(only),
            _ => {
                let names = view.engines.names().collect::<Vec<_>>().join(", ");
                Err(error("LS0814", format!("several applications run here: {names}"), "name one of them"))
            }
        },
    }
}

/// One of them; the first where none is named.
pub(super) fn one<'a>(
    view: &'a View,
    application: Option<&str>,
    partition: Option<u16>,
) -> Result<&'a EngineHandle, AdminError> {
    let all = of(view, application)?;
    let partition = partition.unwrap_or(0);
    all.get(usize::from(partition)).ok_or_else(|| {
        let name = &all[0].application;
        let message = format!("`{name}` has {} partitions, and {partition} is none of them", all.len());
        error("LS0819", message, "partitions count from 0")
    })
}

/// Asks all of them at once; answers when all have answered.
pub(super) async fn ask_all(engines: &[EngineHandle], command: &Command) -> Reply {
    let under_way: Vec<_> = engines
        .iter()
        .map(|engine| {
            let (engine, command) = (engine.clone(), command.clone());
            actix_rt::spawn(async move { ask(&engine, command).await })
        })
        .collect();
    let (mut reply, mut failed) = (AdminReply::Done, None);
    for (engine, asked) in engines.iter().zip(under_way) {
        let asked = asked.await.unwrap_or_else(|_| Err(busy("the engine is gone")));
        match asked {
            Ok(CommandReply::Accepted) => reply = AdminReply::Accepted,
            Ok(_) => {}
            Err(why) => {
                failed.get_or_insert_with(|| of_partition(engine, why));
            }
        }
    }
    failed.map_or(Ok(reply), Err)
}

/// The error, with the partition where there are several.
fn of_partition(engine: &EngineHandle, why: AdminError) -> AdminError {
    if engine.partitions == 1 {
        return why;
    }
    AdminError { message: format!("partition {}: {}", engine.partition, why.message), ..why }
}

async fn statuses(engines: &[EngineHandle]) -> Result<Vec<GroupStatus>, AdminError> {
    let mut all = Vec::with_capacity(engines.len());
    for engine in engines {
        all.push(group_status(engine).await.map_err(|why| of_partition(engine, why))?);
    }
    Ok(all)
}

fn active_of(status: &GroupStatus) -> Option<&NodeId> {
    let active = status.members.iter().find(|member| member.role == Role::Active && member.connected);
    active.map(|member| &member.node)
}

/// Refuses what is meant for one processor while different ones are active.
pub(super) async fn same_active(engines: &[EngineHandle]) -> Result<(), AdminError> {
    if let [_] = engines {
        return Ok(());
    }
    let statuses = statuses(engines).await?;
    let actives: Vec<_> = statuses.iter().map(active_of).collect();
    match actives.iter().position(|active| *active != actives[0]) {
        None => Ok(()),
        Some(at) => {
            let name = |active: Option<&NodeId>| active.map_or("nobody".into(), ToString::to_string);
            let message = format!(
                "{} is active for partition 0, and {} for partition {at}",
                name(actives[0]),
                name(actives[at])
            );
            Err(error("LS0634", message, "`lockstep switchover` makes one processor active for all"))
        }
    }
}

/// Takes one processor out of service, for all groups.
pub(super) async fn isolate(engines: &[EngineHandle]) -> Reply {
    same_active(engines).await?;
    ask_all(engines, &Command::Isolate).await
}

/// Makes the processor active for all groups that is not active for the first one. That one goes last, so that a
/// command that is repeated after a failure has the same aim.
pub(super) async fn switch_over(engines: &[EngineHandle]) -> Reply {
    let [first, others @ ..] = engines else { unreachable!("an application has a group") };
    if !others.is_empty() {
        let statuses = statuses(engines).await?;
        let from = active_of(&statuses[0]);
        let to_move: Vec<EngineHandle> = others
            .iter()
            .zip(&statuses[1..])
            .filter(|(_, status)| active_of(status) == from)
            .map(|(engine, _)| engine.clone())
            .collect();
        ask_all(&to_move, &Command::SwitchOver).await?;
    }
    ask_all(std::slice::from_ref(first), &Command::SwitchOver).await
}

/// Makes this processor active where it is not.
pub(super) async fn force(engines: &[EngineHandle]) -> Reply {
    let needed: Vec<EngineHandle> =
        engines.iter().filter(|engine| engine.face().role() != Role::Active).cloned().collect();
    ask_all(if needed.is_empty() { engines } else { &needed }, &Command::Force).await
}

/// The groups that lack something, or all when none does: they say so in their own words.
async fn lacking(
    engines: &[EngineHandle],
    lacks: impl Fn(&GroupStatus) -> bool,
) -> Result<Vec<EngineHandle>, AdminError> {
    if let [only] = engines {
        return Ok(vec![only.clone()]);
    }
    let statuses = statuses(engines).await?;
    let found = engines.iter().zip(&statuses).filter(|(_, status)| lacks(status));
    let found: Vec<EngineHandle> = found.map(|(engine, _)| engine.clone()).collect();
    Ok(if found.is_empty() { engines.to_vec() } else { found })
}

/// Switches features on in all groups where they are not.
pub(super) async fn enable(engines: &[EngineHandle], features: Vec<String>) -> Reply {
    let wanted = |name: &String| features.is_empty() || features.contains(name);
    let lacks = |status: &GroupStatus| {
        status.features.iter().any(|(name, _, is)| *is == FeatureState::Off && wanted(name))
    };
    let lacking = lacking(engines, lacks).await?;
    ask_all(&lacking, &Command::EnableFeatures { features }).await
}

/// Switches a feature off in all groups where it is on.
pub(super) async fn disable(engines: &[EngineHandle], feature: String) -> Reply {
    let has = |status: &GroupStatus| {
        status.features.iter().any(|(name, _, is)| *is != FeatureState::Off && *name == feature)
    };
    let having = lacking(engines, has).await?;
    ask_all(&having, &Command::DisableFeature { feature }).await
}
