//! Where the programs and the plugin files are: built by cargo, named by cargo. No path is guessed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Failure;

/// The packages whose programs and plugin files the rig needs.
const PACKAGES: [&str; 13] = [
    "lockstepd",
    "lockstep",
    "rig",
    "ledger-v1-so",
    "ledger-v1-twin-so",
    "ledger-v1-deadly-so",
    "ledger-v2-so",
    "ledger-v2-broken-so",
    "archive-so",
    "standing-orders-so",
    "standing-orders-v2-so",
    "nodelete",
    "odd-layout",
];

/// What makes cargo build with the features of `cargo test --workspace`: all packages, and a target that needs what tests
/// need. Of a few packages alone, cargo would build nearly everything that they depend on again, with fewer features.
/// `runtime/loader/tests/support` and the tests of `hosts/lockstep` do the same.
const AS_TESTS: [&str; 4] = ["--workspace", "--lib", "--example", "swap"];

/// What was built.
#[derive(Clone, Debug)]
pub struct Artifacts {
    files: BTreeMap<String, PathBuf>,
}

impl Artifacts {
    /// Builds the hosts, the load program and the plugins, in the profile that the caller was built in, through the
    /// cargo that runs the caller. `said` gets cargo's lines for people.
    ///
    /// # Errors
    /// When cargo can't be run, fails, or does not name one of the files.
    pub fn build(said: impl FnMut(&str)) -> Result<Self, Failure> {
        let mut command = cargo("build");
        if cfg!(debug_assertions) {
            command.args(AS_TESTS).args(["--bin", "lockstepd", "--bin", "lockstep", "--bin", "rig"]);
        } else {
            command.arg("--release");
            for package in PACKAGES {
                command.args(["-p", package]);
            }
        }
        Self::built_by(command, &PACKAGES, said)
    }

    /// Builds only those of `packages`, in the release profile, with further variables in cargo's environment. Only what was
    /// built may be asked for.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_some(
        packages: &[&str],
        environment: &[(&str, OsString)],
        said: impl FnMut(&str),
    ) -> Result<Self, Failure> {
        let mut command = cargo("build");
        command.arg("--release").envs(environment.iter().map(|(name, value)| (name, value)));
        for package in packages {
            command.args(["-p", package]);
        }
        Self::built_by(command, packages, said)
    }

    fn built_by(
        mut command: Command,
        packages: &[&str],
        mut said: impl FnMut(&str),
    ) -> Result<Self, Failure> {
        let mut child = command
            .arg("--message-format=json-render-diagnostics")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("cargo can't be run: {error}")))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let messages = std::thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
            lines.map_while(Result::ok).collect::<Vec<_>>()
        });
        let mut last = Vec::new();
        for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines()).map_while(Result::ok)
        {
            said(line.trim());
            last.push(line);
        }
        let status = child.wait()?;
        let messages = messages.join().map_err(|_| Failure::new("cargo's messages can't be read"))?;
        if !status.success() {
            return Err(Failure::new(format!("cargo build failed:\n{}", last.join("\n"))));
        }
        let mut files = BTreeMap::new();
        for message in messages.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if message["reason"] != "compiler-artifact" {
                continue;
            }
            if let Some((package, file)) = file_of(&message) {
                files.insert(package, file);
            }
        }
        let artifacts = Artifacts { files };
        for package in packages {
            artifacts.find(package)?;
        }
        Ok(artifacts)
    }

    fn find(&self, package: &str) -> Result<&Path, Failure> {
        let file = self.files.get(package).map(PathBuf::as_path);
        file.ok_or_else(|| Failure::new(format!("cargo named no file of package `{package}`")))
    }

    fn found(&self, package: &str) -> &Path {
        self.find(package).expect("checked when it was built")
    }

    /// The processor's program.
    #[must_use]
    pub fn lockstepd(&self) -> &Path {
        self.found("lockstepd")
    }

    /// The operators' program.
    #[must_use]
    pub fn lockstep(&self) -> &Path {
        self.found("lockstep")
    }

    /// The program of the load process and of the guard.
    #[must_use]
    pub fn rig(&self) -> &Path {
        self.found("rig")
    }

    /// The ledger, version 1.
    #[must_use]
    pub fn ledger_v1(&self) -> &Path {
        self.found("ledger-v1-so")
    }

    /// Version 1, written differently.
    #[must_use]
    pub fn ledger_v1_twin(&self) -> &Path {
        self.found("ledger-v1-twin-so")
    }

    /// Version 1 with a procedure that takes its host down.
    #[must_use]
    pub fn ledger_v1_deadly(&self) -> &Path {
        self.found("ledger-v1-deadly-so")
    }

    /// The ledger, version 2.
    #[must_use]
    pub fn ledger_v2(&self) -> &Path {
        self.found("ledger-v2-so")
    }

    /// The archive, an application whose documents stay on the active.
    #[must_use]
    pub fn archive(&self) -> &Path {
        self.found("archive-so")
    }

    /// Standing orders, another application.
    #[must_use]
    pub fn standing_orders(&self) -> &Path {
        self.found("standing-orders-so")
    }

    /// Standing orders, version 2, which needs version 2 of the ledger.
    #[must_use]
    pub fn standing_orders_v2(&self) -> &Path {
        self.found("standing-orders-v2-so")
    }

    /// The ledger, version 1, in a file that the dynamic linker never unmaps.
    #[must_use]
    pub fn nodelete(&self) -> &Path {
        self.found("nodelete")
    }

    /// A library that calls itself a plugin of this API and has other types.
    #[must_use]
    pub fn odd_layout(&self) -> &Path {
        self.found("odd-layout")
    }

    /// The version that faults and is slow.
    #[must_use]
    pub fn ledger_v2_broken(&self) -> &Path {
        self.found("ledger-v2-broken-so")
    }
}

