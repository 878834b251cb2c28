//! What the tests of the loader share: libraries made with the C compiler, and real plugins found through
//! cargo's own messages.
//!
//! Deliberately absent: a guess at any path under `target/`.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use lockstep_plugin_api::abi::{API_MAGIC, API_VERSION, API_VERSION_SYMBOL};
use lockstep_plugin_api::host::{LogLines, UnitHost};

/// What makes the static check take a C library for a plugin: the header symbol, the contract's version, and the
/// unwinder's import.
pub const PLUGIN_IMITATION: &str = "
extern int _Unwind_RaiseException(void *);
int unwinds(void *exception) { return _Unwind_RaiseException(exception); }
char HEADER[4096] = { 1 };
const struct { unsigned long magic; unsigned major, minor; } API = { API_MAGIC, API_MAJOR, API_MINOR };
";

/// Compiles a shared library from C and says where it is.
pub fn compile_c(directory: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let source_path = directory.join(format!("{name}.c"));
    let path = directory.join(format!("lib{name}.so"));
    std::fs::write(&source_path, source).expect("the source is written");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(compiler)
        .args(["-shared", "-fPIC", "-g0", "-o"])
        .arg(&path)
        .arg(format!("-DHEADER={ROOT_MODULE_LOADER_NAME}"))
        .arg(format!("-DAPI={API_VERSION_SYMBOL}"))
        .arg(format!("-DAPI_MAGIC={API_MAGIC}UL"))
        .arg(format!("-DAPI_MAJOR={}", API_VERSION.major))
        .arg(format!("-DAPI_MINOR={}", API_VERSION.minor))
        .arg(&source_path)
        .args(flags)
        .arg("-lgcc_s")
        .output()
        .expect("a C compiler is needed for these tests");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// The shared library of a package of this workspace, built now if need be.
pub fn plugin(package: &str) -> PathBuf {
    // In the profile that the caller was built in: a benchmark measures what ships. With the features that tests are built
    // with nothing is built twice.
    let flags: &[&str] = if cfg!(debug_assertions) {
        &["--workspace", "--lib", "--example", "swap"]
    } else {
        &["--release", "-p", package]
    };
    built(Path::new(env!("CARGO_MANIFEST_DIR")), package, flags)
}

/// The shared library or program of a package that is frozen beside a version of the plugin API.
pub fn frozen(version: &str, package: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-api/frozen").join(version);
    // What the two workspaces share is built once.
    let Some(temporary) = option_env!("CARGO_TARGET_TMPDIR") else { panic!("cargo names it to tests alone") };
    let target = Path::new(temporary).parent().expect("it stands in the target directory");
    let target = target.to_str().expect("a plain path");
    built(&workspace, package, &["--locked", "--target-dir", target, "-p", package])
}

fn built(workspace: &Path, package: &str, flags: &[&str]) -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--message-format=json"])
        .args(flags)
        .current_dir(workspace)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let made = |line: &str| -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let id = message["package_id"].as_str()?;
        let is_ours = id.contains(&format!("#{package}@")) || id.contains(&format!("/{package}#"));
        if message["reason"] != "compiler-artifact" || !is_ours {
            return None;
        }
        if let Some(program) = message["executable"].as_str() {
            return Some(program.into());
        }
        let is_cdylib = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "cdylib");
        let files = message["filenames"].as_array().filter(|_| is_cdylib)?;
        files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".so")).map(PathBuf::from)
    };
    messages.lines().find_map(made).unwrap_or_else(|| panic!("{package} makes a library or a program"))
}

/// Version 1 of the ledger.
pub fn ledger_v1() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| plugin("ledger-v1-so"))
}

/// Version 2 of the ledger.
pub fn ledger_v2() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| plugin("ledger-v2-so"))
}

/// A host with what was put, and nothing else. Finding a row takes as long as there are rows; they are few.
#[derive(Default)]
pub struct Rows {
    rows: Vec<(u32, Vec<u8>, Vec<u8>)>,
}

