//! A plugin's lines in the host's log.
//!
//! The level is the plugin's; the target is `plugin`, and the plugin's own target is a field, as targets of `tracing`
//! are constants of the program that logs.

use lockstep_core::context::UnitContext;
use lockstep_plugin_api::abi::HostServices;
use lockstep_plugin_api::host::{LogLines, services};
use tracing::level_filters::LevelFilter;

/// What this host offers a plugin outside of work units: its log.
#[must_use]
pub fn host_services() -> HostServices {
    services::<HostLog>()
}

struct HostLog;

impl LogLines for HostLog {
    fn level_max() -> u8 {
        match LevelFilter::current() {
            LevelFilter::OFF => 0,
            LevelFilter::ERROR => 1,
            LevelFilter::WARN => 2,
            LevelFilter::INFO => 3,
            LevelFilter::DEBUG => 4,
            _ => 5,
        }
    }

    fn line(level: u8, target: &str, message: &str) {
        line(level, target, message);
    }
}

/// Writes a line.
pub(crate) fn line(level: u8, source: &str, message: &str) {
    match level {
        1 => tracing::error!(target: "plugin", source, "{message}"),
        2 => tracing::warn!(target: "plugin", source, "{message}"),
        3 => tracing::info!(target: "plugin", source, "{message}"),
        4 => tracing::debug!(target: "plugin", source, "{message}"),
        _ => tracing::trace!(target: "plugin", source, "{message}"),
    }
}

/// Writes a line of a work unit, with what it belongs to.
pub(crate) fn line_of_unit(context: &UnitContext<'_>, level: u8, source: &str, message: &str) {
    let descriptor = context.descriptor();
    let (application, version) = (&descriptor.name, descriptor.version);
    let (number, Some(piece)) = (context.number().0, context.piece()) else {
        return line(level, source, message);
    };
    let (procedure, work_unit, event) = (piece.procedure, piece.unit, piece.event);
    macro_rules! write {
        ($level:ident) => {
            tracing::$level!(
                target: "plugin", source, application, %version, procedure, work_unit, number, %event, "{message}"
            )
        };
    }
    match level {
        1 => write!(error),
        2 => write!(warn),
        3 => write!(info),
        4 => write!(debug),
        _ => write!(trace),
    }
}
