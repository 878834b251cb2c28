//! Steps of a store's life, and what a crash in the midst of one may leave (R8, R9, R24, R26).

use std::collections::BTreeSet;

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::ids::{Number, StoreId};
use lockstep_core::state::State;
use lockstep_store::{Background, Recovered, Store, StoreError, inspect};

use crate::world::{World, each, entries, same, state_of};

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// So many entries as one batch.
    Append(u64),
    Sync,
    /// Everything is held but the last so many of what may be.
    Held(u64),
    /// A turn of the background work.
    Work,
    /// Cuts so many entries off, or as many as may go.
    Cut(u64),
    /// The process is killed and started again.
    Kill,
}

/// What a store may hold: at least so many of these.
#[derive(Clone)]
struct Possible {
    stream: Vec<EncodedEntries>,
    least: u64,
}

pub struct Driver {
    pub world: World,
    pub store: Option<(Store, Background)>,
    /// `replicated`: entries are held before they are synced.
    replicated: bool,
    now: Possible,
    /// What it may hold besides, while a step is under way.
    then: Option<Possible>,
    pub held: u64,
    /// Batches end here: a record is there whole or not at all.
    ends: BTreeSet<u64>,
    term: u64,
    opened: u128,
    /// Something failed: the store may be opened as one that only a copy helps.
    pub may_be_untrusted: bool,
}

fn equal(found: &State, expected: &State) -> bool {
    found.meta == expected.meta
        && found.digest() == expected.digest()
        && found.sessions == expected.sessions
        && found.tables.bytes() == expected.tables.bytes()
}

impl Driver {
    pub fn new(world: World, replicated: bool) -> Self {
        let now = Possible { stream: Vec::new(), least: 0 };
        let (then, held, ends) = (None, 0, BTreeSet::from([0]));
        Driver {
            world,
            store: None,
            replicated,
            now,
            then,
            held,
            ends,
            term: 1,
            opened: 0,
            may_be_untrusted: false,
        }
    }

    pub fn last(&self) -> u64 {
        self.now.stream.len() as u64
    }

    /// Opens the store, and checks that it holds what it may.
    pub fn open(&mut self) -> Result<(), StoreError> {
        self.opened += 1;
        self.world.options.fresh = StoreId(self.opened << 64 | 7);
        let before = inspect(&self.world.disk, &self.world.dir, false);
        let (store, found) = self.world.try_open()?;
        for store in before.iter().flat_map(|before| &before.stores) {
            assert!(store.checkpoint.0 <= self.held, "only what is held is checkpointed (R24)");
            assert!(store.damage.is_none() || self.may_be_untrusted, "{store:?}");
        }
        if self.may_be_untrusted && !found.trusted {
            return Ok(());
        }
        self.check(found);
        let background = store.background();
        self.store = Some((store, background));
        Ok(())
    }

    fn check(&mut self, found: Recovered) {
        assert!(found.trusted && found.warning.is_none(), "{:?}", found.warning);
        let last = found.state.meta.last.0;
        let may = |possible: &Possible| {
            (possible.least..=possible.stream.len() as u64).contains(&last)
                && equal(&found.state, &state_of(&possible.stream[..last as usize]))
        };
        let mut possible = [Some(self.now.clone()), self.then.take()].into_iter().flatten();
        let Some(mut now) = possible.find(may) else {
            let now = &self.now;
            assert!(now.least <= last, "{} was synced, but {last} is the last", now.least);
            assert!(last <= now.stream.len() as u64, "{last} was never appended");
            same(&found.state, &state_of(&now.stream[..last as usize]));
            unreachable!("the states are equal");
        };
        assert!(self.ends.contains(&last), "part of a batch counts: {last}");
        now.stream.truncate(last as usize);
        let recent = each(&found.recent);
        let tail = &now.stream[now.stream.len() - recent.len()..];
        assert_eq!(recent, tail, "the recent stream is the end of the stream, without holes");
        let mut state = found.state;
        let mut upto = last;
        for undo in found.undos.into_iter().rev() {
            assert_eq!(undo.number.0, upto, "what takes entries back has no holes either");
            state.take_back(undo);
            upto -= 1;
        }
        same(&state, &state_of(&now.stream[..upto as usize]));
        // It was made durable when it was opened.
        now.least = last;
        self.now = now;
        self.held = self.held.min(last);
        self.ends.retain(|end| *end <= last);
        self.term += 1;
    }

    /// The power goes: what happens then is as `seed` says.
    pub fn crash(&mut self, seed: u64) {
        self.store = None;
        self.world.disk.crash(seed);
    }

    pub fn run(&mut self, steps: &[Step]) -> Result<(), StoreError> {
        steps.iter().try_for_each(|step| self.step(*step))
    }

    pub fn step(&mut self, step: Step) -> Result<(), StoreError> {
        let last = self.last();
        let Some((store, background)) = &mut self.store else { return self.open() };
        match step {
            Step::Append(0) => {}
            Step::Append(count) => {
                let batch = entries(last + 1..=last + count, self.term, self.term);
                let stream = [&self.now.stream[..], &batch].concat();
                self.ends.insert(last + count);
                self.then = Some(Possible { stream: stream.clone(), least: self.now.least });
                store.append(&batch)?;
                self.now.stream = stream;
            }
            Step::Sync => {
                assert_eq!(store.sync()?, Number(last));
                self.now.least = last;
            }
            Step::Held(back) => {
                let most = if self.replicated { last } else { self.now.least };
                self.held = self.held.max(most.saturating_sub(back));
                store.set_held(Number(self.held));
            }
            Step::Work => drop(background.run_once()?),
            Step::Cut(count) => {
                let to = last.saturating_sub(count).max(self.held);
                let stream = self.now.stream[..to as usize].to_vec();
                self.then = Some(Possible { stream, least: to });
                self.ends.insert(to);
                store.cut_back(Number(to))?;
                if to < last {
                    self.now = self.then.take().expect("it was just put there");
                    self.ends.retain(|end| *end <= to);
                    self.term += 1;
                }
            }
            Step::Kill => {
                self.store = None;
                self.world.disk.kill();
                // Everything that was appended is with the operating system (R9), unless the power goes now.
                let synced = std::mem::replace(&mut self.now.least, last);
                self.open().inspect_err(|_| self.now.least = synced)?;
            }
        }
        self.then = None;
        Ok(())
    }
}
