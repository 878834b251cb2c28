//! The static check of a plugin: what the file itself tells, before the dynamic linker sees it. The
//! linker trusts the files it opens, and crashes on some that are cut off.
//!
//! Deliberately absent: the plugin's code and data, which the trial run looks at ([`crate::Prober`]); and a verdict on
//! what keeps a library from being unloaded: such a plugin is taken, swapped and kept mapped.
//!
//! Invariant: nothing here panics, whatever the bytes are.

use std::fmt;

use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, read};
use serde::{Deserialize, Serialize};

use lockstep_plugin_api::abi::{API_VERSION_SYMBOL, ApiVersion};

use crate::{LoadError, layout};

#[cfg(target_arch = "x86_64")]
const HOST_MACHINE: (u16, &str) = (elf::EM_X86_64, "x86-64");
#[cfg(target_arch = "aarch64")]
const HOST_MACHINE: (u16, &str) = (elf::EM_AARCH64, "aarch64");
const HOST_CLASS: &str = "64 bits, little-endian";

/// What a Rust library calls when it unwinds; one that aborts on a panic has no need of it.
const UNWINDER: &[u8] = b"_Unwind_RaiseException";
/// The memory that the segments may ask for; a forged header could ask for all there is.
const MAPPED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Of the symbols named in a report.
const NAMES_MAX: usize = 8;
/// The most libraries that one needs, and the longest name of such, in bytes.
const NEEDED_MAX: usize = 256;
const NEEDED_BYTES_MAX: usize = 4_096;
/// Names of symbols may be each other's ends, but are not so many times as long as the file that they stand in: reading those of
/// a forged file would never end.
const NAMES_PER_BYTE_MAX: usize = 16;

/// What keeps a library mapped by the dynamic linker's own rules; told from the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// Linked with `-z nodelete`: `dlclose` does nothing.
    NoDelete,
    /// It defines symbols that a process has once; glibc never unmaps such a library once they are bound.
    UniqueSymbols {
        /// The first of them.
        names: Vec<String>,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDelete => f.write_str("it is marked NODELETE, so the dynamic linker never unmaps it"),
            Self::UniqueSymbols { names } => write!(
                f,
                "it defines symbols that a process has once ({}), so the dynamic linker never unmaps it",
                names.join(", ")
            ),
        }
    }
}

/// What the file tells of a plugin that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElfReport {
    /// The major version of the plugin API that it was built with.
    pub api_major: u32,
    /// The minor version of it.
    pub api_minor: u32,
    /// What will keep the library mapped. Empty for one that can be unloaded.
    pub obstacles: Vec<Obstacle>,
    /// It wants thread-local storage from a reserve that every process has little of; loading it may fail.
    pub static_tls: bool,
    /// The other libraries that it needs.
    pub needed: Vec<String>,
    /// How much address space its segments take.
    pub mapped_bytes: u64,
}

/// Checks the bytes of a file.
pub fn check(bytes: &[u8]) -> Result<ElfReport, LoadError> {
    check_identification(bytes)?;
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let file = Elf { bytes, header, endian };
    file.check_kind()?;
    let segments = file.segments()?;
    let mapped_bytes = file.check_segments(segments)?;
    file.check_sections()?;
    let dynamic = file.dynamic(segments)?;
    let symbols = file.symbols()?;
    if !symbols.has_header {
        return Err(LoadError::NotAPlugin { symbol: ROOT_MODULE_LOADER_NAME });
    }
    let api = file.api_version(segments, symbols.api)?;
    layout::check_api(api)?;
    if !symbols.unwinds {
        return Err(LoadError::PanicAborts);
    }
    let mut obstacles = Vec::new();
    if dynamic.no_delete {
        obstacles.push(Obstacle::NoDelete);
    }
    if !symbols.unique.is_empty() {
        obstacles.push(Obstacle::UniqueSymbols { names: symbols.unique });
    }
    Ok(ElfReport {
        api_major: api.major,
        api_minor: api.minor,
        obstacles,
        static_tls: dynamic.static_tls,
        needed: dynamic.needed,
        mapped_bytes,
    })
}

struct Elf<'a> {
    bytes: &'a [u8],
    header: &'a FileHeader64<Endianness>,
    endian: Endianness,
}

#[derive(Default)]
struct Dynamic {
    no_delete: bool,
    static_tls: bool,
    needed: Vec<String>,
}

#[derive(Default)]
struct Symbols {
    has_header: bool,
    unwinds: bool,
    unique: Vec<String>,
    /// Address and size of the plugin API's version.
    api: Option<(u64, u64)>,
}

fn damaged(detail: impl fmt::Display) -> LoadError {
    LoadError::Damaged { detail: detail.to_string() }
}

