//! What groups tell each other (R34): lost, repeated and late, as the shell may have it.

use lockstep_core::channels::GroupMessage;
use lockstep_core::ids::{GroupName, Micros};
use lockstep_core::input::Input;

use super::World;

impl World {
    /// The name of this world's group.
    #[must_use]
    pub fn group_name(&self) -> GroupName {
        GroupName { application: "ledger".into(), partition: self.settings.partition.0 }
    }

    /// Carries what this group tells another, or itself.
    pub(super) fn tell_group(&mut self, from: usize, to: GroupName, what: GroupMessage) {
        self.tell(Some(from), || super::ladder::fit(&format!("tells {to} {what:?}")));
        self.seen.add(match what {
            GroupMessage::Message { .. } => "message told",
            GroupMessage::Taken { .. } => "message taken told",
        });
        if to == self.group_name() {
            self.hear(to, &what);
        } else {
            self.outward.push((to, what));
        }
    }

    /// Takes out what was told to groups of other worlds.
    pub fn take_outward(&mut self) -> Vec<(GroupName, GroupMessage)> {
        std::mem::take(&mut self.outward)
    }

    /// Another group, `from`, tells this one something: a processor of the pair hears it, whichever is its neighbour.
    pub fn hear(&mut self, from: GroupName, what: &GroupMessage) {
        let percent = self.settings.words_lost_percent;
        if self.random.percent(percent) {
            return self.seen.add("word between groups lost");
        }
        let mut times = 1;
        if self.random.percent(percent) {
            self.seen.add("word between groups doubled");
            times = 2;
        }
        for _ in 0..times {
            let node = self.random.within(0, 2) as usize;
            // Late ones are overtaken.
            let late = self.random.percent(percent);
            let delay = Micros(if late { self.random.within(20, 20_000) } else { 50 });
            self.input_after(node, delay, Input::Told { from: from.clone(), what: what.clone() });
        }
    }
}
