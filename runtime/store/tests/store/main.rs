//! The store against a model, on a disk that crashes.
#![forbid(unsafe_code)]

mod copies;
mod crashes;
mod damage;
mod driver;
mod orderly;
mod world;
