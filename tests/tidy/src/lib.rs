//! The workspace as text: packages, their dependencies, their source files. The tests beside it keep layout,
//! dependencies, `unsafe` and documents in order.
//!
//! Deliberately absent: parsing of Rust. Files are read by lines, after comments and string literals are blanked.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/tidy stands two levels below the root").to_owned()
}

/// A package of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

/// What cargo builds of a package.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    src_path: PathBuf,
    kind: Vec<String>,
    /// Cargo runs its unit tests.
    pub test: bool,
    /// Cargo runs the examples in its documentation.
    pub doctest: bool,
}

impl Target {
    /// Whether it is a library that others link.
    #[must_use]
    pub fn is_library(&self) -> bool {
        self.kind.iter().any(|kind| ["lib", "rlib", "proc-macro"].contains(&kind.as_str()))
    }

    /// Whether it is a program.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.kind.iter().any(|kind| kind == "bin")
    }

    /// Its root file.
    #[must_use]
    pub fn root_file(&self) -> String {
        relative(&self.src_path)
    }
}

/// What a package depends on.
#[derive(Clone, Debug, Deserialize)]
pub struct Dependency {
    /// The package.
    pub name: String,
    /// None for an ordinary one, else `dev` or `build`.
    pub kind: Option<String>,
    /// Where it is, if it is one of ours.
    pub path: Option<PathBuf>,
}

impl Package {
    /// Its folder, relative to the root.
    #[must_use]
    pub fn folder(&self) -> String {
        let folder = self.manifest_path.parent().expect("a manifest stands in a folder");
        relative(folder)
    }

    /// Everything that it depends on, for tests as well.
    #[must_use]
    pub fn dependencies(&self) -> &[Dependency] {
        &self.dependencies
    }

    /// What cargo builds of it.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The root files of its library and programs.
    #[must_use]
    pub fn crate_roots(&self) -> Vec<PathBuf> {
        let own = |target: &&Target| target.kind.iter().all(|kind| kind != "test" && kind != "custom-build");
        self.targets.iter().filter(own).map(|target| target.src_path.clone()).collect()
    }
}

/// All packages of the workspace, as cargo sees them.
///
/// # Panics
/// When cargo cannot be run.
#[must_use]
pub fn packages() -> Vec<Package> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo prints its metadata");
    metadata.packages
}

/// A Rust source file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path from the root.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// The text with comments, string literals and characters blanked, line by line as before.
    #[must_use]
    pub fn code(&self) -> String {
        blank(&self.text)
    }

    /// Whether all of it is tests.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs" || part == "benches")
    }

    /// The text before the module of tests at its end, if there is one.
    #[must_use]
    pub fn without_tests(&self) -> &str {
        let end =
            self.text.find("\n#[cfg(test)]\nmod ").or_else(|| self.text.find("\n#[cfg(test)]\npub mod "));
        &self.text[..end.unwrap_or(self.text.len())]
    }
}

/// Every Rust source file of the workspace.
///
/// # Panics
/// When a file cannot be read.
#[must_use]
pub fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["runtime", "plugin-api", "plugins", "hosts", "examples", "tests"] {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    let rust = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|file| Source {
        path: relative(file),
        text: std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())),
    })
    .collect()
}

/// Every file below `folder`, build output and hidden folders apart.
pub fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.path().is_dir() {
            walk(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

/// A path as it is written from the root.
#[must_use]
pub fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A document at the root or below it.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn document(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every error code of the form `LS0123` in `text`, with its line, counted from 1.
#[must_use]
pub fn codes(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("LS0") {
            let digits = line[at + 2..].chars().take_while(char::is_ascii_digit).count();
            let before = line[..at].chars().next_back();
            if digits == 4 && !before.is_some_and(char::is_alphanumeric) {
                found.push((number + 1, line[at..at + 6].to_owned()));
            }
        }
    }
    found
}

/// Blanks comments, strings and characters; newlines stay.
fn blank(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(n, c)| bytes.get(at + n) == Some(&c));
    while at < bytes.len() {
        let end = if starts(at, "//") {
            at + bytes[at..].iter().take_while(|c| **c != '\n').count()
        } else if starts(at, "/*") {
            let close = (at + 2..bytes.len()).find(|at| starts(*at, "*/"));
            close.map_or(bytes.len(), |close| close + 2)
        } else if bytes[at] == '"' {
            quoted(&bytes, at)
        } else if bytes[at] == 'r' && raw_marks(&bytes, at).is_some() && !is_word(&bytes, at) {
            let marks = raw_marks(&bytes, at).unwrap_or(0);
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
            let begin = at + marks + 2;
            (begin..bytes.len()).find(|at| starts(*at, &close)).map_or(bytes.len(), |end| end + marks + 1)
        } else if bytes[at] == '\'' && (bytes.get(at + 1) == Some(&'\\') || bytes.get(at + 2) == Some(&'\''))
        {
            quoted(&bytes, at)
        } else {
            out.push(bytes[at]);
            at += 1;
            continue;
        };
        out.extend(bytes[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

fn is_word(bytes: &[char], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_alphanumeric() || bytes[at - 1] == '_')
}

fn raw_marks(bytes: &[char], at: usize) -> Option<usize> {
    let marks = bytes[at + 1..].iter().take_while(|c| **c == '#').count();
    (bytes.get(at + 1 + marks) == Some(&'"')).then_some(marks)
}

fn quoted(bytes: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != bytes[at] {
        end += if bytes[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let text = "let a = \"unsafe \\\" x\"; // unsafe\nlet b = r#\"unsafe \" \"#; /* unsafe\n */ 'u' '\\'' &'a unsafe";
        assert_eq!(blank(text).matches("unsafe").count(), 1);
        assert_eq!(blank(text).lines().count(), 3);
    }

    #[test]
    fn codes_are_found_whole() {
        assert_eq!(
            codes("x LS0101, `LS0999`\nXLS0102 LS01 LS01234"),
            [(1, "LS0101".into()), (1, "LS0999".into())]
        );
    }
}
