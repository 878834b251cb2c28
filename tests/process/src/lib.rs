//! Process tests: real binaries, real plugin files. They stand in `tests/processors`.
#![forbid(unsafe_code)]
