//! What a plugin costs: a work unit's call across the boundary with one read and one write of the context, the begin
//! and end of a procedure around it, and a load with its checks and the unload, without the trial in a child process.
//!
//! `cargo bench -p lockstep-loader`; the plugins are built with optimisation for it.

#[path = "../tests/support/mod.rs"]
mod support;

use divan::Bencher;
use lockstep_loader::{LoadedPlugin, PluginFile, Unload, elf, load};
use lockstep_plugin_api::host::{HostedPlugin, services};
use lockstep_plugin_api::procedure::Encoding;
use support::Rows;

/// `touch` of the habits: one unit, which reads a row and writes it.
const TOUCH: u32 = 1;
/// Its control parameters: the row's key, in `postcard`.
const KEY: &[u8] = &[7];

fn main() {
    divan::main();
}

fn file(package: &str) -> PluginFile {
    PluginFile::read(&support::plugin(package)).expect("the plugin's file is read")
}

fn gone(plugin: LoadedPlugin) {
    if let Unload::Kept(kept) = plugin.unload() {
        panic!("it stays mapped: {:?}", kept.reasons);
    }
}

/// Runs `work` with the habits, loaded and started.
fn with_habits(work: impl FnOnce(HostedPlugin)) {
    let plugin = load(&file("habits")).expect("it is loaded");
    let lease = plugin.lease();
    lease.start(&services::<Rows>()).expect("it starts");
    work(HostedPlugin::new(lease.module()));
    lease.shutdown().expect("it shuts down");
    gone(plugin);
}

#[divan::bench]
fn unit_with_one_read_and_one_write(bencher: Bencher<'_, '_>) {
    with_habits(|hosted| {
        let mut host = Rows::default();
        let mut run = hosted.begin(TOUCH, Encoding::Postcard, KEY, 0).expect("well formed");
        bencher.bench_local(|| run.run(0, &mut host).expect("it runs"));
    });
}

#[divan::bench]
fn begin_unit_and_end(bencher: Bencher<'_, '_>) {
    with_habits(|hosted| {
        let mut host = Rows::default();
        bencher.bench_local(|| {
            let mut run = hosted.begin(TOUCH, Encoding::Postcard, KEY, 0).expect("well formed");
            run.run(0, &mut host).expect("it runs");
        });
    });
}

#[divan::bench(args = ["ledger-v1-so", "ledger-v2-so", "habits"], sample_count = 50, sample_size = 1)]
fn load_check_and_unload(bencher: Bencher<'_, '_>, package: &str) {
    let file = file(package);
    bencher.bench_local(|| {
        let plugin = load(&file).expect("it is loaded");
        plugin.lease().describe().expect("it says what it is");
        gone(plugin);
    });
}

#[divan::bench(args = ["ledger-v1-so"], sample_count = 50, sample_size = 1)]
fn read_and_hash(bencher: Bencher<'_, '_>, package: &str) {
    let path = support::plugin(package);
    bencher.bench_local(|| PluginFile::read(&path).expect("it is read"));
}

#[divan::bench(args = ["ledger-v1-so"], sample_count = 50, sample_size = 1)]
fn static_check(bencher: Bencher<'_, '_>, package: &str) {
    let file = file(package);
    bencher.bench_local(|| elf::check(file.bytes()).expect("it passes"));
}