/// The first bytes, looked at by hand so that what is no ELF file gets a better answer than "bad magic".
fn check_identification(bytes: &[u8]) -> Result<(), LoadError> {
    if !bytes.starts_with(&elf::ELFMAG) {
        let head = &bytes[..bytes.len().min(512)];
        let found = match head {
            [] => "an empty file",
            _ if head.starts_with(b"!<arch>") => "a static archive (`.a` or `.rlib`)",
            _ if head.starts_with(b"MZ") => "a Windows program or library",
            _ if head.starts_with(&[0xcf, 0xfa, 0xed, 0xfe]) => "a macOS program or library",
            _ if std::str::from_utf8(head).is_ok_and(|text| !text.contains('\0')) => "a text file",
            _ => "a file of another format",
        };
        return Err(LoadError::NotALibrary { found });
    }
    let Some(&[class, order]) = bytes.get(4..6) else {
        return Err(damaged("it ends within its first bytes"));
    };
    let wrong = |found| Err(LoadError::WrongClass { found, expected: HOST_CLASS });
    match (class, order) {
        (elf::ELFCLASS64, elf::ELFDATA2LSB) => Ok(()),
        (elf::ELFCLASS32, _) => wrong("of 32 bits"),
        (elf::ELFCLASS64, elf::ELFDATA2MSB) => wrong("big-endian"),
        _ => Err(damaged("its class or byte order does not exist")),
    }
}

impl<'a> Elf<'a> {
    fn check_kind(&self) -> Result<(), LoadError> {
        let machine = self.header.e_machine(self.endian);
        if machine != HOST_MACHINE.0 {
            let found = match machine {
                elf::EM_X86_64 => "x86-64".to_owned(),
                elf::EM_AARCH64 => "aarch64".to_owned(),
                elf::EM_386 => "x86 (32 bits)".to_owned(),
                elf::EM_ARM => "arm (32 bits)".to_owned(),
                elf::EM_RISCV => "risc-v".to_owned(),
                other => format!("machine number {other}"),
            };
            return Err(LoadError::WrongMachine { found, expected: HOST_MACHINE.1 });
        }
        let found = match self.header.e_type(self.endian) {
            elf::ET_DYN => return Ok(()),
            elf::ET_EXEC => "an executable program",
            elf::ET_REL => "an object file",
            elf::ET_CORE => "a core dump",
            _ => "of a type that does not exist",
        };
        Err(LoadError::WrongType { found })
    }

