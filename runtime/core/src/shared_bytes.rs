//! The bytes of a row or a reply: short ones lie in place, longer ones are shared and counted on the heap. Most rows are
//! short, and one in place takes no memory of its own, none is fetched for it, and none is freed when it is written over.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use triomphe::ThinArc;

use crate::in_place::InPlace;

/// The longest that lie in place, in bytes.
pub const IN_PLACE_MAX: usize = 30;

/// Bytes that many hold and none changes.
#[derive(Clone)]
pub struct SharedBytes(InPlace<OnHeap, IN_PLACE_MAX>);

/// Shared bytes of any length in one word, with their length beside them on the heap.
#[derive(Clone)]
pub(crate) struct OnHeap(ThinArc<(), u8>);

impl Deref for OnHeap {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0.slice
    }
}

impl From<&[u8]> for OnHeap {
    fn from(bytes: &[u8]) -> Self {
        OnHeap(ThinArc::from_header_and_slice((), bytes))
    }
}

impl From<SharedBytes> for OnHeap {
    fn from(bytes: SharedBytes) -> Self {
        match bytes.0 {
            InPlace::Elsewhere(bytes) => bytes,
            here @ InPlace::Here { .. } => (&*here).into(),
        }
    }
}

impl From<OnHeap> for SharedBytes {
    fn from(bytes: OnHeap) -> Self {
        SharedBytes(InPlace::Elsewhere(bytes))
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for SharedBytes {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        SharedBytes(bytes.into())
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<[u8; N]> for SharedBytes {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl Default for SharedBytes {
    fn default() -> Self {
        [].into()
    }
}

impl PartialEq for SharedBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SharedBytes {}

impl PartialOrd for SharedBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_four_words_and_so_is_their_absence() {
        assert_eq!(size_of::<SharedBytes>(), 32);
        assert_eq!(size_of::<Option<SharedBytes>>(), 32);
        assert_eq!(size_of::<OnHeap>(), size_of::<usize>());
    }

    #[test]
    fn they_are_the_same_wherever_they_lie() {
        let all: Vec<u8> = (0..60).collect();
        for len in 0..all.len() {
            let bytes = SharedBytes::from(&all[..len]);
            let on_heap = SharedBytes::from(OnHeap::from(bytes.clone()));
            assert_eq!((&*bytes, &*on_heap), (&all[..len], &all[..len]));
            assert_eq!(bytes, on_heap);
            assert_eq!(bytes.cmp(&SharedBytes::from(&all[..30])), all[..len].cmp(&all[..30]));
        }
    }
}
