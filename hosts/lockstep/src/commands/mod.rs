//! From what was typed to what is asked, shown and waited for.

mod db;
mod held;
mod new;
mod plugin;
pub mod plugin_check;
mod upgrade;

use clap::CommandFactory as _;
use lockstep_runtime::admin::protocol::{AdminReply, AdminVerb, FeaturesVerb};
use lockstep_runtime::trail::TrailEntry;
use serde_json::json;

use crate::args::{Cli, Command, Features, Global, Plugin, Which};
use crate::failure::{Exit, Failure};
use crate::render;
use crate::session::{Session, unexpected};

/// Carries out a command.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lockstep", &mut script);
            crate::session::write_out(&script)?;
            Ok(Exit::Ok)
        }
        Command::Db(command) => db::run(&global, &command),
        Command::Bench(bench) => crate::bench::run(&global, &bench),
        Command::New(new) => new::run(&global, &new),
        Command::Plugin(Plugin::Check { file, against }) => {
            plugin_check::run(&global, &file, against.as_deref())
        }
        Command::Plugin(command) => plugin::run(&Session::open(&global)?, command),
        Command::Upgrade(command) => upgrade::run(&Session::open(&global)?, command),
        Command::Features(command) => features(&Session::open(&global)?, command),
        Command::Status(which) => status(&Session::open(&global)?, &which),
        Command::Isolate(which) => {
            let harm = "While the standby is out of service, the failure of the active stops the service.";
            simple(&global, &which, Some(harm), AdminVerb::Isolate)
        }
        Command::Integrate(which) => simple(&global, &which, None, AdminVerb::Integrate),
        Command::Switchover(which) => simple(&global, &which, None, AdminVerb::SwitchOver),
        Command::Force(which) => {
            let harm = "What only the other recorded processor holds is lost, acknowledged events included.";
            simple(&global, &which, Some(harm), AdminVerb::Force)
        }
        Command::Audit { which, last } => audit(&Session::open(&global)?, &which, last),
        Command::Shutdown => {
            let harm = "This processor stops; a standby takes over, and without one the service ends.";
            simple(&global, &Which::default(), Some(harm), AdminVerb::Shutdown)
        }
    }
}

/// A verb that is done or accepted, after a yes where it can harm.
fn simple(global: &Global, which: &Which, harm: Option<&str>, verb: AdminVerb) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    if let Some(harm) = harm {
        session.confirm(harm)?;
    }
    acknowledge(&session, which.application.as_deref(), verb)
}

/// Asks for something that has no answer but that it is done or under way.
pub fn acknowledge(session: &Session, application: Option<&str>, verb: AdminVerb) -> Result<Exit, Failure> {
    acknowledge_as(session, application, verb, "under way; see `lockstep status`")
}

/// As [`acknowledge`]; `accepted` is said for people when it is under way.
pub fn acknowledge_as(
    session: &Session,
    application: Option<&str>,
    verb: AdminVerb,
    accepted: &str,
) -> Result<Exit, Failure> {
    match session.ask(application, verb)? {
        AdminReply::Done => session.print("done\n", &json!({"done": true}))?,
        AdminReply::Accepted => session.print(&format!("{accepted}\n"), &json!({"accepted": true}))?,
        other => return Err(unexpected(&other)),
    }
    Ok(Exit::Ok)
}

fn status(session: &Session, which: &Which) -> Result<Exit, Failure> {
    match session.ask(which.application.as_deref(), AdminVerb::Status)? {
        AdminReply::Status(status) => session.print(&render::status::processor(&status), &status)?,
        other => return Err(unexpected(&other)),
    }
    Ok(Exit::Ok)
}

fn audit(session: &Session, which: &Which, count: usize) -> Result<Exit, Failure> {
    let trail = trail(session, which.application.as_deref(), count)?;
    session.print(&render::trail::trail(&trail), &json!({"trail": trail}))?;
    Ok(Exit::Ok)
}

/// The latest entries of the processor's audit trail.
pub fn trail(session: &Session, application: Option<&str>, count: usize) -> Result<Vec<TrailEntry>, Failure> {
    match session.ask(application, AdminVerb::Audit { count })? {
        AdminReply::Audit(trail) => Ok(trail),
        other => Err(unexpected(&other)),
    }
}

fn features(session: &Session, command: Features) -> Result<Exit, Failure> {
    match command {
        Features::List(which) => {
            match session.ask(which.application.as_deref(), AdminVerb::Features(FeaturesVerb::List))? {
                AdminReply::Features { features, migration, formats } => {
                    let objects: Vec<_> = features
                        .iter()
                        .map(|(name, description, state)| {
                            json!({"name": name, "description": description, "state": state})
                        })
                        .collect();
                    let text = render::status::features(&features, migration.as_ref(), &formats);
                    let json = json!({"features": objects, "migration": migration, "formats": formats});
                    session.print(&text, &json)?;
                }
                other => return Err(unexpected(&other)),
            }
            Ok(Exit::Ok)
        }
        Features::Enable { application, features } => {
            session.confirm("No version below the running one can be used after a feature was enabled.")?;
            acknowledge(session, Some(&application), AdminVerb::Features(FeaturesVerb::Enable { features }))
        }
        Features::Disable { application, feature } => {
            session.confirm(&format!("The behaviour `{feature}` ends for all clients."))?;
            acknowledge(session, Some(&application), AdminVerb::Features(FeaturesVerb::Disable { feature }))
        }
    }
}
