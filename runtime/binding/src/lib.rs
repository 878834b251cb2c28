//! Binds a plugin's entries to the core's application trait.
//!
//! [`Bound`] is a plugin as the core sees it: what it says of itself as a descriptor, its procedures as runs. The
//! engine, the simulated world and tests bind in the same way, a loaded plugin or a linked one.
//!
//! Deliberately absent: loading and unloading, and any decision about when a plugin runs.
#![forbid(unsafe_code)]

mod description;
mod log;
mod unit;

use lockstep_core::application::{Application, PutDerived, Run, UnitEnd};
use lockstep_core::context::UnitContext;
use lockstep_core::descriptor::{ApplicationDescriptor, ProcedureIndex, TableIndex, UnitIndex};
use lockstep_core::event::{Encoding, FaultKind, Refusal};
use lockstep_core::ids::PluginHash;
use lockstep_plugin_api::abi::PluginModuleRef;
use lockstep_plugin_api::application::Description;
use lockstep_plugin_api::host::{EntryFailure, HostedPlugin, HostedRun};
use lockstep_plugin_api::procedure::Encoding as PluginEncoding;

pub use log::host_services;

/// A plugin as the core sees it.
#[derive(Debug)]
pub struct Bound {
    plugin: HostedPlugin,
    descriptor: ApplicationDescriptor,
}

impl Bound {
    /// Binds the plugin behind `module`, which came from the file `hash`.
    ///
    /// # Errors
    /// A sentence when it can't say what it is.
    pub fn new(module: PluginModuleRef, hash: PluginHash) -> Result<Self, String> {
        let plugin = HostedPlugin::new(module);
        let description = plugin.describe().map_err(|failure| failure.to_string())?;
        Ok(Bound { plugin, descriptor: description::descriptor(description, hash) })
    }
}

/// The descriptor in what a plugin's `describe` gave, for a plugin that is not loaded here.
///
/// # Errors
/// A sentence when it is not a description.
pub fn descriptor_of(description: &[u8], hash: PluginHash) -> Result<ApplicationDescriptor, String> {
    let description = Description::decode(description).map_err(|error| error.to_string())?;
    Ok(description::descriptor(description, hash))
}

impl Application for Bound {
    fn descriptor(&self) -> &ApplicationDescriptor {
        &self.descriptor
    }

    fn begin(
        &self,
        procedure: ProcedureIndex,
        encoding: Encoding,
        parameters: &[u8],
        features: u64,
    ) -> Result<Box<dyn Run>, String> {
        let declared =
            self.descriptor.procedures.get(procedure).ok_or("the application has no such procedure")?;
        let run = self
            .plugin
            .begin(procedure as u32, plugin_encoding(encoding), parameters, features)
            .map_err(|failure| failure.to_string())?;
        if let Some(unit) = run.plan().iter().find(|unit| **unit >= declared.units.len()) {
            return Err(format!("its plan names work unit {unit}, and it has {}", declared.units.len()));
        }
        Ok(Box::new(BoundRun { run }))
    }

    fn undo(
        &self,
        procedure: ProcedureIndex,
        undo: &str,
        encoding: Encoding,
        parameters: &[u8],
        context: &mut UnitContext<'_>,
    ) -> Result<(), String> {
        self.plugin
            .undo(procedure as u32, undo, plugin_encoding(encoding), parameters, &mut unit::Unit(context))
            .map_err(|failure| failure.to_string())
    }

    fn check_row(&self, table: TableIndex, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.plugin.check_row(table as u32, key, value).map_err(|failure| failure.to_string())
    }

    fn rewrite_row(
        &self,
        table: TableIndex,
        key: &[u8],
        value: &[u8],
        format: u16,
    ) -> Result<Vec<u8>, String> {
        self.plugin.rewrite_row(table as u32, key, value, format).map_err(|failure| failure.to_string())
    }

    fn translate(
        &self,
        table: TableIndex,
        key: &[u8],
        value: &[u8],
        put: PutDerived<'_>,
    ) -> Result<(), String> {
        let translated = self.plugin.translate(table as u32, key, value, &mut |table, key, value| {
            put(table as usize, key, value);
        });
        translated.map_err(|failure| failure.to_string())
    }
}

fn plugin_encoding(encoding: Encoding) -> PluginEncoding {
    match encoding {
        Encoding::Postcard => PluginEncoding::Postcard,
        Encoding::Json => PluginEncoding::Json,
    }
}

struct BoundRun {
    run: HostedRun,
}

impl Run for BoundRun {
    fn plan(&self) -> &[UnitIndex] {
        self.run.plan()
    }

    fn run(&mut self, position: usize, context: &mut UnitContext<'_>) -> Result<(), UnitEnd> {
        self.run.run(position, &mut unit::Unit(context)).map_err(ended)
    }
}

fn ended(failure: EntryFailure) -> UnitEnd {
    let faulted = |kind, message| UnitEnd::Faulted { kind, message };
    match failure {
        EntryFailure::Refused { code, message } => UnitEnd::Refused(Refusal { code, message }),
        EntryFailure::Panicked(message) => faulted(FaultKind::Panic, message),
        EntryFailure::Failed(message) => faulted(FaultKind::Error, message),
        EntryFailure::Contract(message) | EntryFailure::Malformed(message) => {
            faulted(FaultKind::Contract, message)
        }
    }
}
