//! The groups of this processor as each other's neighbours: what one tells another goes to that one's engine here, which
//! passes it to its active if that is elsewhere (R34).
//!
//! Each engine has a bounded queue. What finds no room or no such group is dropped: the core tells it again.
//! Deliberately absent: order beyond that of one queue, and any word on what became of a message.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use lockstep_core::channels::GroupMessage;
use lockstep_core::descriptor::ApplicationDescriptor;
use lockstep_core::ids::GroupName;

use crate::engine::inbound::EngineHandle;

/// A message is for a group that this processor does not have.
const NO_SUCH_GROUP: &str = "LS0642";
/// How many words may wait for an engine.
const WAITING_MAX: usize = 1_024;
/// A receiver that is not here is named in the log at most so often.
const NAMED_EVERY: Duration = Duration::from_secs(60);

type Word = (GroupName, GroupMessage);
/// The way into an engine, which is rung for.
type Door = (Sender<Word>, EngineHandle);

/// All groups of a processor. Cheap to clone.
#[derive(Clone, Default)]
pub struct Neighbours {
    doors: Arc<RwLock<BTreeMap<GroupName, Door>>>,
}

/// An engine's place among its neighbours.
pub struct Seat {
    name: GroupName,
    neighbours: Neighbours,
    heard: Receiver<Word>,
    missed: BTreeMap<GroupName, Instant>,
}

impl Neighbours {
    /// The place of a group, whose engine has this handle.
    #[must_use]
    pub fn seat(&self, engine: &EngineHandle) -> Seat {
        let name = engine.group();
        let (door, heard) = crossbeam_channel::bounded(WAITING_MAX);
        let mut doors = self.doors.write().unwrap_or_else(PoisonError::into_inner);
        doors.insert(name.clone(), (door, engine.clone()));
        Seat { name, neighbours: self.clone(), heard, missed: BTreeMap::new() }
    }

    /// What runs here, by application: the version of its first partition.
    #[must_use]
    pub fn versions(&self) -> Vec<Arc<ApplicationDescriptor>> {
        let doors = self.doors.read().unwrap_or_else(PoisonError::into_inner);
        let first = doors.values().filter(|(_, engine)| engine.partition == 0);
        first.map(|(_, engine)| engine.face().descriptor()).collect()
    }
}

impl Seat {
    /// Tells a neighbour, or this group itself.
    pub fn tell(&mut self, to: GroupName, what: GroupMessage) {
        let doors = self.neighbours.doors.read().unwrap_or_else(PoisonError::into_inner);
        let Some((door, engine)) = doors.get(&to) else {
            drop(doors);
            return self.name_missing(to);
        };
        // Without room it is lost, and told again.
        if door.try_send((self.name.clone(), what)).is_ok() {
            engine.ring();
        }
    }

    fn name_missing(&mut self, to: GroupName) {
        let now = Instant::now();
        if self.missed.get(&to).is_none_or(|named| now.duration_since(*named) >= NAMED_EVERY) {
            tracing::warn!(
                code = NO_SUCH_GROUP,
                from = %self.name,
                %to,
                "a message waits for a group that this processor does not have"
            );
            self.missed.insert(to, now);
        }
    }

    /// The next word of a neighbour.
    pub fn hear(&self) -> Option<Word> {
        self.heard.try_recv().ok()
    }

    /// Whether another one waits.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.heard.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{empty_descriptor, poll_and_bell};

    /// Which belongs to an engine that nobody drives.
    fn seat(neighbours: &Neighbours, application: &str) -> Seat {
        let (_poll, bell) = poll_and_bell().expect("a bell can be had");
        let descriptor = Arc::new(empty_descriptor(application));
        neighbours.seat(&EngineHandle::new(application, (0, 1), bell, descriptor).0)
    }

    fn name(application: &str) -> GroupName {
        GroupName { application: application.into(), partition: 0 }
    }

    #[test]
    fn a_word_reaches_its_group_and_no_other_and_what_has_no_room_is_dropped() {
        let neighbours = Neighbours::default();
        let (mut first, second) = (seat(&neighbours, "first"), seat(&neighbours, "second"));
        let versions: Vec<_> = neighbours.versions().iter().map(|version| version.name.clone()).collect();
        assert_eq!(versions, ["first", "second"]);
        let word = |through| GroupMessage::Taken { through };
        first.tell(name("second"), word(1));
        first.tell(name("nobody"), word(2));
        assert_eq!(second.hear(), Some((name("first"), word(1))));
        assert!(!first.has_more() && !second.has_more());
        for through in 0..2 * WAITING_MAX as u64 {
            first.tell(name("second"), word(through));
        }
        let mut heard = 0;
        while second.hear().is_some() {
            heard += 1;
        }
        assert_eq!(heard, WAITING_MAX);
    }
}
