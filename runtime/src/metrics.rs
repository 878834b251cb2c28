//! What Prometheus reads: a small set of figures in its text format, made when asked.
//!
//! The words are those of `lockstep status`. Deliberately absent: a metrics registry; the core counts, and this page
//! only writes down.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lockstep_core::command::{Command, CommandReply, GroupStatus, Role};

use crate::engine::inbound::EngineHandle;

/// The page of all groups of a processor.
pub async fn page(node: &str, engines: &[Arc<EngineHandle>]) -> String {
    let mut page = String::new();
    for engine in engines {
        if let Ok(Ok(CommandReply::Status(status))) = engine.command(Command::Status).await {
            let clients = engine.face().clients.load(Ordering::Relaxed);
            let dropped = engine.face().clients_dropped.load(Ordering::Relaxed);
            write_group(&mut page, node, &status, clients, dropped);
        }
    }
    page
}

fn write_group(page: &mut String, node: &str, status: &GroupStatus, clients: u64, dropped: u64) {
    let labels = format!("application=\"{}\",node=\"{node}\"", status.application);
    let mut line = |name: &str, more: &str, value: u64| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "lockstep_{name}{{{labels}{more}}} {value}");
    };
    let own = &status.members[0];
    for role in [Role::Starting, Role::Active, Role::Standby, Role::Isolated] {
        line("role", &format!(",role=\"{role}\""), u64::from(own.role == role));
    }
    line("epoch", "", status.epoch.0);
    line("term", "", status.term.0);
    line("last", "", own.last.0);
    line("held", "", status.held.0);
    line("in_sync", "", status.members.iter().filter(|member| member.in_sync).count() as u64);
    let counts = &status.counts;
    let events = [
        ("committed", counts.committed),
        ("refused", counts.refused),
        ("faulted", counts.faulted),
        ("repeated", counts.repeated),
        ("read", counts.reads),
    ];
    for (outcome, count) in events {
        line("events_total", &format!(",outcome=\"{outcome}\""), count);
    }
    line("followed_total", ",how=\"lock_step\"", counts.in_lock_step);
    line("followed_total", ",how=\"shipped\"", counts.shipped);
    line("divergences_total", "", counts.divergences);
    line("takeovers_total", "", counts.takeovers);
    line("switchovers_total", "", counts.switchovers);
    line("latency_us", ",quantile=\"0.5\"", status.latency_us.0);
    line("latency_us", ",quantile=\"0.99\"", status.latency_us.1);
    line("table_bytes", "", status.table_bytes);
    line("clients", "", clients);
    line("clients_dropped_total", "", dropped);
}
