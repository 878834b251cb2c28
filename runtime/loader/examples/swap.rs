//! Loads two plugins in turn, runs them on threads of their own and unloads them, again and again. Fails when one stays
//! mapped, and when threads, keys or descriptors grow.
//!
//! ```sh
//! cargo build -p lockstep-loader --example swap
//! cargo build -p ledger-v1-so -p ledger-v2-so
//! valgrind --leak-check=full --errors-for-leak-kinds=definite,indirect --error-exitcode=1 \
//!     target/debug/examples/swap target/debug/libledger_v1.so target/debug/libledger_v2.so 100
//! ```
//!
//! Clean, without suppressions. "Possibly lost" blocks are no errors there, because one always is: the handle of the main
//! thread, which the standard library holds by a pointer into its middle.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;

use lockstep_loader::{PluginFile, Unload, load};
use lockstep_os::interpose;
use lockstep_plugin_api::host::{HostedPlugin, services};
use lockstep_plugin_api::procedure::Encoding;
use support::{Held, Rows, resident_kib};

fn swap(file: &PluginFile) {
    let plugin = load(file).unwrap_or_else(|error| panic!("{error}"));
    let lease = plugin.lease();
    let worked = std::thread::spawn(move || {
        lease.start(&services::<Rows>()).expect("it starts");
        let hosted = HostedPlugin::new(lease.module());
        let description = hosted.describe().expect("it says what it is");
        let mut rows = Rows::default();
        let mut run = |name: &str, parameters: &str| {
            let place = description.procedures.iter().position(|each| each.name == name).expect("listed");
            let mut run =
                hosted.begin(place as u32, Encoding::Json, parameters.as_bytes(), 0).expect("well formed");
            for position in 0..run.plan().len() {
                run.run(position, &mut rows).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            }
        };
        run("open_account", r#"{"account":"alice","cents":500}"#);
        run("open_account", r#"{"account":"bob","cents":5}"#);
        for _ in 0..10 {
            run("transfer", r#"{"from":"alice","to":"bob","cents":5}"#);
        }
        lease.shutdown().expect("it shuts down");
    });
    worked.join().expect("all held");
    if let Unload::Kept(kept) = plugin.unload() {
        panic!("it stays mapped: {:?}", kept.reasons);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [one, other, count] = arguments.as_slice() else {
        panic!("usage: swap PLUGIN OTHER_PLUGIN COUNT");
    };
    assert!(interpose::ensure_linked());
    let files = [one, other].map(|path| PluginFile::read(&PathBuf::from(path)).expect("a plugin's file"));
    let count: usize = count.parse().expect("COUNT is a number");
    files.iter().for_each(swap);
    let before = Held::now();
    let mut early_kib = 0;
    for (swapped, file) in files.iter().cycle().take(count).enumerate() {
        swap(file);
        if swapped + 1 == count.div_ceil(10) {
            early_kib = resident_kib();
        }
    }
    before.assert_again();
    println!(
        "{count} swaps; {before:?} before and after; {early_kib} KiB resident after {}, {} at the end",
        count.div_ceil(10),
        resident_kib()
    );
}
