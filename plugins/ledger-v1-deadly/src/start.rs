//! What the start of this version can do to its host, on demand.
//!
//! The variable `LEDGER_START` of the host may name a file with a word a line: each start takes the first one away and does
//! what it says. A trial run takes none: what is shown is a version that fails only where it is to serve.

use std::fs;
use std::path::PathBuf;

use lockstep_plugin_api::prelude::*;

/// Where the words are.
pub const VARIABLE: &str = "LEDGER_START";

/// What is done before the first event.
///
/// # Errors
/// When the file says `refuse`, or can't be read.
pub fn on_start() -> Result<(), Error> {
    match word()?.as_deref() {
        Some("hang") => loop {
            std::thread::park();
        },
        Some("refuse") => Err(Error::new("the start was told to refuse")),
        _ => ledger_v1::statistics::on_start(),
    }
}

/// The word for this start.
fn word() -> Result<Option<String>, Error> {
    let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from).filter(|path| path.exists()) else {
        return Ok(None);
    };
    let arguments = fs::read("/proc/self/cmdline").map_err(Error::new)?;
    if arguments.split(|byte| *byte == 0).any(|argument| argument == b"__probe_plugin") {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(Error::new)?;
    let Some((word, rest)) = text.split_once('\n') else { return Ok(None) };
    fs::write(&path, rest).map_err(Error::new)?;
    Ok(Some(word.to_owned()))
}
