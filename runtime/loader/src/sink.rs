//! The host's end of a [`Sink`]: what an entry of a plugin puts there, copied and bounded.

use std::ffi::c_void;

use lockstep_plugin_api::abi::{Bytes, Sink, Status, status};

/// The most that one entry may put.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Collects what one call of an entry puts.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    is_full: bool,
}

/// Why an entry gave nothing usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryError {
    /// It panicked; the panic's message.
    Panicked(String),
    /// It said no; its words.
    Failed(String),
}

impl EntryError {
    pub(crate) fn into_detail(self) -> String {
        match self {
            Self::Panicked(detail) => format!("it panicked: {detail}"),
            Self::Failed(detail) => detail,
        }
    }
}

/// Calls an entry with a sink, and gives what it put if it returned `OK`.
pub(crate) fn collect(entry: impl FnOnce(*const Sink) -> Status) -> Result<Vec<u8>, EntryError> {
    let mut collected = Collected::default();
    let sink = Sink { this: (&raw mut collected).cast(), put };
    let returned = entry(&raw const sink);
    let text = || {
        let text = String::from_utf8_lossy(&collected.bytes).trim().to_owned();
        if text.is_empty() { format!("it returned {returned} without a word") } else { text }
    };
    match returned {
        status::OK if collected.is_full => {
            Err(EntryError::Failed(format!("it says more than {BYTES_MAX} bytes")))
        }
        status::OK => Ok(collected.bytes),
        status::PANICKED => Err(EntryError::Panicked(text())),
        _ => Err(EntryError::Failed(text())),
    }
}

unsafe extern "C" fn put(this: *mut c_void, bytes: Bytes) {
    // SAFETY: `collect` passes its own record, and touches it only before and after the entry's call.
    let collected = unsafe { &mut *this.cast::<Collected>() };
    // SAFETY: by the contract the bytes are valid for the time of this call.
    let bytes = unsafe { bytes.or_empty() };
    let room = BYTES_MAX - collected.bytes.len();
    collected.is_full |= bytes.len() > room;
    collected.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &'static [u8], result: Status) -> impl FnOnce(*const Sink) -> Status {
        move |sink| {
            // SAFETY: `collect` passes a sink that lives during the call.
            let sink = unsafe { &*sink };
            // SAFETY: the bytes are static.
            unsafe { (sink.put)(sink.this, Bytes::of(text)) };
            result
        }
    }

    #[test]
    fn what_is_put_comes_out_and_errors_keep_their_words() {
        assert_eq!(collect(entry(b"abc", status::OK)), Ok(b"abc".to_vec()));
        let panicked = EntryError::Panicked("at row 3".to_owned());
        assert_eq!(collect(entry(b"at row 3\n", status::PANICKED)), Err(panicked));
        let failed = EntryError::Failed("no".to_owned());
        assert_eq!(collect(entry(b"no", status::CONTRACT)), Err(failed));
    }

    #[test]
    fn a_flood_is_cut_and_refused() {
        let result = collect(|sink| {
            for _ in 0..5 {
                let _ = entry(&[0; 1024 * 1024], status::OK)(sink);
            }
            status::OK
        });
        assert!(matches!(result, Err(EntryError::Failed(_))));
    }
}
