//! The rig's own processes: the load (`rig __load SETTINGS`), the guard (`rig __guard OWNER PROGRAM …`) and the two of
//! `limit` (`rig __limit ROLE …`). They are started by the quickstart, the drill and the process tests; there is nothing here for people to run.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use rig::Failure;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let failure = match arguments.split_first() {
        Some((mode, rest)) if mode == rig::child::GUARD => rig::child::guard(rest),
        Some((mode, [settings])) if mode == rig::load::LOAD => {
            match rig::load::process::run(&settings.to_string_lossy()) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(failure) => failure,
            }
        }
        Some((mode, rest)) if mode == rig::limit::LIMIT => {
            let rest: Vec<_> = rest.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
            match rig::limit::run(&rest) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(failure) => failure,
            }
        }
        _ => Failure::new("this program is started by `quickstart`, `drill` and the process tests"),
    };
    eprintln!("rig: {failure}");
    ExitCode::FAILURE
}
