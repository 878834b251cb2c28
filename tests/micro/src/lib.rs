//! The parts of the hot path, each as a piece of work that repeats itself exactly: what benchmarks time and what the
//! count of instructions is taken of.
//!
//! Deliberately absent: sockets, threads, clocks, disks. What they cost is measured with real processors, by `drill bench`.
#![forbid(unsafe_code)]

mod desk;
mod parts;
mod traffic;

pub use desk::Desk;
pub use parts::{BATCH, Part, Work};
