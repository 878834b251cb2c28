//! Effects of the groups, carried out on the desk.

use std::sync::Arc;

use lockstep_core::effect::{Alarm, Effect};
use lockstep_core::ids::{Epoch, LinkId, StoreId};
use lockstep_core::input::Input;
use lockstep_core::message::Frame;
use lockstep_core::record::{Record, SwapOutcome};

use super::{Desk, hash, store};
use crate::hints::HINTS;
use crate::trace::Traced;

impl Desk {
    pub(super) fn put(&mut self, node: usize, input: Input) {
        self.queue.push_back((node, input));
    }

    fn lives(&self, asked: StoreId) -> bool {
        (0..2).any(|node| store(node) == asked && self.sides[node].group.is_some())
    }

    #[track_caller]
    pub(super) fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let mut stored = false;
        for effect in effects {
            match effect {
                Effect::Answer { origin, answer } => {
                    self.answers.insert(origin.0, answer);
                }
                Effect::CommandDone { result, .. } => self.results.push(result),
                Effect::Send { link, frame } => self.send(node, link, frame),
                Effect::CloseLink { link } => {
                    if self.link == Some(link) {
                        self.drop_link();
                    }
                }
                Effect::Append(entries) => {
                    for entry in entries.iter() {
                        let entry = Arc::new(entry);
                        if self.active() == Some(node) {
                            self.note_own(&entry);
                        }
                        self.sides[node].appended = entry.number;
                        self.sides[node].entries.push(entry);
                    }
                    stored = true;
                }
                Effect::CutBack { to } => {
                    self.sides[node].appended = to;
                    self.sides[node].entries.retain(|entry| entry.number <= to);
                    stored = true;
                }
                Effect::ReadRecord => {
                    let record = self.record.clone();
                    self.put(node, Input::RecordRead(Ok(record)));
                }
                Effect::PrepareSwap { .. } => self.put(node, Input::SwapPrepared),
                Effect::Swap { expected, next } => self.swap(node, expected, next),
                Effect::Watch { store, .. } => {
                    if !self.lives(store) {
                        self.put(node, Input::PartnerDied { store });
                    }
                }
                Effect::AskLiving { store, hellos } => {
                    let living = self.lives(store);
                    self.put(node, Input::Living { store, hellos, living });
                }
                Effect::LoadPlugin { hash: wanted } => {
                    let found = (0..self.library.len()).find(|index| hash(*index) == wanted);
                    let index = found.expect("what is to be loaded is of the library");
                    let application = Box::new(self.linked(node, index));
                    self.put(node, Input::PluginLoaded { application });
                }
                // Dropped is shut down; a linked application is not unloaded.
                Effect::Retire { application } | Effect::Discard { application } => drop(application),
                Effect::Tell { to, what, .. } => self.tell(node, to, what),
                Effect::Alarm(alarm) => self.on_alarm(node, &alarm),
                Effect::Held { .. }
                | Effect::RoleChanged { .. }
                | Effect::RestOnSyncs { .. }
                | Effect::TailSettled
                | Effect::AskSibling { .. }
                | Effect::RunChecks { .. }
                | Effect::NoteRecorded { .. } => {}
                Effect::CopyBegin { .. }
                | Effect::CopyRows(_)
                | Effect::CopyEnd { .. }
                | Effect::CopyKept
                | Effect::CopyDropped => {
                    panic!("a copy was asked for, which the test kit has not: {:?}", self.alarms)
                }
                Effect::Stop { reason } => panic!("side {} stops: {reason}", super::name(node)),
            }
        }
        if stored {
            let through = self.sides[node].appended;
            self.put(node, Input::Durable { store: store(node), through });
        }
    }

    #[track_caller]
    fn on_alarm(&mut self, node: usize, alarm: &Alarm) {
        match alarm {
            // The standby tells first; the active then knows the first update that differs.
            Alarm::Diverged { report } if self.active() == Some(node) => self.differ(report),
            Alarm::Diverged { .. } => {}
            Alarm::ProtocolBroken { what } => self.alarms.push(what.clone()),
            Alarm::DerivedBroken { why } => {
                panic!("the derived tables of side {} can't be kept: {why}", super::name(node))
            }
            Alarm::RowsLeft { table, left, why, .. } => {
                panic!("{left} rows of table `{table}` can't be brought into their new format: {why}")
            }
            Alarm::PartnerLost { why } | Alarm::ArbiterUnreachable { why } => self.alarms.push(why.clone()),
            Alarm::Campaign { .. }
            | Alarm::OnlyReads { .. }
            | Alarm::RowsFull { .. }
            | Alarm::Faulted { .. }
            | Alarm::OwnRefused { .. }
            | Alarm::PartnerInSync
            | Alarm::Died { .. }
            | Alarm::Undone { .. }
            | Alarm::TookOver { .. } => {}
            Alarm::UndoFailed { what } => panic!("{what}"),
        }
    }

    /// The two engines differ: that is what a test is for.
    #[track_caller]
    fn differ(&self, report: &str) -> ! {
        // A row that the standby can't read is no question of determinism.
        match self.alarms.last() {
            Some(why) => panic!("the two engines differ at {report}\n{why}"),
            None => panic!("the two engines differ at {report}\n{HINTS}"),
        }
    }

    fn send(&mut self, from: usize, link: LinkId, frame: Frame) {
        if self.link != Some(link) {
            return;
        }
        if self.cut_off && self.active() == Some(from) {
            return;
        }
        if let Some(traced) = Traced::of(&frame.message) {
            match &mut self.frames_left {
                Some(0) => {
                    self.cut_off = true;
                    return;
                }
                Some(left) => *left -= 1,
                None => {}
            }
            self.trace.push(traced);
        }
        self.put(1 - from, Input::Peer { link, frame });
    }

    fn swap(&mut self, node: usize, expected: Epoch, next: Record) {
        let epoch = self.record.as_ref().map_or(Epoch(0), |record| record.epoch);
        let outcome = if epoch == expected {
            self.record = Some(next.clone());
            SwapOutcome::Done(next)
        } else {
            SwapOutcome::Lost(self.record.clone())
        };
        self.put(node, Input::Swapped(outcome));
    }

    pub(super) fn link_up(&mut self) {
        if self.link.is_none() && self.sides.iter().all(|side| side.group.is_some()) {
            self.links += 1;
            let link = LinkId(self.links);
            self.link = Some(link);
            (0..2).for_each(|node| self.put(node, Input::LinkUp { link }));
        }
    }

    pub(super) fn drop_link(&mut self) {
        if let Some(link) = self.link.take() {
            (0..2).for_each(|node| self.put(node, Input::LinkDown { link }));
        }
    }
}
