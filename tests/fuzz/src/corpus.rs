//! The kept inputs: a folder a target, a file an input. `seed-*` are the target's own seeds, written down so that those of
//! today are tried for ever; everything else is named after what it had broken.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Target;

/// The folder of a target.
#[must_use]
pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// All kept inputs of a target by name, in their order.
///
/// # Panics
/// When one can't be read.
#[must_use]
pub fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(files) = fs::read_dir(folder(target)) else { return Vec::new() };
    let read = |file: fs::DirEntry| {
        let name = file.file_name().to_string_lossy().into_owned();
        (name, fs::read(file.path()).expect("a kept input can be read"))
    };
    let mut found: Vec<_> = files.flatten().map(read).collect();
    found.sort();
    found
}

/// Keeps an input under a name that its bytes give it; where.
///
/// # Panics
/// When it can't be written.
#[must_use]
pub fn keep(target: &Target, what: &str, bytes: &[u8]) -> PathBuf {
    let folder = folder(target);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let digest = lockstep_loader::PluginHash::of(bytes).short();
    let path = folder.join(format!("{what}-{digest}"));
    fs::write(&path, bytes).expect("an input can be kept");
    path
}
