//! `lockstep new`: makes a plugin's package, with tests and the configurations of a pair, that builds against the
//! sources that this program was built from.
//!
//! Deliberately absent: anything over what is there already; a directory of that name is left as it is.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::{Global, New};
use crate::failure::{Exit, Failure};
use crate::session::print;

/// The sources that this program was built from.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Each file with its place and its text.
const FILES: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("../../template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../../template/lib.rs.in")),
    ("tests/pair.rs", include_str!("../../template/tests.rs.in")),
    ("so/Cargo.toml", include_str!("../../template/so.toml.in")),
    ("so/src/lib.rs", include_str!("../../template/so.rs.in")),
    ("rust-toolchain.toml", include_str!("../../../../rust-toolchain.toml")),
    (".gitignore", "target\ndata\nplugins\n"),
];
const NODE: &str = include_str!("../../template/node.ron.in");

/// Makes the package.
pub fn run(global: &Global, new: &New) -> Result<Exit, Failure> {
    let name = &new.name;
    if let Some(why) = wrong(name) {
        let help = "write for example `lockstep new my-app`: small letters, digits and hyphens";
        return Err(Failure::new(Exit::Usage, "LS0824", format!("`{name}` {why}"), help));
    }
    let checkout = new.checkout.clone().unwrap_or_else(|| CHECKOUT.into());
    let checkout = std::fs::canonicalize(&checkout)
        .ok()
        .filter(|checkout| checkout.join("plugin-api/Cargo.toml").is_file())
        .ok_or_else(|| {
            let message = format!("the sources of Lockstep are not at {}", checkout.display());
            Failure::new(Exit::Failed, "LS0825", message, "say where they are with --checkout DIRECTORY")
        })?;
    make(name, &checkout, new.port).map_err(|error| {
        let help = "choose another name, or a directory that can be written";
        Failure::new(Exit::Failed, "LS0826", format!("`{name}` can't be made here: {error}"), help)
    })?;
    let text = format!("made {name}\n  next:  cd {name} && cargo test\n");
    print(global.output, &text, &json!({"name": name, "checkout": checkout}))?;
    Ok(Exit::Ok)
}

/// Why a name is none of a package and an application.
fn wrong(name: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(plain) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Some("has other letters than a package's name may have here");
    }
    if name.len() > 40 || name.ends_with('-') {
        return Some("is longer than 40 letters, or ends with a hyphen");
    }
    // Names that cargo or this package's own tests would take for something else.
    ["test", "core", "std", "alloc", "serde", "lockstep-plugin-api", "lockstep-test-kit"]
        .contains(&name)
        .then_some("is the name of something else")
}

fn make(name: &str, checkout: &Path, port: u16) -> std::io::Result<()> {
    let root = PathBuf::from(name);
    std::fs::create_dir(&root)?;
    std::fs::create_dir(root.join("plugins"))?;
    let filled = |text: &str| {
        let text = text.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"));
        text.replace("{{checkout}}", &checkout.display().to_string())
    };
    for (path, text) in FILES {
        write(&root.join(path), &filled(text))?;
    }
    for (node, mine, others) in [("a", port, port + 3), ("b", port + 3, port)] {
        let ports = [("http", mine), ("events", mine + 1), ("link", mine + 2), ("peer", others + 2)];
        let text = filled(NODE).replace("{{node}}", node);
        let text = ports
            .iter()
            .fold(text, |text, (what, port)| text.replace(&format!("{{{{{what}}}}}"), &port.to_string()));
        write(&root.join(format!("{node}.ron")), &text)?;
    }
    // The same versions of everything as the host's, as far as both need them.
    std::fs::copy(checkout.join("Cargo.lock"), root.join("Cargo.lock"))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::wrong;

    #[test]
    fn names_of_packages_are_taken_and_others_are_not() {
        assert!(["my-app", "a", "ledger2"].iter().all(|name| wrong(name).is_none()));
        let long = "a".repeat(41);
        for name in ["", "-a", "a-", "2a", "My", "a_b", "../a", "a/b", "test", "serde", &long] {
            assert!(wrong(name).is_some(), "{name}");
        }
    }
}
