//! The program `lockstep`; see the library beside it.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(lockstep_cli::run());
}
