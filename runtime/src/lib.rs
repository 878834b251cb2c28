//! The actix shell of Lockstep: processor, engine actor, links, ingress, arbiter, admin.
#![forbid(unsafe_code)]

pub mod admin;
pub mod arbiter;
pub mod config;
pub mod offline;
