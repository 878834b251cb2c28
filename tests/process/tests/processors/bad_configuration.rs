//! Configurations that are wrong, and places that others hold.

use std::net::TcpListener;

use crate::{artifacts, assert_refused, configuration, lockstepd, pair};

#[test]
fn an_address_that_is_none_is_shown_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = configuration(directory.path(), "localhost 7101", &data, artifacts().ledger_v1());
    let output = lockstepd(&config);
    assert_refused(&output, &["LS01", "node.ron:4:", "localhost 7101", "expected", "127.0.0.1:"]);
    assert!(!data.exists(), "a start that is refused leaves nothing behind");
}

#[test]
fn an_unknown_field_is_shown_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("node.ron");
    std::fs::write(&config, "(\n    node: \"a\",\n    aplications: [],\n)\n").unwrap();
    assert_refused(&lockstepd(&config), &["LS01", "node.ron:3:", "aplications", "applications"]);
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("none.ron");
    assert_refused(&lockstepd(&config), &["LS01", "none.ron"]);
}

#[test]
fn an_address_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let data = directory.path().join("data");
    let config = configuration(directory.path(), &address, &data, artifacts().ledger_v1());
    assert_refused(&lockstepd(&config), &["LS01", &address, "in use"]);
}

#[test]
fn a_data_directory_in_use_is_refused_and_its_holder_goes_on() {
    let (directory, pair) = pair();
    let second = tempfile::tempdir().unwrap();
    let data = directory.path().join("data-a");
    let config = configuration(second.path(), "127.0.0.1:0", &data, artifacts().ledger_v1());
    assert_refused(&lockstepd(&config), &["LS0", "data-a", "use"]);
    crate::assert_serves_and_holds(pair);
}
