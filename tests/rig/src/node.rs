//! One processor: its configuration file, its process, its operators' commands.
//!
//! Its addresses are chosen by the operating system at the first start and kept for every later one, as clients and
//! partner expect of a processor that comes back.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::Failure;
use crate::artifacts::Artifacts;
use crate::child::{self, Process};
use crate::interrupt;

/// How long a processor may take until it is ready: an unoptimised one, on a busy machine.
const READY_TIME_MAX: Duration = Duration::from_secs(30);

/// What goes into the configuration beside names and places.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The partner's link; found through the arbiter's directory when not given.
    pub peer: Option<String>,
    /// `fsync` or `replicated`; the default when not given.
    pub durability: Option<String>,
    /// How many partitions the ledger has; one when not given.
    pub partitions: Option<u16>,
    /// Further applications beside the ledger: name and plugin file.
    pub beside: Vec<(String, PathBuf)>,
    /// Further fields, as RON.
    pub more: String,
    /// Further variables of the process's environment.
    pub environment: Vec<(String, PathBuf)>,
}

/// What a processor prints when it is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    /// The processor.
    pub node: String,
    /// Where it listens for HTTP.
    pub http: String,
    /// Where it listens for the binary event protocol.
    pub events: String,
    /// Where it listens for its partner.
    pub link: String,
    /// The operators' socket.
    pub admin: PathBuf,
    /// Its process.
    pub pid: u32,
}

/// One processor.
#[derive(Debug)]
pub struct Node {
    name: String,
    directory: PathBuf,
    arbiter: PathBuf,
    plugin: PathBuf,
    settings: Settings,
    ready: Option<Ready>,
    process: Option<Process>,
    starts: u32,
    /// How often it was killed or ended on purpose.
    ends: u32,
}

impl Node {
    /// A processor called `name` with its files in `directory`; not started.
    #[must_use]
    pub fn new(
        name: &str,
        directory: PathBuf,
        arbiter: PathBuf,
        plugin: PathBuf,
        settings: Settings,
    ) -> Self {
        Node {
            name: name.to_owned(),
            directory,
            arbiter,
            plugin,
            settings,
            ready: None,
            process: None,
            starts: 0,
            ends: 0,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join(format!("{}.ron", self.name))
    }

    /// Where its standard error goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    /// How it is set up at its next start.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// What it printed when it was last ready.
    ///
    /// # Panics
    /// When it was never started.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        self.ready.as_ref().expect("a processor's addresses are known once it has been started")
    }

    /// How often it was started.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// How often it ended without having been killed or ended on purpose.
    pub fn unplanned_ends(&mut self) -> u64 {
        let running = u32::from(self.runs());
        u64::from(self.starts.saturating_sub(running).saturating_sub(self.ends))
    }

    /// Its process, while there is one.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Whether its process runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// The configuration, as it is written.
    #[must_use]
    pub fn configuration(&self) -> String {
        let any = || "127.0.0.1:0".to_owned();
        let (http, events, link) = match &self.ready {
            Some(ready) => (ready.http.clone(), ready.events.clone(), ready.link.clone()),
            None => (any(), any(), any()),
        };
        let peer =
            self.settings.peer.as_ref().map(|peer| format!("    peer: {peer:?},\n")).unwrap_or_default();
        let durability = self.settings.durability.as_ref();
        let durability =
            durability.map(|setting| format!("    durability: {setting},\n")).unwrap_or_default();
        let partitions = self.settings.partitions.map(|number| format!(", partitions: {number}"));
        let partitions = partitions.unwrap_or_default();
        let beside = self.settings.beside.iter();
        let beside: String =
            beside.map(|(name, plugin)| format!(", (name: {name:?}, plugin: {plugin:?})")).collect();
        format!(
            "(\n    node: {:?},\n    data: {:?},\n    listen: (http: {http:?}, events: {events:?}, link: {link:?}),\n\
             {peer}    arbiter: Local({:?}),\n{durability}{}    applications: [(name: \"ledger\", plugin: {:?}{partitions}){beside}],\n)\n",
            self.name,
            self.data(),
            self.arbiter,
            self.settings.more,
            self.plugin,
        )
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join(format!("data-{}", self.name))
    }

