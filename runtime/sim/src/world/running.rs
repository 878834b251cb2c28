//! The clock: takes what is due, one happening after another, and hands it to the processors in batches.

use lockstep_core::event::Request;
use lockstep_core::ids::{Epoch, Micros, Origin};
use lockstep_core::input::Input;
use lockstep_core::record::{Record, SwapOutcome};

use super::disorder::Line;
use super::{Happening, World, deaths, name};
use crate::clients::SimClient;

impl World {
    /// Runs until `done`, or for a minute of the world's time.
    ///
    /// # Panics
    /// When it is not done by then: something that should live does not.
    pub fn run_until(&mut self, done: impl Fn(&World) -> bool) {
        let end = self.now.plus(Micros::from_ms(60_000));
        while !done(self) {
            assert!(self.now < end, "nothing came of it in a minute: {}", self.describe());
            self.run_one();
        }
    }

    /// Runs for a length of time.
    pub fn run_for(&mut self, length: Micros) {
        let end = self.now.plus(length);
        while self.queue.keys().next().is_some_and(|(at, _)| *at <= end) {
            self.run_one();
        }
        self.now = end;
    }

    /// A line about how things stand.
    #[must_use]
    pub fn describe(&self) -> String {
        let side = |node: usize| match &self.nodes[node].process {
            Some(process) => format!(
                "{} {:?} term {} last {} held {} campaign {:?}",
                name(node),
                process.group.role(),
                process.group.term(),
                process.group.state().meta.last,
                process.group.held(),
                process.group.state().meta.campaign.as_ref().map(|c| (c.step, c.reason.clone())),
            ),
            None => format!("{} is dead", name(node)),
        };
        let under_way: usize = self.clients.iter().map(SimClient::under_way).sum();
        format!(
            "{}; {}; record {:?}; link {:?}; {under_way} under way",
            side(0),
            side(1),
            self.record,
            self.link
        )
    }

    fn run_one(&mut self) {
        let ((at, _), happening) = self.queue.pop_first().expect("clients and ticks never end");
        self.now = self.now.max(at);
        match happening {
            Happening::Input { node, incarnation, input } => {
                if let Some(until) = self.paused(node, incarnation) {
                    return self.after(until, Happening::Input { node, incarnation, input });
                }
                if self.runs(node, incarnation) {
                    let tick = matches!(input, Input::Tick);
                    self.input(node, input);
                    if tick && self.runs(node, incarnation) {
                        self.tick(node);
                    }
                }
            }
            Happening::BatchEnd { node, incarnation } => {
                if let Some(until) = self.paused(node, incarnation) {
                    return self.after(until, Happening::BatchEnd { node, incarnation });
                }
                if self.runs(node, incarnation) {
                    self.end_batch(node);
                }
            }
            Happening::Synced { node, incarnation, sync } => {
                if let Some(until) = self.paused(node, incarnation) {
                    return self.after(until, Happening::Synced { node, incarnation, sync });
                }
                if self.runs(node, incarnation)
                    && let Some((store, through)) = self.nodes[node].disk.sync_end(sync)
                {
                    self.input(node, Input::Durable { store, through });
                }
            }
            Happening::Read { node, incarnation } => {
                let record = self.record.clone();
                if self.runs(node, incarnation) {
                    let delay = self.delay_on(Line::Arbiter, node, Micros(1));
                    self.input_after(node, delay, Input::RecordRead(Ok(record)));
                }
            }
            Happening::Swap { node, incarnation, expected, next } => {
                self.swap(node, incarnation, expected, next)
            }
            Happening::LinkUp => self.link_up(),
            Happening::GivenUp { node, incarnations } => self.given_up(node, incarnations),
            Happening::Revive { node, incarnations } => self.revive(node, incarnations),
            Happening::Kill { node, incarnation } => {
                if self.runs(node, incarnation) {
                    self.kill(node, false);
                }
            }
            Happening::LinkLost { link } => {
                if self.link == Some(link) {
                    self.drop_link();
                }
            }
            Happening::Clients => {
                self.after(Micros::from_ms(2), Happening::Clients);
                for client in 0..self.clients.len() {
                    let now = self.now;
                    self.clients[client].answered = self.answered;
                    for (node, origin, request) in self.clients[client].send(now, &mut self.random) {
                        self.ask(node, origin, request);
                    }
                }
            }
        }
    }

    fn ask(&mut self, node: usize, origin: Origin, request: Request) {
        let request = crate::partitions::with_key(request, self.settings.partition);
        let delay = Micros(self.random.within(20, 200));
        let delay = self.delay_on(Line::Clients, node, delay);
        self.input_after(node, delay, Input::Request { origin, request });
    }

