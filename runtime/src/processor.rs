//! A processor: one actix system with its engines and the actors that serve them.
//!
//! Start: lock the data directory, bind the listeners, open the stores, load the plugins, make the engines, begin to
//! listen. Stop: hand over if this side is active and the partner is in sync, then flush and let go.
//! Deliberately absent: globals; several processors may live in one process.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use lockstep_core::command::{Command, Role};
use lockstep_core::ids::NodeId;
use lockstep_os::DirectoryLock;
use tokio::sync::{mpsc, oneshot};

use crate::admin::{self, Admin, View};
use crate::arbiter;
use crate::checks::Site;
use crate::config::{ApplicationConfig, ArbiterConfig, NodeConfig};
use crate::dial::{self, LinkActor, PartnerAddress};
use crate::engine::inbound::{EngineHandle, Inbound};
use crate::engines::Engines;
use crate::ground::{Ground, Shared};
use crate::http;
use crate::neighbours::Neighbours;
use crate::notes::watchdog::Watchdog;
use crate::partitions_file::{self, Disagreement};
use crate::plugins::{Failure, Generations, Keep};
use crate::supervisor::{self, Supervisor};

/// How long a planned switchover at a stop may take.
const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(2);
/// How long an engine may take to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a client of a processor with several groups may take to say which it wants.
const HELLO_TIME_MAX: Duration = Duration::from_secs(10);

/// Why a processor did not start.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct StartError {
    /// A code.
    pub code: String,
    /// What failed, and why.
    pub message: String,
    /// What to do next.
    pub help: String,
}

impl StartError {
    /// The operating system refused a thread, a socket, a signal or random bytes.
    #[must_use]
    pub fn of_system(message: impl Into<String>, help: impl Into<String>) -> Self {
        StartError::new("LS0110", message, help)
    }

    pub(crate) fn new(code: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        StartError { code: code.into(), message: message.into(), help: help.into() }
    }

    /// From an error whose text begins with its code.
    pub(crate) fn of_text(text: &str, fallback: &str, help: &str) -> Self {
        match text.split_once(": ") {
            Some((code, rest)) if code.len() == 6 && code.starts_with("LS") => {
                StartError::new(code, rest, help)
            }
            _ => StartError::new(fallback, text, help),
        }
    }
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        StartError { code: failure.code, message: failure.message, help: failure.help }
    }
}

/// A processor that serves.
pub struct Processor {
    node: NodeId,
    http: SocketAddr,
    events: SocketAddr,
    link: SocketAddr,
    admin_path: PathBuf,
    engines: Engines,
    builder: Arbiter,
    admin: Addr<Admin>,
    http_server: actix_web::dev::ServerHandle,
    stop: mpsc::Receiver<()>,
    ground: Arc<Ground>,
    _directory: DirectoryLock,
}

