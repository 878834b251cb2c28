//! Plugins of a processor: the keep of files, the generations that were loaded, and the actor that loads more.
//!
//! A generation is one load of one file. Its code runs on threads that end with it: the short thread that loads it,
//! and the arbiter of the engine that it belongs to. When it is retired its objects are dropped on that thread, the
//! thread is joined, and only then the library is unloaded, or kept with the reasons (R28).

mod generations;
mod keep;
mod loading;

pub use generations::Generations;
pub use keep::{Keep, hash_of, room_for};
pub use loading::{CheckedPlugin, Failure, check_file, load};
use loading::{check, load_and_start};

/// To be called first in `main`: if this process was started to try a plugin, it does that and ends.
pub fn probe_if_asked() {
    lockstep_loader::run_if_probe_child();
}

use std::sync::Arc;

use actix::prelude::*;
use lockstep_core::application::Application;
use lockstep_core::descriptor::ApplicationDescriptor;
use lockstep_core::ids::PluginHash;
use lockstep_core::input::Input;
use lockstep_core::receivers::{self, Unanswered};
use lockstep_loader::PluginFile;

use crate::engine::inbound::{EngineHandle, Inbound};
use crate::neighbours::Neighbours;

/// A version that does not run any more can't be unloaded now.
pub(crate) const NOT_UNLOADED: &str = "LS0441";
/// A work unit that was given up has come to an end.
pub(crate) const CAME_BACK: &str = "LS0463";
/// No room for a plugin's file.
pub(crate) const NO_ROOM: &str = "LS0717";
/// A plugin's file did not get from one processor to the other as it was.
pub(crate) const NOT_PASSED_ON: &str = "LS0718";
/// Messages would have nobody to take them.
pub(crate) const UNANSWERED: &str = "LS0730";

/// Load the file `hash` beside what runs; answered to the engine.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Load {
    /// The file.
    pub hash: PluginHash,
    /// Who asks.
    pub engine: EngineHandle,
}

/// The partner wants the file `hash`; answered to the engine.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Find {
    /// The file.
    pub hash: PluginHash,
    /// Who asks.
    pub engine: EngineHandle,
}

/// The partner sent a file that [`Load`] had asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Got {
    /// What was asked for.
    pub hash: PluginHash,
    /// What came.
    pub bytes: Arc<Vec<u8>>,
    /// For whom.
    pub engine: EngineHandle,
}

/// The partner did not send a file.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NotGot {
    /// What was asked for.
    pub hash: PluginHash,
    /// Why.
    pub why: String,
    /// For whom.
    pub engine: EngineHandle,
}

/// The partner asks for a trial of a file whose bytes it has sent; answered to the engine (R29).
#[derive(Message)]
#[rtype(result = "()")]
pub struct Probe {
    /// The file.
    pub hash: PluginHash,
    /// Its bytes.
    pub content: Arc<Vec<u8>>,
    /// What it needs on the disk, in bytes.
    pub bytes: u64,
    /// It is kept for what comes.
    pub keeps: bool,
    /// Who asks.
    pub engine: EngineHandle,
}

/// A version that was loaded and never ran is not needed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Discard {
    /// The version.
    pub application: Box<dyn Application>,
}

/// The actor that loads plugins for the engines of a processor. It only starts threads: each load has one of its own,
/// so that nothing of a plugin is left on a thread that lives on.
pub struct PluginLoader {
    generations: Generations,
    neighbours: Neighbours,
}

impl PluginLoader {
    /// A loader over `generations`; `neighbours` says what else runs here.
    #[must_use]
    pub(crate) fn new(generations: Generations, neighbours: Neighbours) -> Self {
        PluginLoader { generations, neighbours }
    }

    fn on_thread(&self, work: impl FnOnce(&Generations) + Send + 'static) {
        let generations = self.generations.clone();
        let started =
            std::thread::Builder::new().name("plugin-load".into()).spawn(move || work(&generations));
        if let Err(error) = started {
            // Whoever waits is helped by the campaign's own bound on a step.
            tracing::error!(%error, code = "LS0443", "no thread for a plugin; see the limits on threads");
        }
    }
}

impl Actor for PluginLoader {
    type Context = Context<Self>;
}

fn answer(
    generations: &Generations,
    engine: &EngineHandle,
    hash: PluginHash,
    loaded: Result<Box<dyn Application>, Failure>,
) {
    let input = match loaded {
        Ok(application) => Input::PluginLoaded { application },
        Err(failure) => {
            let reason = failure.to_string();
            tracing::warn!(%hash, reason, "a plugin was not loaded");
            Input::PluginFailed { hash, reason, may_pass: failure.may_pass }
        }
    };
    // One that was loaded for an engine that is gone goes too.
    let unheard = engine.hand_in(Inbound::Input(input)).map(|unheard| *unheard);
    if let Some(Inbound::Input(Input::PluginLoaded { application })) = unheard {
        generations.discard_unheard(application);
    }
}

