//! Several applications on one processor.

use std::time::{Duration, Instant};

use rig::admin;
use rig::node::Settings;
use rig::pair::Pair;

use crate::artifacts;

/// How long the pair may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn all_are_in_lock_step_in_whatever_order_they_are_listed() {
    // By its name the archive comes before the ledger, and in the configuration after it.
    let beside = vec![("archive".to_owned(), artifacts().archive().to_owned())];
    let settings = Settings { beside, ..Settings::default() };
    let directory = tempfile::tempdir().unwrap();
    let settings = [settings.clone(), settings];
    let started = Pair::launch(artifacts(), directory.path(), artifacts().ledger_v1(), settings);
    let mut pair = started.unwrap_or_else(|failure| panic!("{failure}"));
    let until = Instant::now() + PATIENCE;
    loop {
        let groups = admin::status(&pair.node(0).ready().admin).unwrap().groups;
        if groups.len() == 2 && groups.iter().all(|report| admin::in_lock_step(&report.group)) {
            break;
        }
        let roles: Vec<_> =
            groups.iter().map(|report| (&report.group.application, &report.group.members)).collect();
        assert!(Instant::now() < until, "not in lock step: {roles:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    pair.end().unwrap_or_else(|failure| panic!("{failure}"));
}
