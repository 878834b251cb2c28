//! Deliberate bugs in core, arbiter rule and store, each a patch in `tests/mutants`. Each is applied to a copy of the
//! workspace, built, and must be found: by seeds of the simulated world, or by the test that it names.
//!
//! Invariants: the workspace itself is never changed; before the first mutant everything that is to find one passes
//! without any; one target directory serves all, so that only what a mutant changes is built again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rig::{Failure, interrupt};
use serde_json::{Value, json};

use crate::{Outcome, say};

/// A mutant that takes so much longer than what finds it takes without one never ends: that is found too.
const LONGER_MAX: u32 = 4;
/// And so long at least.
const TEST_TIME_MIN: Duration = Duration::from_secs(60);
/// What takes longer without a mutant is of no use.
const TEST_TIME_MAX: Duration = Duration::from_secs(1_800);
/// Folders that no build needs.
const NOT_COPIED: [&str; 3] = ["target", ".git", "docs"];

/// What finds a mutant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Finder {
    /// So many seeds from 0 on.
    Sim { seeds: u64 },
    /// The same with the real store beside the simulated disks.
    RealStore { seeds: u64 },
    /// A test of `tests/scenarios`.
    Scenario(String),
    /// A test of the store.
    Store(String),
    /// A test of `tests/model`.
    Model(String),
}

impl Finder {
    fn name(&self) -> String {
        match self {
            Finder::Sim { seeds } => format!("sim, {seeds} seeds"),
            Finder::RealStore { seeds } => format!("sim over the real store, {seeds} seeds"),
            Finder::Scenario(test) => format!("scenarios {test}"),
            Finder::Store(test) => format!("store {test}"),
            Finder::Model(test) => format!("model {test}"),
        }
    }
}

/// A deliberate bug.
struct Mutant {
    name: String,
    patch: PathBuf,
    rule: String,
    what: String,
    finder: Finder,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn failure(what: impl Into<String>) -> Failure {
    Failure::new(what)
}

/// Reads the head of a patch.
fn read(patch: PathBuf) -> Result<Mutant, Failure> {
    let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text = fs::read_to_string(&patch)?;
    let heads: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(": ")).collect();
    let head = |key: &str| {
        heads
            .get(key)
            .map(|value| (*value).to_owned())
            .ok_or_else(|| failure(format!("{name}: no `# {key}: `")))
    };
    let found_by = head("found by")?;
    let seeds = || head("seeds")?.parse().map_err(|_| failure(format!("{name}: `# seeds: ` has no number")));
    let finder = match found_by.split_once(' ') {
        None if found_by == "sim" => Finder::Sim { seeds: seeds()? },
        Some(("sim", "real store")) => Finder::RealStore { seeds: seeds()? },
        Some(("scenarios", test)) => Finder::Scenario(test.into()),
        Some(("store", test)) => Finder::Store(test.into()),
        Some(("model", test)) => Finder::Model(test.into()),
        _ => return Err(failure(format!("{name}: nothing is called `{found_by}`"))),
    };
    let (rule, what) = (head("rule")?, head("what")?);
    Ok(Mutant { name, patch, rule, what, finder })
}