/// The package's name and the program or plugin file that a `compiler-artifact` message names.
fn file_of(message: &Value) -> Option<(String, PathBuf)> {
    let package = package_name(message["package_id"].as_str()?)?;
    let kinds = message["target"]["kind"].as_array()?;
    let file = if kinds.iter().any(|kind| kind == "cdylib") {
        let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
        files.map(PathBuf::from).find(|file| file.extension().is_some_and(|extension| extension == "so"))?
    } else {
        PathBuf::from(message["executable"].as_str()?)
    };
    PACKAGES.contains(&package.as_str()).then_some((package, file))
}

/// The name in a package id: `path+file:///…/so#ledger-v1-so@0.1.0`, or `…/lockstepd#0.1.0` where folder and name agree.
fn package_name(id: &str) -> Option<String> {
    let (path, fragment) = id.rsplit_once('#')?;
    let name = match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next()?,
    };
    Some(name.to_owned())
}

/// The cargo that runs the caller, in the workspace that the caller was built from.
fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).arg(subcommand);
    // What cargo told the caller about the caller's own package is not for others.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    command
}

/// The folder where cargo puts what it builds.
///
/// # Errors
/// When cargo can't be run, or does not say.
pub fn target_directory() -> Result<PathBuf, Failure> {
    let output = cargo("metadata").args(["--no-deps", "--format-version", "1"]).output()?;
    let said = serde_json::from_slice::<Value>(&output.stdout)?;
    let directory = said["target_directory"].as_str().map(PathBuf::from);
    directory.ok_or_else(|| Failure::new("cargo does not say where it puts what it builds"))
}

/// The workspace that this was built from.
fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_messages_name_programs_and_plugin_files() {
        let program = serde_json::json!({
            "reason": "compiler-artifact", "package_id": "path+file:///w/hosts/lockstepd#0.1.0",
            "target": {"kind": ["bin"]}, "filenames": ["/t/lockstepd"], "executable": "/t/lockstepd",
        });
        assert_eq!(file_of(&program), Some(("lockstepd".into(), "/t/lockstepd".into())));
        let plugin = serde_json::json!({
            "reason": "compiler-artifact", "package_id": "path+file:///w/plugins/ledger-v1/so#ledger-v1-so@0.1.0",
            "target": {"kind": ["cdylib"]}, "filenames": ["/t/libledger_v1.so"], "executable": null,
        });
        assert_eq!(file_of(&plugin), Some(("ledger-v1-so".into(), "/t/libledger_v1.so".into())));
        let library = serde_json::json!({
            "reason": "compiler-artifact", "package_id": "path+file:///w/tests/rig#0.1.0",
            "target": {"kind": ["lib"]}, "filenames": ["/t/librig.rlib"], "executable": null,
        });
        assert_eq!(file_of(&library), None);
    }
}
