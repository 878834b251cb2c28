//! Real plugins, loaded and really unloaded: a `thread_local!` with Drop, a thread that is joined, `tracing`.
//!
//! The witness is the dynamic linker, asked by `is_mapped`. Tests take turns: they count what the process holds.

mod support;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libloading::Library;
use lockstep_loader::{
    LoadedPlugin, Obstacle, PluginFile, PluginHash, Reason, Unload, is_mapped, kept, kept_total, load,
    retry_kept,
};
use lockstep_plugin_api::host::{EntryFailure, HostedPlugin, services};
use lockstep_plugin_api::procedure::Encoding;
use support::{HOST_THREAD, Held, Rows, resident_kib};

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file(path: &std::path::Path) -> PluginFile {
    PluginFile::read(path).expect("the plugin's file is read")
}

/// Starts the plugin on a thread of its own, runs two procedures in it, shuts it down, joins the thread.
fn work(plugin: &LoadedPlugin) {
    let lease = plugin.lease();
    let worker = std::thread::Builder::new().name(HOST_THREAD.into());
    let worked = worker.spawn(move || {
        lease.start(&services::<Rows>()).expect("it starts");
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
        opening.run(0, &mut Rows::default()).expect("it is opened");
        let parameters = br#"{"from":"alice","to":"bob","cents":5}"#;
        let mut transfer =
            hosted.begin(place("transfer"), Encoding::Json, parameters, 0).expect("well formed");
        let refused = transfer.run(0, &mut Rows::default()).expect_err("there is no account");
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
    worked.expect("a thread").join().expect("all held");
}

/// The short form of `drill swaps --count 10000`.
#[test]
fn two_versions_in_turn_are_gone_after_each_swap_and_nothing_grows() {
    const ROUNDS: usize = 150;
    let _turn = turn();
    let files = [support::ledger_v1(), support::ledger_v2()].map(file);
    let mut held = None;
    let mut early_kib = 0;
    for round in 0..ROUNDS {
        let plugin = load(&files[round % 2]).expect("it is loaded");
        let hash = plugin.hash();
        assert_eq!(plugin.hash_of_loaded_bytes().expect("it can be read"), hash);
        assert!(is_mapped(hash));
        work(&plugin);
        match plugin.unload() {
            Unload::Gone(report) => assert_eq!(report.hash, hash),
            Unload::Kept(kept) => panic!("round {round}: {:?}", kept.reasons),
        }
        assert!(!is_mapped(hash), "round {round}");
        if round >= 10 {
            held.get_or_insert_with(|| Held::settled(2)).assert_again();
        }
        if round == ROUNDS / 3 {
            early_kib = resident_kib();
        }
    }
    let grown_kib = resident_kib().saturating_sub(early_kib);
    assert!(grown_kib < early_kib / 20, "{grown_kib} KiB more than {early_kib} after {ROUNDS} swaps");
}

#[test]
fn a_plugin_that_is_still_used_is_kept_and_says_so() {
    let _turn = turn();
    // A file that the other tests of this process do not load: it stays mapped.
    let plugin = load(&file(&support::plugin("ledger-v1-twin-so"))).expect("it is loaded");
    let lease = plugin.lease();
    let Unload::Kept(library) = plugin.unload() else { panic!("it was unloaded under a lease") };
    assert!(matches!(library.reasons[..], [Reason::InUse { leases: 1 }]), "{:?}", library.reasons);
    assert!(kept().contains(&library));
    // It passes, and the next try finds that.
    drop(lease);
    assert_eq!(retry_kept(), [library.id]);
    assert!(!is_mapped(library.hash) && !kept().contains(&library));
}

#[test]
fn a_library_marked_nodelete_runs_and_is_kept_with_its_bytes_counted() {
    let _turn = turn();
    let plugin = load(&file(&support::plugin("nodelete"))).expect("it is taken");
    assert_eq!(plugin.report().obstacles, [Obstacle::NoDelete]);
    work(&plugin);
    let (hash, before) = (plugin.hash(), kept_total());
    let Unload::Kept(library) = plugin.unload() else { panic!("the dynamic linker never unmaps it") };
    assert!(matches!(library.reasons[..], [Reason::Marked { obstacle: Obstacle::NoDelete }]));
    assert!(library.reasons[0].to_string().starts_with("LS0453: it is marked NODELETE"));
    assert!(is_mapped(hash) && library.bytes > 0);
    assert_eq!(kept_total(), (before.0 + 1, before.1 + library.bytes));
    assert!(retry_kept().is_empty() && is_mapped(hash), "that does not pass");
}

#[test]
fn one_that_somebody_else_has_open_too_is_still_mapped_and_says_so() {
    let _turn = turn();
    let plugin = load(&file(support::ledger_v1())).expect("it is loaded");
    let hash = plugin.hash();
    // The dynamic linker knows it by the descriptor of its sealed copy.
    let entries = std::fs::read_dir("/proc/self/fd").expect("it can be listed");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_copy = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("lockstep-plugin-"))
    };
    let copies: Vec<PathBuf> = paths.filter(is_copy).collect();
    // SAFETY: it is open already, so nothing of it runs.
    let others: Vec<Library> = copies.iter().filter_map(|path| unsafe { Library::new(path) }.ok()).collect();
    assert!(!others.is_empty());
    let Unload::Kept(library) = plugin.unload() else { panic!("it was unloaded under somebody's feet") };
    assert_eq!(library.reasons, [Reason::StillMapped]);
    assert!(is_mapped(hash));
    drop(others);
    assert!(!is_mapped(hash), "it went with the last one");
}

#[test]
fn a_file_that_is_replaced_or_written_over_while_it_is_loaded_changes_nothing() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("plugin.so");
    std::fs::copy(support::ledger_v1(), &path).expect("a copy");
    let first = load(&file(&path)).expect("it is loaded");
    // Another file by the same name: dlopen would give the old one.
    let other = directory.path().join("other.so");
    std::fs::copy(support::ledger_v2(), &other).expect("a copy");
    std::fs::rename(&other, &path).expect("renamed");
    let second = load(&file(&path)).expect("it is loaded");
    assert_ne!(first.hash(), second.hash());
    assert_eq!(
        second.hash_of_loaded_bytes().expect("it can be read"),
        PluginHash::of(&std::fs::read(support::ledger_v2()).expect("bytes"))
    );
    // And by a link: the same file, twice in memory, each with its own.
    let link = directory.path().join("link.so");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let third = load(&file(&link)).expect("it is loaded");
    assert_eq!(third.hash(), second.hash());
    assert_ne!(third.range(), second.range());
    // Written over: a mapped file would bring the host down.
    std::fs::write(&path, vec![0; 1 << 20]).expect("written over");
    for plugin in [first, second, third] {
        work(&plugin);
        assert!(matches!(plugin.unload(), Unload::Gone(_)));
    }
}
