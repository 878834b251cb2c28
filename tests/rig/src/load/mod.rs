//! The load: another process that sends transfers over the network all the way through, and the owner's handle on it.

pub mod figures;
pub mod process;
pub mod record;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lockstep_core::partition::partition_of;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::child::{self, Process};
use figures::{Glance, PhaseFigures};
use record::LoadRecord;

/// How many failures of a load are told, of thousands perhaps.
const FAILURES_SHOWN: usize = 3;

/// The argument by which the program `rig` becomes a load process.
pub const LOAD: &str = "__load";

/// How fast a load sends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pace {
    /// This many requests a second over all clients, whatever the answers do.
    Open {
        /// The rate.
        rate_per_s: f64,
    },
    /// This many requests of each client under way at a time.
    Closed {
        /// Requests a client.
        in_flight: usize,
    },
}

/// What a load does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadSettings {
    /// Where the two processors listen for events.
    pub addresses: Vec<String>,
    /// The partition that it sends to.
    pub partition: u16,
    /// The partition key of all its events; empty where there is one partition.
    pub partition_key: String,
    /// How many clients; each has a connection to each processor and a session.
    pub clients: usize,
    /// How fast.
    pub pace: Pace,
    /// The number of its first account.
    pub first_account: u32,
    /// How many accounts it opens before it begins.
    pub accounts: u32,
    /// What each of them begins with.
    pub cents_each: u64,
    /// The most that a transfer moves.
    pub cents_max: u64,
    /// One transfer in so many asks for more than anybody has, and is refused.
    pub overdraw_every: Option<u64>,
    /// How long a request is tried.
    pub deadline_ms: u64,
    /// After this many transfers no further one is begun.
    pub transfers_max: Option<u64>,
    /// Its record.
    pub record: PathBuf,
}

impl LoadSettings {
    /// These settings for a partition of several: all events have one key of that partition.
    #[must_use]
    pub fn in_partition(self, partition: u16, partitions: u16) -> Self {
        let key = (0_u32..).map(|n| format!("load-{n}"));
        let belongs = |key: &String| partition_of(key.as_bytes(), partitions) == partition;
        let partition_key = key.into_iter().find(belongs).expect("keys spread over all partitions");
        LoadSettings { partition, partition_key, ..self }
    }

    /// Eight clients, enough accounts for a bounded journal to hold every transfer of some minutes.
    #[must_use]
    pub fn new(addresses: Vec<String>, pace: Pace, record: PathBuf) -> Self {
        LoadSettings {
            addresses,
            partition: 0,
            partition_key: String::new(),
            clients: 8,
            pace,
            first_account: 0,
            accounts: 4_000,
            cents_each: 1_000_000,
            cents_max: 100,
            overdraw_every: Some(100),
            deadline_ms: 5_000,
            transfers_max: None,
            record,
        }
    }
}

/// From the owner to the load, a line of JSON each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The phase under way ends, this one begins.
    Phase {
        /// Its name.
        name: String,
    },
    /// Say how many requests are under way.
    CountUnderWay,
    /// Begin no further request, wait for the answers, end.
    Stop,
}

/// From the load to its owner, a line of JSON each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Word {
    /// All accounts are open; transfers begin.
    Opened {
        /// How many.
        accounts: u32,
    },
    /// How it goes.
    Glance(Glance),
    /// A phase has ended.
    Phase(PhaseFigures),
    /// So many are under way.
    UnderWay {
        /// Requests without an answer.
        events: u64,
    },
    /// All is answered; the last word.
    Done(Done),
}

/// A connection that a processor dropped, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Where to.
    pub address: String,
    /// What the connection said.
    pub reason: String,
}

/// What a load has to say at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Requests sent again under their id.
    pub retries: u64,
    /// Connections made again.
    pub reconnects: u64,
    /// Connections dropped.
    pub dropped: Vec<Dropped>,
    /// What else went wrong, in words.
    pub failures: Vec<String>,
}

/// The owner's handle on a load process.
#[derive(Debug)]
pub struct Load {
    process: Process,
    words: mpsc::Receiver<Word>,
    settings: LoadSettings,
    phases: Vec<PhaseFigures>,
    glance: Glance,
    done: Option<Done>,
}

