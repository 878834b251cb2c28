//! The actix shell of Lockstep: processor, engine actor, links, ingress, arbiter, admin.
//!
//! [`processor::Processor`] puts everything together; `engine` drives the pure core; `plugins` has the generations of
//! loaded files; the rest is named after what it talks to.
//!
//! Deliberately absent: decisions about roles, numbers and answers (the core's).
#![forbid(unsafe_code)]

pub mod admin;
pub mod arbiter;
pub mod arbiter_client;
mod checks;
pub mod config;
#[doc(hidden)]
pub mod decoders;
mod dial;
pub mod engine;
mod engines;
mod ground;
mod http;
mod http_body;
mod hung;
mod link_message;
mod metrics;
mod neighbours;
mod notes;
mod notifier;
pub mod offline;
mod partitions_file;
pub mod plugins;
pub mod processor;
mod rows_memory;
mod services;
pub mod supervisor;
pub mod trail;
mod watcher;
