//! The page itself: words in a mapped file.
//!
//! All words are atomics, so that the watchdog may read what the engine's thread writes. `SEQUENCE` is odd while a piece
//! runs; whoever finds it odd, and the same before and after reading, has read that piece.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;
use rustix::fs::{Mode, OFlags, open};

/// "LSUNIT" and the version of this layout.
const MAGIC: u64 = 0x4c53_554e_4954_0001;
const PAGE_BYTES: usize = 4_096;

const AT_MAGIC: usize = 0;
/// Grows by one at each beginning and each end of a piece; has [`GIVEN_UP`] once a piece has hung.
pub(super) const AT_SEQUENCE: usize = 1;
/// 0, or what ended the process: a kind in the upper half, its number in the lower.
pub(super) const AT_CAUSE: usize = 2;
const AT_HANG_MS: usize = 3;
const AT_SESSION: usize = 4;
const AT_NUMBER: usize = 5;
/// Lengths of key, procedure and unit, and the kind of the event, 16 bits each.
const AT_LENGTHS: usize = 6;
const AT_PLUGIN: usize = 7;
const AT_KEY: usize = 11;
const KEY_WORDS: usize = 16;
const AT_PROCEDURE: usize = AT_KEY + KEY_WORDS;
const AT_UNIT: usize = AT_PROCEDURE + NAME_WORDS;
const NAME_WORDS: usize = 8;
const WORDS: usize = AT_UNIT + NAME_WORDS;
/// How long a page is as a note on a connection or in a file.
pub const NOTE_BYTES: usize = WORDS * 8;

/// In the sequence: the piece that runs hangs and was given up. Nothing runs under this page any more.
const GIVEN_UP: u64 = 1 << 63;
const KILLED: u64 = 1 << 32;
const HUNG: u64 = 2 << 32;

/// A piece of the application's code that is about to run, in numbers and bytes.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// What kind of an event it is; the caller's own number.
    pub kind: u16,
    /// The event's session, or what stands in its place.
    pub session: u64,
    /// The event's number in its session.
    pub number: u64,
    /// The event's key; at most 128 bytes are kept.
    pub key: &'a [u8],
    /// The plugin file.
    pub plugin: &'a [u8; 32],
    /// The procedure; at most 64 bytes are kept.
    pub procedure: &'a [u8],
    /// The work unit; likewise.
    pub unit: &'a [u8],
    /// After so long it hangs, in milliseconds.
    pub hang_ms: u64,
}

/// What ended the process in a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing that was noticed: a kill, or the machine.
    Unknown,
    /// A signal of the piece's own.
    Killed {
        /// Its number.
        signal: u32,
    },
    /// It had not returned.
    Hung {
        /// For so long, in milliseconds.
        ms: u64,
    },
}

/// The piece that a page names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What kind of an event it is; the writer's own number.
    pub kind: u16,
    /// The event's session, or what stands in its place.
    pub session: u64,
    /// The event's number in its session.
    pub number: u64,
    /// The event's key; empty where it has none.
    pub key: String,
    /// The plugin file.
    pub plugin: [u8; 32],
    /// The procedure.
    pub procedure: String,
    /// The work unit.
    pub unit: String,
    /// What happened.
    pub cause: Cause,
}

/// The shared page. See the module's page.
#[derive(Debug)]
pub struct UnitPage {
    map: MmapRaw,
}

// SAFETY: the page is touched only through atomics.
unsafe impl Send for UnitPage {}
// SAFETY: as above.
unsafe impl Sync for UnitPage {}