impl Processor {
    /// Starts a processor. To be called inside an actix system.
    ///
    /// # Errors
    /// Why it can't start, and what to do next.
    pub async fn start(config: NodeConfig, supervisor: Supervisor) -> Result<Self, StartError> {
        let directory = take_directory(&config.data)?;
        let keep =
            Keep::open(&config.data.join("plugins")).map_err(|error| cannot_write(&config.data, &error))?;
        let generations = Generations::new(keep, config.kept_plugins_mb << 20, config.hung_engines_max);
        let http_listener = listen("listen.http", config.listen.http)?;
        let events_listener = listen("listen.events", config.listen.events)?;
        let link_listener = listen("listen.link", config.listen.link)?;
        let address = |listener: &TcpListener| {
            listener
                .local_addr()
                .map_err(|error| StartError::new("LS0109", error.to_string(), "start it again"))
        };
        let (http, events, link) =
            (address(&http_listener)?, address(&events_listener)?, address(&link_listener)?);
        let ArbiterConfig::Local(arbiter_directory) = &config.arbiter;
        arbiter::nodes::register(arbiter_directory, &config.node, link)
            .map_err(|error| cannot_write(arbiter_directory, &error))?;
        let partner = match config.peer {
            Some(peer) => vec![PartnerAddress::Fixed(peer)],
            None => vec![PartnerAddress::Directory(arbiter_directory.clone())],
        };

        let site = Arc::new(Site { node: config.node.clone(), http, events, admin: config.admin.clone() });
        let neighbours = Neighbours::default();
        let shared = Shared::start(&config.data, &generations, &neighbours, site)?;
        let builder = Arbiter::new();
        let looked = supervisor.clone();
        let ground = Arc::new(Ground {
            arbiter_directory: arbiter_directory.clone(),
            generations: generations.clone(),
            shared,
            neighbours,
            partner: partner.clone(),
            watchdog: Watchdog::launch(move || looked.look()).map_err(|error| {
                StartError::of_system(
                    format!("the watchdog gets no thread: {error}"),
                    "see the limits on threads",
                )
            })?,
            main: Arbiter::current(),
            builder: builder.handle(),
            arbiter_threads: Mutex::default(),
            applications: Mutex::default(),
            stops: AtomicBool::new(false),
            config,
        });
        let config = &ground.config;
        let (mut engines, mut links) = (Engines::default(), Vec::new());
        for (application, partition) in groups(config)? {
            let begun = Ground::begin(&ground, application, partition, None)?;
            let link = LinkActor::new(config.node.clone(), begun.handle.clone(), partner.clone()).start();
            links.push((dial::hello_of(&config.node, &begun.handle), link));
            match begun.started.await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    return Err(failure.into());
                }
                Err(_) => {
                    return Err(Failure::of_thread("the engine's thread ended at once").into());
                }
            }
            engines.add(begun.handle);
        }
        for (name, of_application) in engines.applications() {
            let mut all = ground.applications.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(name.to_owned(), of_application.to_vec());
            drop(all);
            ground.tell_siblings(name);
        }
        actix_rt::spawn(dial::listen(into_tokio(link_listener)?, links));
        actix_rt::spawn(accept_clients(into_tokio(events_listener)?, engines.clone()));

        let site = http::Site {
            node: config.node.to_string(),
            engines: engines.clone(),
            generations: generations.clone(),
        };
        let server = http::serve(http_listener, site).map_err(|error| {
            StartError::new(
                "LS0109",
                format!("HTTP can't be served: {error}"),
                "see the limits on threads and files",
            )
        })?;
        let http_server = server.handle();
        actix_rt::spawn(server);

        let (stop_sender, stop) = mpsc::channel(1);
        let socket = admin::bind(&config.admin).map_err(|error| {
            let message = format!("the admin socket {} can't be made: {error}", config.admin.display());
            StartError::new("LS0106", message, "stop the other processor, or set `admin` to another path")
        })?;
        let pulse = supervisor.pulse();
        actix_rt::spawn(async move {
            let mut beats = tokio::time::interval(supervisor::BEAT);
            loop {
                beats.tick().await;
                pulse.beat();
            }
        });
        let trail = ground.shared.trail.clone();
        let view = View::new(config.node.clone(), engines.clone(), generations, trail, stop_sender);
        let admin = Admin::new(view, socket, config.admin.clone()).start();
        Ok(Processor {
            node: config.node.clone(),
            http,
            events,
            link,
            admin_path: config.admin.clone(),
            engines,
            builder,
            admin,
            http_server,
            stop,
            ground,
            _directory: directory,
        })
    }

    /// What is printed when it is ready: its addresses, as one JSON object.
    #[must_use]
    pub fn ready_line(&self) -> String {
        let applications: Vec<&str> = self.engines.names().collect();
        serde_json::json!({
            "ready": true,
            "node": self.node,
            "http": self.http.to_string(),
            "events": self.events.to_string(),
            "link": self.link.to_string(),
            "admin": self.admin_path,
            "pid": std::process::id(),
            "applications": applications,
        })
        .to_string()
    }

    /// What it does, in a few words: each application, with the role of its groups here.
    #[must_use]
    pub fn words(&self) -> String {
        let of_application = |(name, engines): (&str, &[EngineHandle])| {
            let roles: Vec<String> = [Role::Active, Role::Standby, Role::Isolated, Role::Starting]
                .into_iter()
                .filter_map(|role| {
                    let count = engines.iter().filter(|engine| engine.face().role() == role).count();
                    match (count, engines.len()) {
                        (0, _) => None,
                        (_, 1) => Some(role.to_string()),
                        (count, _) => Some(format!("{role} for {count}")),
                    }
                })
                .collect();
            format!("{name} {}", roles.join(", "))
        };
        self.engines.applications().map(of_application).collect::<Vec<_>>().join("; ")
    }

    /// Waits until an operator asks it to stop through the admin socket.
    pub async fn asked_to_stop(&mut self) {
        if self.stop.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops in order: hands over if it can, flushes, lets go.
    pub async fn stop(self) {
        self.ground.stops.store(true, Ordering::Release);
        // All at once: one that waits in vain does not keep the others.
        let all: Vec<_> = self.engines.all().cloned().collect();
        let under_way: Vec<_> =
            all.into_iter().map(|engine| actix_rt::spawn(async move { hand_over(&engine).await })).collect();
        for handed_over in under_way {
            let _ = handed_over.await;
        }
        self.http_server.stop(true).await;
        let mut waits = Vec::new();
        for engine in self.engines.all() {
            let (done, stopped) = oneshot::channel();
            if engine.tell(Inbound::Stop { done }).is_ok() {
                waits.push(stopped);
            }
        }
        for stopped in waits {
            if tokio::time::timeout(STOP_TIME_MAX, stopped).await.is_err() {
                tracing::warn!(
                    code = "LS0111",
                    "an engine did not stop in time; what was acknowledged is durable"
                );
            }
        }
        // It may be waiting for a disk, for an engine that is not needed any more.
        self.builder.stop();
        let threads =
            std::mem::take(&mut *self.ground.arbiter_threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads.into_values() {
            thread.stop();
            let _ = thread.join();
        }
        drop(self.admin);
        // A stale socket is replaced at the next start.
        let _ = std::fs::remove_file(&self.admin_path);
        tracing::info!(node = %self.node, "stopped");
    }
}

/// Makes the partner active, if this side is and the partner can be.
async fn hand_over(engine: &EngineHandle) {
    if engine.face().role() != Role::Active || engine.face().in_sync() < 2 {
        return;
    }
    match tokio::time::timeout(HAND_OVER_TIME_MAX, engine.command(Command::SwitchOver)).await {
        Ok(Ok(Ok(_))) => tracing::info!(application = &*engine.label, "handed over to the partner"),
        Ok(Ok(Err(error))) => tracing::info!(application = &*engine.label, %error, "not handed over"),
        _ => tracing::warn!(application = &*engine.label, "the partner did not take over in time"),
    }
}

/// The groups of a configuration: each application's partitions, in order (R1).
fn groups(config: &NodeConfig) -> Result<Vec<(&ApplicationConfig, u16)>, StartError> {
    for application in &config.applications {
        let directory = config.data.join(&application.name);
        match partitions_file::agree(&directory, application.partitions) {
            Ok(()) => {}
            Err(Disagreement::Unusable(error)) => return Err(cannot_write(&directory, &error)),
            Err(Disagreement::Other(found)) => {
                let message = format!(
                    "the data of `{}` are for `partitions: {found}`, and the configuration says {}",
                    application.name, application.partitions
                );
                let help =
                    "write the number that the data were made for: keys can't move to other partitions";
                return Err(StartError::new("LS0121", message, help));
            }
        }
    }
    let all = config.applications.iter();
    Ok(all.flat_map(|each| (0..each.partitions).map(move |partition| (each, partition))).collect())
}

/// Sets up the process: core dumps off, as they delay the word of a death; huge pages for the heap, which is then
/// given back sooner; as many files as the system allows.
///
/// # Errors
/// When the operating system refuses.
pub fn prepare_process() -> std::io::Result<()> {
    lockstep_os::heap::set_up();
    lockstep_os::core_dumps_off()?;
    lockstep_os::raise_open_files_limit().map(|_| ())
}

pub(crate) fn cannot_write(path: &Path, error: &dyn std::fmt::Display) -> StartError {
    let message = format!("{} can't be used: {error}", path.display());
    StartError::new("LS0108", message, "see that it can be written by this user and its disk has room")
}

fn take_directory(data: &Path) -> Result<DirectoryLock, StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .and_then(|()| std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700)))
        .map_err(|error| cannot_write(data, &error))?;
    DirectoryLock::take(data).map_err(|error| {
        StartError::of_text(&error.to_string(), "LS0108", "one processor uses one data directory")
    })
}

