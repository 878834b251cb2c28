//! Every kind of mistake in a file, with the whole text that its author sees.

use super::*;

const GOOD: &str = r#"(
    node: "a",
    data: "data/a",
    listen: (http: "127.0.0.1:7101", events: "localhost:7102", link: "[::1]:7103"),
    peer: "127.0.0.1:7203",
    arbiter: Local("data/arbiter"),
    durability: replicated,
    applications: [(name: "ledger", plugin: "plugins/libledger_v1.so")],
    timeouts: (heartbeat_ms: 50),
)"#;

fn parse(text: &str) -> Result<NodeConfig, ConfigError> {
    NodeConfig::parse(text, Path::new("/etc/lockstep/a.ron"))
}

/// What is shown for `GOOD` with `from` replaced by `to`.
fn shown(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let text = GOOD.replacen(from, to, 1);
    let error = NodeConfig::parse(&text, Path::new("a.ron")).expect_err("a mistake");
    report::render(&error)
}

#[test]
fn a_whole_file() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.node, NodeId("a".into()));
    assert_eq!(config.data, Path::new("/etc/lockstep/data/a"));
    assert_eq!(config.admin, Path::new("/etc/lockstep/data/a/admin.sock"));
    assert_eq!(config.listen.http.to_string(), "127.0.0.1:7101");
    assert_eq!(config.listen.events.to_string(), "127.0.0.1:7102");
    assert_eq!(config.listen.link.to_string(), "[::1]:7103");
    assert_eq!(config.peer, Some("127.0.0.1:7203".parse().unwrap()));
    assert_eq!(config.arbiter, ArbiterConfig::Local("/etc/lockstep/data/arbiter".into()));
    assert_eq!(config.durability, Durability::Replicated);
    assert_eq!(config.standby, StandbyMode::Behind);
    assert_eq!(config.applications[0].plugin, Path::new("/etc/lockstep/plugins/libledger_v1.so"));
    assert_eq!(config.timeouts, Timeouts { heartbeat_ms: 50, ..Timeouts::default() });
    assert!(!config.insecure);
}

