//! What stands in for the shell: inputs go to a group one a batch, and its effects are carried out on disk, link and
//! arbiter.

use std::sync::Arc;

use lockstep_core::campaign::Step;
use lockstep_core::effect::{Alarm, Effect};
use lockstep_core::group::{Group, Identity};
use lockstep_core::ids::LinkId;
use lockstep_core::input::Input;
use lockstep_core::record::{Record, SwapOutcome};

use crate::application::{Edition, Idle};
use crate::pair::{Pair, Parcel, STEP};

impl Pair {
    /// Gives an input to a side, as a batch of its own.
    pub(crate) fn input(&mut self, side: usize, input: Input) {
        let process = self.sides[side].process();
        process.clock = process.clock.plus(STEP);
        self.sides[side].read_at_once = self.left.late_reads;
        self.input_now(side, input);
    }

    fn input_now(&mut self, side: usize, input: Input) {
        let process = self.sides[side].process();
        let mut effects = Vec::new();
        process.group.step(process.clock, input, &mut effects);
        process.group.end_batch(process.clock, &mut effects);
        self.carry_out(side, effects);
    }

    pub(crate) fn carry_out(&mut self, number: usize, effects: Vec<Effect>) {
        let mut at_once = Vec::new();
        for effect in effects {
            match effect {
                Effect::Answer { origin, answer } => self.on_answer(number, origin, &answer),
                Effect::Send { link, frame } => self.send(number, link, frame),
                Effect::CloseLink { link } if self.link == Some(link) => {
                    self.link = None;
                    self.sides[number].parcels.clear();
                    self.sides[1 - number].parcels.push_back(Parcel::Down);
                    self.reached.push("a side closes the link");
                }
                Effect::Append(entries) => {
                    for entry in entries.iter() {
                        let entry = Arc::new(entry);
                        self.check_entry(&entry);
                        self.sides[number].disk().append(entry);
                    }
                    self.sides[number].unsynced = true;
                }
                Effect::CutBack { to } => {
                    self.sides[number].disk().cut_back(to);
                    self.sides[number].unsynced = true;
                    self.reached.push("a store is cut back");
                }
                Effect::CopyBegin { store, meta } => self.sides[number].disk().copy_begin(store, *meta),
                Effect::CopyRows(rows) => self.sides[number].disk().copy_rows(&rows),
                Effect::CopyEnd { sessions, keyed, meta } => {
                    let disk = self.sides[number].disk();
                    disk.copy_end(sessions, keyed, *meta);
                    let store = disk.target_id();
                    self.sides[number].copy_ended = Some(store);
                }
                Effect::CopyKept => {
                    self.sides[number].disk().copy_kept();
                    self.reached.push("a copy takes the place of a store");
                }
                Effect::CopyDropped => {
                    self.sides[number].disk().copy_dropped();
                    (self.sides[number].copy_ended, self.sides[number].unsynced) = (None, true);
                }
                // Once a step at most: a side may read until it finds what it has heard of.
                Effect::ReadRecord if std::mem::replace(&mut self.sides[number].read_at_once, true) => {
                    self.sides[number].reads = true;
                }
                Effect::ReadRecord => at_once.push(Input::RecordRead(Ok(self.record.clone()))),
                Effect::PrepareSwap { .. } => at_once.push(Input::SwapPrepared),
                Effect::Swap { expected, next } => {
                    let side = &mut self.sides[number];
                    let under_way = side.swap.is_some() || side.outcome.is_some();
                    side.swap = Some((expected, next));
                    if under_way {
                        self.fails("a swap is asked for while another is under way (R4)");
                    }
                }
                Effect::Watch { store, .. } => {
                    self.sides[number].process().watched = Some(store);
                    if !self.lives(store) {
                        at_once.push(Input::PartnerDied { store });
                    }
                }
                Effect::AskLiving { store, hellos } => {
                    at_once.push(Input::Living { store, hellos, living: self.lives(store) });
                }
                Effect::LoadPlugin { hash } => self.sides[number].loading = Some(hash),
                Effect::Alarm(alarm) => self.on_alarm(&alarm),
                Effect::Stop { reason } => self.fails(&reason),
                // Words to operators and to an application's threads, and what only events with procedures bring about.
                _ => {}
            }
        }
        at_once.into_iter().for_each(|input| self.input_now(number, input));
    }