fn listen(field: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        let message = format!("`{field}`: {address} can't be listened on: {error}");
        StartError::new(
            "LS0102",
            message,
            "stop what uses the address, or choose another one; port 0 takes a free one",
        )
    })
}

fn into_tokio(listener: TcpListener) -> Result<tokio::net::TcpListener, StartError> {
    tokio::net::TcpListener::from_std(listener)
        .map_err(|error| StartError::new("LS0109", error.to_string(), "start it again"))
}

/// Takes clients of the binary event protocol and hands them to the engine of their group.
async fn accept_clients(listener: tokio::net::TcpListener, engines: Engines) {
    let engines: Arc<[EngineHandle]> = engines.all().cloned().collect();
    let places = Arc::new(tokio::sync::Semaphore::new(256));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: not at once again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if let [engine] = &*engines {
            hand_client(stream, Vec::new(), engine);
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let engines = engines.clone();
        actix_rt::spawn(async move {
            let found = tokio::time::timeout(HELLO_TIME_MAX, choose(stream, &engines)).await;
            if let Ok(Some((stream, said, engine))) = found {
                hand_client(stream, said, engine);
            }
            drop(place);
        });
    }
}

fn hand_client(stream: tokio::net::TcpStream, said: Vec<u8>, engine: &EngineHandle) {
    match stream.into_std() {
        Ok(stream) => {
            if engine.tell(Inbound::Client { stream, said }).is_err() {
                tracing::warn!(code = "LS0306", "the engine is busy; a client's connection is closed");
            }
        }
        Err(error) => tracing::debug!(%error, "a client's connection can't be handed over"),
    }
}

