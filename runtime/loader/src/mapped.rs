//! Which libraries are mapped, asked of the dynamic linker itself (`dl_iterate_phdr`) and not of our own books.
//!
//! Deliberately absent: `/proc/self/maps`, which is slow and shows mappings that nothing runs from.

use std::ffi::{CStr, c_int, c_void};
use std::ops::Range;

/// An object that the dynamic linker has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappedObject {
    /// The path that it was opened with; empty for the program itself.
    pub(crate) name: String,
    /// What is added to the addresses in its file.
    pub(crate) base: usize,
    /// From its first to its last loaded byte.
    pub(crate) range: Range<usize>,
}

/// All objects that are mapped now.
pub(crate) fn mapped_objects() -> Vec<MappedObject> {
    let mut objects: Vec<MappedObject> = Vec::new();
    // SAFETY: `note_object` gets what the linker promises, and a pointer to `objects`, which outlives the call
    // and is used by nobody else during it.
    unsafe { libc::dl_iterate_phdr(Some(note_object), (&raw mut objects).cast()) };
    objects
}

unsafe extern "C" fn note_object(info: *mut libc::dl_phdr_info, _: usize, objects: *mut c_void) -> c_int {
    // SAFETY: the linker passes a valid record for the duration of this call.
    let info = unsafe { &*info };
    // SAFETY: `mapped_objects` passes this vector and touches it only after the iteration.
    let objects = unsafe { &mut *objects.cast::<Vec<MappedObject>>() };
    let name = if info.dlpi_name.is_null() {
        String::new()
    } else {
        // SAFETY: the linker's names are C strings that live as long as the object, which is mapped.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
    };
    let base = info.dlpi_addr as usize;
    let headers = if info.dlpi_phdr.is_null() {
        &[]
    } else {
        // SAFETY: the linker says how many program headers stand there.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    let mut range: Option<Range<usize>> = None;
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        let start = base.wrapping_add(header.p_vaddr as usize);
        let end = start.wrapping_add(header.p_memsz as usize);
        range = Some(match range {
            None => start..end,
            Some(range) => range.start.min(start)..range.end.max(end),
        });
    }
    objects.push(MappedObject { name, base, range: range.unwrap_or(base..base) });
    0
}

/// The object behind a handle of `dlopen`.
pub(crate) fn object_of(handle: *mut c_void) -> Option<MappedObject> {
    let mut map: *mut LinkMap = std::ptr::null_mut();
    // SAFETY: the handle is open (its owner holds it), and `map` is valid for the pointer that is written.
    let result = unsafe { libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) };
    if result != 0 || map.is_null() {
        return None;
    }
    // SAFETY: the linker gave the map of an object that is loaded.
    let map = unsafe { &*map };
    // SAFETY: the name in it is a C string.
    let name = unsafe { CStr::from_ptr(map.name) }.to_string_lossy().into_owned();
    mapped_objects().into_iter().find(|object| object.base == map.base && object.name == name)
}

/// The public head of glibc's `struct link_map`.
#[repr(C)]
struct LinkMap {
    base: usize,
    name: *const libc::c_char,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_code_lies_in_one_of_the_mapped_objects() {
        let here = mapped_objects as *const () as usize;
        let around: Vec<_> =
            mapped_objects().into_iter().filter(|object| object.range.contains(&here)).collect();
        assert_eq!(around.len(), 1);
        assert_eq!(around[0].name, "", "the program itself has no name");
    }
}
