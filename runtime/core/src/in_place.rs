//! Bytes that lie in place while they are short, and elsewhere when they are longer: what keys and values of rows are made of.
//!
//! Invariant: what follows short bytes in their place is zero.

use std::ops::Deref;

/// At most `N` bytes in place, or an `E` that has them.
#[derive(Clone)]
pub(crate) enum InPlace<E, const N: usize> {
    Here { len: u8, bytes: [u8; N] },
    Elsewhere(E),
}

impl<E: Deref<Target = [u8]>, const N: usize> Deref for InPlace<E, N> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            InPlace::Here { len, bytes } => &bytes[..usize::from(*len)],
            InPlace::Elsewhere(bytes) => bytes,
        }
    }
}

impl<E: for<'a> From<&'a [u8]>, const N: usize> From<&[u8]> for InPlace<E, N> {
    #[inline]
    fn from(slice: &[u8]) -> Self {
        const { assert!(N <= u8::MAX as usize, "a length in place is a byte") };
        if slice.len() > N {
            return InPlace::Elsewhere(slice.into());
        }
        let mut bytes = [0; N];
        bytes[..slice.len()].copy_from_slice(slice);
        InPlace::Here { len: slice.len() as u8, bytes }
    }
}