#[test]
fn the_least_file() {
    let config = parse(r#"(node: "a", applications: [(name: "x", plugin: "/p.so")])"#).unwrap();
    assert_eq!(config.peer, None);
    assert_eq!(config.step_ups, StepUps::Together);
    assert_eq!(config.listen.events.to_string(), "127.0.0.1:0");
    assert_eq!(config.durability, Durability::Fsync);
    assert_eq!(config.arbiter, ArbiterConfig::Local("/etc/lockstep/data/arbiter".into()));
    assert_eq!(config.applications[0].plugin, Path::new("/p.so"));
    assert_eq!(config.applications[0].partitions, 1);
}

#[test]
fn partitions_are_bounded() {
    let with = |number: &str| {
        parse(&format!(r#"(node: "a", applications: [(name: "x", plugin: "/p.so", partitions: {number})])"#))
    };
    assert_eq!(with("64").unwrap().applications[0].partitions, 64);
    assert!(with("0").is_err());
    assert_eq!(
        shown("v1.so\")", "v1.so\", partitions: 65)"),
        r#"error LS0104: `applications[0].partitions` is out of bounds
   a.ron:8:84  applications: [(name: "ledger", plugin: "plugins/libledger_v1.so", partitions: 6 ...
                                                                                              ^ expected 1 to 64
   help: leave the field out for one partition; it can't be changed once there are data
"#
    );
}

#[test]
fn a_value_that_is_no_address() {
    assert_eq!(
        shown("127.0.0.1:7101", "localhost 7101"),
        r#"error LS0101: `listen.http` is not an address
   a.ron:4:20  listen: (http: "localhost 7101", events: "localhost:7102", link: "[::1]:7103"),
                              ^^^^^^^^^^^^^^^^ expected HOST:PORT
   help: write for example "127.0.0.1:7101"; HOST is an IP address or localhost
"#
    );
}

#[test]
fn an_unknown_field() {
    assert_eq!(
        shown("durability: replicated", "durabilty: replicated"),
        r#"error LS0112: `durabilty` is not a field of this file
   a.ron:7:5  durabilty: replicated,
              ^^^^^^^^^ expected one of node, data, listen, peer, arbiter, durability, applications, insecure, standby, step_ups, timeouts, recent_mb, rows_mb, kept_plugins_mb, hung_engines_max, busy_poll_us, log, admin
   help: did you mean `durability`?
"#
    );
}

#[test]
fn a_word_that_is_not_possible() {
    assert_eq!(
        shown("durability: replicated", "durability: always"),
        r#"error LS0112: `always` is not possible here
   a.ron:7:17  durability: always,
                           ^^^^^^ expected fsync, replicated
   help: docs/configuration.md lists the fields and their values
"#
    );
}

#[test]
fn a_missing_field() {
    assert_eq!(
        shown("    node: \"a\",\n", ""),
        r#"error LS0112: `node` is missing
   a.ron:9:1  )
              ^ expected `node: ...` before this
   help: write `node`; it has no default
"#
    );
}

#[test]
fn a_field_given_twice() {
    assert_eq!(
        shown("durability: replicated", "node: \"b\""),
        r#"error LS0112: `node` stands here twice
   a.ron:7:5  node: "b",
              ^^^^ already given above
   help: remove one of the two
"#
    );
}

#[test]
fn text_that_is_no_ron() {
    assert_eq!(
        shown("node: \"a\",", "node: a,"),
        r#"error LS0112: the file cannot be read as RON, the notation of Rust values
   a.ron:2:11  node: a,
                     ^ expected string
   help: docs/configuration.md shows a whole file
"#
    );
}

#[test]
fn an_address_for_other_machines() {
    assert_eq!(
        shown("127.0.0.1:7101", "0.0.0.0:7101"),
        r#"error LS0103: `listen.http` can be reached from other machines, and nothing is encrypted yet
   a.ron:4:20  listen: (http: "0.0.0.0:7101", events: "localhost:7102", link: "[::1]:7103"),
                              ^^^^^^^^^^^^^^ not a loopback address
   help: write 127.0.0.1, or `insecure: true` if the network is trusted
"#
    );
    let text =
        GOOD.replacen("127.0.0.1:7101", "0.0.0.0:7101", 1).replacen("node:", "insecure: true, node:", 1);
    assert!(parse(&text).unwrap().insecure);
}

#[test]
fn contradictions() {
    let shrink = shown("heartbeat_ms: 50", "silence_shrink_ms: 5000");
    assert!(shrink.starts_with("error LS0104: `timeouts.silence_promote_ms` is not longer"), "{shrink}");
    let alone = shown("    arbiter: Local(\"data/arbiter\"),\n", "");
    assert!(alone.contains("`peer` needs an `arbiter`"), "{alone}");
    let own = shown("127.0.0.1:7203", "[::1]:7103");
    assert!(own.contains("this processor's own `listen.link`"), "{own}");
    let port = shown("127.0.0.1:7203", "127.0.0.1:0");
    assert!(port.contains("`peer` has port 0"), "{port}");
    let twice = shown("applications: [", "applications: [(name: \"ledger\", plugin: \"x\"), ");
    assert!(twice.contains("listed twice"), "{twice}");
    let name = shown("node: \"a\"", "node: \"a b\"");
    assert!(name.contains("`node` is not a name"), "{name}");
    let long = shown("data: \"data/a\"", &format!("data: \"{}\"", "d".repeat(120)));
    assert!(long.contains("longer than 107 bytes"), "{long}");
}

#[test]
fn a_file_that_is_not_there() {
    let error = NodeConfig::load(Path::new("/nonexistent/a.ron")).unwrap_err();
    assert_eq!(
        report::render(&error),
        "error LS0100: cannot read /nonexistent/a.ron: No such file or directory (os error 2)\n   \
         help: name the file with --config; docs/configuration.md describes its fields\n"
    );
}