impl UnitPage {
    /// Opens the page in the file `path`, or makes it, and gives what a process before this one left in it, in the form
    /// of [`decode`]. The page is empty then.
    ///
    /// # Errors
    /// When the file can't be made, or is no file of a page's length.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the unit page is no file"));
        }
        if metadata.len() != PAGE_BYTES as u64 {
            file.set_len(PAGE_BYTES as u64)?;
        }
        let map = memmap2::MmapOptions::new().len(PAGE_BYTES).map_raw(&file)?;
        let page = UnitPage { map };
        let left = Some(page.bytes()).filter(|bytes| decode(bytes).is_some());
        page.words()[AT_CAUSE].store(0, Ordering::Relaxed);
        page.words()[AT_SEQUENCE].store(0, Ordering::Relaxed);
        page.words()[AT_MAGIC].store(MAGIC, Ordering::Release);
        Ok((page, left))
    }

    pub(super) fn words(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: the map is a page long, page-aligned, writable, and lives as long as `self`; any bits are a valid
        // `AtomicU64`, and nobody touches them otherwise than as atomics.
        unsafe { &*self.map.as_ptr().cast::<[AtomicU64; WORDS]>() }
    }

    /// Writes down `piece`, which is about to run. Only by the thread that runs it.
    pub fn begin(&self, piece: &Piece<'_>) {
        let words = self.words();
        words[AT_HANG_MS].store(piece.hang_ms, Ordering::Relaxed);
        words[AT_SESSION].store(piece.session, Ordering::Relaxed);
        words[AT_NUMBER].store(piece.number, Ordering::Relaxed);
        let key = put(&words[AT_KEY..AT_PROCEDURE], piece.key);
        let procedure = put(&words[AT_PROCEDURE..AT_UNIT], piece.procedure);
        let unit = put(&words[AT_UNIT..WORDS], piece.unit);
        put(&words[AT_PLUGIN..AT_KEY], piece.plugin);
        let kind = u64::from(piece.kind);
        words[AT_LENGTHS].store(key | procedure << 16 | unit << 32 | kind << 48, Ordering::Relaxed);
        let sequence = words[AT_SEQUENCE].load(Ordering::Relaxed);
        words[AT_SEQUENCE].store(sequence | 1, Ordering::Release);
    }

    /// Strikes out the piece: it has returned. Only by the thread that ran it. False when it was given up meanwhile: then
    /// it stays on the page, and whatever came of it does not count.
    #[must_use]
    pub fn end(&self) -> bool {
        let word = &self.words()[AT_SEQUENCE];
        let sequence = word.load(Ordering::Relaxed);
        if sequence & GIVEN_UP != 0 {
            return false;
        }
        let after = (sequence | 1).wrapping_add(1);
        word.compare_exchange(sequence, after, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether the piece that runs was given up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.words()[AT_SEQUENCE].load(Ordering::Acquire) & GIVEN_UP != 0
    }

    /// The number of the piece that runs, and after how many milliseconds it hangs; none while nothing runs, and once it
    /// was given up.
    #[must_use]
    pub fn running(&self) -> Option<(u64, u64)> {
        let sequence = self.words()[AT_SEQUENCE].load(Ordering::Acquire);
        let runs = sequence % 2 == 1 && sequence & GIVEN_UP == 0;
        runs.then(|| (sequence, self.words()[AT_HANG_MS].load(Ordering::Relaxed)))
    }

    /// Gives the piece `sequence` up, which has hung for `ms`, unless it has returned meanwhile; gives the note. Of this
    /// and [`UnitPage::end`] one alone succeeds.
    #[must_use]
    pub fn give_up(&self, sequence: u64, ms: u64) -> Option<Vec<u8>> {
        let words = self.words();
        words[AT_CAUSE].store(HUNG | ms.min(u64::from(u32::MAX)), Ordering::Release);
        let bytes = self.bytes();
        let given_up = words[AT_SEQUENCE].compare_exchange(
            sequence,
            sequence | GIVEN_UP,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if given_up.is_ok() {
            return Some(bytes);
        }
        words[AT_CAUSE].store(0, Ordering::Release);
        None
    }

    fn bytes(&self) -> Vec<u8> {
        self.words().iter().flat_map(|word| word.load(Ordering::Acquire).to_ne_bytes()).collect()
    }
}

/// What a signal is as a cause.
pub(super) fn killed_by(signal: i32) -> u64 {
    KILLED | signal as u64
}

/// Puts `bytes` into `words`, as many as fit; gives how many.
fn put(words: &[AtomicU64], bytes: &[u8]) -> u64 {
    let bytes = &bytes[..bytes.len().min(words.len() * 8)];
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
    bytes.len() as u64
}

/// The piece that was under way in a page of these bytes; none when nothing was, or when it is no page.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Left> {
    if bytes.len() != NOTE_BYTES {
        return None;
    }
    let word = |at: usize| bytes[at * 8..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
    if word(AT_MAGIC) != MAGIC || word(AT_SEQUENCE) % 2 == 0 {
        return None;
    }
    let text = |at: usize, words: usize, length: u64| {
        let length = usize::try_from(length & 0xffff).ok().filter(|length| *length <= words * 8)?;
        std::str::from_utf8(&bytes[at * 8..][..length]).ok().map(str::to_owned)
    };
    let lengths = word(AT_LENGTHS);
    let number = word(AT_CAUSE) & u64::from(u32::MAX);
    let cause = match word(AT_CAUSE) & !u64::from(u32::MAX) {
        0 => Cause::Unknown,
        KILLED => Cause::Killed { signal: number as u32 },
        HUNG => Cause::Hung { ms: number },
        _ => return None,
    };
    Some(Left {
        kind: (lengths >> 48) as u16,
        session: word(AT_SESSION),
        number: word(AT_NUMBER),
        key: text(AT_KEY, KEY_WORDS, lengths)?,
        plugin: *bytes[AT_PLUGIN * 8..].first_chunk()?,
        procedure: text(AT_PROCEDURE, NAME_WORDS, lengths >> 16)?,
        unit: text(AT_UNIT, NAME_WORDS, lengths >> 32)?,
        cause,
    })
}
