//! The static check on real shared libraries, whole, cut off and forged.

mod support;

use std::path::PathBuf;

use lockstep_loader::{Obstacle, elf};
use support::{PLUGIN_IMITATION, compile_c};

fn imitation(flags: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path: PathBuf = compile_c(directory.path(), "imitation", PLUGIN_IMITATION, flags);
    std::fs::read(path).expect("the library is there")
}

fn code(bytes: &[u8]) -> String {
    elf::check(bytes).expect_err("refused").code()
}

#[test]
fn a_library_that_looks_like_a_plugin_passes() {
    let report = elf::check(&imitation(&[])).expect("it passes");
    assert_eq!(report.obstacles, []);
    assert!(!report.static_tls);
    assert!(report.needed.iter().any(|name| name.starts_with("libgcc_s")), "{report:?}");
    assert!(report.mapped_bytes >= 4096);
}

#[test]
fn cut_off_anywhere_it_is_refused_and_never_a_panic() {
    let whole = imitation(&[]);
    for length in 0..whole.len() {
        let code = code(&whole[..length]);
        let expected = if length < 4 { "LS0410" } else { "LS0414" };
        assert_eq!(code, expected, "cut off after {length} of {} bytes", whole.len());
    }
}

#[test]
fn a_real_plugin_cut_off_anywhere_is_refused() {
    let whole = std::fs::read(support::ledger_v1()).expect("the plugin is there");
    elf::check(&whole).expect("it passes whole");
    // Each byte of the head, where all that the linker trusts stands, and a thousand places behind it.
    let steps = (0..1024).chain((1024..whole.len()).step_by((whole.len() / 1000).max(1)));
    for length in steps.chain([whole.len() - 1]) {
        let code = code(&whole[..length]);
        let expected = if length < 4 { "LS0410" } else { "LS0414" };
        assert_eq!(code, expected, "cut off after {length} of {} bytes", whole.len());
    }
}

#[test]
fn any_byte_of_the_head_may_be_wrong_without_a_panic() {
    let whole = imitation(&[]);
    // The ELF header and the program headers, where the offsets and sizes are.
    for index in 0..1024 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut forged = whole.clone();
            forged[index] = value;
            let _ = elf::check(&forged);
        }
    }
    // And the section table.
    for index in whole.len() - 1024..whole.len() {
        let mut forged = whole.clone();
        forged[index] = 0xff;
        let _ = elf::check(&forged);
    }
}

#[test]
fn other_formats_are_named() {
    let said = |bytes: &[u8]| elf::check(bytes).expect_err("refused").to_string();
    assert!(said(b"#!/bin/sh\necho hello\n").contains("a text file"));
    assert!(said(b"!<arch>\nlib.rmeta").contains("static archive"));
    assert!(said(b"MZ\x90\0\x03").contains("Windows"));
    assert!(said(&[0, 159, 146, 150]).contains("another format"));
    assert!(said(b"").contains("an empty file"));
}

#[test]
fn forged_headers_of_other_machines_are_refused() {
    let whole = imitation(&[]);
    let forged = |offset: usize, bytes: &[u8]| {
        let mut forged = whole.clone();
        forged[offset..offset + bytes.len()].copy_from_slice(bytes);
        forged
    };
    assert_eq!(code(&forged(4, &[1])), "LS0411", "32 bits");
    assert_eq!(code(&forged(5, &[2])), "LS0411", "big-endian");
    assert_eq!(code(&forged(18, &0xf3_u16.to_le_bytes())), "LS0412", "risc-v");
    assert_eq!(code(&forged(16, &2_u16.to_le_bytes())), "LS0413", "an executable");
    assert_eq!(code(&forged(16, &1_u16.to_le_bytes())), "LS0413", "an object file");
}

#[test]
fn a_foreign_library_and_one_that_aborts_on_a_panic_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let foreign = compile_c(directory.path(), "foreign", "int answer(void) { return 42; }", &[]);
    let error = elf::check(&std::fs::read(foreign).expect("a library")).expect_err("not ours");
    assert_eq!(error.code(), "LS0415");
    assert!(error.to_string().contains("application!"), "{error}");
    let never_unwinds: String = PLUGIN_IMITATION
        .lines()
        .filter(|line| !line.contains("_Unwind"))
        .map(|line| format!("{line}\n"))
        .collect();
    let aborts = compile_c(directory.path(), "aborts", &never_unwinds, &[]);
    assert_eq!(code(&std::fs::read(aborts).expect("a library")), "LS0416");
}

#[test]
fn what_will_keep_it_mapped_is_told_from_the_file() {
    let report = elf::check(&imitation(&["-Wl,-z,nodelete"])).expect("taken all the same");
    assert_eq!(report.obstacles, [Obstacle::NoDelete]);
    let unique = format!(
        "{PLUGIN_IMITATION}\n__asm__(\".type once,@gnu_unique_object\\n.globl once\\n.data\\nonce: .long 1\\n.size once,4\\n.text\\n\");"
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = compile_c(directory.path(), "unique", &unique, &[]);
    let report = elf::check(&std::fs::read(path).expect("a library")).expect("taken all the same");
    assert_eq!(report.obstacles, [Obstacle::UniqueSymbols { names: vec!["once".to_owned()] }]);
}
