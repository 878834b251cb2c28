//! Every public item that authors of plugins use is shown by an example that compiles.
//!
//! The rule. An item is shown by a block of Rust in its own documentation, or by one in that of what it belongs to, which then
//! names it: a method may be shown at its type or trait, an item of an inline module at the module. Blocks that are not
//! compiled or are to fail (`ignore`, `text`, `compile_fail`) show nothing, nor do their hidden lines. Nothing is asked of fields,
//! variants and modules, of what is `#[doc(hidden)]`, and of what says `For hosts:` in its documentation or is in a
//! module that says it is for hosts.

use std::collections::BTreeMap;

use tidy::{Source, sources};

/// The crates that authors use.
const CRATES: [&str; 2] = ["plugin-api/src/", "plugin-api/test-kit/src/"];
/// What examples are made of, shown by the examples of everything else.
const MATERIAL: &str = "plugin-api/test-kit/src/example.rs";
/// What a module says that is none of an author's.
const FOR_HOSTS: &str = "For hosts: no author of a plugin touches this module.";

/// The documentation and the attributes before an item.
#[derive(Default)]
struct Before {
    docs: Vec<String>,
    hidden: bool,
    exported: bool,
}

impl Before {
    fn is_exempt(&self) -> bool {
        self.hidden || self.docs.iter().any(|line| line.starts_with("For hosts:"))
    }
}