impl Load {
    /// Starts it, as the program `rig`, and waits until its accounts are open and transfers go out.
    ///
    /// # Errors
    /// When it can't be started or its accounts can't be opened.
    pub fn start(rig: &Path, settings: LoadSettings) -> Result<Self, Failure> {
        let mut command = child::guarded(rig, rig);
        command.arg(LOAD).arg(serde_json::to_string(&settings)?);
        let mut process = Process::spawn(
            "the load",
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()),
        )?;
        let (sender, words) = mpsc::channel();
        let stdout = process.child().stdout.take();
        std::thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
                let word = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                if word.is_none_or(|word| sender.send(word).is_err()) {
                    break;
                }
            }
        });
        let mut load =
            Load { process, words, settings, phases: Vec::new(), glance: Glance::default(), done: None };
        let opened =
            load.listen_until(Duration::from_secs(60), |word| matches!(word, Word::Opened { .. }))?;
        debug_assert!(matches!(opened, Word::Opened { .. }));
        Ok(load)
    }

    /// Takes the load's words until one fits.
    fn listen_until(&mut self, patience: Duration, fits: impl Fn(&Word) -> bool) -> Result<Word, Failure> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let word = self.words.recv_timeout(left).map_err(|error| match error {
                mpsc::RecvTimeoutError::Timeout => {
                    Failure::new(format!("the load said nothing for {patience:?}"))
                }
                mpsc::RecvTimeoutError::Disconnected => Failure::new("the load process has ended"),
            })?;
            self.take(&word);
            if fits(&word) {
                return Ok(word);
            }
            if let Some(done) = &self.done {
                let (all, shown) = (done.failures.len(), done.failures.len().min(FAILURES_SHOWN));
                let first = done.failures[..shown].join("; ");
                return Err(Failure::new(format!("the load has ended with {all} failures: {first}")));
            }
        }
    }

    fn take(&mut self, word: &Word) {
        match word {
            Word::Glance(glance) => self.glance = glance.clone(),
            Word::Phase(figures) => self.phases.push(figures.clone()),
            Word::Done(done) => self.done = Some(done.clone()),
            Word::Opened { .. } | Word::UnderWay { .. } => {}
        }
    }

    fn order(&mut self, order: &Order) -> Result<(), Failure> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        let stdin =
            self.process.child().stdin.as_mut().ok_or_else(|| Failure::new("the load was stopped"))?;
        stdin
            .write_all(line.as_bytes())
            .map_err(|error| Failure::new(format!("the load does not listen: {error}")))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How it goes, as far as it has said.
    pub fn glance(&mut self) -> &Glance {
        while let Ok(word) = self.words.try_recv() {
            self.take(&word);
        }
        &self.glance
    }

    /// Waits until so many requests of this phase are answered.
    ///
    /// # Errors
    /// When they are not for a minute.
    pub fn wait_answers(&mut self, events: u64) -> Result<(), Failure> {
        let fits = |word: &Word| matches!(word, Word::Glance(glance) if glance.events >= events);
        self.listen_until(Duration::from_secs(60), fits).map(drop)
    }

    /// Ends the phase under way, begins one called `name`; the figures of the one that ended.
    ///
    /// # Errors
    /// When the load does not answer.
    pub fn phase(&mut self, name: &str) -> Result<PhaseFigures, Failure> {
        self.order(&Order::Phase { name: name.to_owned() })?;
        let word = self.listen_until(Duration::from_secs(10), |word| matches!(word, Word::Phase(_)))?;
        let Word::Phase(figures) = word else { return Err(Failure::new("not a phase")) };
        Ok(figures)
    }

    /// How many requests are under way now.
    ///
    /// # Errors
    /// When the load does not answer.
    pub fn under_way(&mut self) -> Result<u64, Failure> {
        self.order(&Order::CountUnderWay)?;
        let word =
            self.listen_until(Duration::from_secs(10), |word| matches!(word, Word::UnderWay { .. }))?;
        let Word::UnderWay { events } = word else { return Err(Failure::new("not a count")) };
        Ok(events)
    }

    /// Stops it, waits for all answers; what it has to say, the figures of all phases, and its record.
    ///
    /// # Errors
    /// When it does not end, or its record can't be read.
    pub fn stop(mut self) -> Result<Stopped, Failure> {
        self.order(&Order::Stop)?;
        let patience = Duration::from_millis(self.settings.deadline_ms) + Duration::from_secs(10);
        self.listen_until(patience, |word| matches!(word, Word::Done(_)))?;
        drop(self.process.child().stdin.take());
        self.process.wait(Duration::from_secs(10))?;
        Ok(Stopped {
            done: self.done.take().unwrap_or_default(),
            phases: std::mem::take(&mut self.phases),
            record: LoadRecord::read(&self.settings.record)?,
        })
    }
}

/// A load that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Stopped {
    /// Its last word.
    pub done: Done,
    /// The figures of its phases, the opening of the accounts first.
    pub phases: Vec<PhaseFigures>,
    /// Its record.
    pub record: LoadRecord,
}
