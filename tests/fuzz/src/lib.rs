//! Every decoder that reads from the network, from a disk or from a plugin file, each as a [`Target`]: bytes go in, and what
//! must hold whatever they are is asserted.
//!
//! - What decodes is encoded again, and that decodes to the same.
//! - A file is refused with its code, or what was read is what had been written.
//! - A length in a header takes no memory before its bytes are there: whoever runs a target watches the process's size.
//!
//! The same list is run by `tests/decoders.rs` with chances by seed, on any toolchain, and by `coverage-guided`, where a
//! nightly exists. `docs/fuzzing.md` has its table.
//!
//! Deliberately absent: what is behind the decoders. What a *processor* makes of bad input is tried in `tests/process`.
#![forbid(unsafe_code)]

mod admin;
mod bench;
mod config;
mod elf_file;
mod files;
mod good_store;
mod http;
mod keys;
mod link;
mod plugin;
mod rounds;
mod samples;
mod scratch;
mod store;
mod stream;
mod wire;

pub mod chances;
pub mod corpus;
pub mod memory;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// A decoder, with what is asserted of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its folder in `corpus`, its program in `coverage-guided`, its line in `docs/fuzzing.md`.
    pub name: &'static str,
    /// What it reads, and where from.
    pub reads: &'static str,
    /// Reads bytes. Whether they were taken for what they should be; a panic is a bug.
    pub run: fn(&[u8]) -> bool,
    /// Real encodings. Each is taken.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    wire::CLIENT_FRAME,
    wire::SERVER_FRAME,
    wire::FRAME_STREAM,
    wire::CLIENT_EXCHANGE,
    link::LINK_MESSAGE,
    link::PLUGIN_PIECES,
    link::DEATH_NOTE,
    stream::ENTRIES,
    stream::COPY_PARTS,
    stream::OWN_ROWS,
    stream::IDENTIFIERS,
    store::REDO_SEGMENT,
    store::REDO_RECORDS,
    store::CHECKPOINT,
    store::STORE_MARKS,
    files::ARBITER_RECORD,
    files::NODE_ADDRESSES,
    files::PARTITIONS_FILE,
    files::TRAIL_FILE,
    files::LOCK_FILE,
    admin::ADMIN_REQUEST,
    admin::ADMIN_RESPONSE,
    http::HTTP_FORM,
    http::HTTP_KEYS,
    config::NODE_CONFIG,
    config::CAMPAIGN_FILE,
    keys::ROW_KEYS,
    keys::TABLE_ROWS,
    plugin::PLUGIN_ELF,
    plugin::PLUGIN_DESCRIPTION,
    plugin::PROBE_OUTPUT,
    plugin::PARAMETERS,
    plugin::CHECK_REPLY,
    bench::BENCH_TEMPLATE,
    bench::BENCH_ANSWER,
];

/// The target of that name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Target {
    /// Reads bytes; says whether they were taken.
    ///
    /// A panic that is caught on the way is one all the same, as in `lockstepd`, where it would have ended the process; but
    /// for those of which the store says otherwise.
    ///
    /// # Errors
    /// What is wrong with what became of them.
    pub fn outcome(&self, bytes: &[u8]) -> Result<bool, String> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            panic::set_hook(Box::new(|info| {
                if !lockstep_store::panic_is_caught() {
                    PANIC.with(|text| *text.borrow_mut() = Some(info.to_string()));
                }
            }));
        });
        let taken = panic::catch_unwind(AssertUnwindSafe(|| (self.run)(bytes)));
        match (taken, PANIC.with(RefCell::take)) {
            (Ok(taken), None) => Ok(taken),
            (_, Some(why)) => Err(why),
            (Err(_), None) => Err("it panicked where the store says that this is caught".into()),
        }
    }
}

/// Runs the target of that name, and ends the process when it fails: what a program of `coverage-guided` does with each input.
pub fn run(name: &str, bytes: &[u8]) {
    if let Err(why) = target(name).outcome(bytes) {
        eprintln!("{name}: {why}");
        std::process::abort();
    }
}
