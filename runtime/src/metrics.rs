//! What Prometheus reads: a small set of figures in its text format, made when asked.
//!
//! The words are those of `lockstep status`. Deliberately absent: a metrics registry; the core counts, and this page
//! only writes down.
//! Invariant: the samples of one metric stand together, after its help and its type.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use lockstep_core::command::{Command, CommandReply, GroupStatus, Role};

use crate::admin::protocol::PluginMemory;
use crate::engines::Engines;

/// A metric with its samples: labels beyond application, partition and node; value.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: Vec<(String, u64)>,
}

/// The page of a processor: its groups, and what plugins take of it.
pub async fn page(node: &str, engines: &Engines, plugins: &PluginMemory) -> String {
    let mut groups = Vec::new();
    for engine in engines.all() {
        if let Ok(Ok(CommandReply::Status(status))) = engine.command(Command::Status).await {
            let clients = engine.face().clients.load(Ordering::Relaxed);
            let dropped = engine.face().clients_dropped.load(Ordering::Relaxed);
            let mut group = status.application.clone();
            if engine.partitions > 1 {
                group = format!("{group}\",partition=\"{}", engine.partition);
            }
            groups.push((group, metrics(&status, clients, dropped)));
        }
    }
    write(node, &groups) + &of_process(node, plugins)
}

/// What is one for the whole process, whatever runs in it.
fn of_process(node: &str, plugins: &PluginMemory) -> String {
    let PluginMemory { kept, kept_bytes, kept_bytes_max, hung, hung_max, keys } = *plugins;
    let mut page = String::new();
    for (name, help, value) in [
        ("plugins_kept", "Plugin libraries that can't be unloaded and stay mapped.", kept),
        ("plugins_kept_bytes", "The address space of plugin libraries that can't be unloaded.", kept_bytes),
        ("plugins_kept_bytes_max", "Beyond so much of it no further version is loaded.", kept_bytes_max),
        ("engines_hung", "Engines that hang in a work unit, were given up, and still take memory.", hung),
        ("engines_hung_max", "With one more of them the process ends.", hung_max),
        ("thread_keys", "Thread-specific data keys with a destructor, of 1,024 that a process has.", keys),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "# HELP lockstep_{name} {help}\n# TYPE lockstep_{name} gauge\nlockstep_{name}{{node=\"{node}\"}} {value}"
        );
    }
    page
}

fn write(node: &str, groups: &[(String, Vec<Metric>)]) -> String {
    let mut page = String::new();
    let Some((_, first)) = groups.first() else { return page };
    // All groups have the same metrics in the same order.
    for (at, Metric { name, kind, help, .. }) in first.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = writeln!(page, "# HELP lockstep_{name} {help}\n# TYPE lockstep_{name} {kind}");
        for (application, metrics) in groups {
            for (labels, value) in &metrics[at].samples {
                let _ = writeln!(
                    page,
                    "lockstep_{name}{{application=\"{application}\",node=\"{node}\"{labels}}} {value}"
                );
            }
        }
    }
    page
}

fn metrics(status: &GroupStatus, clients: u64, dropped: u64) -> Vec<Metric> {
    let metric = |name, kind, help, samples| Metric { name, kind, help, samples };
    let gauge = |name, help, value: u64| metric(name, "gauge", help, vec![(String::new(), value)]);
    let counter = |name, help, value: u64| metric(name, "counter", help, vec![(String::new(), value)]);
    let by = |label: &str, values: &[(&str, u64)]| -> Vec<(String, u64)> {
        values.iter().map(|(name, value)| (format!(",{label}=\"{name}\""), *value)).collect()
    };
    let own = &status.members[0];
    let roles: Vec<(String, u64)> = [Role::Starting, Role::Active, Role::Standby, Role::Isolated]
        .map(|role| (format!(",role=\"{role}\""), u64::from(own.role == role)))
        .into();
    let counts = &status.counts;
    let outcomes = [
        ("committed", counts.committed),
        ("refused", counts.refused),
        ("faulted", counts.faulted),
        ("repeated", counts.repeated),
        ("read", counts.reads),
    ];
    let followed = [("lock_step", counts.in_lock_step), ("shipped", counts.shipped)];
    let own_events = [
        ("timer", counts.timers_fired),
        ("message_in", counts.messages_taken),
        ("message_out", counts.messages_delivered),
    ];
    let latencies = [("0.5", status.latency_us.0), ("0.99", status.latency_us.1)];
    let in_sync = status.members.iter().filter(|member| member.in_sync).count() as u64;
    vec![
        metric("role", "gauge", "1 for the role of this processor, 0 for the others.", roles),
        gauge("epoch", "The epoch of the arbiter's record.", status.epoch.0),
        gauge("term", "The term of the arbiter's record.", status.term.0),
        gauge("last", "The last number of the stream here.", own.last.0),
        gauge("held", "Everything up to this number is held.", status.held.0),
        gauge("in_sync", "Members that the record has in sync.", in_sync),
        metric("events_total", "counter", "Events by outcome, as active.", by("outcome", &outcomes)),
        metric("followed_total", "counter", "Procedures followed as standby.", by("how", &followed)),
        metric(
            "own_events_total",
            "counter",
            "Timers fired, messages taken and delivered.",
            by("kind", &own_events),
        ),
        counter("divergences_total", "Differences between the two sides.", counts.divergences),
        counter("takeovers_total", "Takeovers by this side after a failure.", counts.takeovers),
        counter("switchovers_total", "Planned switchovers to this side.", counts.switchovers),
        metric(
            "latency_us",
            "gauge",
            "From an event's arrival to its answer, microseconds, lately.",
            by("quantile", &latencies),
        ),
        gauge("table_bytes", "An estimate of the memory of the rows.", status.table_bytes),
        gauge("table_bytes_max", "How much memory the rows may take.", status.table_bytes_max),
        gauge("clients", "Connections of binary clients.", clients),
        counter("clients_dropped_total", "Connections of clients that this side closed.", dropped),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_together_after_help_and_type() {
        let group = |value| {
            vec![Metric {
                name: "role",
                kind: "gauge",
                help: "The role.",
                samples: vec![(",role=\"active\"".into(), value), (",role=\"standby\"".into(), 1 - value)],
            }]
        };
        assert_eq!(
            write("a", &[("x".into(), group(1)), ("y".into(), group(0))]),
            "# HELP lockstep_role The role.\n\
             # TYPE lockstep_role gauge\n\
             lockstep_role{application=\"x\",node=\"a\",role=\"active\"} 1\n\
             lockstep_role{application=\"x\",node=\"a\",role=\"standby\"} 0\n\
             lockstep_role{application=\"y\",node=\"a\",role=\"active\"} 0\n\
             lockstep_role{application=\"y\",node=\"a\",role=\"standby\"} 1\n"
        );
    }
}
