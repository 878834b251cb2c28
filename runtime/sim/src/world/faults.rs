//! What can be done to the world: kills, power cuts, pauses, cuts of the link, delays, slow and lost disks, clocks.

use lockstep_core::ids::{Micros, StoreId};
use lockstep_core::input::Input;

use super::disorder::Line;
use super::{Happening, World};
use crate::ledger::Edition;

impl World {
    /// Puts an empty disk in place of that of processor `node`, which is dead.
    pub fn replace_disk(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "disks are not replaced under a running process");
        self.lost.extend(self.nodes[node].disk.stores(self.settings.replicated));
        self.seen.add("disk replaced by an empty one");
        let id = self.random.draw();
        self.nodes[node].disk = self.settings.disk(StoreId(id.into()), id);
    }

    /// The next start of processor `node` finds no file of the version that its database names, and loads `edition`.
    pub fn lose_plugin_file(&mut self, node: usize, edition: Edition) {
        self.nodes[node].file_lost = true;
        self.set_first_edition(node, edition);
    }

    /// Starts a processor's process over a store that can't be trusted any more (R26).
    pub fn start_untrusted(&mut self, node: usize) {
        self.nodes[node].disk.damage();
        self.seen.add("damaged disk");
        self.start(node);
    }

    /// Writes and syncs of a running processor fail from now on (R26).
    pub fn fail_disk(&mut self, node: usize) {
        self.seen.add("failed disk");
        self.tell(Some(node), || "HAS A DISK THAT FAILS".into());
        self.nodes[node].disk.fail();
        self.input(node, Input::StoreFailed { reason: "simulated".into() });
    }

    /// Whether writes to the disk of `node` fail.
    #[must_use]
    pub fn disk_has_failed(&self, node: usize) -> bool {
        self.nodes[node].disk.has_failed()
    }

    /// Whether the process of `node` stands still.
    #[must_use]
    pub fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].process.as_ref().is_some_and(|process| process.paused_until > self.now)
    }

    /// Kills a processor's process; with `power`, what was not synced may be lost.
    pub fn kill(&mut self, node: usize, power: bool) {
        self.kill_in_silence(node, power);
        self.drop_link();
    }

    /// As [`kill`](Self::kill), but nothing on the link tells of it: it stays up and silent until it is cut.
    pub fn kill_in_silence(&mut self, node: usize, power: bool) {
        let Some(process) = self.nodes[node].process.take() else { return };
        let role = process.group.role();
        let power = power && self.weak.is_none_or(|weak| weak == node);
        self.tell(Some(node), || {
            format!("DIES as {role}{}", if power { ", and its machine loses power" } else { "" })
        });
        self.seen.add(format!("kill of {role}"));
        if power && self.settings.replicated {
            self.seen.add("power lost under replicated");
        }
        let store = process.group.store();
        if self.nodes[node].disk.crash(power, &mut self.random) {
            self.seen.add("disk lost what was not synced");
        }
        let other = 1 - node;
        if self.nodes[other].process.as_ref().is_some_and(|process| process.watched == Some(store)) {
            let delay = Micros(self.random.within(300, 3_000));
            let delay = self.delay_on(Line::System, other, delay);
            self.input_after(other, delay, Input::PartnerDied { store });
        }
    }

    /// Kills a processor's process so that what it has sent arrives: only the process is gone.
    pub fn kill_quietly(&mut self, node: usize) {
        self.cut_here();
        self.kill(node, false);
    }

    /// Stops a process for a while, as `SIGSTOP` does.
    pub fn pause(&mut self, node: usize, length: Micros) {
        let until = self.now.plus(length);
        if let Some(process) = &mut self.nodes[node].process {
            process.paused_until = until;
            self.seen.add("pause");
            self.tell(Some(node), || format!("IS PAUSED for {length}"));
        }
    }

    /// Cuts the link now.
    pub fn cut(&mut self) {
        self.tell(None, || "the link is cut".into());
        self.seen.add("cut");
        self.drop_link();
    }

    /// Cuts the link after so many further frames.
    pub fn cut_after_frames(&mut self, frames: u64) {
        self.frames_until_cut = Some(frames);
    }

    /// Cuts the link after so many further frames; whoever sent the last of them dies with it, and what it still had to
    /// send is never seen.
    pub fn die_after_frames(&mut self, frames: u64) {
        self.frames_until_cut = Some(frames);
        self.dies_at_cut = true;
    }

    /// Processor `node` is told that the process of its partner's store has died, although one lives there: old news.
    pub fn tell_of_a_death(&mut self, node: usize) {
        let store = self.group(1 - node).store();
        self.input(node, Input::PartnerDied { store });
    }

    /// No cut waits for frames any more.
    pub fn forget_cut(&mut self) {
        self.frames_until_cut = None;
        self.dies_at_cut = false;
    }

    /// From here on the link loses what `from` sends, in silence, until it is replaced after `length`.
    pub fn cut_one_way(&mut self, from: usize, length: Micros) {
        let Some(link) = self.link else { return };
        self.mute = Some((link, from));
        self.seen.add("one-way cut");
        self.tell(Some(from), || format!("IS NOT HEARD any more, for {length}"));
        self.after(length, Happening::LinkLost { link });
    }

    /// Everything that is sent to `to` from now on takes at least `length`.
    pub fn delay(&mut self, to: usize, length: Micros) {
        self.last_delivery[to] = self.last_delivery[to].max(self.now.plus(length));
        self.seen.add("delay");
        self.tell(Some(to), || format!("HEARS LATE, by {length}"));
    }

    /// Syncs of `node` take up to 300 ms for a while.
    pub fn slow_disk(&mut self, node: usize, length: Micros) {
        self.slow_until[node] = self.now.plus(length);
        self.seen.add("slow sync");
        self.tell(Some(node), || format!("HAS A SLOW DISK for {length}"));
    }

    /// Each sync of `node` takes just so long from now on.
    pub fn set_sync_time(&mut self, node: usize, length: Micros) {
        self.sync_fixed[node] = Some(length);
    }

    /// How long a sync of `node` takes.
    pub(super) fn sync_time(&mut self, node: usize) -> Micros {
        if let Some(length) = self.sync_fixed[node] {
            return length;
        }
        let slow = self.now < self.slow_until[node];
        Micros(self.random.within(50, if slow { 300_000 } else { self.settings.sync_us_max }))
    }

    /// The clock of `node` jumps.
    pub fn jump_clock(&mut self, node: usize, behind: Micros) {
        self.clock_behind[node] = behind;
        self.seen.add("clock jump");
        self.tell(Some(node), || format!("HAS A CLOCK that is {behind} behind"));
    }
}
