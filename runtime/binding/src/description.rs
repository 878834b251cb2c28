//! What a plugin says of itself, in the core's words.

use lockstep_core::descriptor::{
    ApplicationDescriptor, BodyUse, FeatureDescriptor, ProcedureDescriptor, Receiver, Recovery,
    TableDescriptor, TableKind, UnitDescriptor, Version,
};
use lockstep_core::ids::PluginHash;
use lockstep_plugin_api::application::{
    Description, ProcedureDescription, ReceiverDescription, TableDescription,
};

/// The descriptor of a plugin that came from the file `hash`.
pub(crate) fn descriptor(description: Description, hash: PluginHash) -> ApplicationDescriptor {
    let (major, minor, patch) = description.version;
    let feature = |(name, description)| FeatureDescriptor { name, description };
    ApplicationDescriptor {
        name: description.name,
        version: Version { major, minor, patch },
        hash,
        tables: description.tables.into_iter().map(table).collect(),
        features: description.features.into_iter().map(feature).collect(),
        procedures: description.procedures.into_iter().map(procedure).collect(),
        sends: description.sends.map(|sends| sends.into_iter().map(receiver).collect()),
    }
}

fn receiver(receiver: ReceiverDescription) -> Receiver {
    Receiver { application: receiver.application, procedure: receiver.procedure }
}

fn table(table: TableDescription) -> TableDescriptor {
    TableDescriptor {
        name: table.name,
        kind: if table.ordered { TableKind::Ordered } else { TableKind::Hash },
        format: table.format,
        reads_from: table.reads_from,
        derived_from: table.derived_from,
    }
}

fn procedure(procedure: ProcedureDescription) -> ProcedureDescriptor {
    let units = procedure.units.into_iter();
    ProcedureDescriptor {
        name: procedure.name,
        version: procedure.version,
        recovery: if procedure.completes { Recovery::Complete } else { Recovery::RollBack },
        reads_only: procedure.reads_only,
        one_sided: procedure.one_sided,
        body: if procedure.body_withheld { BodyUse::Withheld } else { BodyUse::Carried },
        deadline_ms: procedure.deadline_ms,
        hang_ms: procedure.hang_ms,
        units: units
            .map(|unit| UnitDescriptor { name: unit.name, reads_body: unit.reads_body, undo: unit.undo })
            .collect(),
        undos: procedure.undos,
        parameters: procedure.parameters,
    }
}
