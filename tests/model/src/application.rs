//! The application of the model: two versions of one without procedures, as only roles, the record, copies and versions
//! matter here.

use lockstep_core::application::{Application, Run};
use lockstep_core::context::UnitContext;
use lockstep_core::descriptor::{ApplicationDescriptor, ProcedureIndex, TableIndex, Version};
use lockstep_core::event::Encoding;
use lockstep_core::ids::PluginHash;

/// A version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// The one that runs at first.
    One,
    /// The target of campaigns.
    Two,
}

impl Edition {
    /// The edition with `hash`.
    pub fn of(hash: PluginHash) -> Self {
        if hash == Edition::Two.hash() { Edition::Two } else { Edition::One }
    }

    /// The hash of its "file".
    pub fn hash(self) -> PluginHash {
        PluginHash([self as u8 + 1; 32])
    }

    /// Its version.
    pub fn version(self) -> Version {
        Version { major: self as u32 + 1, minor: 0, patch: 0 }
    }
}

/// An edition, ready to run.
pub struct Idle(ApplicationDescriptor);

impl Idle {
    /// The one of `edition`.
    pub fn new(edition: Edition) -> Self {
        Idle(ApplicationDescriptor {
            name: "idle".into(),
            version: edition.version(),
            hash: edition.hash(),
            tables: vec![],
            features: vec![],
            procedures: vec![],
            sends: None,
        })
    }
}

impl Application for Idle {
    fn descriptor(&self) -> &ApplicationDescriptor {
        &self.0
    }

    fn begin(&self, _: ProcedureIndex, _: Encoding, _: &[u8], _: u64) -> Result<Box<dyn Run>, String> {
        Err("it has no procedure".into())
    }

    fn undo(
        &self,
        _: ProcedureIndex,
        _: &str,
        _: Encoding,
        _: &[u8],
        _: &mut UnitContext<'_>,
    ) -> Result<(), String> {
        Err("it has no procedure".into())
    }

    fn check_row(&self, _: TableIndex, _: &[u8], _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn twin(&self) -> Option<Box<dyn Application>> {
        Some(Box::new(Idle(self.0.clone())))
    }
}
