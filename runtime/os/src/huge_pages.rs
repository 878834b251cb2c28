//! Huge pages for the heap: tables live in it, look-ups in them miss fewer translations, and after a death the kernel
//! gives the memory back in a tenth of the time, so that what it held is free soon.
//!
//! Deliberately absent: the choice of the allocator, which is the program's. Where that is not mimalloc, nothing
//! happens.

/// Asks mimalloc to take its memory from the system in huge pages. To be called first in `main`.
pub fn prefer() {
    // SAFETY: setting an option has no preconditions; the option's number is one of the library's own.
    unsafe { libmimalloc_sys::mi_option_set_enabled(libmimalloc_sys::mi_option_large_os_pages, true) }
}
