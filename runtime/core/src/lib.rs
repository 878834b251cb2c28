//! The pure state machine of Lockstep.
//!
//! A [`group::Group`] is one application's one partition on one side of the pair. It is driven by
//! [`step`](group::Group::step): an [`input::Input`] goes in, [`effect::Effect`]s come out. Three drivers run the very
//! same code: the actix engine actor in production, the simulated world in tests, the test kit on an author's desk.
//!
//! Deliberately absent: clocks, input and output, randomness, threads, channels, actix, tokio, `abi_stable`.
//! The time is an argument; random seeds are made from the configuration's seed.
#![forbid(unsafe_code)]

pub mod application;
pub mod bytes;
pub mod campaign;
pub mod channels;
pub mod command;
pub mod context;
pub mod derived;
pub mod descriptor;
pub mod effect;
pub mod encoded_entries;
pub mod entry;
pub mod event;
mod fetch;
pub mod group;
pub mod hash_seed;
pub mod ids;
mod in_place;
pub mod input;
pub mod judgement;
pub mod leg;
pub mod message;
pub mod migration;
pub mod note;
pub mod partition;
pub mod posted;
pub mod receivers;
pub mod record;
pub mod row_key;
pub mod sessions;
pub mod shared_bytes;
pub mod state;
pub mod tables;
pub mod timers;
pub mod updates;
pub mod verdict;
pub mod witness;
