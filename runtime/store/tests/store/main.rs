//! The store against a model, on a disk that crashes.

mod copies;
mod crashes;
mod damage;
mod orderly;
mod world;
