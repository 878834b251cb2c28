//! The memory that rows may take, used up by the load itself.

use std::time::{Duration, Instant};

use lockstep_core::command::GroupStatus;
use rig::clients::ClientThread;
use rig::load::Pace;
use rig::node::Settings;
use rig::{Failure, interrupt, ledger};

use super::row::{Ending, Fault, Site};
use super::stage::{Plan, Stage};

/// What the rows may take at first, and then.
const ROWS_MB: [u64; 2] = [2, 64];
/// By then that is used up.
const USED_UP_MAX: Duration = Duration::from_secs(90);
/// What the log says then.
const FULL: &str = "LS0617";

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let expected = "what adds rows is turned away, reads go on; with a higher bound they come back one after the other, and all goes on";
    vec![Fault::new("rows' memory used up: both", expected, used_up)]
}

fn bound(rows_mb: u64) -> Settings {
    Settings { more: format!("    rows_mb: {rows_mb},\n"), ..Settings::default() }
}

fn used_up(site: &Site<'_>) -> Result<Ending, Failure> {
    let nodes = ROWS_MB.map(|_| bound(ROWS_MB[0]));
    let pace = Pace::Open { rate_per_s: 4_000.0 };
    let mut stage = Stage::with(site, Plan { nodes, pace, ..Plan::of(site) })?;
    let active = stage.active()?;
    stage.begins()?;
    let until = Instant::now() + USED_UP_MAX;
    while !stage.log_has(active, FULL) {
        interrupt::check()?;
        if Instant::now() > until {
            return Err(Failure::new(format!("the rows did not take their {} MB", ROWS_MB[0])));
        }
        stage.pass(Duration::from_millis(20))?;
    }
    let clients = ClientThread::new()?;
    let client = clients.connect(lockstep_client::connect(stage.pair.events()))?;
    let read = clients.call(&client, ledger::balance(0)).wait()?;
    stage.expect(read.is_ok(), "reads do not go on");
    let added = clients.call(&client, ledger::open_accounts(1 << 20, 100, 0)).wait()?;
    let turned_away = matches!(
        &added,
        Err(lockstep_client::CallError::Rejected { code, .. }) if code == lockstep_client::NO_ROOM
    );
    stage.expect(turned_away, "what adds rows is not turned away");
    // The standby first: it takes over with more room.
    for at in [1 - active, active] {
        *stage.pair.node_mut(at).settings_mut() = bound(ROWS_MB[1]);
        stage.end(at)?;
        stage.wait_serves(1 - at)?;
        stage.back(at)?;
        stage.pair.wait_in_lock_step(USED_UP_MAX)?;
    }
    let beyond = |group: &GroupStatus| group.table_bytes > (ROWS_MB[0] + 1) << 20;
    let at = stage.active()?;
    stage.pair.wait_at(at, "rows beyond the first bound", USED_UP_MAX, Duration::from_millis(20), beyond)?;
    stage.finish()
}
