//! The engines of a processor, by application and partition.
//!
//! Invariant: an application has an engine for each of its partitions, in order.

use std::collections::BTreeMap;

use lockstep_core::event::Rejection;
use lockstep_core::partition::{check_key, partition_of};

use crate::engine::inbound::EngineHandle;

/// The engines of a processor. Cheap to clone.
#[derive(Clone, Default)]
pub struct Engines {
    by_application: BTreeMap<String, Vec<EngineHandle>>,
}

impl Engines {
    /// Takes the next partition's engine of its application.
    ///
    /// # Panics
    /// When it is not the next one.
    pub fn add(&mut self, engine: EngineHandle) {
        let all = self.by_application.entry(engine.application.to_string()).or_default();
        assert_eq!(usize::from(engine.partition), all.len(), "engines come in the order of their partitions");
        all.push(engine);
    }

    /// The engines of an application, by partition.
    #[must_use]
    pub fn of(&self, application: &str) -> Option<&[EngineHandle]> {
        self.by_application.get(application).map(Vec::as_slice)
    }

    /// The names of the applications.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_application.keys().map(String::as_str)
    }

    /// All engines, by application and partition.
    pub fn all(&self) -> impl Iterator<Item = &EngineHandle> {
        self.by_application.values().flatten()
    }

    /// By application.
    pub fn applications(&self) -> impl Iterator<Item = (&str, &[EngineHandle])> {
        self.by_application.iter().map(|(name, engines)| (name.as_str(), engines.as_slice()))
    }
}

/// The engine among `engines` of one application that an event with this partition key is for (R1).
///
/// # Errors
/// What its client is told.
pub fn by_key<'a>(engines: &'a [EngineHandle], key: Option<&str>) -> Result<&'a EngineHandle, Rejection> {
    let partitions = u16::try_from(engines.len()).expect("the configuration has bounded it");
    let partition = key.map_or(0, |key| partition_of(key.as_bytes(), partitions));
    check_key(key, partition, partitions)?;
    Ok(&engines[usize::from(partition)])
}
