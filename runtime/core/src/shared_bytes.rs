//! The bytes of a row or a reply, shared and counted: one word wide, with their length beside them on the heap. A table has
//! millions of them, and a word a row is a tenth of what it takes.

use std::fmt;
use std::ops::Deref;

use triomphe::ThinArc;

/// Bytes that many hold and none changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedBytes(ThinArc<(), u8>);

impl Deref for SharedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0.slice
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
        SharedBytes(ThinArc::from_header_and_slice((), bytes))
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

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_a_word_and_so_is_their_absence() {
        assert_eq!(size_of::<SharedBytes>(), size_of::<usize>());
        assert_eq!(size_of::<Option<SharedBytes>>(), size_of::<usize>());
        let bytes = SharedBytes::from(vec![1, 2, 3]);
        assert_eq!((&*bytes.clone(), &*SharedBytes::default()), (&[1, 2, 3][..], &[][..]));
    }
}
