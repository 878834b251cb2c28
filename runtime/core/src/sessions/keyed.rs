//! Keyed replies, oldest first. They come and go all the time once there are as many as may be, and a hash table which that is
//! done to is made anew now and then, all of it in one go. So there are many small ones: to make one of a hundred thousand anew
//! took forty milliseconds, on one side after the other, and everybody waited.

use std::collections::VecDeque;

use hashbrown::HashTable;
use smol_str::SmolStr;

use super::KeyedReply;
use crate::hash_seed::HashSeed;
use crate::ids::Micros;
use crate::tables::{SHARDS, shard_of};

/// Keyed replies. See the module's page.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    seed: HashSeed,
    shards: Vec<HashTable<(SmolStr, KeyedReply)>>,
    /// The keys and when their replies were recorded, oldest first.
    order: VecDeque<(SmolStr, Micros)>,
}

impl Default for Keyed {
    fn default() -> Self {
        Keyed::new(HashSeed::default())
    }
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Keyed {}

impl Keyed {
    /// None; the keys of those to come are hashed with `seed`.
    pub fn new(seed: HashSeed) -> Self {
        Keyed { seed, shards: vec![HashTable::new(); SHARDS], order: VecDeque::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The reply under `key`.
    pub fn get(&self, key: &str) -> Option<&KeyedReply> {
        let hash = self.seed.hash(key.as_bytes());
        self.shards[shard_of(hash)].find(hash, |(other, _)| other == key).map(|(_, reply)| reply)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &KeyedReply)> {
        let reply = |key| self.get(key).expect("keys and their order agree");
        self.order.iter().map(move |(key, _)| (key.as_str(), reply(key)))
    }

    /// When the oldest was recorded.
    pub fn oldest(&self) -> Option<Micros> {
        self.order.front().map(|(_, time)| *time)
    }

    /// Adds the newest, in place of one under the same key, whose age it then has.
    pub fn push(&mut self, key: SmolStr, reply: KeyedReply) {
        let time = reply.time;
        if self.put(key.clone(), reply) {
            self.order.push_back((key, time));
        }
    }

    /// Takes the newest away again.
    pub fn pop(&mut self) -> Option<(SmolStr, KeyedReply)> {
        let (key, _) = self.order.pop_back()?;
        Some(self.take(key))
    }

    /// Takes the oldest away.
    pub fn pop_oldest(&mut self) -> Option<(SmolStr, KeyedReply)> {
        let (key, _) = self.order.pop_front()?;
        Some(self.take(key))
    }

    /// Puts the oldest back.
    pub fn push_oldest(&mut self, key: SmolStr, reply: KeyedReply) {
        self.order.push_front((key.clone(), reply.time));
        self.put(key, reply);
    }

    /// Whether nothing stood under the key.
    fn put(&mut self, key: SmolStr, reply: KeyedReply) -> bool {
        let seed = self.seed;
        let hash = seed.hash(key.as_bytes());
        let shard = &mut self.shards[shard_of(hash)];
        match shard.find_mut(hash, |(other, _)| *other == key) {
            Some((_, there)) => {
                *there = reply;
                false
            }
            None => {
                shard.insert_unique(hash, (key, reply), |(key, _)| seed.hash(key.as_bytes()));
                true
            }
        }
    }

    fn take(&mut self, key: SmolStr) -> (SmolStr, KeyedReply) {
        let hash = self.seed.hash(key.as_bytes());
        let entry = self.shards[shard_of(hash)].find_entry(hash, |(other, _)| *other == key);
        entry.expect("keys and their order agree").remove().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Encoding, Outcome};
    use crate::ids::Number;
    use crate::sessions::Recorded;

    fn reply(number: u64) -> KeyedReply {
        let outcome = Outcome::Committed { reply: [number as u8].into() };
        KeyedReply {
            time: Micros(number),
            recorded: Recorded { number: Number(number), encoding: Encoding::Postcard, outcome },
        }
    }

    #[test]
    fn they_come_at_one_end_and_go_at_the_other_and_back() {
        let mut keyed = Keyed::default();
        for number in 0..3_000 {
            keyed.push(format!("key {number}").into(), reply(number));
            if number >= 1_000 {
                let (key, gone) = keyed.pop_oldest().expect("there is one");
                assert_eq!(
                    (key.as_str(), gone.time),
                    (&*format!("key {}", number - 1_000), Micros(number - 1_000))
                );
            }
        }
        assert_eq!((keyed.len(), keyed.oldest()), (1_000, Some(Micros(2_000))));
        assert_eq!((keyed.get("key 1999"), keyed.get("key 2000")), (None, Some(&reply(2_000))));
        let before = keyed.clone();
        let (newest, oldest) = (keyed.pop().expect("a newest"), keyed.pop_oldest().expect("an oldest"));
        assert_ne!(keyed, before);
        keyed.push_oldest(oldest.0, oldest.1);
        keyed.push(newest.0, newest.1);
        assert_eq!(keyed, before);
        assert!(keyed.iter().map(|(_, reply)| reply.time.0).eq(2_000..3_000));
    }

    #[test]
    fn a_key_that_comes_again_keeps_its_place() {
        let mut keyed = Keyed::default();
        keyed.push("a".into(), reply(1));
        keyed.push("b".into(), reply(2));
        keyed.push("a".into(), reply(3));
        assert_eq!(
            keyed.iter().map(|(key, reply)| (key, reply.time.0)).collect::<Vec<_>>(),
            [("a", 3), ("b", 2)]
        );
    }
}
