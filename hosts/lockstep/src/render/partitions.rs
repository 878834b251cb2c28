//! The groups of an application that are alike, shown as one (R1).

use lockstep_core::command::{GroupStatus, MemberStatus, MigrationStatus, TableFormats};
use lockstep_core::ids::{Epoch, Number};
use lockstep_runtime::admin::protocol::GroupReport;

/// All partitions stand in one status: its `partition` is none of theirs.
const ALL: u16 = u16::MAX;

/// The name of a group: `ledger`, `ledger.2`, or `ledger, 4 partitions`.
pub fn name(group: &GroupStatus) -> String {
    match (group.partition, group.partitions) {
        (_, 1) => group.application.clone(),
        (ALL, partitions) => format!("{}, {partitions} partitions", group.application),
        (partition, _) => format!("{}.{partition}", group.application),
    }
}

/// One report for all of these, the groups of one application, where there are several and they differ only in how far
/// they are: numbers, rates and memory are added up, of latencies the worst counts.
pub fn as_one(reports: &[GroupReport]) -> Option<GroupReport> {
    let (first, others) = reports.split_first()?;
    if others.is_empty() || !others.iter().all(|other| alike(&first.group, &other.group)) {
        return None;
    }
    let groups = || reports.iter().map(|report| &report.group);
    let member = |at: usize, member: &MemberStatus| MemberStatus {
        last: Number(groups().map(|group| group.members[at].last.0).sum()),
        ..member.clone()
    };
    let members = first.group.members.iter().enumerate().map(|(at, each)| member(at, each)).collect();
    let migrations: Vec<&MigrationStatus> = groups().filter_map(|group| group.migration.as_ref()).collect();
    let sum = |of: fn(&MigrationStatus) -> u64| migrations.iter().map(|status| of(status)).sum();
    let migration = MigrationStatus {
        rows: sum(|status| status.rows),
        of: sum(|status| status.of),
        left: sum(|status| status.left),
    };
    let formats = first.group.formats.iter().map(|formats| {
        let all = || groups().flat_map(|group| &group.formats).filter(|each| each.table == formats.table);
        TableFormats {
            oldest: all().map(|each| each.oldest).min().unwrap_or(formats.oldest),
            left: all().map(|each| each.left).sum(),
            ..formats.clone()
        }
    });
    let group = GroupStatus {
        partition: ALL,
        migration: (!migrations.is_empty()).then_some(migration),
        formats: formats.collect(),
        epoch: Epoch(groups().map(|group| group.epoch.0).max()?),
        members,
        held: Number(groups().map(|group| group.held.0).sum()),
        latency_us: (
            groups().map(|group| group.latency_us.0).max()?,
            groups().map(|group| group.latency_us.1).max()?,
        ),
        events_per_s: groups().map(|group| group.events_per_s).sum(),
        table_bytes: groups().map(|group| group.table_bytes).sum(),
        table_bytes_max: groups().map(|group| group.table_bytes_max).fold(0, u64::saturating_add),
        ..first.group.clone()
    };
    let latest = reports.iter().filter_map(|report| report.last_change.clone()).min_by_key(|(_, ago)| *ago);
    Some(GroupReport { group, last_change: latest })
}

/// Whether two groups differ only in how far they are.
fn alike(a: &GroupStatus, b: &GroupStatus) -> bool {
    let same = |a: &MemberStatus, b: &MemberStatus| {
        (&a.node, a.role, a.hash, a.in_sync, a.connected) == (&b.node, b.role, b.hash, b.in_sync, b.connected)
    };
    let step = |group: &GroupStatus| group.campaign.as_ref().map(|campaign| campaign.record.step);
    a.members.len() == b.members.len()
        && a.members.iter().zip(&b.members).all(|(a, b)| same(a, b))
        && (&a.features, &a.shipped, a.floor, step(a)) == (&b.features, &b.shipped, b.floor, step(b))
}

#[cfg(test)]
mod tests {
    use lockstep_core::command::Role;

    use super::super::status::{processor, tests::pair};
    use super::*;

    fn shown(groups: Vec<GroupStatus>) -> String {
        let groups = groups.into_iter().map(|group| GroupReport { group, last_change: None }).collect();
        let node = lockstep_core::ids::NodeId("a".into());
        processor(&lockstep_runtime::admin::protocol::ProcessorStatus { node, pid: 1, up_ms: 1_000, groups })
    }

    fn partitions(count: u16) -> Vec<GroupStatus> {
        (0..count).map(|partition| GroupStatus { partition, partitions: count, ..pair() }).collect()
    }

    #[test]
    fn partitions_that_are_alike_are_one() {
        assert_eq!(
            shown(partitions(4)),
            "ledger, 4 partitions   in lock step   epoch 7\n  \
               a  active   1.4.0   seq 73,768,428   49,632 events/s   p99 1.9 ms   up 1 s\n  \
               b  standby  1.4.0   seq 73,768,420   8 behind (0.1 ms)\n\
             features: none   campaign: none   last change: none\n"
        );
    }

    #[test]
    fn one_that_differs_is_seen() {
        let mut groups = partitions(2);
        groups[1].members[0].role = Role::Standby;
        groups[1].members[1].role = Role::Active;
        let shown = shown(groups);
        assert!(shown.starts_with("ledger.0   in lock step"), "{shown}");
        assert!(shown.contains("\nledger.1   in lock step"), "{shown}");
    }
}