/// Reads a client's hello to find its group; the engine reads it again. Without a match the first engine, of the
/// application if it is here, says no in the words of the protocol.
async fn choose(
    mut stream: tokio::net::TcpStream,
    engines: &[EngineHandle],
) -> Option<(tokio::net::TcpStream, Vec<u8>, &EngineHandle)> {
    use lockstep_wire::events::ClientMessage;
    use lockstep_wire::frame;
    use tokio::io::AsyncReadExt;
    let mut said = vec![0; frame::HEADER_BYTES];
    stream.read_exact(&mut said).await.ok()?;
    let length = u32::from_le_bytes([said[0], said[1], said[2], said[3]]) as usize;
    let mut wanted = None;
    if length <= 1_024 {
        said.resize(frame::HEADER_BYTES + length, 0);
        stream.read_exact(&mut said[frame::HEADER_BYTES..]).await.ok()?;
        if let Ok(Some((payload, _))) = frame::split(&said, 1_024)
            && let Ok(ClientMessage::Hello { application, partition, .. }) = frame::decode(payload)
        {
            let mut of_application = engines.iter().filter(|engine| *engine.application == *application);
            wanted =
                of_application.clone().find(|engine| engine.partition == partition).or(of_application.next());
        }
    }
    let engine = wanted.or_else(|| engines.first())?;
    Some((stream, said, engine))
}
