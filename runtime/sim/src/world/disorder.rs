//! Links that are late for themselves, a link that is dialled anew over the old one, and disks without room.

use lockstep_core::command::Role;
use lockstep_core::ids::{LinkId, Micros};
use lockstep_core::input::Input;

use super::World;

/// What a processor hears on, beside the link to its partner. Each stays in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The arbiter's answers.
    Arbiter,
    /// What clients ask.
    Clients,
    /// What the operating system and the partner's witness tell of deaths.
    System,
}

impl World {
    /// What `node` hears on `line` comes no sooner than after `length`; everything else overtakes it.
    pub fn hold_up(&mut self, line: Line, node: usize, length: Micros) {
        let until = self.now.plus(length);
        let late = &mut self.late_until[line as usize][node];
        *late = until.max(*late);
        self.seen.add(match line {
            Line::Arbiter => "late answers of the arbiter",
            Line::Clients => "late requests of clients",
            Line::System => "late words of deaths",
        });
        self.tell(Some(node), || format!("HEARS LATE on {line:?}, by {length}"));
    }

    /// Until when `node` hears late on `line`.
    #[must_use]
    pub fn late_until(&self, line: Line, node: usize) -> Micros {
        self.late_until[line as usize][node]
    }

    /// When something that takes `delay` arrives at `node` on `line`.
    pub(super) fn delay_on(&self, line: Line, node: usize, delay: Micros) -> Micros {
        delay.max(self.late_until[line as usize][node].since(self.now))
    }

    /// The two dial anew over a link that is up. One of them hears of the new link first; the other hears on the old one
    /// until then, and each hears of the old one's end when it will.
    pub fn redial(&mut self) {
        let ready = (0..2).all(|node| self.role(node).is_some() && !self.is_paused(node));
        if !ready || self.partitioned {
            return;
        }
        let Some(old) = self.link else { return };
        self.forget_cut();
        self.seen.add("link dialled anew");
        self.tell(None, || "the link is dialled anew".into());
        self.links += 1;
        let link = LinkId(self.links);
        self.link = Some(link);
        let first = self.random.within(0, 2) as usize;
        for node in 0..2 {
            // Each hears of links in their order, and of the end only of one that it has heard of.
            let heard = self.hears_of_link_at[node].since(self.now);
            let lag = if node == first { 10 } else { self.random.within(10, 5_000) };
            let lag = Micros(lag).max(heard);
            self.input_after(node, lag, Input::LinkUp { link });
            self.last_delivery[node] = self.now.plus(lag).plus(Micros(1));
            self.hears_of_link_at[node] = self.last_delivery[node];
            let end = Micros(self.random.within(1, 8_000)).max(heard);
            self.input_after(node, end, Input::LinkDown { link: old });
        }
    }

    /// The disk of `node` takes nothing more that needs room, until there is some again.
    pub fn fill_disk(&mut self, node: usize) {
        self.seen.add("full disk");
        self.tell(Some(node), || "HAS A FULL DISK".into());
        self.nodes[node].disk.set_full(true);
    }

    /// There is room on the disk of `node` again.
    pub fn make_room(&mut self, node: usize) {
        self.nodes[node].disk.set_full(false);
    }

    /// A write was refused just now: the core learns of it.
    pub(super) fn tell_refused(&mut self, node: usize) {
        if !self.nodes[node].disk.take_refused() {
            return;
        }
        self.seen.add("write refused by a full disk");
        let alone = self.record.as_ref().is_some_and(|record| record.in_sync.len() == 1);
        if self.role(node) == Some(Role::Active) && alone {
            self.seen.add("write of an active alone refused by a full disk");
        }
        self.tell(Some(node), || "IS REFUSED a write".into());
        if let Some((store, through)) = self.nodes[node].disk.kept() {
            self.input_after(node, Micros(0), Input::Durable { store, through });
        }
        self.input_after(node, Micros(0), Input::StoreFailed { reason: "simulated: no space left".into() });
    }
}