    fn paused(&self, node: usize, incarnation: u64) -> Option<Micros> {
        let process =
            self.nodes[node].process.as_ref().filter(|process| process.incarnation == incarnation)?;
        (process.paused_until > self.now).then(|| process.paused_until.since(self.now))
    }

    pub(super) fn runs(&self, node: usize, incarnation: u64) -> bool {
        self.nodes[node].process.as_ref().is_some_and(|process| process.incarnation == incarnation)
    }

    pub(crate) fn input_after(&mut self, node: usize, delay: Micros, input: Input) {
        if let Some(process) = &self.nodes[node].process {
            let incarnation = process.incarnation;
            self.after(delay, Happening::Input { node, incarnation, input });
        }
    }

    pub(super) fn tick(&mut self, node: usize) {
        let now = self.clock(node);
        let at = self.process(node).group.next_deadline().unwrap_or(now).since(now);
        self.input_after(node, at.max(Micros(1_000)), Input::Tick);
    }

    fn swap(&mut self, node: usize, incarnation: u64, expected: Epoch, next: Record) {
        let epoch = self.record.as_ref().map_or(Epoch(0), |record| record.epoch);
        let takes = epoch == expected;
        let unknown = self.random.percent(self.settings.unknown_swaps_percent);
        let lost_on_the_way = unknown && self.random.percent(50);
        if takes && !lost_on_the_way {
            assert!(expected.0 == 0 || next.epoch == expected.next(), "epochs grow by one (R3)");
            if let Some(record) = &self.record
                && record.active != next.active
            {
                assert!(record.is_recorded(next.active.store), "only a recorded member is promoted (R5)");
            }
            self.check_recorded(&next);
            self.tell(None, || told(&next));
            self.count_swap(&next);
            self.witness.leads(next.term, next.active.node.clone());
            self.record = Some(next.clone());
            self.note_held();
        }
        let outcome = if unknown {
            self.seen.add("unknown swap");
            SwapOutcome::Unknown("simulated".into())
        } else if takes {
            SwapOutcome::Done(next)
        } else {
            SwapOutcome::Lost(self.record.clone())
        };
        if self.runs(node, incarnation) {
            let delay = self.delay_on(Line::Arbiter, node, Micros(1));
            self.input_after(node, delay, Input::Swapped(outcome));
        }
    }

    /// What a change of the record means.
    fn count_swap(&mut self, next: &Record) {
        self.seen.add(match &self.record {
            None => "record made",
            Some(before) if before.term == next.term && before.in_sync.len() < next.in_sync.len() => "grow",
            Some(before) if before.term == next.term => {
                assert!(before.in_sync.len() > next.in_sync.len(), "a swap changes something");
                "shrink"
            }
            Some(before) if before.active == next.active => "restart alone",
            Some(_) if next.in_sync.len() == 1 => "promotion",
            Some(_) => "switchover",
        });
    }

    /// Gives an input to a processor. It ends a batch of its own, or opens one that takes further inputs for a while.
    pub(crate) fn input(&mut self, node: usize, input: Input) {
        if matches!(input, Input::Request { .. }) && self.group(node).is_throttled() {
            self.seen.add("intake slowed down");
            return self.input_after(node, Micros::from_ms(1), input);
        }
        if let Input::Request { origin, request } = &input {
            self.witness.asked(*origin, request);
        }
        let (now, batch_us_max) = (self.clock(node), self.settings.batch_us_max);
        let process = self.process(node);
        let open = process.batch.is_some();
        let incarnation = process.incarnation;
        let effects = process.batch.get_or_insert_default();
        let end = deaths::survives(|| process.group.step(now, input, effects));
        self.check_deeds(node);
        if let Err(doom) = end {
            return self.doomed(node, doom);
        }
        if batch_us_max == 0 {
            return self.end_batch(node);
        }
        if !open {
            let length = Micros(self.random.within(0, batch_us_max));
            self.after(length, Happening::BatchEnd { node, incarnation });
        }
    }

    fn end_batch(&mut self, node: usize) {
        let now = self.clock(node);
        let process = self.process(node);
        let mut effects = process.batch.take().expect("a batch is open");
        let end = deaths::survives(|| process.group.end_batch(now, &mut effects));
        self.check_deeds(node);
        if let Err(doom) = end {
            return self.doomed(node, doom);
        }
        self.carry_out(node, effects);
    }
}

fn told(record: &Record) -> String {
    let in_sync: Vec<_> = record.in_sync.iter().map(|member| member.node.to_string()).collect();
    let (epoch, term, active) = (record.epoch, record.term, &record.active.node);
    format!("record {epoch}: term {term}, active {active}, in sync {}", in_sync.join(" "))
}