impl Rows {
    fn at(&self, table: u32, key: &[u8]) -> Option<usize> {
        self.rows.iter().position(|(of, at, _)| *of == table && at == key)
    }
}

impl UnitHost for Rows {
    fn get(&mut self, table: u32, key: &[u8]) -> Option<&[u8]> {
        self.at(table, key).map(|at| self.rows[at].2.as_slice())
    }
    fn put(&mut self, table: u32, key: &[u8], value: &[u8]) {
        match self.at(table, key) {
            Some(at) => {
                self.rows[at].2.clear();
                self.rows[at].2.extend_from_slice(value);
            }
            None => self.rows.push((table, key.to_vec(), value.to_vec())),
        }
    }
    fn delete(&mut self, table: u32, key: &[u8]) {
        self.rows.retain(|(of, at, _)| *of != table || at != key);
    }
    fn scan(&mut self, _: u32, _: &[u8], _: Option<&[u8]>, _: &mut dyn FnMut(&[u8], &[u8]) -> bool) {}
    fn time_us(&self) -> u64 {
        1
    }
    fn random(&mut self) -> u64 {
        1
    }
    fn features(&self) -> u64 {
        0
    }
    fn format(&mut self, _: u32) -> u16 {
        1
    }
    fn body(&self) -> &[u8] {
        &[]
    }
    fn reply(&mut self, _: &[u8]) {}
    fn scratch(&mut self, _: &[u8]) -> Option<&[u8]> {
        None
    }
    fn set_scratch(&mut self, _: &[u8], _: &[u8]) {}
    fn set_timer(&mut self, _: &str, _: u64, _: &str, _: &[u8]) {}
    fn cancel_timer(&mut self, _: &str) -> bool {
        false
    }
    fn timer(&self, _: &str) -> Option<u64> {
        None
    }
    fn send(&mut self, _: &str, _: u16, _: &str, _: &[u8]) {}
    fn log(_: Option<&Self>, _: u8, _: &str, _: &str) {}
}

impl LogLines for Rows {
    fn level_max() -> u8 {
        5
    }
    fn line(_: u8, _: &str, _: &str) {}
}

/// Waits until `holds`.
///
/// # Panics
/// When it does not for a long time.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}: not in time");
        std::thread::yield_now();
    }
}

/// The name of host threads that run plugins.
pub const HOST_THREAD: &str = "a-host-thread";

/// How the names of threads begin that a swap may start: those of hosts, of the loader and of plugins. The threads of the
/// test harness come and go.
const OURS: [&str; 5] = [HOST_THREAD, "plugin-", "detached", "tokio-", "ledger-"];

/// What this process holds that a swap must not add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Threads, but for the test harness's.
    pub threads: usize,
    /// Thread-specific data keys.
    pub keys: usize,
    /// Descriptors.
    pub descriptors: usize,
}

impl Held {
    /// Now.
    pub fn now() -> Self {
        let entries = |path: &str| std::fs::read_dir(path).expect("it can be listed").count();
        let tasks = std::fs::read_dir("/proc/self/task").expect("it can be listed");
        // One that ends meanwhile has no name any more.
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        Held {
            threads: names.filter(|name| OURS.iter().any(|ours| name.starts_with(ours))).count(),
            keys: lockstep_os::interpose::key_count(),
            descriptors: entries("/proc/self/fd"),
        }
    }

    /// As soon as so many looks in a row are the same: the kernel still shows a thread for a moment after it was joined.
    pub fn settled(looks: usize) -> Self {
        let (mut last, mut same) = (Self::now(), 1);
        until("what the process holds is settled", || {
            let now = Self::now();
            same = if now == last { same + 1 } else { 1 };
            last = now;
            same >= looks
        });
        last
    }

    /// Asserts that this process holds this again: the kernel still shows a thread for a moment after it was joined.
    #[track_caller]
    pub fn assert_again(self) {
        until("what the process holds is as before", || Self::now() == self);
    }
}

/// The resident memory of this process, in KiB.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it can be read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is said");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