    fn on_alarm(&mut self, alarm: &Alarm) {
        match alarm {
            Alarm::Campaign { what, .. } => {
                const STEPS: [(&str, &str); 6] = [
                    ("Evaluate", "a campaign evaluates"),
                    ("LoadSecond", "a campaign changes the second side"),
                    ("BackSwitchOver", "a campaign goes back over a switchover"),
                    ("BackLoad", "a campaign goes back"),
                    ("Done", "a campaign ends in the new version"),
                    ("FellBack", "a campaign ends in the old version"),
                ];
                debug_assert_eq!(format!("{:?}", Step::FellBack), STEPS[5].0);
                let step = STEPS.iter().find(|(step, _)| what.contains(&format!(": {step} ")));
                self.reached.extend(step.map(|(_, name)| *name));
            }
            Alarm::Diverged { report } => self.fails(report),
            _ => {}
        }
    }

    fn lives(&self, store: lockstep_core::ids::StoreId) -> bool {
        self.sides.iter().any(|side| side.with(Group::store) == Some(store))
    }

    fn send(&mut self, from: usize, link: LinkId, frame: lockstep_core::message::Frame) {
        if self.link == Some(link) {
            let mut identity = Identity::default();
            identity.add(&frame);
            self.sides[1 - from].parcels.push_back(Parcel::Frame(Arc::new(frame), identity.digest()));
        }
    }

    pub(crate) fn deliver(&mut self, side: usize) {
        let link = LinkId(self.links);
        match self.sides[side].parcels.pop_front().expect("something is on its way") {
            Parcel::Frame(frame, _) => self.input(side, Input::Peer { link, frame: (*frame).clone() }),
            Parcel::Down => self.input(side, Input::LinkDown { link }),
        }
    }

    pub(crate) fn link_up(&mut self) {
        self.links += 1;
        let link = LinkId(self.links);
        self.link = Some(link);
        (0..2).for_each(|side| self.input(side, Input::LinkUp { link }));
    }

    pub(crate) fn cut(&mut self, lost: bool) {
        self.link = None;
        for side in &mut self.sides {
            if lost {
                side.parcels.clear();
            }
            side.parcels.push_back(Parcel::Down);
        }
    }

    pub(crate) fn sync(&mut self, number: usize) {
        self.sides[number].unsynced = false;
        let disk = self.sides[number].disk();
        let sync = disk.sync_begin();
        if let Some((store, through)) = disk.sync_end(sync) {
            self.input(number, Input::Durable { store, through });
        }
    }

    pub(crate) fn load(&mut self, side: usize, fails: bool) {
        let hash = self.sides[side].loading.take().expect("something is to be loaded");
        let input = if fails {
            Input::PluginFailed { hash, reason: "it can't be loaded".into(), may_pass: false }
        } else {
            Input::PluginLoaded { application: Box::new(Idle::new(Edition::of(hash))) }
        };
        self.input(side, input);
    }

    pub(crate) fn read(&mut self, side: usize) {
        if std::mem::take(&mut self.sides[side].reads) {
            let record = self.record.clone();
            self.input(side, Input::RecordRead(Ok(record)));
        }
    }

    pub(crate) fn swap(&mut self, side: usize) {
        let Some((expected, next)) = self.sides[side].swap.take() else { return };
        let outcome = if self.record.as_ref().map_or(0, |record| record.epoch.0) == expected.0 {
            self.record_becomes(side, &next);
            SwapOutcome::Done(next)
        } else {
            self.reached.push("a swap comes too late");
            SwapOutcome::Lost(self.record.clone())
        };
        self.sides[side].outcome = Some(outcome);
    }

    pub(crate) fn unknown_swap(&mut self, side: usize, took: bool) {
        let Some((expected, next)) = self.sides[side].swap.take() else { return };
        let takes = took && self.record.as_ref().map_or(0, |record| record.epoch.0) == expected.0;
        if takes {
            self.record_becomes(side, &next);
        }
        self.reached.push(if takes {
            "a swap of unknown outcome took"
        } else {
            "a swap of unknown outcome did not take"
        });
        self.sides[side].outcome = Some(SwapOutcome::Unknown("nobody knows".into()));
    }

    fn record_becomes(&mut self, side: usize, next: &Record) {
        self.check_swap(next);
        let what = match &self.record {
            None => "a first record",
            Some(now) if now.term == next.term && now.in_sync.len() < next.in_sync.len() => "a grow",
            Some(now) if now.term == next.term => "a shrink",
            Some(now) if now.active == next.active => "a restart alone",
            Some(_) if next.in_sync.len() == 1 => {
                self.sides[side].promotions += 1;
                "a promotion"
            }
            Some(_) => "a switchover",
        };
        self.reached.push(what);
        self.record = Some(next.clone());
    }
}
