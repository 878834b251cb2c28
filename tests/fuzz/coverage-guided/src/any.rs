//! The program of each target: libFuzzer makes inputs, the target of the program's own name reads them.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run(env!("CARGO_BIN_NAME"), bytes));
