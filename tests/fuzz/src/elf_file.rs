//! A plugin file as small as the static check takes it: headers, a segment, a dynamic section, symbols. Nothing of it could
//! run; real ones have megabytes, in which a changed bit is seldom one that matters.

use lockstep_loader::{LoadError, elf};
use lockstep_plugin_api::abi::{API_VERSION, API_VERSION_SYMBOL};

const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
const SECTION_BYTES: usize = 64;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_DYNSYM: u32 = 11;
const DT_NEEDED: u64 = 1;
const DT_FLAGS: u64 = 30;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const GLOBAL_OBJECT: u8 = 1 << 4 | 1;
const UNIQUE_OBJECT: u8 = 10 << 4 | 1;
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// One that is taken.
pub fn plugin() -> Vec<u8> {
    plugin_with(0, 0, "libc.so.6", GLOBAL_OBJECT)
}

/// One that is taken, and will not be unloaded.
pub fn pinned_plugin() -> Vec<u8> {
    // NODELETE, STATIC_TLS.
    plugin_with(8, 16, "libm.so.6", UNIQUE_OBJECT)
}

fn plugin_with(flags_1: u64, flags: u64, needed: &str, binding: u8) -> Vec<u8> {
    let mut file = build("", flags_1, flags, needed, binding);
    // The name of the header's symbol is `abi_stable`'s; the check names it when it misses it.
    if let Err(LoadError::NotAPlugin { symbol }) = elf::check(&file) {
        file = build(symbol, flags_1, flags, needed, binding);
    }
    file
}

fn words(file: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|word| file.extend(word.to_le_bytes()));
}

fn build(header_symbol: &str, flags_1: u64, flags: u64, needed: &str, binding: u8) -> Vec<u8> {
    let mut strings = vec![0];
    let mut name = |text: &str| {
        let at = strings.len() as u32;
        strings.extend(text.as_bytes());
        strings.push(0);
        at
    };
    let (needed, header, api) = (name(needed), name(header_symbol), name(API_VERSION_SYMBOL));
    let unwinder = name("_Unwind_RaiseException");
    let dynamic_at = HEADER_BYTES + 2 * SEGMENT_BYTES;
    let symbols_at = dynamic_at + 4 * 16;
    let version_at = symbols_at + 5 * 24;
    let strings_at = version_at + 16;
    let sections_at = (strings_at + strings.len()).next_multiple_of(8);
    let length = sections_at + 3 * SECTION_BYTES;

    let mut file = Vec::new();
    // 64 bits, little-endian, version 1.
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // A shared library.
    file.extend(3_u16.to_le_bytes());
    file.extend(MACHINE.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    words(&mut file, &[0, HEADER_BYTES as u64, sections_at as u64]);
    file.extend(0_u32.to_le_bytes());
    // Sizes and counts; the names of sections are in the last one.
    for half in [HEADER_BYTES, SEGMENT_BYTES, 2, SECTION_BYTES, 3, 2] {
        file.extend((half as u16).to_le_bytes());
    }
    for (kind, at, bytes, align) in [(PT_LOAD, 0, length, 0x1000), (PT_DYNAMIC, dynamic_at, 4 * 16, 8_u64)] {
        file.extend(kind.to_le_bytes());
        file.extend(4_u32.to_le_bytes());
        let (at, bytes) = (at as u64, bytes as u64);
        words(&mut file, &[at, at, at, bytes, bytes, align]);
    }
    words(&mut file, &[DT_NEEDED, needed.into(), DT_FLAGS, flags, DT_FLAGS_1, flags_1, 0, 0]);
    let symbols = [
        (0, 0, 0_u16, 0, 0),
        (header, GLOBAL_OBJECT, 1, version_at, 16),
        (api, GLOBAL_OBJECT, 1, version_at, 16),
        (unwinder, GLOBAL_OBJECT, 0, 0, 0),
        (needed, binding, 1, version_at, 16),
    ];
    for (name, info, section, value, size) in symbols {
        file.extend(name.to_le_bytes());
        file.extend([info, 0]);
        file.extend(section.to_le_bytes());
        words(&mut file, &[value as u64, size]);
    }
    words(&mut file, &[API_VERSION.magic]);
    file.extend(API_VERSION.major.to_le_bytes());
    file.extend(API_VERSION.minor.to_le_bytes());
    assert_eq!(file.len(), strings_at);
    file.extend(&strings);
    file.resize(sections_at, 0);
    file.extend([0; SECTION_BYTES]);
    for (kind, at, bytes, link, entry) in
        [(SHT_DYNSYM, symbols_at, 5 * 24, 2_u32, 24), (SHT_STRTAB, strings_at, strings.len(), 0, 0)]
    {
        file.extend(0_u32.to_le_bytes());
        file.extend(kind.to_le_bytes());
        words(&mut file, &[2, at as u64, at as u64, bytes as u64]);
        file.extend(link.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        words(&mut file, &[8, entry]);
    }
    assert_eq!(file.len(), length);
    file
}
