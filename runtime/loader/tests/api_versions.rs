//! Plugin API 1.0, frozen as source, against today's: a plugin of 1.0 runs in today's host, and one of today's is refused
//! by a host of 1.0 in a sentence.
#![forbid(unsafe_code)]

mod support;

use std::path::PathBuf;
use std::process::Command;

use lockstep_loader::{PluginFile, Unload, elf, is_mapped, load};
use lockstep_plugin_api::abi::API_VERSION;
use lockstep_plugin_api::host::{EntryFailure, HostedPlugin, services};
use lockstep_plugin_api::procedure::Encoding;
use support::Rows;

fn frozen(package: &str) -> PathBuf {
    support::frozen("1.0", package)
}

#[test]
fn a_plugin_of_1_0_runs_in_todays_host_and_is_gone_after_it() {
    let file = PluginFile::read(&frozen("ledger-v1-api-1-0")).expect("it is read");
    let report = elf::check(file.bytes()).expect("it is a plugin for this host");
    assert_eq!((report.api_major, report.api_minor), (1, 0));
    let plugin = load(&file).unwrap_or_else(|error| panic!("{error}"));
    let lease = plugin.lease();
    let worked = std::thread::spawn(move || {
        lease.start(&services::<Rows>()).expect("it starts");
        let hosted = HostedPlugin::new(lease.module());
        let description = hosted.describe().expect("what it says of itself is understood");
        assert_eq!((description.name.as_str(), description.version), ("ledger", (1, 4, 0)));
        let transfer =
            description.procedures.iter().position(|each| each.name == "transfer").expect("listed");
        let parameters = br#"{"from":"alice","to":"bob","cents":5}"#;
        let mut run = hosted.begin(transfer as u32, Encoding::Json, parameters, 0).expect("well formed");
        assert_eq!(run.plan().len(), 4);
        let refused = run.run(0, &mut Rows::default()).expect_err("there is no account");
        assert!(
            matches!(&refused, EntryFailure::Refused { code, .. } if code == "no-account"),
            "{refused:?}"
        );
        // An entry that came with 1.1.
        let missing = hosted.rewrite_row(0, &[0; 4], &[1], 1).expect_err("it has none");
        assert!(missing.to_string().contains("plugin API 1.0"), "{missing}");
        drop(run);
        lease.shutdown().expect("it shuts down");
    });
    worked.join().expect("all held");
    let hash = plugin.hash();
    let Unload::Gone(_) = plugin.unload() else { panic!("it stayed") };
    assert!(!is_mapped(hash));
}

#[test]
fn a_host_of_1_0_takes_plugins_of_1_0_and_refuses_those_of_1_1_in_a_sentence() {
    let host = frozen("host-api-1-0");
    let tried = |plugin: PathBuf| {
        let output = Command::new(&host).arg(plugin).output().expect("the host runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("it prints text"))
    };
    assert_eq!(tried(frozen("ledger-v1-api-1-0")), (Some(0), "taken 1.0\n".to_owned()));
    // Its `fee_holiday` sets a timer, which a host of 1.0 does not have.
    let today = format!("{}.{}", API_VERSION.major, API_VERSION.minor);
    let refusal = format!(
        "LS0432: the plugin was built with plugin API {today}, this host has 1.0; upgrade the host, or build the plugin with \
         an older plugin API\n"
    );
    assert_eq!(tried(support::ledger_v2().to_owned()), (Some(1), refusal));
}
