//! Databases of running processors: looked at, backed up under load, and restored into processors that have nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rig::admin;
use rig::load::record::Told;
use rig::load::{Load, LoadSettings, Pace};
use serde_json::{Value, json};

use crate::{artifacts, failure, load, pair};

const PATIENCE: Duration = Duration::from_secs(30);

fn good<T>(result: Result<T, rig::Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

fn digest(value: &Value) -> &str {
    value["digest"].as_str().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn a_running_processors_database_is_inspected_verified_and_exported_while_it_serves() {
    let (_directory, mut pair) = pair();
    let mut load = load(&pair);
    for at in 0..2 {
        let node = pair.node(at);
        let seen = good(node.lockstep(artifacts(), &["db", "inspect"]));
        assert_eq!(seen["stores"][0]["current"], json!(true), "{seen}");
        assert_eq!(seen["stores"][0]["damage"], Value::Null, "{seen}");
        let found = good(node.lockstep(artifacts(), &["db", "verify"]));
        assert!(found["last"].as_u64().is_some_and(|last| last > 0), "{found}");
        let rows = good(node.lockstep_lines(artifacts(), &["db", "export"]));
        assert!(rows.lines().count() > 200, "an account a line");
    }
    load.phase("after").unwrap();
    good(load.wait_answers(40));
    let stopped = good(load.stop());
    let audit = good(pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[]));
    assert!(audit.holds(), "{audit:?}");
}

#[test]
fn a_backup_made_under_load_is_restored_as_a_store_of_its_own_and_served_after_force() {
    let (directory, mut pair) = pair();
    let mut load = load(&pair);
    // A history of several terms: the new record goes on behind them.
    good(pair.switch_over());
    let held = good(pair.group(good(pair.active()))).held;
    let backup = directory.path().join("backup");
    let to = backup.display().to_string();
    let made = good(pair.node(0).lockstep(artifacts(), &["db", "backup", "--to", &to]));
    assert!(made["last"].as_u64().is_some_and(|last| last >= held.0), "{made} {held}");
    let again = failure(pair.node(0).lockstep(artifacts(), &["db", "backup", "--to", &to]));
    assert!(again.contains("LS0512"), "{again}");
    let verified = good(pair.node(0).lockstep(artifacts(), &["db", "verify", "--dir", &to]));
    assert_eq!(digest(&verified), digest(&made), "the backup can be checked by itself");
    load.phase("after").unwrap();
    good(load.wait_answers(40));
    let stopped = good(load.stop());
    let taken = failure(pair.node(0).lockstep(artifacts(), &["db", "restore", "--from", &to]));
    assert!(taken.contains("LS0507"), "a processor that runs is no place to restore to: {taken}");
    good(pair.end());
    let taken = failure(pair.node(0).lockstep(artifacts(), &["db", "restore", "--from", &to]));
    assert!(taken.contains("LS0512"), "{taken}");

    // Everything is lost but the backup.
    for path in ["data-a", "data-b", "arbiter"] {
        std::fs::remove_dir_all(directory.path().join(path)).unwrap();
    }
    let restored = good(pair.node(0).lockstep(artifacts(), &["db", "restore", "--from", &to]));
    assert_eq!(digest(&restored), digest(&made));
    assert_ne!(restored["store"], made["store"], "a store has an id of its own (R2)");
    let books = good(pair.books(0));
    let told = stopped.record.transfers.iter().filter_map(|ended| match ended.told {
        Told::Committed { entry, .. } => Some(entry),
        _ => None,
    });
    let told: BTreeSet<u64> = told.collect();
    assert!(!books.journal.is_empty() && books.journal.iter().all(|row| told.contains(&row.entry)));
    let sum = books.accounts.values().sum::<u64>() + books.elsewhere_cents;
    assert_eq!(sum, u64::from(stopped.record.opened.accounts) * stopped.record.opened.cents_each);

    // It does not make itself the truth: an operator says so.
    good(pair.restart(0));
    assert_eq!(admin::own_role(&good(pair.group(0))), Some(lockstep_core::command::Role::Starting));
    good(pair.node(0).lockstep(artifacts(), &["force", "ledger"]));
    good(pair.restart(1));
    good(pair.wait_in_lock_step(PATIENCE));
    good(serve_again(pair.directory(), &pair.events(), stopped.record.opened.accounts));
    good(pair.wait_quiet(PATIENCE));
    good(pair.end());
    let both = [good(pair.books(0)), good(pair.books(1))];
    assert_eq!(both[0], both[1]);
    assert!(both[0].journal.len() > books.journal.len());
}

/// A second load, on accounts of its own.
fn serve_again(directory: &Path, events: &[String], first: u32) -> Result<(), rig::Failure> {
    let pace = Pace::Open { rate_per_s: 200.0 };
    let mut settings = LoadSettings::new(events.to_vec(), pace, directory.join("again.record"));
    (settings.first_account, settings.accounts, settings.clients) = (first, 200, 2);
    let mut load = Load::start(artifacts().rig(), settings)?;
    load.phase("again")?;
    load.wait_answers(40)?;
    let stopped = load.stop()?;
    assert!(stopped.done.failures.is_empty(), "{:?}", stopped.done.failures);
    Ok(())
}
