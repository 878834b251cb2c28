//! Two processors, their directory, and what one waits for with them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockstep_core::command::{GroupStatus, Role};

use crate::Failure;
use crate::admin;
use crate::artifacts::Artifacts;
use crate::interrupt;
use crate::node::{Node, Settings};

/// A pair of processors.
#[derive(Debug)]
pub struct Pair {
    artifacts: Artifacts,
    directory: PathBuf,
    nodes: [Node; 2],
}

impl Pair {
    /// Starts processors a and b with `plugin` and waits until they are in lock step.
    ///
    /// # Errors
    /// When one does not start, or they do not find each other.
    pub fn start(artifacts: &Artifacts, directory: &Path, plugin: &Path) -> Result<Self, Failure> {
        Self::start_with(artifacts, directory, plugin, [Settings::default(), Settings::default()])
    }

    /// As [`Self::start`], with further settings of a and b.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        artifacts: &Artifacts,
        directory: &Path,
        plugin: &Path,
        settings: [Settings; 2],
    ) -> Result<Self, Failure> {
        let pair = Self::launch(artifacts, directory, plugin, settings)?;
        pair.wait_in_lock_step(Duration::from_secs(30))?;
        Ok(pair)
    }

    /// As [`Self::start_with`], without waiting until they are in lock step.
    ///
    /// # Errors
    /// When one does not start.
    pub fn launch(
        artifacts: &Artifacts,
        directory: &Path,
        plugin: &Path,
        settings: [Settings; 2],
    ) -> Result<Self, Failure> {
        let arbiter = directory.join("arbiter");
        let [of_a, of_b] = settings;
        let node = |name: &str, settings| {
            Node::new(name, directory.to_owned(), arbiter.clone(), plugin.to_owned(), settings)
        };
        let mut pair = Pair {
            artifacts: artifacts.clone(),
            directory: directory.to_owned(),
            nodes: [node("a", of_a), node("b", of_b)],
        };
        pair.launch_both()?;
        Ok(pair)
    }

    fn launch_both(&mut self) -> Result<(), Failure> {
        let artifacts = self.artifacts.clone();
        let launched_a = self.nodes[0].launch(&artifacts)?;
        let launched_b = self.nodes[1].launch(&artifacts)?;
        self.nodes[0].wait_ready(&launched_a)?;
        self.nodes[1].wait_ready(&launched_b)
    }

    /// Starts both again, after [`Self::end`], and waits until they are in lock step.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.launch_both()?;
        self.wait_in_lock_step(Duration::from_secs(30))?;
        Ok(())
    }

    /// The programs that it runs.
    #[must_use]
    pub fn artifacts(&self) -> &Artifacts {
        &self.artifacts
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Processor a (0) or b (1).
    #[must_use]
    pub fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// Processor a (0) or b (1).
    pub fn node_mut(&mut self, at: usize) -> &mut Node {
        &mut self.nodes[at]
    }

    /// Where clients connect.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.ready().events.clone()).collect()
    }

    /// Starts the processor at `at` again and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn restart(&mut self, at: usize) -> Result<(), Failure> {
        self.nodes[at].wait_gone()?;
        let artifacts = self.artifacts.clone();
        self.nodes[at].start(&artifacts)
    }

    /// The status of the group as the processor at `at` sees it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn group(&self, at: usize) -> Result<GroupStatus, Failure> {
        admin::group(&self.nodes[at].ready().admin)
    }

    /// The processor that says of itself that it is active, by its place.
    ///
    /// # Errors
    /// When none does.
    pub fn active(&self) -> Result<usize, Failure> {
        let groups = (0..2).filter_map(|at| Some((at, self.group(at).ok()?)));
        let active = groups.filter(|(_, group)| admin::own_role(group) == Some(Role::Active));
        active
            .max_by_key(|(_, group)| group.term)
            .map(|(at, _)| at)
            .ok_or_else(|| Failure::new("no processor is active"))
    }

    /// Waits until `holds` of the group as the active sees it.
    ///
    /// # Errors
    /// When it does not in `patience`, or `holds` fails: with the last status.
    pub fn wait_until(
        &self,
        what: &str,
        patience: Duration,
        holds: impl FnMut(&GroupStatus) -> Result<bool, Failure>,
    ) -> Result<GroupStatus, Failure> {
        let of_active = || self.active().and_then(|active| self.group(active));
        wait(what, patience, Duration::from_millis(10), of_active, holds)
    }

    /// Waits until `holds` of the group as the processor at `at` sees it, which is asked every so often.
    ///
    /// # Errors
    /// When it does not in `patience`: with the last status.
    pub fn wait_at(
        &self,
        at: usize,
        what: &str,
        patience: Duration,
        every: Duration,
        mut holds: impl FnMut(&GroupStatus) -> bool,
    ) -> Result<GroupStatus, Failure> {
        wait(what, patience, every, || self.group(at), |group| Ok(holds(group)))
    }

    /// Waits until both processors are in lock step.
    ///
    /// # Errors
    /// When they are not in `patience`.
    pub fn wait_in_lock_step(&self, patience: Duration) -> Result<GroupStatus, Failure> {
        self.wait_until("the pair in lock step", patience, |group| Ok(admin::in_lock_step(group)))
    }

    /// Waits until the standby holds all that the active has run: nothing is on its way, and no row is migrated.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_quiet(&self, patience: Duration) -> Result<GroupStatus, Failure> {
        self.wait_until("the pair at rest", patience, |group| {
            let last = group.members.iter().map(|member| member.last).max();
            let same = group.members.iter().all(|member| Some(member.last) == last);
            Ok(admin::in_lock_step(group) && same && group.migration.is_none())
        })
    }

    /// How often a processor was started again, or is gone, without having been killed or ended on purpose.
    pub fn unplanned_ends(&mut self) -> u64 {
        self.nodes.iter_mut().map(Node::unplanned_ends).sum()
    }

    /// Ends both processors in order, the standby first.
    ///
    /// # Errors
    /// When one does not end well.
    pub fn end(&mut self) -> Result<(), Failure> {
        let active = self.active().unwrap_or(0);
        for at in [1 - active, active] {
            if let Some(status) = self.nodes[at].end()?.filter(|status| !status.success()) {
                let (name, end) = (self.nodes[at].name(), crate::child::in_words(status));
                return Err(Failure::new(format!("processor {name} ended with {end} when asked to end")));
            }
        }
        Ok(())
    }
}

/// Looks every so often until `holds` of what is seen.
fn wait(
    what: &str,
    patience: Duration,
    every: Duration,
    see: impl Fn() -> Result<GroupStatus, Failure>,
    mut holds: impl FnMut(&GroupStatus) -> Result<bool, Failure>,
) -> Result<GroupStatus, Failure> {
    let until = Instant::now() + patience;
    loop {
        interrupt::check()?;
        let seen = see();
        if let Ok(group) = &seen
            && holds(group)?
        {
            return Ok(group.clone());
        }
        if Instant::now() > until {
            let seen = match seen {
                Ok(group) => serde_json::to_string(&group)?,
                Err(failure) => failure.to_string(),
            };
            return Err(Failure::new(format!("{what}: not in {patience:?}; last seen: {seen}")));
        }
        std::thread::sleep(every);
    }
}
