//! A library that can't be unloaded: the swap is made all the same, the operator sees what holds it, and how much of it
//! there may be is his to say.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rig::admin;
use rig::node::Settings;
use rig::pair::Pair;

use crate::{artifacts, load};

const PATIENCE: Duration = Duration::from_secs(30);

fn swap(pair: &Pair, plugin: &std::path::Path) {
    pair.load_plugin(plugin).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_standby_on(plugin, PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
}

/// The value of a gauge of the whole process.
fn gauge(pair: &Pair, at: usize, name: &str) -> u64 {
    let mut stream = TcpStream::connect(&pair.node(at).ready().http).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(&format!("lockstep_{name}{{")));
    let value = value.and_then(|rest| rest.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no gauge `{name}`: {page}"))
}

#[test]
fn a_library_marked_nodelete_is_swapped_out_stays_mapped_is_told_and_counted_and_limited() {
    let directory = tempfile::tempdir().unwrap();
    let settings = || Settings { more: "    kept_plugins_mb: 1,\n".into(), ..Settings::default() };
    let pair =
        Pair::start_with(artifacts(), directory.path(), artifacts().ledger_v1(), [settings(), settings()]);
    let mut pair = pair.unwrap_or_else(|failure| panic!("{failure}"));
    let load = load(&pair);
    let standby = 1 - pair.active().unwrap();
    // It says so before it is loaded.
    let check = pair.lockstep(&["plugin", "check", &artifacts().nodelete().display().to_string()]);
    let check = check.unwrap_or_else(|failure| panic!("{failure}")).to_string();
    assert!(check.contains("NODELETE"), "{check}");
    swap(&pair, artifacts().nodelete());
    assert_eq!(gauge(&pair, standby, "plugins_kept"), 0, "it is in use");
    // The swap away from it is made, and it stays.
    swap(&pair, artifacts().ledger_v1_twin());
    let memory = || admin::plugin_list(&pair.node(standby).ready().admin).unwrap().memory;
    let counted = pair.wait_until("it is kept", PATIENCE, |_| Ok(memory().kept == 1));
    counted.unwrap_or_else(|failure| panic!("{failure}"));
    let still = pair.wait_unloaded(standby, Duration::ZERO).unwrap();
    assert_eq!(still.len(), 1, "{still:?}");
    assert_eq!(still[0].state, "kept");
    assert!(still[0].reasons[0].starts_with("LS0453: it is marked NODELETE"), "{still:?}");
    assert_eq!(pair.node(standby).mapped_plugins().unwrap().len(), 2, "the kernel maps both");
    assert!(memory().kept == 1 && memory().kept_bytes > 100_000, "{:?}", memory());
    assert_eq!(gauge(&pair, standby, "plugins_kept"), 1);
    let listed = pair.node(standby).lockstep(artifacts(), &["plugin", "list"]).unwrap();
    assert_eq!(listed["memory"]["kept"], 1, "{listed}");
    // Each copy of it stays, until they take more than this operator allows.
    let mut copies = 1;
    while memory().kept_bytes <= 1 << 20 {
        swap(&pair, artifacts().nodelete());
        swap(&pair, artifacts().ledger_v1_twin());
        copies += 1;
        assert!(copies < 20, "{:?}", memory());
        let counted = pair.wait_until("a copy more", PATIENCE, |_| Ok(memory().kept == copies));
        counted.unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert_eq!(gauge(&pair, standby, "plugins_kept"), copies);
    let memory = memory();
    assert_eq!(gauge(&pair, standby, "plugins_kept_bytes"), memory.kept_bytes);
    assert_eq!(gauge(&pair, standby, "plugins_kept_bytes_max"), 1 << 20);
    // That processor loads no other version, and goes on with the one it has.
    pair.load_plugin(artifacts().ledger_v1()).unwrap_or_else(|failure| panic!("{failure}"));
    let log = pair.node(standby).log();
    let said = || std::fs::read_to_string(&log).unwrap();
    let refused = pair.wait_until("a refusal", PATIENCE, |_| Ok(said().contains("LS0460")));
    refused.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(said().contains("`kept_plugins_mb` allows 1"), "{}", said());
    pair.wait_standby_on(artifacts().ledger_v1_twin(), PATIENCE)
        .unwrap_or_else(|failure| panic!("{failure}"));
    pair.switch_over().unwrap_or_else(|failure| panic!("{failure}"));
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
}
