//! Real plugins, loaded and really unloaded: a `thread_local!` with Drop, a thread that is joined, `tracing`.
//!
//! The witness is the dynamic linker, asked by `is_mapped`.
#![forbid(unsafe_code)]

mod support;

use lockstep_loader::{LoadedPlugin, PluginFile, Reason, Unload, is_mapped, kept, load};
use lockstep_plugin_api::host::{EntryFailure, HostedPlugin, services};
use lockstep_plugin_api::procedure::Encoding;
use support::Empty;

fn file(path: &std::path::Path) -> PluginFile {
    PluginFile::read(path).expect("the plugin's file is read")
}

/// Starts the plugin on a thread of its own, runs two procedures in it, shuts it down, joins the thread.
fn work(plugin: &LoadedPlugin) {
    let lease = plugin.lease();
    let worked = std::thread::spawn(move || {
        lease.start(&services::<Empty>()).expect("it starts");
        let hosted = HostedPlugin::new(lease.module());
        let description = hosted.describe().expect("it says what it is");
        let place = |name: &str| {
            description.procedures.iter().position(|procedure| procedure.name == name).expect("it is there")
                as u32
        };
        let parameters = br#"{"account":"alice","cents":5}"#;
        let mut opening =
            hosted.begin(place("open_account"), Encoding::Json, parameters, 0).expect("well formed");
        assert_eq!(opening.plan().len(), 1);
        opening.run(0, &mut Empty).expect("it is opened");
        let parameters = br#"{"from":"alice","to":"bob","cents":5}"#;
        let mut transfer =
            hosted.begin(place("transfer"), Encoding::Json, parameters, 0).expect("well formed");
        let refused = transfer.run(0, &mut Empty).expect_err("there is no account");
        assert!(
            matches!(&refused, EntryFailure::Refused { code, .. } if code == "no-account"),
            "{refused:?}"
        );
        let malformed =
            hosted.begin(place("transfer"), Encoding::Json, br#"{"from":"a","to":"b","cents":-1}"#, 0);
        let malformed = malformed.expect_err("a negative amount is none");
        assert!(matches!(&malformed, EntryFailure::Malformed(why) if why.contains("cents")), "{malformed:?}");
        drop((opening, transfer));
        lease.shutdown().expect("it shuts down");
    });
    worked.join().expect("all held");
}

#[test]
fn two_versions_in_turn_are_gone_after_each_swap() {
    for round in 0..6 {
        let path = if round % 2 == 0 { support::ledger_v1() } else { support::ledger_v2() };
        let plugin = load(&file(path)).expect("it is loaded");
        let hash = plugin.hash();
        assert!(is_mapped(hash));
        work(&plugin);
        match plugin.unload() {
            Unload::Gone(report) => assert_eq!(report.hash, hash),
            Unload::Kept(kept) => panic!("round {round}: {:?}", kept.reasons),
        }
        assert!(!is_mapped(hash), "round {round}");
    }
}

#[test]
fn a_plugin_that_is_still_used_is_kept_and_says_so() {
    // A file that the other tests of this process do not load: it stays mapped.
    let plugin = load(&file(&support::plugin("ledger-v1-twin-so"))).expect("it is loaded");
    let lease = plugin.lease();
    let Unload::Kept(library) = plugin.unload() else { panic!("it was unloaded under a lease") };
    assert!(matches!(library.reasons[..], [Reason::InUse { leases: 1 }]), "{:?}", library.reasons);
    assert!(kept().iter().any(|kept| kept.hash == library.hash));
    drop(lease);
}
