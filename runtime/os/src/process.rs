//! Settings and facts of this process and of this machine: the boot id, core dumps, the limit on open
//! files, a stop, randomness from the kernel.
//!
//! Deliberately absent: configuration. The callers say what they want.

use std::io;
use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// The id of the running boot of this machine; another after each boot.
pub fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))?;
    Ok(text.trim().to_owned())
}

/// Turns core dumps off. A dump comes before everything by which a partner learns of a death, and
/// takes the longer the more memory there is.
///
/// The limit is set to one byte and not to zero: the kernel passes a dump to a program named in
/// `core_pattern` under any limit but one. Where one is not allowed the process is made undumpable, which also
/// keeps debuggers of other users away.
pub fn core_dumps_off() -> io::Result<()> {
    let limit = getrlimit(Resource::Core);
    let one_is_allowed = limit.maximum.is_none_or(|maximum| maximum >= 1);
    let current = if one_is_allowed { 1 } else { 0 };
    setrlimit(Resource::Core, Rlimit { current: Some(current), maximum: limit.maximum })?;
    if !one_is_allowed {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// Turns core dumps on, as large as the system allows: for the hunt of a fault, at the price of a
/// slower takeover.
pub fn core_dumps_on() -> io::Result<()> {
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}

/// Raises the number of files that may be open to what the system allows, and says how many that are.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// Stops this process where the calling thread stands, until somebody sends it `SIGCONT`. For failpoints.
///
/// The signal is for this very thread, which so does nothing more before the whole process stands still; one for the process
/// might find another thread first.
pub fn stand_still() {
    // SAFETY: `raise` touches no memory of ours, and `SIGSTOP` can have no handler.
    let _always_well = unsafe { libc::raise(libc::SIGSTOP) };
}

/// 128 random bits from the kernel, for ids that must not collide.
pub fn random_u128() -> io::Result<u128> {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u128::from_le_bytes(bytes))
}

/// The calling thread, and it alone, gives way to all others of the machine from here on: it runs where nothing else
/// wants to (`SCHED_IDLE`), and is preempted as soon as something does. There is no way back without privileges.
///
/// # Errors
/// What the operating system says.
pub fn give_way() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters are a whole `sched_param` that outlives the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// Not a test of its own: the child of the one below.
    #[test]
    fn child_that_aborts() {
        match std::env::var("LOCKSTEP_TEST_CORE_DUMPS").as_deref() {
            Ok("off") => core_dumps_off().expect("the limit can be lowered"),
            Ok("on") => core_dumps_on().expect("the limit can be raised"),
            _ => return,
        }
        std::process::abort();
    }

    #[test]
    fn a_process_that_aborts_dumps_no_core_when_dumps_are_off() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let status = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--exact", "process::tests::child_that_aborts"])
            .env("LOCKSTEP_TEST_CORE_DUMPS", "off")
            .current_dir(directory.path())
            .stdout(std::process::Stdio::null())
            .status()
            .expect("the child runs");
        assert_eq!(status.signal(), Some(libc::SIGABRT));
        assert!(!status.core_dumped());
    }

    #[test]
    fn ids_differ_and_the_boot_is_known() {
        assert_ne!(random_u128().expect("randomness"), random_u128().expect("randomness"));
        let boot = boot_id().expect("the boot id");
        assert_eq!(boot.len(), 36);
        assert_eq!(boot, boot_id().expect("the boot id"));
        assert!(raise_open_files_limit().expect("the limit") >= 256);
    }

    #[test]
    fn a_thread_gives_way_alone() {
        // SAFETY: it takes no memory of ours; 0 is the calling thread.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let there = std::thread::spawn(move || {
            give_way().expect("anybody may");
            policy()
        });
        assert_eq!(there.join().expect("it does not panic"), libc::SCHED_IDLE);
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}
