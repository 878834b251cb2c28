//! `lockstep status` and `lockstep features list`.

use lockstep_core::command::{FeatureState, GroupStatus, MemberStatus, MigrationStatus, Role, TableFormats};
use lockstep_core::ids::Number;
use lockstep_runtime::admin::protocol::{GroupReport, ProcessorStatus};

use super::partitions;
use super::words::{age, columns, count, counted, latency};

/// The whole processor.
pub fn processor(status: &ProcessorStatus) -> String {
    // The groups of an application stand together, in the order of their partitions.
    let applications = status.groups.chunk_by(|a, b| a.group.application == b.group.application);
    let groups: Vec<String> = applications
        .flat_map(|reports| match partitions::as_one(reports) {
            Some(one) => vec![group(&one, status.up_ms)],
            None => reports.iter().map(|report| group(report, status.up_ms)).collect(),
        })
        .collect();
    if groups.is_empty() { format!("{} runs no application\n", status.node) } else { groups.join("\n") }
}

/// One group: a line for it, a line for each processor, a line for what concerns both.
fn group(report: &GroupReport, up_ms: u64) -> String {
    let GroupReport { group, last_change } = report;
    let mut out = format!("{}   {}   epoch {}\n", partitions::name(group), standing(group), group.epoch);
    let active = group.members.iter().find(|member| serves(member)).map(|member| member.last);
    let rows: Vec<Vec<String>> = group
        .members
        .iter()
        .enumerate()
        .map(|(at, member)| {
            let asked = at == 0;
            if !member.connected && !asked {
                // What the record says of it may long be past.
                let word = if member.in_sync { "recorded in sync" } else { "not in sync" };
                return vec![member.node.to_string(), "not heard of".into(), String::new(), word.into()];
            }
            let version = member.version.map_or_else(|| "-".into(), |version| version.to_string());
            let place = format!("seq {}", count(member.last.0));
            let mut row = vec![member.node.to_string(), member.role.to_string(), version, place];
            if serves(member) {
                row.push(format!("{} events/s", count(group.events_per_s)));
                row.push(format!("p99 {}", latency(group.latency_us.1)));
            } else {
                row.extend(tail(member, active, group.events_per_s));
            }
            if asked {
                row.push(format!("up {}", age(up_ms)));
            }
            row
        })
        .collect();
    out.push_str(&aligned_head(&rows));
    let on: Vec<&str> = group
        .features
        .iter()
        .filter(|(_, _, is)| *is != FeatureState::Off)
        .map(|(name, _, _)| name.as_str())
        .collect();
    let features = if on.is_empty() { "none".into() } else { on.join(", ") };
    let campaign = match &group.campaign {
        None => "none".to_owned(),
        Some(campaign) => {
            let record = &campaign.record;
            format!("{} -> {} at {}", record.plan.from, record.plan.to, record.step.figure())
        }
    };
    let change = match last_change {
        None => "none".to_owned(),
        Some((what, ago_ms)) => format!("{} ago, {what}", age(*ago_ms)),
    };
    out.push_str(&format!("features: {features}   campaign: {campaign}   last change: {change}\n"));
    out.push_str(&migration(group.migration.as_ref(), &group.formats));
    for note in &group.notes {
        let Some(fault) = note.fault() else { continue };
        out.push_str(&format!(
            "  {} died of {}.{}: {}\n",
            note.died, note.procedure, note.unit, fault.message
        ));
    }
    out
}

/// The first four cells of each row in columns, the rest as they come.
fn aligned_head(rows: &[Vec<String>]) -> String {
    let heads: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().take(3).cloned().collect::<Vec<_>>()).collect();
    let heads = columns("  ", "  ", &heads);
    let width = heads.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let lines = heads.lines().zip(rows).map(|(head, row)| {
        let rest = row.get(3..).unwrap_or(&[]).join("   ");
        format!("{head:width$}   {rest}\n")
    });
    lines.collect()
}

