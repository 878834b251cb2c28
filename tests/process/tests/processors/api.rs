//! Plugin API 1.0, frozen as source, on today's processors: a plugin that was built with it serves, and is upgraded to a
//! version that needs 1.1.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lockstep_core::campaign::Step;
use rig::pair::Pair;
use serde_json::Value;

use crate::{artifacts, load};

/// The ledger's version 1, built with plugin API 1.0, in the target directory that the processors were built in.
fn ledger_of_1_0() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-api/frozen/1.0");
    let target = artifacts().lockstepd().ancestors().nth(2).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--quiet", "--locked", "--message-format=json"]);
    command.args(["-p", "ledger-v1-api-1-0", "--target-dir"]).arg(target);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let library = |line: &str| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        message["package_id"].as_str()?.contains("ledger-v1-api-1-0").then_some(())?;
        let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
        files.map(PathBuf::from).find(|file| file.extension().is_some_and(|extension| extension == "so"))
    };
    messages.lines().find_map(library).unwrap()
}

#[test]
fn a_plugin_of_api_1_0_serves_and_is_upgraded_to_one_that_needs_1_1() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = ledger_of_1_0();
    let pair = Pair::start(artifacts(), directory.path(), &plugin);
    let mut pair = pair.unwrap_or_else(|failure| panic!("{failure}"));
    let load = load(&pair);
    let checked = pair.lockstep(&["plugin", "check", &plugin.display().to_string()]);
    assert_eq!(checked.unwrap_or_else(|failure| panic!("{failure}"))["file"]["api"], "1.0");
    pair.start_upgrade(artifacts().ledger_v2(), Duration::from_secs(1), 100, false)
        .unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_until("the end of the upgrade", Duration::from_secs(60), |group| {
        // Also the rows of version 1, which only the version of 1.1 can rewrite (R31).
        let migrated = group.formats.iter().all(|table| table.oldest == table.format);
        let done = group.campaigns.last().is_some_and(|campaign| campaign.step == Step::Done);
        Ok(done && migrated && group.migration.is_none())
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    for at in 0..2 {
        let kept = pair.wait_unloaded(at, Duration::from_secs(20)).unwrap();
        assert!(kept.is_empty(), "{kept:?}");
    }
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
}