/// The lines that a reader sees in the blocks of `docs` that are compiled.
fn blocks(docs: &[String]) -> Vec<String> {
    let (mut found, mut open): (Vec<String>, Option<bool>) = (Vec::new(), None);
    for line in docs {
        match (line.trim().strip_prefix("```"), open) {
            (Some(_), Some(_)) => open = None,
            (Some(tags), None) => {
                let compiled = tags
                    .split(',')
                    .all(|tag| ["", "rust", "no_run", "should_panic", "standalone_crate"].contains(&tag));
                open = Some(compiled);
                if compiled {
                    found.push(String::new());
                }
            }
            (None, Some(true)) if line.trim() != "#" && !line.trim().starts_with("# ") => {
                let block = found.last_mut().expect("an open block is there");
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn names(blocks: &[String], name: &str) -> bool {
    blocks.iter().any(|block| words(block).any(|word| word == name))
}

/// Whether a line begins a public item, of which kind it is, and its name.
fn item(line: &str) -> Option<(bool, &str, &str)> {
    let public = line.starts_with("pub ");
    let mut words = words(line).peekable();
    if line.starts_with("pub use lockstep_plugin_macros") {
        return Some((true, "macro", words.last()?));
    }
    loop {
        let word = words.next()?;
        match word {
            "const" if words.peek() == Some(&"fn") => {}
            "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "mod" | "macro_rules" => {
                return Some((public, word, words.next()?));
            }
            "pub" | "crate" | "unsafe" | "async" | "extern" | "C" => {}
            _ => return None,
        }
    }
}

/// The type that `impl ... {` is of; none when it is of a trait, whose methods are not the type's own.
fn implementing(line: &str) -> Option<&str> {
    let mut rest = line.strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.char_indices().find(|(at, c)| {
            match c {
                '<' => depth += 1,
                '>' if !rest[..*at].ends_with('-') => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        rest = &rest[end?.0 + 1..];
    }
    (!rest.contains(" for ")).then(|| words(rest).next())?
}

/// What items are in.
struct Scope {
    indent: usize,
    owner: Owner,
}

enum Owner {
    /// The own methods of a type.
    Type(String),
    /// A trait, with the blocks that show it.
    Trait(Vec<String>),
    /// An inline module, likewise.
    Module(Vec<String>),
    /// Bodies, and what is nobody's to use.
    Nothing,
}

/// A type's blocks; none when it is not for authors.
type Types = BTreeMap<String, Option<Vec<String>>>;

/// Goes through a file's items: calls `see` with each public one, what stands before it, and what it is in.
fn each_item(source: &Source, mut see: impl FnMut(usize, &str, &str, bool, &Before, Option<&Owner>)) {
    let mut scopes: Vec<Scope> = Vec::new();
    let (mut before, mut in_attribute) = (Before::default(), false);
    for (number, whole) in source.without_tests().lines().enumerate() {
        let line = whole.trim_start();
        let indent = whole.len() - line.len();
        if in_attribute {
            in_attribute = !line.ends_with(")]");
            continue;
        }
        if let Some(doc) = line.strip_prefix("///") {
            before.docs.push(doc.strip_prefix(' ').unwrap_or(doc).to_owned());
            continue;
        }
        if line.starts_with("#[") {
            before.hidden |= line.contains("doc(hidden)");
            before.exported |= line.contains("macro_export");
            in_attribute = !line.ends_with(']');
            continue;
        }
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        let goes_on = ["where", ")", "{", "}"].iter().any(|start| line.starts_with(start));
        while !goes_on && scopes.last().is_some_and(|scope| indent <= scope.indent) {
            scopes.pop();
        }
        let here = scopes.last().map_or(0, |scope| scope.indent + 4);
        let opens = !line.ends_with(';') && !line.ends_with('}');
        if indent == here {
            let owner = scopes.last().map(|scope| &scope.owner);
            if line.starts_with("impl") {
                let owner = implementing(line).map_or(Owner::Nothing, |name| Owner::Type(name.to_owned()));
                scopes.push(Scope { indent, owner });
            } else if let Some((public, kind, name)) = item(line) {
                let public = match owner {
                    Some(Owner::Trait(_)) => true,
                    Some(Owner::Nothing) => false,
                    _ => public || (kind == "macro_rules" && before.exported),
                };
                see(number + 1, kind, name, public, &before, owner);
                let owner = match kind {
                    "trait" if public && !before.is_exempt() => Owner::Trait(blocks(&before.docs)),
                    "mod" if public && !before.is_exempt() => Owner::Module(blocks(&before.docs)),
                    _ => Owner::Nothing,
                };
                if opens {
                    scopes.push(Scope { indent, owner });
                }
            } else if opens {
                scopes.push(Scope { indent, owner: Owner::Nothing });
            }
        }
        before = Before::default();
    }
}

fn types(sources: &[&Source]) -> Types {
    let mut types = Types::new();
    for source in sources {
        each_item(source, |_, kind, name, public, before, _| {
            if ["struct", "enum", "type"].contains(&kind) {
                let blocks = (public && !before.is_exempt()).then(|| blocks(&before.docs));
                types.insert(name.to_owned(), blocks);
            }
        });
    }
    types
}

/// The public items of a file that no example shows, and how many there are in all.
fn unshown(source: &Source, types: &Types) -> (Vec<String>, usize) {
    let (mut found, mut seen) = (Vec::new(), 0);
    let of_module: Vec<String> = source
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned())
        .collect();
    if of_module.iter().any(|line| line == FOR_HOSTS) {
        return (found, seen);
    }
    each_item(source, |line, kind, name, public, before, owner| {
        let elsewhere = match owner {
            Some(Owner::Type(of)) => match types.get(of) {
                Some(Some(blocks)) => blocks.clone(),
                Some(None) => return,
                None => panic!("{}:{line}: the type `{of}` is not found", source.path),
            },
            Some(Owner::Trait(blocks) | Owner::Module(blocks)) => blocks.clone(),
            Some(Owner::Nothing) => return,
            None => blocks(&of_module),
        };
        if !public || kind == "mod" || before.is_exempt() {
            return;
        }
        seen += 1;
        if blocks(&before.docs).is_empty() && !names(&elsewhere, name) {
            found.push(format!("{}:{line}: {kind} {name}", source.path));
        }
    });
    (found, seen)
}

/// Modules of a crate's root that are `#[doc(hidden)]`.
fn hidden_modules(root: &Source) -> Vec<String> {
    let mut hidden = Vec::new();
    each_item(root, |_, kind, name, _, before, _| {
        if kind == "mod" && before.hidden {
            hidden.push(format!("{}{name}.rs", root.path.trim_end_matches("lib.rs")));
        }
    });
    hidden
}

#[test]
fn every_item_for_authors_is_shown_by_an_example() {
    let all = sources();
    for of in CRATES {
        let of_crate: Vec<&Source> = all.iter().filter(|source| source.path.starts_with(of)).collect();
        let root = of_crate.iter().find(|source| source.path == format!("{of}lib.rs")).expect("a root");
        let hidden = hidden_modules(root);
        let types = types(&of_crate);
        let (mut missing, mut seen) = (Vec::new(), 0);
        for source in of_crate {
            if hidden.contains(&source.path) || source.path == MATERIAL {
                continue;
            }
            let (unshown, items) = unshown(source, &types);
            missing.extend(unshown);
            seen += items;
        }
        assert!(missing.is_empty(), "no example shows these, see the rule in this file: {missing:#?}");
        assert!(seen > 25, "{of}: only {seen} items are seen");
    }
}

fn unshown_of(text: &str) -> Vec<String> {
    let source = Source { path: "x.rs".into(), text: text.into() };
    let types = types(&[&source]);
    unshown(&source, &types).0
}

#[test]
fn what_is_not_shown_is_found() {
    let text = "\
//! A module.
/// Shown.
///
/// ```
/// Thing::new().turn();
/// # Thing::hide();
/// ```
#[derive(Clone)]
pub struct Thing<T: Fn() -> u8> {
    field: T,
}

impl<T: Fn() -> u8> Thing<T> {
    /// Named at its type.
    pub const fn new() -> Self {
        Thing
    }

    pub fn turn(&self) {}

    /// In a hidden line alone.
    pub fn hide() {}

    /// ```ignore
    /// Thing::fall();
    /// ```
    pub fn fall() {}

    fn own() {}
}

/// Not shown.
#[diagnostic::on_unimplemented(
    message = \"no\",
)]
pub trait Works {
    /// Neither.
    fn work(&self);
}

impl Works for Thing<u8> {
    fn work(&self) {}
}

/// For hosts: not an author's.
pub fn serve() {}

#[doc(hidden)]
pub enum Inner {}

impl Inner {
    pub fn open(&self) {}
}

/// Exported.
#[macro_export]
macro_rules! say {
    () => {};
}

pub use lockstep_plugin_macros::shout;
";
    assert_eq!(
        unshown_of(text),
        [
            "x.rs:22: fn hide",
            "x.rs:27: fn fall",
            "x.rs:36: trait Works",
            "x.rs:38: fn work",
            "x.rs:57: macro_rules say",
            "x.rs:61: macro shout"
        ]
    );
    assert_eq!(unshown_of(&format!("//! {FOR_HOSTS}\n{text}")), [""; 0]);
    assert_eq!(
        unshown_of("//! ```\n//! count(3);\n//! ```\n\npub fn count() {}\npub fn sum() {}"),
        ["x.rs:6: fn sum"]
    );
}
