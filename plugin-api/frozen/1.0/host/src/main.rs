//! A host of plugin API 1.0: tries the plugin file that it is given, with the loader of today built against the contract
//! of then. Prints `taken API` or the refusal; ends with 0 or 1.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use lockstep_loader::{LoadError, PluginFile, Prober};

fn main() -> ExitCode {
    lockstep_loader::run_if_probe_child();
    let path: PathBuf = std::env::args_os().nth(1).unwrap_or_default().into();
    match taken(&path) {
        Ok(api) => {
            println!("taken {api}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn taken(path: &std::path::Path) -> Result<String, LoadError> {
    let report = Prober::of_this_program().probe(&PluginFile::read(path)?)?;
    Ok(format!("{}.{}", report.elf.api_major, report.elf.api_minor))
}
