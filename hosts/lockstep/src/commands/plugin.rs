//! `lockstep plugin`.

use lockstep_core::verdict::Verdict;
use lockstep_runtime::admin::protocol::{AdminReply, AdminVerb, PluginVerb};
use serde_json::json;

use super::acknowledge;
use crate::args::Plugin;
use crate::failure::{Exit, Failure, of_preflight};
use crate::render;
use crate::session::{Session, unexpected, whole};

/// Carries out a command about plugin files.
pub fn run(session: &Session, command: Plugin) -> Result<Exit, Failure> {
    match command {
        Plugin::Check { file } => check(session, PluginVerb::Check { path: whole(&file) }),
        Plugin::Load(target) => {
            session.confirm(
                "The standby changes to this file, outside of any upgrade and without a way back.",
            )?;
            let verb = AdminVerb::Plugin(PluginVerb::Load { path: whole(&target.file()) });
            acknowledge(session, target.application().as_deref(), verb)
        }
        Plugin::List(which) => {
            match session.ask(which.application.as_deref(), AdminVerb::Plugin(PluginVerb::List))? {
                AdminReply::Plugins(plugins) => {
                    session.print(&render::plugins::list(&plugins), &json!({"plugins": plugins}))?;
                    Ok(Exit::Ok)
                }
                other => Err(unexpected(&other)),
            }
        }
        Plugin::Unload(_) => Err(Failure::new(
            Exit::Failed,
            "LS0807",
            "a plugin that runs cannot be unloaded by itself",
            "it is unloaded by the swap that replaces it: `lockstep upgrade start` or `lockstep plugin load`",
        )),
    }
}

fn check(session: &Session, verb: PluginVerb) -> Result<Exit, Failure> {
    match session.try_ask(None, AdminVerb::Plugin(verb))?.map_err(of_preflight)? {
        AdminReply::Check(report) => {
            session.print(&render::plan::report(&report), &report)?;
            let refused =
                report.comparison.is_some_and(|comparison| comparison.verdict == Verdict::Incompatible);
            Ok(if refused { Exit::Refused } else { Exit::Ok })
        }
        other => Err(unexpected(&other)),
    }
}