    fn segments(&self) -> Result<&'a [ProgramHeader64<Endianness>], LoadError> {
        let segments = self.header.program_headers(self.endian, self.bytes).map_err(damaged)?;
        if segments.is_empty() { Err(damaged("it has no segments")) } else { Ok(segments) }
    }

    /// Whether `size` bytes from `offset` on lie within the file.
    fn check_within(&self, what: &str, offset: u64, size: u64) -> Result<(), LoadError> {
        match offset.checked_add(size) {
            Some(end) if end <= self.bytes.len() as u64 => Ok(()),
            Some(end) => {
                Err(damaged(format_args!("{what} ends at byte {end}, but the file has {}", self.bytes.len())))
            }
            None => Err(damaged(format_args!("{what} ends past all bounds"))),
        }
    }

    /// Checks what the linker will map, and says how much address space it takes.
    fn check_segments(&self, segments: &[ProgramHeader64<Endianness>]) -> Result<u64, LoadError> {
        let mut first_address = None;
        let mut last_end = 0;
        for (index, segment) in segments.iter().enumerate() {
            let name = format!("segment {index}");
            let (in_file, in_memory) = (segment.p_filesz(self.endian), segment.p_memsz(self.endian));
            self.check_within(&name, segment.p_offset(self.endian), in_file)?;
            if segment.p_type(self.endian) != elf::PT_LOAD {
                continue;
            }
            let address = segment.p_vaddr(self.endian);
            let align = segment.p_align(self.endian).max(1);
            if in_file > in_memory {
                return Err(damaged(format_args!("{name} has more bytes in the file than in memory")));
            }
            if !align.is_power_of_two()
                || address % align != segment.p_offset(self.endian) % align
                || align > MAPPED_BYTES_MAX
            {
                return Err(damaged(format_args!("{name} is misaligned")));
            }
            if address < last_end {
                return Err(damaged(format_args!("{name} overlaps the one before it")));
            }
            last_end = address
                .checked_add(in_memory)
                .ok_or_else(|| damaged(format_args!("{name} ends past all bounds")))?;
            first_address.get_or_insert(address);
        }
        let Some(first_address) = first_address else {
            return Err(damaged("no segment of it is to be loaded"));
        };
        let mapped_bytes = last_end - first_address;
        if mapped_bytes > MAPPED_BYTES_MAX {
            return Err(damaged(format_args!("its segments ask for {mapped_bytes} bytes of memory")));
        }
        Ok(mapped_bytes)
    }

    /// The section table stands at the end of the file: a file that is cut off anywhere has lost it.
    fn check_sections(&self) -> Result<(), LoadError> {
        let sections = self.section_headers()?;
        for (index, section) in sections.iter().enumerate() {
            let kind = section.sh_type(self.endian);
            if kind != elf::SHT_NOBITS && kind != elf::SHT_NULL {
                let name = format!("section {index}");
                self.check_within(&name, section.sh_offset(self.endian), section.sh_size(self.endian))?;
            }
        }
        Ok(())
    }

    fn section_headers(&self) -> Result<&'a [SectionHeader64<Endianness>], LoadError> {
        let sections = self.header.section_headers(self.endian, self.bytes).map_err(damaged)?;
        if sections.is_empty() { Err(damaged("it has no section table")) } else { Ok(sections) }
    }

    fn dynamic(&self, segments: &[ProgramHeader64<Endianness>]) -> Result<Dynamic, LoadError> {
        let mut entries = None;
        for segment in segments {
            entries = entries.or(segment.dynamic(self.endian, self.bytes).map_err(damaged)?);
        }
        let entries = entries.ok_or_else(|| damaged("it has nothing for the dynamic linker"))?;
        let names = self.dynamic_strings()?;
        let mut dynamic = Dynamic::default();
        for entry in entries {
            let value = entry.d_val(self.endian);
            match entry.tag32(self.endian) {
                Some(elf::DT_NULL) => break,
                Some(elf::DT_FLAGS_1) => dynamic.no_delete |= value & u64::from(elf::DF_1_NODELETE) != 0,
                Some(elf::DT_FLAGS) => dynamic.static_tls |= value & u64::from(elf::DF_STATIC_TLS) != 0,
                Some(elf::DT_NEEDED) => {
                    let name = entry.string(self.endian, names).map_err(damaged)?;
                    if name.len() > NEEDED_BYTES_MAX || dynamic.needed.len() >= NEEDED_MAX {
                        return Err(damaged(
                            "it needs more libraries, or ones of longer names, than there can be",
                        ));
                    }
                    dynamic.needed.push(String::from_utf8_lossy(name).into_owned());
                }
                _ => {}
            }
        }
        Ok(dynamic)
    }

    fn dynamic_strings(&self) -> Result<read::StringTable<'a>, LoadError> {
        Ok(self.dynamic_symbols()?.strings())
    }

    fn dynamic_symbols(&self) -> Result<read::elf::SymbolTable<'a, FileHeader64<Endianness>>, LoadError> {
        let sections = self.header.sections(self.endian, self.bytes).map_err(damaged)?;
        sections.symbols(self.endian, self.bytes, elf::SHT_DYNSYM).map_err(damaged)
    }

    fn symbols(&self) -> Result<Symbols, LoadError> {
        let table = self.dynamic_symbols()?;
        let mut symbols = Symbols::default();
        let mut names_bytes = 0_usize;
        for symbol in table.iter() {
            let name = symbol.name(self.endian, table.strings()).map_err(damaged)?;
            names_bytes = names_bytes.saturating_add(name.len());
            if names_bytes / NAMES_PER_BYTE_MAX > self.bytes.len() {
                return Err(damaged("the names of its symbols are longer than can be"));
            }
            let is_defined = !symbol.is_undefined(self.endian);
            symbols.has_header |= is_defined && name == ROOT_MODULE_LOADER_NAME.as_bytes();
            if is_defined && name == API_VERSION_SYMBOL.as_bytes() {
                symbols.api = Some((symbol.st_value(self.endian), symbol.st_size(self.endian)));
            }
            symbols.unwinds |= !is_defined && name == UNWINDER;
            if is_defined && symbol.st_bind() == elf::STB_GNU_UNIQUE && symbols.unique.len() < NAMES_MAX {
                symbols.unique.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(symbols)
    }

    /// Reads the version of the plugin API out of the file, before anything of the plugin runs.
    fn api_version(
        &self,
        segments: &[ProgramHeader64<Endianness>],
        symbol: Option<(u64, u64)>,
    ) -> Result<ApiVersion, LoadError> {
        let other = |detail: String| LoadError::OtherInterface { detail };
        let Some((address, size)) = symbol else {
            return Err(other(format!("it does not export `{API_VERSION_SYMBOL}`")));
        };
        if size < size_of::<ApiVersion>() as u64 {
            return Err(other(format!("its `{API_VERSION_SYMBOL}` has {size} bytes")));
        }
        let bytes = segments.iter().find_map(|segment| {
            let offset = address.checked_sub(segment.p_vaddr(self.endian))?;
            let is_loaded = segment.p_type(self.endian) == elf::PT_LOAD;
            let end = offset.checked_add(size_of::<ApiVersion>() as u64)?;
            if !is_loaded || end > segment.p_filesz(self.endian) {
                return None;
            }
            let start = segment.p_offset(self.endian).checked_add(offset)?;
            self.bytes.get(start as usize..)?.first_chunk::<16>()
        });
        let Some(bytes) = bytes else {
            return Err(damaged(format_args!("its `{API_VERSION_SYMBOL}` lies outside of it")));
        };
        let [a, b, c, d, e, f, g, h, major @ .., i, j, k, l] = bytes;
        Ok(ApiVersion {
            magic: u64::from_ne_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
            major: u32::from_ne_bytes(*major),
            minor: u32::from_ne_bytes([*i, *j, *k, *l]),
        })
    }
}