/// All of them, or the one called `only`, or those from `from` on in the order of their names.
fn list(only: Option<&str>, from: Option<&str>) -> Result<Vec<Mutant>, Failure> {
    let mut patches: Vec<_> = fs::read_dir(workspace().join("tests/mutants"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    let mut mutants = patches.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    mutants.retain(|mutant| {
        only.is_none_or(|only| only == mutant.name) && from.is_none_or(|from| from <= mutant.name.as_str())
    });
    if mutants.is_empty() {
        return Err(failure("there is no such mutant in tests/mutants"));
    }
    Ok(mutants)
}

/// A copy of the workspace, built on its own.
struct Bench {
    dir: PathBuf,
    target: PathBuf,
    /// In which file of `tests/scenarios/tests` each test stands.
    files: BTreeMap<String, String>,
}

fn copy(from: &Path, to: &Path, top: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if !top || !NOT_COPIED.iter().any(|not| name == *not) {
                copy(&entry.path(), &to.join(name), false)?;
            }
        } else {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

/// The names of the functions in a source.
fn functions(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| Some(line.strip_prefix("fn ")?.split('(').next()?.to_owned()))
}

impl Bench {
    fn new(at: &Path) -> Result<Self, Failure> {
        let (from, dir) = (workspace(), at.join("workspace"));
        copy(&from, &dir, true)?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| from.join("target"), PathBuf::from);
        let target = std::path::absolute(target)?.join("mutants");
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir.join("tests/scenarios/tests"))? {
            let path = entry?.path();
            let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            files.extend(functions(&fs::read_to_string(&path)?).map(|test| (test, file.clone())));
        }
        Ok(Bench { dir, target, files })
    }

    /// Applies a patch, or takes it back.
    fn patch(&self, patch: &Path, back: bool) -> Result<(), String> {
        let mut git = Command::new("git");
        // The copy may lie within some repository, whose files these are not.
        git.current_dir(&self.dir).env("GIT_CEILING_DIRECTORIES", self.dir.parent().unwrap_or(&self.dir));
        git.arg("apply").args(back.then_some("-R")).arg(patch);
        let done = git.output().map_err(|error| format!("`git apply` can't be run: {error}"))?;
        if done.status.success() {
            return Ok(());
        }
        Err(format!("the patch does not apply: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }

    /// Builds the test program of `package` that has the tests of `file`.
    fn build(&self, package: &str, file: &str) -> Result<PathBuf, String> {
        let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", &self.target)
            .args(["test", "--no-run", "--offline", "--quiet", "--message-format=json"])
            .args(["-p", package, "--test", file])
            .output()
            .map_err(|error| format!("cargo can't be run: {error}"))?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr);
            let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
            return Err(format!("it does not build: {said}"));
        }
        let messages = String::from_utf8_lossy(&built.stdout).into_owned();
        let program =
            messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|m| {
                let ours = m["target"]["name"] == file && m["profile"]["test"] == true;
                m["executable"].as_str().filter(|_| ours).map(PathBuf::from)
            });
        program.ok_or_else(|| format!("cargo built no tests called `{file}`"))
    }

    /// Whether what `finder` runs passes within `time_max`. An error if it can't be run.
    fn passes(&self, finder: &Finder, time_max: Duration) -> Result<bool, String> {
        let (package, file, test) = match finder {
            Finder::Sim { .. } => ("scenarios", "seeds", "the_promise_holds_for_so_many_seeds"),
            Finder::RealStore { .. } => {
                ("scenarios", "seeds", "the_promise_holds_for_so_many_seeds_over_the_real_store")
            }
            Finder::Scenario(test) => {
                let file = self.files.get(test).ok_or_else(|| format!("no scenario is called `{test}`"))?;
                ("scenarios", file.as_str(), test.as_str())
            }
            Finder::Store(test) => ("lockstep-store", "store", test.as_str()),
            Finder::Model(test) => ("model", "small", test.as_str()),
        };
        let program = self.build(package, file)?;
        let mut tests = Command::new(program);
        tests.current_dir(&self.dir).stdout(Stdio::piped()).stderr(Stdio::null()).arg("--include-ignored");
        match finder {
            Finder::Sim { seeds } | Finder::RealStore { seeds } => {
                tests.env("LOCKSTEP_SEEDS", seeds.to_string()).args(["--exact", test])
            }
            Finder::Scenario(_) | Finder::Model(_) => tests.args(["--exact", test]),
            // In modules of its own.
            Finder::Store(_) => tests.arg(test),
        };
        let mut running = tests.spawn().map_err(|error| format!("the tests can't be run: {error}"))?;
        let begun = Instant::now();
        let status = loop {
            match running.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if begun.elapsed() > time_max || interrupt::check().is_err() => {
                    running
                        .kill()
                        .and_then(|()| running.wait().map(drop))
                        .map_err(|error| error.to_string())?;
                    return Ok(false);
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut said = String::new();
        if let Some(mut output) = running.stdout.take() {
            io::Read::read_to_string(&mut output, &mut said).map_err(|error| error.to_string())?;
        }
        if said.contains("running 0 tests") {
            return Err(format!("no test is called `{test}`"));
        }
        Ok(status.success())
    }

    fn hunt(&self, mutant: &Mutant, time_max: Duration) -> Result<bool, String> {
        self.patch(&mutant.patch, false)?;
        let passes = self.passes(&mutant.finder, time_max);
        self.patch(&mutant.patch, true)?;
        passes.map(|passes| !passes)
    }
}

/// Hunts all mutants, or the one called `only`, or those from `from` on.
///
/// # Errors
/// When the workspace can't be copied, or something that is to find a mutant fails without one.
pub fn run(only: Option<&str>, from: Option<&str>) -> Result<Outcome, Failure> {
    let mutants = list(only, from)?;
    let directory = tempfile::Builder::new().prefix("lockstep-mutants-").tempdir()?;
    let bench = Bench::new(directory.path())?;
    let begun = Instant::now();
    let mut times_max: BTreeMap<&Finder, Duration> =
        mutants.iter().map(|mutant| (&mutant.finder, TEST_TIME_MAX)).collect();
    say(&format!("{} mutants; first without any", mutants.len()));
    for (finder, time_max) in &mut times_max {
        interrupt::check()?;
        let started = Instant::now();
        let passes = bench.passes(finder, *time_max).map_err(failure)?;
        if !passes {
            return Err(failure(format!("`{}` fails without a mutant", finder.name())));
        }
        *time_max = (started.elapsed() * LONGER_MAX).max(TEST_TIME_MIN);
    }
    let (mut rows, mut escaped, mut done) = (Vec::new(), Vec::new(), 0);
    let mut text = format!("{:<34} {:<4} {:>7}  found by", "mutant", "rule", "seconds");
    for mutant in &mutants {
        if interrupt::check().is_err() {
            say("interrupted; this is what was done so far");
            break;
        }
        let started = Instant::now();
        let found = bench.hunt(mutant, times_max[&mutant.finder]);
        let seconds = started.elapsed().as_secs_f64();
        let by = match &found {
            Ok(true) => mutant.finder.name(),
            Ok(false) => format!("NOT FOUND by {}: {}", mutant.finder.name(), mutant.what),
            Err(why) => format!("NOT RUN: {why}"),
        };
        let row = format!("{:<34} {:<4} {seconds:>7.1}  {by}", mutant.name, mutant.rule);
        say(&row);
        text += &format!("\n{row}");
        rows.push(json!({
            "name": mutant.name, "rule": mutant.rule, "what": mutant.what, "found": found == Ok(true),
            "by": by, "seconds": seconds,
        }));
        if found != Ok(true) {
            escaped.push(mutant.name.clone());
        }
        done += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let ok = escaped.is_empty() && done == mutants.len();
    text += &format!("\n{} of {} mutants found, {seconds:.0} s", done - escaped.len(), mutants.len());
    if !escaped.is_empty() {
        text += &format!("\nescaped: {}", escaped.join(", "));
    }
    let json = json!({"mutants": rows, "escaped": escaped, "seconds": seconds});
    Ok(Outcome { ok, json, text })
}
