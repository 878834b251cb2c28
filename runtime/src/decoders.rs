//! What reads bytes from outside and is otherwise nobody's to call: for `tests/fuzz` alone, each as narrow as it goes.
//!
//! Deliberately absent: what is public anyway (configuration, admin lines, the arbiter), and anything that decides.

use std::io;
use std::path::Path;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use lockstep_core::campaign::CheckVerdict;
use lockstep_core::ids::NodeId;
use lockstep_core::note::DeathNote;
use lockstep_os::unit_page;

pub use crate::link_message::{LINK_PROTOCOL, LinkHello, LinkMessage, PLUGIN_BYTES_MAX, PluginAssembly};
use crate::partitions_file::Disagreement;
use crate::trail::TrailEntry;

/// A death note as it comes over a connection or stands in a page.
#[must_use]
pub fn death_note(bytes: &[u8], died: &NodeId) -> Option<DeathNote> {
    unit_page::decode(bytes).and_then(|left| crate::notes::note(left, died))
}

/// The notes in the files of a group's directory.
///
/// # Errors
/// When it can't be read.
pub fn death_note_files(directory: &Path, node: &NodeId) -> io::Result<Vec<DeathNote>> {
    Ok(crate::notes::kept(directory, node)?.into_iter().map(|(note, _)| note).collect())
}

/// For how many partitions the data of an application are; `partitions` where nothing was written yet.
///
/// # Errors
/// When that can't be said.
pub fn partitions(directory: &Path, partitions: u16) -> io::Result<u16> {
    match crate::partitions_file::agree(directory, partitions) {
        Ok(()) => Ok(partitions),
        Err(Disagreement::Other(found)) => Ok(found),
        Err(Disagreement::Unusable(error)) => Err(error),
    }
}

/// The audit trail in a data directory.
///
/// # Errors
/// When it can't be read or written anew.
pub fn trail(data: &Path) -> io::Result<Vec<TrailEntry>> {
    crate::trail::entries_in(data)
}

/// Control parameters and body in a whole form; `kind` is its `Content-Type`. What can't stand in a header is refused before
/// it comes to us; so for all below.
#[must_use]
pub fn form(kind: &[u8], form: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(kind).ok()?);
    let sent = crate::http_body::read_form(&headers, form.to_vec().into()).ok()?;
    Some((sent.parameters, sent.body))
}

/// The event's id in `Idempotency-Key`.
#[must_use]
pub fn idempotency_key(header: &[u8]) -> Option<String> {
    crate::http::idempotency_key(&HeaderValue::from_bytes(header).ok()?)
}

/// The key in `Lockstep-Key`.
#[must_use]
pub fn partition_key(header: &[u8]) -> Option<String> {
    crate::http::partition_key(&HeaderValue::from_bytes(header).ok()?)
}

/// What the reply of a procedure that checks says.
#[must_use]
pub fn check_verdict(reply: &[u8]) -> CheckVerdict {
    crate::checks::procedure::verdict_of_reply(reply)
}
