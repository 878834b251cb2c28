//! Files that people write: the configuration of a processor and a campaign. Each mistake is shown in its place, by a code.

use std::path::Path;

use lockstep_runtime::config::{ConfigError, NodeConfig, report};

use crate::{Target, rounds};

pub const NODE_CONFIG: Target = Target {
    name: "node-config",
    reads: "`node.ron`, the configuration of a processor",
    run: node_config,
    seeds: || vec![SMALL.as_bytes().to_vec(), WHOLE.as_bytes().to_vec()],
};

pub const CAMPAIGN_FILE: Target = Target {
    name: "campaign-file",
    reads: "a campaign file, in the operators' command line",
    run: campaign_file,
    seeds: || vec![CAMPAIGN.as_bytes().to_vec(), b"(target: \"v2.so\")".to_vec()],
};

const SMALL: &str = r#"(node: "a", applications: [(name: "ledger", plugin: "libledger.so")])"#;
const WHOLE: &str = r##"
// A comment, /* and one in it */
(
    node: "a",
    data: "data/a",
    listen: (http: "127.0.0.1:7101", events: "localhost:7102", link: "[::1]:7103"),
    peer: "127.0.0.1:7203",
    arbiter: Local("data/arbiter"),
    durability: replicated,
    applications: [(name: "ledger", plugin: r#"libledger.so"#, partitions: 4), (name: "orders", plugin: "o.so")],
    insecure: false,
    standby: beside,
    step_ups: apart,
    timeouts: (heartbeat_ms: 50, silence_shrink_ms: 500, silence_promote_ms: 1500, ack_age_max_ms: 2000),
    recent_mb: 64,
    kept_plugins_mb: 256,
    hung_engines_max: 1,
    log: "info",
    admin: Some("data/a/admin.sock"),
)
"##;
const CAMPAIGN: &str = r#"(
    application: "ledger",
    target: "libledger_v2.so",
    why: "fees, ticket 1182",
    gates: (time_min_ms: 60000, events_min: 5000, time_max_ms: 90000, faults_max: 1),
    check: (run: [command("./sums-are-right"), procedure(name: "audit", parameters: "{\"x\":1}")], every_ms: 5000),
    decide: operator,
    redundancy: isolate,
    notify: "logger",
    retire: ["close_account"],
)"#;

fn shown(error: &ConfigError) {
    let text = report::render(error);
    assert!(text.starts_with("error LS01"), "{text}");
}

fn node_config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match NodeConfig::parse(text, Path::new("dir/node.ron")) {
        Ok(config) => {
            assert!(!config.node.0.is_empty() && !config.applications.is_empty());
            assert!(config.applications.iter().all(|application| (1..=64).contains(&application.partitions)));
            assert!(config.data.is_absolute() && config.admin.is_absolute());
            let again = NodeConfig::parse(text, Path::new("dir/node.ron")).expect("it was read before");
            assert_eq!(again, config);
            true
        }
        Err(error) => {
            shown(&error);
            false
        }
    }
}

fn campaign_file(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match lockstep_cli::decoders::campaign(text, Path::new("dir/campaign.ron")) {
        Ok(options) => {
            // So it goes to the processor.
            let line = serde_json::to_vec(&options).expect("options can be written as JSON");
            assert_eq!(rounds::json(&line), Some(options));
            true
        }
        Err(error) => {
            shown(&error);
            false
        }
    }
}
