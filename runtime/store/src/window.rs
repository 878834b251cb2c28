//! A segment that is read a piece at a time, for whoever has no memory to spare and reads its records in order.

use std::path::{Path, PathBuf};

use lockstep_core::ids::StoreId;

use crate::disk::{Disk, DiskFile};
use crate::error::{DuringExt, StoreError};
use crate::record::{self, Found, Place, UNIT};
use crate::segment;

/// How much is read at a time, in bytes; a longer record is read as a whole.
const PIECE_BYTES: u64 = 1 << 20;

/// A piece of a segment.
#[derive(Debug, Default)]
pub(crate) struct Window {
    segment: Option<(Box<dyn DiskFile>, u64, PathBuf)>,
    /// Where the piece begins.
    from: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Goes on with segment `number`, whose header is checked.
    pub fn open(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        store: StoreId,
        number: u64,
    ) -> Result<(), StoreError> {
        let (file, size) = segment::open(disk, dir, store, number)?;
        self.segment = Some((file, size, segment::path(dir, number)));
        self.bytes.clear();
        Ok(())
    }

    /// What lies at `place` of the segment that was opened last.
    pub fn find(&mut self, place: Place) -> Result<Found<'_>, StoreError> {
        self.reach(place.offset, UNIT as u64)?;
        if let Some(header) = record::header_of(self.rest(place.offset), place) {
            self.reach(place.offset, header.record_bytes() as u64)?;
        }
        Ok(record::read_from(self.rest(place.offset), place))
    }

    fn rest(&self, offset: u64) -> &[u8] {
        &self.bytes[(offset - self.from) as usize..]
    }

    /// Reads on if `bytes` from `offset` on are not there; fewer, at the segment's end.
    fn reach(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError> {
        let (file, size, path) = self.segment.as_ref().expect("a segment was opened");
        let end = offset.saturating_add(bytes).min(*size);
        let is_there = self.from <= offset && end <= self.from + self.bytes.len() as u64;
        if is_there && !self.bytes.is_empty() {
            return Ok(());
        }
        let from = offset.min(*size);
        let piece = (end - from).max(PIECE_BYTES).min(size - from);
        self.bytes.resize(piece as usize, 0);
        self.from = from;
        file.read_at(from, &mut self.bytes).during("read", path)
    }
}
