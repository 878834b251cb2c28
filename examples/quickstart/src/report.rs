//! What came of it: a table for people, one JSON object for programs.

use comfy_table::{CellAlignment, Table};
use rig::audit::AuditReport;
use rig::load::figures::PhaseFigures;
use serde_json::{Value, json};

/// The whole run.
pub struct Report {
    /// By phase, as the clients saw it.
    pub phases: Vec<PhaseFigures>,
    /// The audit.
    pub audit: AuditReport,
    /// From `SIGKILL` to the first answer after the longest silence.
    pub service_again_ms: f64,
    /// What the campaigns came to, in words.
    pub campaigns: Vec<String>,
}

impl Report {
    /// Whether everything held: the audit, and every request answered.
    pub fn ok(&self) -> bool {
        self.audit.holds() && self.failed() == 0
    }

    fn failed(&self) -> u64 {
        self.phases.iter().map(|phase| phase.failed).sum()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "ok": self.ok(),
            "phases": self.phases,
            "audit": self.audit,
            "service_again_after_kill_ms": self.service_again_ms,
            "campaigns": self.campaigns,
        })
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "phase",
            "events",
            "events/s",
            "longest gap",
            "p50",
            "p99",
            "retries",
            "refused",
            "faulted",
            "failed",
        ]);
        for phase in &self.phases {
            table.add_row([
                phase.name.clone(),
                grouped(phase.events),
                grouped(phase.rate_per_s.round() as u64),
                format!("{:.1} ms", phase.longest_gap_ms),
                format!("{:.2} ms", phase.p50_us as f64 / 1e3),
                format!("{:.2} ms", phase.p99_us as f64 / 1e3),
                grouped(phase.retries),
                grouped(phase.refused),
                grouped(phase.faulted),
                grouped(phase.failed),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let audit = &self.audit;
        let yes = |holds: bool| if holds { "yes" } else { "NO" };
        let mut text = format!("{table}\n\n");
        for campaign in &self.campaigns {
            text += &format!("{campaign}\n");
        }
        text += &format!(
            "after the kill of the active: service again in {:.1} ms\n\n\
             audit, from both exported databases and the clients' own record\n  \
             acknowledged {}   lost {}   doubled {}   unanswered {}\n  \
             money conserved: {}   databases equal: {}\n  \
             connections dropped by an upgrade: {}   hosts restarted for an upgrade: {}\n",
            self.service_again_ms,
            grouped(audit.acknowledged),
            audit.lost,
            audit.doubled,
            audit.unanswered,
            yes(audit.money_conserved),
            yes(audit.digests_equal),
            audit.connections_dropped,
            audit.host_restarts,
        );
        for problem in &audit.problems {
            text += &format!("  problem: {problem}\n");
        }
        text += if self.ok() { "\nok: everything held" } else { "\nFAILED: not everything held" };
        text
    }
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
