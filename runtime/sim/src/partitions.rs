//! Several partitions of one application on the same two processors (R1): a world for each, and between them what
//! partition 0's group says to the others, and the messages of all of them.
//!
//! A processor is one process: it dies and starts in all worlds at once. Each world keeps its own network, arbiter's record
//! and disks, so groups may be active on different processors.
//! Deliberately absent: chances that the worlds share; each has a series of its own.

use std::collections::BTreeMap;

use lockstep_core::command::{Command, CommandResult};
use lockstep_core::event::Request;
use lockstep_core::ids::{Micros, Origin};
use lockstep_core::input::Input;
use lockstep_core::partition::partition_of;

use crate::ledger::Edition;
use crate::world::{Settings, World};

/// How far the worlds go before words are carried between them.
const SLICE: Micros = Micros::from_ms(1);

/// A client's request with a key of the partition that it asks; as it is where there is only one.
#[must_use]
pub fn with_key(request: Request, (partition, partitions): (u16, u16)) -> Request {
    match request {
        Request::Submit(event) if partitions > 1 => {
            let belongs = |key: &String| partition_of(key.as_bytes(), partitions) == partition;
            let key =
                (0_u32..).map(|n| n.to_string()).find(belongs).expect("keys spread over all partitions");
            Request::SubmitByKey { key, event }
        }
        request => request,
    }
}

/// The worlds of an application's partitions.
pub struct Partitions {
    /// By partition.
    pub worlds: Vec<World>,
    words: u64,
    /// Words under way: from which processor, to which partition.
    under_way: BTreeMap<Origin, (usize, u16)>,
}

impl Partitions {
    /// So many partitions, each in sync with processor a active.
    #[must_use]
    pub fn pairs(seed: u64, edition: Edition, partitions: u16, settings: &Settings) -> Self {
        let of = |partition| {
            let settings = Settings { partition: (partition, partitions), ..settings.clone() };
            World::pair(seed << 8 | u64::from(partition), edition, settings)
        };
        let mut worlds: Vec<World> = (0..partitions).map(of).collect();
        let latest = worlds.iter().map(|world| world.now).max().expect("there is a partition");
        worlds.iter_mut().for_each(|world| world.run_for(latest.since(world.now)));
        Partitions { worlds, words: 0, under_way: BTreeMap::new() }
    }

    /// Runs until `done`, or for two minutes of the worlds' time.
    ///
    /// # Panics
    /// When it is not done by then.
    pub fn run_until(&mut self, done: impl Fn(&[World]) -> bool) {
        let end = self.worlds[0].now.plus(Micros::from_ms(120_000));
        while !done(&self.worlds) {
            let stand = || self.worlds.iter().map(World::describe).collect::<Vec<_>>().join("\n");
            assert!(self.worlds[0].now < end, "nothing came of it in two minutes:\n{}", stand());
            self.slice();
        }
    }

    /// Runs for a length of time.
    pub fn run_for(&mut self, length: Micros) {
        let end = self.worlds[0].now.plus(length);
        while self.worlds[0].now < end {
            self.slice();
        }
    }

    fn slice(&mut self) {
        self.worlds.iter_mut().for_each(|world| world.run_for(SLICE));
        for from in 0..self.worlds.len() {
            let sender = self.worlds[from].group_name();
            for (to, what) in self.worlds[from].take_outward() {
                if let Some(receiver) = self.worlds.get_mut(usize::from(to.partition)) {
                    receiver.hear(sender.clone(), &what);
                }
            }
        }
        let words = std::mem::take(&mut self.worlds[0].words_out);
        for (node, partition, word) in words {
            let world = &mut self.worlds[usize::from(partition)];
            if world.role(node).is_none() {
                continue;
            }
            self.words += 1;
            let origin = Origin(self.words);
            self.under_way.insert(origin, (node, partition));
            world.input(node, Input::Command { origin, command: Command::FollowCampaign(word) });
        }
        for at in 1..self.worlds.len() {
            for (origin, result) in std::mem::take(&mut self.worlds[at].words_answered) {
                // Of a process that has died meanwhile, nothing is under way.
                let Some((node, partition)) = self.under_way.remove(&origin) else { continue };
                self.worlds[0].input_after(node, Micros(50), Input::SiblingTold { partition, result });
            }
        }
    }

    /// Tells the group of `partition` on `node` what to do, and runs until that is answered.
    ///
    /// # Panics
    /// When it never is.
    pub fn carried_out(&mut self, partition: usize, node: usize, command: Command) -> CommandResult {
        let before = self.worlds[partition].results.len();
        self.worlds[partition].command(node, command);
        self.run_until(|worlds| worlds[partition].results.len() > before);
        self.worlds[partition].last_result().clone()
    }

    /// Kills a processor, with all its groups.
    pub fn kill(&mut self, node: usize) {
        self.under_way.retain(|_, (asker, _)| *asker != node);
        for world in &mut self.worlds {
            if world.role(node).is_some() {
                world.kill(node, false);
            }
        }
    }

    /// Starts it again.
    pub fn start(&mut self, node: usize) {
        self.worlds.iter_mut().for_each(|world| world.start(node));
    }
}
