//! Once nothing more goes wrong, all comes to rest: from a state the fair schedule is played to its end.

use lockstep_core::command::{Command, Role};
use lockstep_core::group::Group;
use lockstep_core::input::Input;

use crate::pair::{HEARTBEAT, Pair, Side};

/// Rounds until all must have come to rest.
const ROUNDS_MAX: usize = 400;

impl Pair {
    /// Whether one is active and the other in sync and equal to it, in one version, with nothing under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        let Some(active) = self.active() else { return false };
        let in_sync = self.record.as_ref().is_some_and(|record| record.in_sync.len() == 2);
        let look = |group: &Group| {
            let meta = &group.state().meta;
            let over = meta.campaign.is_none() && group.held() == meta.last && group.outstanding() == 0;
            (over, meta.last, group.descriptor().hash)
        };
        let (one, other) = (self.sides[active].with(look), self.sides[1 - active].with(look));
        let quiet = self.sides.iter().all(Side::is_quiet);
        in_sync && quiet && self.is(1 - active, Role::Standby) && one == other && one.is_some_and(|one| one.0)
    }

    /// Plays on fairly until all is at rest.
    ///
    /// # Errors
    /// What is wrong, or how things stand when they never come to rest.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            if let Some(wrong) = &self.wrong {
                return Err(wrong.to_string());
            }
            self.round();
            // What is still on its way are words that a side lives.
            (0..2).for_each(|side| self.deliver_all(side));
            if self.is_at_rest() {
                return Ok(());
            }
            self.check();
        }
        Err(format!("it never comes to rest: {}", self.describe()))
    }

    /// Lets the arbiter do what `side` asks, and `side` hear of it.
    pub(crate) fn arbiter_and_outcome(&mut self, side: usize) {
        self.read(side);
        self.swap(side);
        if let Some(outcome) = self.sides[side].outcome.take() {
            self.input(side, Input::Swapped(outcome));
        }
    }

    fn deliver_all(&mut self, side: usize) {
        while !self.sides[side].parcels.is_empty() {
            self.deliver(side);
        }
        self.read(side);
    }

    fn round(&mut self) {
        for side in 0..2 {
            if !self.sides[side].runs() {
                self.start(side, false);
            }
        }
        if self.link.is_none() && self.sides.iter().all(|side| side.parcels.is_empty()) {
            self.link_up();
        }
        for side in 0..2 {
            self.deliver_all(side);
            self.arbiter_and_outcome(side);
            if self.sides[side].unsynced {
                self.sync(side);
            }
            if let Some(store) = self.sides[side].copy_ended.take() {
                self.input(side, Input::CopyDurable { store });
            }
            if self.sides[side].loading.is_some() {
                self.load(side, false);
            }
            let process = self.sides[side].process();
            process.clock = process.clock.plus(HEARTBEAT);
            self.input(side, Input::Tick);
        }
        let isolated = (0..2).any(|side| self.is(side, Role::Isolated));
        if let Some(active) = self.active().filter(|_| isolated) {
            let campaign = self.sides[active].with(|group| group.state().meta.campaign.is_some());
            if campaign == Some(false) {
                self.command(active, Command::Integrate);
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        let side = |side: usize| {
            self.sides[side].with(|group| {
                let meta = &group.state().meta;
                let step = meta.campaign.as_ref().map(|campaign| campaign.step);
                format!("{:?} last {} held {} campaign {step:?}", group.role(), meta.last, group.held())
            })
        };
        let under_way = |side: usize| {
            let Side { reads, swap: asked, outcome, parcels, unsynced, copy_ended, loading, .. } =
                &self.sides[side];
            format!("{reads} {asked:?} {outcome:?} {parcels:?} {unsynced} {copy_ended:?} {loading:?}")
        };
        let (a, b) = (under_way(0), under_way(1));
        format!("a {:?}, {a}; b {:?}, {b}; link {:?}, record {:?}", side(0), side(1), self.link, self.record)
    }
}