    /// Starts it, without waiting until it is ready.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn launch(&mut self, artifacts: &Artifacts) -> Result<Launched, Failure> {
        std::fs::create_dir_all(&self.directory)?;
        std::fs::write(self.config(), self.configuration())?;
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let mut command = child::guarded(artifacts.rig(), artifacts.lockstepd());
        command.arg("--config").arg(self.config()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        command.envs(self.settings.environment.iter().map(|(name, value)| (name, value)));
        let mut process = Process::spawn(format!("processor {}", self.name), &mut command)?;
        let (sender, lines) = mpsc::channel();
        let stdout = process.child().stdout.take();
        std::thread::spawn(move || {
            // Read to the end, so that the processor never writes to a closed pipe.
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
                let Ok(line) = line else { break };
                let _ = sender.send(line);
            }
        });
        self.process = Some(process);
        self.starts += 1;
        Ok(Launched { lines, since: Instant::now() })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends before, or does not say so in time: with what it wrote.
    pub fn wait_ready(&mut self, launched: &Launched) -> Result<(), Failure> {
        loop {
            interrupt::check()?;
            match launched.lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => {
                    let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
                    if value["ready"] == true {
                        self.ready = Some(serde_json::from_value(value)?);
                        return Ok(());
                    }
                }
                Err(error) => {
                    let ended = self.process.as_mut().and_then(Process::ended);
                    if let Some(status) = ended.filter(|_| error == mpsc::RecvTimeoutError::Disconnected) {
                        let end = child::in_words(status);
                        return Err(self.failure(&format!("ended with {end} before it was ready")));
                    }
                    if launched.since.elapsed() > READY_TIME_MAX {
                        return Err(self.failure(&format!("was not ready in {READY_TIME_MAX:?}")));
                    }
                }
            }
        }
    }

    fn failure(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        Failure::new(format!("processor {} {what}; the end of its log:\n{last}", self.name))
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(&mut self, artifacts: &Artifacts) -> Result<(), Failure> {
        let launched = self.launch(artifacts)?;
        self.wait_ready(&launched)
    }

    /// `SIGKILL`, without waiting for the end.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill_and_go_on();
            self.ends += 1;
        }
    }

    /// `SIGTERM`, and waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let Some(process) = &mut self.process else { return Ok(None) };
        process.ask_to_end();
        self.ends += 1;
        let status = process.wait(Duration::from_secs(20))?;
        self.process = None;
        Ok(Some(status))
    }

    /// Waits for an end that was brought about otherwise, as by a failpoint, and takes it for one on purpose.
    ///
    /// # Errors
    /// When it lives on.
    pub fn wait_end(&mut self) -> Result<ExitStatus, Failure> {
        let process = self.process.as_mut().ok_or_else(|| Failure::new("there is no process"))?;
        let status = process.wait(Duration::from_secs(20))?;
        self.process = None;
        self.ends += 1;
        Ok(status)
    }

    /// Waits until its process is gone, as after [`Self::kill`].
    ///
    /// # Errors
    /// When it lives on.
    pub fn wait_gone(&mut self) -> Result<(), Failure> {
        if let Some(process) = &mut self.process {
            process.wait(Duration::from_secs(20))?;
            self.process = None;
        }
        Ok(())
    }

    /// Runs `lockstep --config … ARGUMENTS --output json --yes` and returns what it prints.
    ///
    /// # Errors
    /// When it exits with anything but 0: with what it says.
    pub fn lockstep_lines(&self, artifacts: &Artifacts, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = child::guarded(artifacts.rig(), artifacts.lockstep());
        command.arg("--config").arg(self.config()).args(arguments).args(["--output", "json", "--yes"]);
        let output = child::output(&mut command)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            let (said, error) = (said.trim(), error.trim());
            return Err(Failure::new(format!("`lockstep {}`: {error} {said}", arguments.join(" "))));
        }
        Ok(said)
    }

    /// As [`Self::lockstep_lines`], where one JSON object is printed.
    ///
    /// # Errors
    /// As there, or when it prints anything else.
    pub fn lockstep(&self, artifacts: &Artifacts, arguments: &[&str]) -> Result<Value, Failure> {
        let said = self.lockstep_lines(artifacts, arguments)?;
        if said.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(said.trim()).map_err(|error| {
            Failure::new(format!(
                "`lockstep {}` prints no JSON ({error}): {}",
                arguments.join(" "),
                said.trim()
            ))
        })
    }

    /// The plugin file that the configuration names.
    #[must_use]
    pub fn plugin(&self) -> &Path {
        &self.plugin
    }

    /// What is mapped into its process: the lines of `/proc/PID/maps`.
    ///
    /// # Errors
    /// When there is no process.
    pub fn maps(&self) -> Result<Vec<String>, Failure> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.ready().pid))?;
        Ok(maps.lines().map(str::to_owned).collect())
    }
}

impl Node {
    /// The plugins that are mapped into its process, by the kernel's word: the loader runs them from sealed copies in
    /// memory, which are named after the file's hash.
    ///
    /// # Errors
    /// When there is no process.
    pub fn mapped_plugins(&self) -> Result<Vec<String>, Failure> {
        Ok(plugins_in(&self.maps()?))
    }
}

/// The plugins among the kernel's mappings of a process.
#[must_use]
pub fn plugins_in(maps: &[String]) -> Vec<String> {
    let objects = maps.iter().filter_map(|line| line.split_whitespace().nth(5));
    let mut plugins: Vec<_> =
        objects.filter(|object| object.contains("lockstep-plugin-")).map(str::to_owned).collect();
    plugins.sort_unstable();
    plugins.dedup();
    plugins
}

/// A processor on its way up.
#[derive(Debug)]
pub struct Launched {
    lines: mpsc::Receiver<String>,
    since: Instant,
}