/// Whether a member is the active, as far as it can be heard.
fn serves(member: &MemberStatus) -> bool {
    member.role == Role::Active && member.connected
}

/// How far a member that is not active is behind, and whether it counts. The time is what the events between the two
/// take at the rate at which they come.
fn tail(member: &MemberStatus, active: Option<Number>, events_per_s: u64) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(active) = active {
        let behind = active.0.saturating_sub(member.last.0);
        let time = match (behind.saturating_mul(1_000_000)).checked_div(events_per_s) {
            Some(us) if behind > 0 => format!(" ({}.{} ms)", us / 1_000, us % 1_000 / 100),
            _ => String::new(),
        };
        words.push(format!("{} behind{time}", count(behind)));
    }
    if !member.in_sync {
        words.push("not in sync".to_owned());
    }
    words
}

/// The state of the group in a few words.
fn standing(group: &GroupStatus) -> String {
    let has = |role: Role, in_sync: bool| {
        let is = |member: &MemberStatus| member.role == role && member.connected;
        group.members.iter().any(|member| is(member) && (!in_sync || member.in_sync))
    };
    if !has(Role::Active, false) {
        "not in service".into()
    } else if !has(Role::Standby, true) {
        "in service alone".into()
    } else if group.shipped.is_empty() {
        "in lock step".into()
    } else {
        format!("in lock step, {} shipped", counted(group.shipped.len() as u64, "procedure"))
    }
}

/// Features with their state.
pub fn features(
    features: &[(String, String, FeatureState)],
    under_way: Option<&MigrationStatus>,
    formats: &[TableFormats],
) -> String {
    if features.is_empty() {
        return format!("the running version has no features\n{}", migration(under_way, formats));
    }
    let rows: Vec<Vec<String>> = features
        .iter()
        .map(|(name, description, is)| {
            let is = match is {
                FeatureState::Off => "off",
                FeatureState::Migrating => "migrating",
                FeatureState::On => "on",
            };
            vec![name.clone(), is.into(), description.clone()]
        })
        .collect();
    columns("", "  ", &rows) + &migration(under_way, formats)
}