/// A file did not come, or can't be read: another try may go better.
fn failed(hash: PluginHash, reason: String) -> Inbound {
    Inbound::Input(Input::PluginFailed { hash, reason, may_pass: true })
}

impl Handler<Load> for PluginLoader {
    type Result = ();

    fn handle(&mut self, Load { hash, engine }: Load, _: &mut Self::Context) {
        // Only a thread of the actors' own can make one.
        let thread = Arbiter::new();
        self.on_thread(move |generations| match generations.keep().get(hash) {
            Ok(Some(file)) => {
                let loaded = load_and_start(generations, &engine.group(), &file, thread);
                answer(generations, &engine, hash, loaded);
            }
            Ok(None) => {
                thread.stop();
                engine.tell_waiting(Inbound::WantPlugin { hash });
            }
            Err(error) => {
                thread.stop();
                let reason = format!("the kept file can't be read: {error}");
                engine.tell_waiting(failed(hash, reason));
            }
        });
    }
}

impl Handler<Find> for PluginLoader {
    type Result = ();

    fn handle(&mut self, Find { hash, engine }: Find, _: &mut Self::Context) {
        self.on_thread(move |generations| {
            let file = generations.keep().get(hash).unwrap_or_else(|error| {
                tracing::warn!(%hash, %error, "a kept plugin file can't be read for the partner");
                None
            });
            engine.tell_waiting(Inbound::PluginFound { hash, bytes: file.map(|file| file.bytes().clone()) });
        });
    }
}

impl Handler<Got> for PluginLoader {
    type Result = ();

    fn handle(&mut self, Got { hash, bytes, engine }: Got, _: &mut Self::Context) {
        let thread = Arbiter::new();
        self.on_thread(move |generations| {
            let file = PluginFile::from_bytes(generations.keep().path(hash), bytes);
            if hash_of(&file) != hash {
                thread.stop();
                return engine
                    .tell_waiting(failed(hash, "the bytes that the partner sent have another hash".into()));
            }
            let loaded = load_and_start(generations, &engine.group(), &file, thread);
            answer(generations, &engine, hash, loaded);
        });
    }
}

impl Handler<NotGot> for PluginLoader {
    type Result = ();

    fn handle(&mut self, NotGot { hash, why, engine }: NotGot, _: &mut Self::Context) {
        let reason = format!("the plugin file {hash} is not kept here, and {why}");
        self.on_thread(move |_| engine.tell_waiting(failed(hash, reason)));
    }
}

impl Handler<Probe> for PluginLoader {
    type Result = ();

    fn handle(&mut self, probe: Probe, _: &mut Self::Context) {
        let versions = self.neighbours.versions();
        self.on_thread(move |generations| {
            let Probe { hash, content, bytes, keeps, engine } = probe;
            let found = try_here(generations, &versions, hash, content, bytes, keeps);
            engine.tell_waiting(Inbound::Probed { hash, found });
        });
    }
}

/// Tries a file of the partner's on this host, beside the versions that run here; nothing of it stays in this process.
fn try_here(
    generations: &Generations,
    versions: &[Arc<ApplicationDescriptor>],
    hash: PluginHash,
    content: Arc<Vec<u8>>,
    bytes: u64,
    keeps: bool,
) -> Result<(), Failure> {
    let keep = generations.keep();
    let file = PluginFile::from_bytes(keep.path(hash), content);
    if hash_of(&file) != hash {
        return Err(Failure::other_bytes());
    }
    let checked = check(file)?;
    tracing::info!(%hash, "a plugin file was tried for the partner");
    room_for(keep, bytes).map_err(Failure::no_room)?;
    if let Some(first) = unanswered(&checked.descriptor, versions).into_iter().reduce(Failure::and) {
        return Err(first);
    }
    if keeps {
        keep.put(&checked.file).map_err(|error| Failure::not_kept(&error))?;
    }
    Ok(())
}

/// What is against `new` among these versions, which run on one processor: messages that nobody would take (R34).
pub(crate) fn unanswered(
    new: &ApplicationDescriptor,
    versions: &[Arc<ApplicationDescriptor>],
) -> Vec<Failure> {
    let (own, others): (Vec<_>, Vec<_>) =
        versions.iter().cloned().partition(|version| version.name == new.name);
    let Some(old) = own.first() else { return Vec::new() };
    let found = receivers::unanswered(old, new, &others).into_iter();
    found.map(|Unanswered { why, help }| Failure::unanswered(why, help)).collect()
}

impl Handler<Discard> for PluginLoader {
    type Result = ();

    fn handle(&mut self, Discard { application }: Discard, _: &mut Self::Context) {
        self.generations.discard(application);
    }
}
