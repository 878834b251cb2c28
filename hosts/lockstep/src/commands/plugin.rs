//! `lockstep plugin`, what of it asks a processor.

use lockstep_runtime::admin::protocol::{AdminReply, AdminVerb, PluginVerb};
use serde_json::json;

use super::acknowledge;
use crate::args::Plugin;
use crate::failure::{Exit, Failure};
use crate::render;
use crate::session::{Session, unexpected, whole};

/// Carries out a command about plugin files.
pub fn run(session: &Session, command: Plugin) -> Result<Exit, Failure> {
    match command {
        Plugin::Check { .. } => {
            unreachable!("it asks no processor, and is carried out before one is looked for")
        }
        Plugin::Load(target) => {
            session.confirm(
                "The standby changes to this file, outside of any upgrade and without a way back.",
            )?;
            let verb = AdminVerb::Plugin(PluginVerb::Load { path: whole(&target.file()) });
            acknowledge(session, target.application().as_deref(), verb)
        }
        Plugin::List(which) => {
            match session.ask(which.application.as_deref(), AdminVerb::Plugin(PluginVerb::List))? {
                AdminReply::Plugins { plugins, memory } => {
                    session.print(
                        &render::plugins::list(&plugins, &memory),
                        &json!({"plugins": plugins, "memory": memory}),
                    )?;
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
