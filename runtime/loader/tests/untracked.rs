//! A process that could not note all its threads and destructors knows nothing of what a plugin has left: its libraries
//! stay. A program of its own, as it is of no use afterwards.

mod support;

use std::ffi::{c_int, c_void};

use lockstep_loader::{PluginFile, Reason, Unload, load};
use lockstep_os::interpose;

/// More than there is room for.
const DESTRUCTORS: usize = 16_384 + 3;

unsafe extern "C" {
    /// The interposer's, which stands before glibc's.
    fn __cxa_thread_atexit_impl(
        destructor: unsafe extern "C" fn(*mut c_void),
        object: *mut c_void,
        library: *mut c_void,
    ) -> c_int;
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

#[test]
fn a_process_that_lost_count_keeps_its_libraries() {
    assert!(interpose::ensure_linked());
    let plugin = load(&PluginFile::read(support::ledger_v1()).expect("it is read")).expect("it is loaded");
    let here = nothing as *const () as *mut c_void;
    for _ in 0..DESTRUCTORS {
        // SAFETY: the destructor does nothing, whatever it is given, and lies in this program, which stays.
        assert_eq!(unsafe { __cxa_thread_atexit_impl(nothing, std::ptr::null_mut(), here) }, 0);
    }
    let untracked = interpose::untracked();
    assert!((1..=DESTRUCTORS).contains(&untracked), "{untracked}");
    let Unload::Kept(library) = plugin.unload() else { panic!("it was unloaded blindly") };
    assert!(matches!(library.reasons[..], [Reason::Untracked { calls }] if calls >= untracked));
    assert!(library.reasons[0].to_string().starts_with("LS0456: "), "{}", library.reasons[0]);
}
