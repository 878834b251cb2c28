//! The bytes of a row or a reply, shared and counted: one word wide, with their length beside them on the heap. A table has
//! millions of them, and a word a row is a tenth of what it takes.

use std::fmt;
use std::ops::Deref;

use triomphe::{Arc, ThinArc};

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

impl SharedBytes {
    /// Puts `new` in place of these bytes, and gives those back. What is as long is written where the old ones stand, if nobody
    /// else holds them: what comes and goes is then the memory that was used a moment ago, and not the place of a row that has
    /// not been looked at for long.
    pub fn replace(&mut self, mut new: SharedBytes) -> SharedBytes {
        if self.len() != new.len() {
            return std::mem::replace(self, new);
        }
        let is_there = self.0.with_arc_mut(|here| {
            let Some(here) = Arc::get_mut(here) else { return false };
            let here = here.slice_mut();
            let swapped = new.0.with_arc_mut(|there| {
                Arc::get_mut(there).map(|there| here.swap_with_slice(there.slice_mut()))
            });
            if swapped.is_none() {
                let before = SharedBytes::from(&*here);
                here.copy_from_slice(&new);
                new = before;
            }
            true
        });
        if is_there { new } else { std::mem::replace(self, new) }
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
    fn what_is_replaced_comes_back_and_others_keep_what_they_hold() {
        for (before, after) in [("old", "new"), ("old", "longer"), ("", "")] {
            for (holds_before, holds_after) in [(false, false), (false, true), (true, false), (true, true)] {
                let (mut place, new) =
                    (SharedBytes::from(before.as_bytes()), SharedBytes::from(after.as_bytes()));
                let other_before = holds_before.then(|| place.clone());
                let other_after = holds_after.then(|| new.clone());
                let back = place.replace(new);
                assert_eq!((&*back, &*place), (before.as_bytes(), after.as_bytes()));
                assert!(other_before.is_none_or(|other| *other == *before.as_bytes()));
                assert!(other_after.is_none_or(|other| *other == *after.as_bytes()));
            }
        }
        let (mut place, same) = (SharedBytes::from([7]), SharedBytes::from([7]));
        let at = place.as_ptr();
        drop(place.replace(same));
        assert_eq!(place.as_ptr(), at, "what nobody else holds stays where it is");
    }

    #[test]
    fn they_are_a_word_and_so_is_their_absence() {
        assert_eq!(size_of::<SharedBytes>(), size_of::<usize>());
        assert_eq!(size_of::<Option<SharedBytes>>(), size_of::<usize>());
        let bytes = SharedBytes::from(vec![1, 2, 3]);
        assert_eq!((&*bytes.clone(), &*SharedBytes::default()), (&[1, 2, 3][..], &[][..]));
    }
}
