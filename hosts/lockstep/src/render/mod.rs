//! What operators read: pure functions from answers to text. Colour and cursor are left to the caller.

pub mod campaign;
pub mod check;
pub mod partitions;
pub mod plan;
pub mod plugins;
pub mod status;
pub mod trail;
pub mod words;
