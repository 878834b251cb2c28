//! Process tests: real binaries, real plugin files.
