//! How large this process was at its largest, address space included: a vector that is reserved for a forged length shows
//! there, whether its pages are touched or not.

use std::fs;

/// More than any target needs for an input of a few kilobytes, in bytes, with all that other threads take meanwhile.
pub const GROWTH_MAX: u64 = 512 << 20;

/// The largest size so far, in bytes; 0 where the operating system does not say.
#[must_use]
pub fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}
