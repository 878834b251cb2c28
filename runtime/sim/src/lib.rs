//! A simulated world that drives the real core: two processors, a network, an arbiter, disks, clients, a clock.
//!
//! [`world::World`] runs two real [`Group`](lockstep_core::group::Group)s over everything simulated; a test either
//! plays a scenario on it by hand or lets [`chaos`] choose faults from a seed. [`ledger`] is the application that it
//! runs. Everything is decided by the seed: a run repeats itself exactly.
//!
//! Deliberately absent: threads, real time, real files, real plugins.
#![forbid(unsafe_code)]

pub mod chaos;
pub mod clients;
pub mod deeds;
pub mod disk;
mod disorder;
mod later_faults;
pub mod ledger;
pub mod long;
mod model;
pub mod partitions;
pub mod random;
mod real_disk;
pub mod several;
pub mod world;