/// A line for a migration under way, and one for each table of which the last one has left rows.
fn migration(under_way: Option<&MigrationStatus>, formats: &[TableFormats]) -> String {
    let mut out = String::new();
    if let Some(status) = under_way {
        let (rows, of) = (count(status.rows), count(status.of));
        out.push_str(&format!("  migrating: {rows} of {of} rows, {} %", status.percent()));
        if status.left > 0 {
            out.push_str(&format!(", {} can't be read", count(status.left)));
        }
        out.push('\n');
    }
    for table in formats.iter().filter(|table| under_way.is_none() && table.left > 0) {
        out.push_str(&format!(
            "  table {}: {} can't be read and may be in format {}\n",
            table.table,
            counted(table.left, "row"),
            table.oldest
        ));
    }
    out
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use lockstep_core::command::Counts;
    use lockstep_core::ids::{Epoch, NodeId, Term};

    fn member(node: &str, role: Role, last: u64) -> MemberStatus {
        MemberStatus {
            node: NodeId(node.into()),
            role,
            version: Some("1.4.0".parse().unwrap()),
            hash: None,
            last: Number(last),
            in_sync: true,
            connected: true,
        }
    }

    /// A pair in lock step.
    pub fn pair() -> GroupStatus {
        GroupStatus {
            application: "ledger".into(),
            partition: 0,
            partitions: 1,
            epoch: Epoch(7),
            term: Term(5),
            members: vec![member("a", Role::Active, 18_442_107), member("b", Role::Standby, 18_442_105)],
            held: Number(18_442_105),
            features: vec![("transfer-fee".into(), "one cent a transfer".into(), FeatureState::Off)],
            migration: None,
            formats: vec![],
            floor: "1.4.0".parse().unwrap(),
            shipped: Default::default(),
            campaign: None,
            campaigns: vec![],
            counts: Counts::default(),
            half_way: vec![],
            latency_us: (400, 1_940),
            events_per_s: 12_408,
            table_bytes: 0,
            table_bytes_max: 0,
            notes: vec![],
        }
    }

    fn shown(group: GroupStatus) -> String {
        let last_change = Some(("switchover (planned)".to_owned(), 2 * 86_400_000));
        let report = GroupReport { group, last_change };
        processor(&ProcessorStatus {
            node: NodeId("a".into()),
            pid: 1,
            up_ms: 41 * 86_400_000,
            groups: vec![report],
        })
    }

    #[test]
    fn a_pair_in_lock_step() {
        assert_eq!(
            shown(pair()),
            "ledger   in lock step   epoch 7\n  \
               a  active   1.4.0   seq 18,442,107   12,408 events/s   p99 1.9 ms   up 41 d\n  \
               b  standby  1.4.0   seq 18,442,105   2 behind (0.1 ms)\n\
             features: none   campaign: none   last change: 2 d ago, switchover (planned)\n"
        );
    }

    #[test]
    fn an_active_whose_standby_is_gone() {
        let mut group = pair();
        group.members[1].connected = false;
        group.members[1].in_sync = false;
        group.members[1].role = Role::Isolated;
        assert_eq!(
            shown(group),
            "ledger   in service alone   epoch 7\n  \
               a  active        1.4.0   seq 18,442,107   12,408 events/s   p99 1.9 ms   up 41 d\n  \
               b  not heard of          not in sync\n\
             features: none   campaign: none   last change: 2 d ago, switchover (planned)\n"
        );
    }

    #[test]
    fn mixed_versions_seen_from_the_standby() {
        let mut group = pair();
        group.members.reverse();
        group.members[0].version = Some("2.0.0".parse().unwrap());
        group.shipped.insert("transfer".into());
        group.features[0].2 = FeatureState::On;
        assert_eq!(
            shown(group),
            "ledger   in lock step, 1 procedure shipped   epoch 7\n  \
               b  standby  2.0.0   seq 18,442,105   2 behind (0.1 ms)   up 41 d\n  \
               a  active   1.4.0   seq 18,442,107   12,408 events/s   p99 1.9 ms\n\
             features: transfer-fee   campaign: none   last change: 2 d ago, switchover (planned)\n"
        );
    }

    #[test]
    fn a_recorded_active_that_is_dead_does_not_serve() {
        let mut group = pair();
        group.members.reverse();
        (group.members[1].connected, group.members[1].last) = (false, Number(0));
        let shown = shown(group);
        assert!(shown.starts_with("ledger   not in service   epoch 7\n"), "{shown}");
        assert!(shown.contains("\n  a  not heard of          recorded in sync\n"), "{shown}");
    }

    #[test]
    fn nobody_serves() {
        let mut group = pair();
        group.members.truncate(1);
        group.members[0].role = Role::Starting;
        assert!(shown(group).starts_with("ledger   not in service   epoch 7\n"));
    }

    #[test]
    fn features_in_columns() {
        let mut of = pair().features;
        assert_eq!(features(&of, None, &[]), "transfer-fee  off  one cent a transfer\n");
        assert_eq!(features(&[], None, &[]), "the running version has no features\n");
        of[0].2 = FeatureState::Migrating;
        let status = MigrationStatus { rows: 1_200, of: 4_800, left: 3 };
        let table = TableFormats { table: "journal".into(), oldest: 1, format: 2, left: 3 };
        assert_eq!(
            features(&of, Some(&status), std::slice::from_ref(&table)),
            "transfer-fee  migrating  one cent a transfer\n  \
               migrating: 1,200 of 4,800 rows, 25 %, 3 can't be read\n"
        );
        of[0].2 = FeatureState::On;
        assert_eq!(
            features(&of, None, &[table]),
            "transfer-fee  on  one cent a transfer\n  table journal: 3 rows can't be read and may be in format 1\n"
        );
    }
}
