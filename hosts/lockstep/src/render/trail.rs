//! Entries of the audit trail, a line each.

use lockstep_runtime::trail::TrailEntry;
use time::OffsetDateTime;

/// Entries, oldest first: when (UTC), at which processor, who, what, why.
pub fn trail(entries: &[TrailEntry]) -> String {
    let at = entries.iter().map(|entry| entry.node.chars().count()).max().unwrap_or(0).max(1);
    let who = entries.iter().map(|entry| entry.by.chars().count()).max().unwrap_or(0).max(1);
    let line = |entry: &TrailEntry| {
        let by = if entry.by.is_empty() { "-" } else { &entry.by };
        let why = if entry.why.is_empty() { String::new() } else { format!("   ({})", entry.why) };
        let node = if entry.node.is_empty() { "-" } else { &entry.node };
        let of = entry.application.as_deref().unwrap_or("-");
        format!("{}  {node:<at$}  {by:<who$}  {of}  {}{why}\n", when(entry.at_ms), entry.what)
    };
    entries.iter().map(line).collect()
}

/// `2026-01-31 23:59:59 UTC`.
fn when(at_ms: u64) -> String {
    let seconds = i64::try_from(at_ms / 1_000).unwrap_or(i64::MAX);
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds) else { return format!("{at_ms} ms") };
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!("{year}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC", u8::from(month))
}

#[cfg(test)]
mod tests {
    use lockstep_runtime::trail::What;

    use super::*;

    #[test]
    fn who_did_what_when_and_why() {
        let entry = |at_ms, by: &str, why: &str, command: &str| TrailEntry {
            node: if by.is_empty() { String::new() } else { "a".into() },
            number: 1,
            at_ms,
            application: Some("ledger".into()),
            by: by.into(),
            why: why.into(),
            what: What::Command { command: command.into(), result: "accepted".into() },
        };
        let entries = [
            entry(1_769_903_999_000, "root", "ticket 7", "upgrade pause"),
            entry(0, "", "", "upgrade resume"),
        ];
        assert_eq!(
            trail(&entries),
            "2026-01-31 23:59:59 UTC  a  root  ledger  upgrade pause: accepted   (ticket 7)\n\
             1970-01-01 00:00:00 UTC  -  -     ledger  upgrade resume: accepted\n"
        );
    }
}
