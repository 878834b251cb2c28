//! Plugin files that are missing or foreign: at a start, and on a pair that serves.

use std::path::PathBuf;

use crate::{artifacts, assert_refused, assert_serves_and_holds, configuration, failure, lockstepd, pair};

/// A shared library that is no plugin: the C library that this very process runs.
fn foreign() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut objects = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let library = objects.find(|object| object.contains("libc.so") || object.contains("libc-"));
    library.expect("a test is linked with the C library").into()
}

#[test]
fn a_start_with_a_missing_plugin_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("libnone.so");
    let config = configuration(directory.path(), "127.0.0.1:0", &directory.path().join("data"), &plugin);
    assert_refused(&lockstepd(&config), &["LS0", "libnone.so"]);
}

#[test]
fn a_start_with_a_foreign_plugin_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("libtext.so");
    std::fs::write(&text, "this is no library").unwrap();
    for plugin in [text, foreign()] {
        let config = configuration(directory.path(), "127.0.0.1:0", &directory.path().join("data"), &plugin);
        let name = plugin.file_name().unwrap().to_string_lossy().into_owned();
        assert_refused(&lockstepd(&config), &["LS04", &name]);
    }
}

#[test]
fn a_pair_that_is_told_to_load_such_a_file_refuses_and_goes_on() {
    let (directory, pair) = pair();
    let text = directory.path().join("libtext.so");
    std::fs::write(&text, "this is no library").unwrap();
    for plugin in [directory.path().join("libnone.so"), text, foreign()] {
        let said = failure(pair.load_plugin(&plugin));
        assert!(said.contains("LS0"), "{said}");
        let plugin = plugin.display().to_string();
        let said = failure(pair.lockstep(&["upgrade", "start", "ledger", &plugin]));
        assert!(said.contains("LS0"), "{said}");
    }
    assert_eq!(pair.campaigns_over().unwrap(), 0);
    assert!(artifacts().ledger_v1().exists());
    assert_serves_and_holds(pair);
}
