//! Every wrong file that is known, given to the operators' command and to a pair that serves: it is refused with a code
//! and a next step, and the version in service goes on, with what is under way in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lockstep_plugin_api::abi::{API_VERSION, ApiVersion};
use rig::pair::Pair;

use crate::{artifacts, assert_serves_and_holds, failure, load, pair};

/// abi_stable's mark at the head of its header; its version follows.
const ABI_MARK: &[u8] = b"abi stable library for Rust     ";
/// What the static check looks for: a plugin of this API that unwinds. Constructors run when it is loaded.
const PLUGIN_IMITATION: &str = "
extern int _Unwind_RaiseException(void *);
int unwinds(void *exception) { return _Unwind_RaiseException(exception); }
char _1as_0lib_1header_0root_bmodule_bloader[4096] = { 1 };
const struct { unsigned long magic; unsigned major, minor; } LOCKSTEP_PLUGIN_API = { API };
";

struct Wrong {
    what: &'static str,
    file: PathBuf,
    code: &'static str,
    /// A word of the message beside the code.
    word: &'static str,
}

/// Makes wrong files.
struct Workshop<'a> {
    directory: &'a Path,
    whole: Vec<u8>,
    all: Vec<Wrong>,
}

impl Workshop<'_> {
    fn add(&mut self, what: &'static str, bytes: &[u8], code: &'static str, word: &'static str) {
        let file = self.directory.join(format!("{}.so", what.replace(' ', "-")));
        std::fs::write(&file, bytes).unwrap();
        self.all.push(Wrong { what, file, code, word });
    }

    /// The ledger with other bytes from each of `places` on.
    fn forged(&self, places: &[usize], bytes: &[u8]) -> Vec<u8> {
        let mut forged = self.whole.clone();
        for at in places {
            forged[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        forged
    }

    /// Where these bytes stand, every time.
    fn places(&self, bytes: &[u8]) -> Vec<usize> {
        let windows = self.whole.windows(bytes.len()).enumerate();
        windows.filter(|(_, window)| *window == bytes).map(|(at, _)| at).collect()
    }

    /// A library made by a compiler for this test.
    fn compiled(&mut self, what: &'static str, source: &str, code: &'static str, word: &'static str) {
        let path = self.directory.join(format!("{}.c", what.replace(' ', "-")));
        let file = path.with_extension("so");
        let ApiVersion { magic, major, minor } = API_VERSION;
        let api = format!("{magic}UL, {major}, {minor}");
        std::fs::write(&path, source.replace("API }", &format!("{api} }}"))).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        run(Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&file, &path]).arg("-lgcc_s"));
        self.all.push(Wrong { what, file, code, word });
    }

    /// Where the version of the plugin API stands: where it is exported, and where code has it.
    fn api(&self) -> Vec<usize> {
        let ApiVersion { magic, major, minor } = API_VERSION;
        let version = [&magic.to_ne_bytes()[..], &major.to_ne_bytes(), &minor.to_ne_bytes()].concat();
        let places = self.places(&version);
        assert!(!places.is_empty());
        places
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The files, but for one that hangs.
fn wrong_files(directory: &Path) -> Vec<Wrong> {
    let whole = std::fs::read(artifacts().ledger_v1()).unwrap();
    let mut shop = Workshop { directory, whole, all: Vec::new() };
    shop.add("empty", b"", "LS0403", "empty");
    shop.add("text", b"this is no library", "LS0410", "a text file");
    let length = shop.whole.len();
    for (what, bytes) in [
        ("truncated in the mark", 3),
        ("truncated in the header", 40),
        ("truncated in the segments", 300),
        ("truncated at a page", 4096),
        ("truncated at a third", length / 3),
        ("truncated at nine tenths", length / 10 * 9),
        ("truncated in the section table", length - 100),
        ("truncated by a byte", length - 1),
    ] {
        let bytes = shop.whole[..bytes].to_vec();
        let (code, word) =
            if bytes.len() < 4 { ("LS0410", "file") } else { ("LS0414", "cut off or damaged") };
        shop.add(what, &bytes, code, word);
    }
    let forged = shop.forged(&[18], &0xf3_u16.to_le_bytes());
    shop.add("of another machine", &forged, "LS0412", "risc-v");
    let forged = shop.forged(&[4], &[1]);
    shop.add("of 32 bits", &forged, "LS0411", "32 bits");
    let [at] = shop.places(ABI_MARK)[..] else { panic!("the header stands there once") };
    let forged = shop.forged(&[at + ABI_MARK.len()], &7_u32.to_ne_bytes());
    shop.add("of another abi_stable", &forged, "LS0431", "another binary interface");
    let api = shop.api();
    let majors: Vec<usize> = api.iter().map(|at| at + 8).collect();
    let forged = shop.forged(&majors, &9_u32.to_ne_bytes());
    shop.add("of another plugin API", &forged, "LS0432", "plugin API 9.");
    let forged = shop.forged(&api, b"imposter");
    shop.add("without the mark", &forged, "LS0431", "mark");
    shop.compiled("without a header", "int answer(void) { return 42; }", "LS0415", "application!");
    let source =
        format!("{PLUGIN_IMITATION}\nextern int nowhere(void);\nint asks(void) {{ return nowhere(); }}");
    shop.compiled("without a symbol", &source, "LS0430", "nowhere");
    let constructor = "__attribute__((constructor)) static void start(void)";
    let source = format!("{PLUGIN_IMITATION}\n{constructor} {{ *(volatile int *)8 = 1; }}");
    shop.compiled("with a constructor that crashes", &source, "LS0422", "signal 11");
    let source = format!("{PLUGIN_IMITATION}\nvoid _exit(int);\n{constructor} {{ _exit(0); }}");
    shop.compiled("with a constructor that leaves", &source, "LS0422", "exit status 0");
    shop.all.push(panic_aborts(directory));
    shop.all.push(Wrong {
        what: "of other types",
        file: artifacts().odd_layout().to_owned(),
        code: "LS0433",
        word: "types are not the host's",
    });
    shop.all
}

/// A library of Rust that aborts when it panics.
fn panic_aborts(directory: &Path) -> Wrong {
    let (path, file) = (directory.join("aborts.rs"), directory.join("aborts.so"));
    let ApiVersion { magic, major, minor } = API_VERSION;
    let source = format!(
        "#[no_mangle] pub static _1as_0lib_1header_0root_bmodule_bloader: [u8; 4096] = [1; 4096];\n\
         #[repr(C)] pub struct Api(u64, u32, u32);\n\
         #[no_mangle] pub static LOCKSTEP_PLUGIN_API: Api = Api({magic}, {major}, {minor});\n\
         #[no_mangle] pub extern \"C\" fn fails() {{ panic!(\"no\") }}\n"
    );
    std::fs::write(&path, source).unwrap();
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    run(Command::new(compiler)
        .args(["--edition=2021", "--crate-type=cdylib", "-Cpanic=abort", "-o"])
        .args([&file, &path])
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    Wrong { what: "that aborts on a panic", file, code: "LS0416", word: "panic = \"unwind\"" }
}

#[track_caller]
fn assert_refused(wrong: &Wrong, said: &str) {
    let Wrong { what, code, word, .. } = wrong;
    assert!(said.contains(code), "a file {what}: no {code}: {said}");
    assert!(said.contains(word), "a file {what}: no `{word}`: {said}");
    // What differs, and what to do: not a page of it.
    assert!(said.len() < 1_500, "a file {what}: {said}");
}

fn refused_everywhere(pair: &Pair, wrong: &Wrong) {
    let file = wrong.file.display().to_string();
    assert_refused(wrong, &failure(pair.lockstep(&["plugin", "check", &file])));
    assert_refused(wrong, &failure(pair.load_plugin(&wrong.file)));
}

#[test]
fn every_wrong_file_is_refused_in_a_sentence_and_the_version_in_service_goes_on() {
    let (directory, pair) = pair();
    let mut load = load(&pair);
    let files = wrong_files(directory.path());
    assert!(files.len() > 20);
    let before = [0, 1].map(|at| pair.node(at).mapped_plugins().unwrap());
    for wrong in &files {
        refused_everywhere(&pair, wrong);
    }
    // Both serve as before, what they ran they run, and nothing of any file is left in them.
    assert_eq!([0, 1].map(|at| pair.node(at).mapped_plugins().unwrap()), before);
    load.phase("after").unwrap();
    load.wait_answers(40).unwrap_or_else(|failure| panic!("{failure}"));
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let mut pair = pair;
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
}

#[test]
fn a_file_whose_constructor_hangs_is_given_up() {
    let (directory, pair) = pair();
    let whole = std::fs::read(artifacts().ledger_v1()).unwrap();
    let mut shop = Workshop { directory: directory.path(), whole, all: Vec::new() };
    let constructor = "__attribute__((constructor)) static void start(void)";
    let source = format!("{PLUGIN_IMITATION}\n#include <unistd.h>\n{constructor} {{ for (;;) pause(); }}");
    shop.compiled("with a constructor that hangs", &source, "LS0421", "look for a loop or a wait");
    let begun = Instant::now();
    let file = shop.all[0].file.display().to_string();
    assert_refused(&shop.all[0], &failure(pair.lockstep(&["plugin", "check", &file])));
    assert!(begun.elapsed().as_secs() < 60);
    assert_serves_and_holds(pair);
}

#[test]
fn what_is_loaded_is_what_was_checked_whatever_the_file_becomes() {
    let (directory, pair) = pair();
    let file = directory.path().join("swapped.so");
    std::fs::copy(artifacts().ledger_v1_twin(), &file).unwrap();
    let checked = pair.hash_of(&file).unwrap_or_else(|failure| panic!("{failure}"));
    pair.load_plugin(&file).unwrap_or_else(|failure| panic!("{failure}"));
    // The order is given; the standby has not loaded it yet, or has it mapped.
    std::fs::write(&file, b"something else").unwrap();
    let patience = std::time::Duration::from_secs(30);
    pair.wait_standby_on_hash(checked, patience).unwrap_or_else(|failure| panic!("{failure}"));
    std::fs::remove_file(&file).unwrap();
    pair.switch_over().unwrap_or_else(|failure| panic!("{failure}"));
    assert_serves_and_holds(pair);
}
