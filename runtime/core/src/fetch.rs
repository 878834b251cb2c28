//! Memory that will be needed soon, asked for ahead.
//!
//! Most rows are in no cache. A processor that comes to one waits for some hundred instructions' time; one that was told before
//! goes on meanwhile. Nothing depends on it but time.

/// Has `what` brought into the processor's cache, and does not wait for it. On processors whose way to say it is not known
/// here it does nothing.
#[inline]
pub(crate) fn fetch<T>(what: &T) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(what);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = what;
}
