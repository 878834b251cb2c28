//! A linked application as the core runs it: bound as a loaded one is, and noting which work units it runs.
//!
//! Deliberately absent: plugin files. An application under test is an ordinary library of the test.

use std::sync::{Arc, Mutex, PoisonError};

use lockstep_binding::{Bound, host_services};
use lockstep_core::application::{Application as CoreApplication, PutDerived, Run, UnitEnd};
use lockstep_core::context::UnitContext;
use lockstep_core::descriptor::{ApplicationDescriptor, ProcedureIndex, TableIndex, UnitIndex};
use lockstep_core::event::Encoding;
use lockstep_core::ids::PluginHash;
use lockstep_plugin_api::Application;
use lockstep_plugin_api::host::HostedPlugin;

/// Added to every procedure's version by [`Linked::unlike_any`].
const UNLIKE: u32 = 1 << 24;

/// The names of the work units, or of the undos, that a side has run, in order.
#[derive(Clone, Default)]
pub(crate) struct UnitsRun(Arc<Mutex<Vec<String>>>);

impl UnitsRun {
    /// Takes them out.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, unit: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(unit.into());
    }
}

/// An application that is linked into this program, started; it is shut down when it is dropped.
pub(crate) struct Linked {
    bound: Bound,
    plugin: HostedPlugin,
    descriptor: ApplicationDescriptor,
    units_run: UnitsRun,
    undos_run: UnitsRun,
}

fn bound(application: &'static Application, hash: PluginHash) -> Bound {
    Bound::new(application.module(), hash)
        .unwrap_or_else(|why| panic!("{application:?} can't be described: {why}"))
}

/// What `application` says of itself.
pub(crate) fn descriptor(application: &'static Application) -> ApplicationDescriptor {
    bound(application, PluginHash::default()).descriptor().clone()
}

impl Linked {
    /// Starts `application`; `hash` stands for the file that it would come from.
    pub(crate) fn start(
        application: &'static Application,
        hash: PluginHash,
        units_run: UnitsRun,
        undos_run: UnitsRun,
    ) -> Self {
        let plugin = HostedPlugin::new(application.module());
        if let Err(why) = plugin.start(&host_services()) {
            panic!("{application:?} does not start: {why}");
        }
        let bound = bound(application, hash);
        let descriptor = bound.descriptor().clone();
        Linked { bound, plugin, descriptor, units_run, undos_run }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.descriptor.name
    }

    /// Gives its procedures versions that nobody else has, so that whoever is active ships them to it, update by
    /// update.
    pub(crate) fn unlike_any(mut self) -> Self {
        for procedure in &mut self.descriptor.procedures {
            procedure.version += UNLIKE;
        }
        self
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        let ended = self.plugin.shutdown();
        if let Err(why) = ended
            && !std::thread::panicking()
        {
            panic!("{} does not shut down: {why}", self.descriptor.name);
        }
    }
}

impl CoreApplication for Linked {
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
        let run = self.bound.begin(procedure, encoding, parameters, features)?;
        let declared = &self.descriptor.procedures[procedure].units;
        let names = run.plan().iter().map(|unit| declared[*unit].name.clone()).collect();
        Ok(Box::new(Noted { run, names, units_run: self.units_run.clone() }))
    }

    fn undo(
        &self,
        procedure: ProcedureIndex,
        undo: &str,
        encoding: Encoding,
        parameters: &[u8],
        context: &mut UnitContext<'_>,
    ) -> Result<(), String> {
        self.undos_run.note(undo);
        self.bound.undo(procedure, undo, encoding, parameters, context)
    }

    fn check_row(&self, table: TableIndex, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.bound.check_row(table, key, value)
    }

    fn rewrite_row(
        &self,
        table: TableIndex,
        key: &[u8],
        value: &[u8],
        format: u16,
    ) -> Result<Vec<u8>, String> {
        self.bound.rewrite_row(table, key, value, format)
    }

    fn translate(
        &self,
        table: TableIndex,
        key: &[u8],
        value: &[u8],
        put: PutDerived<'_>,
    ) -> Result<(), String> {
        self.bound.translate(table, key, value, put)
    }
}

/// A run that notes its units.
struct Noted {
    run: Box<dyn Run>,
    names: Vec<String>,
    units_run: UnitsRun,
}

impl Run for Noted {
    fn plan(&self) -> &[UnitIndex] {
        self.run.plan()
    }

    fn run(&mut self, position: usize, context: &mut UnitContext<'_>) -> Result<(), UnitEnd> {
        self.units_run.note(&self.names[position]);
        self.run.run(position, context)
    }
}
