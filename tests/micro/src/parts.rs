//! The parts, each ready to be run again and again.

use std::sync::Arc;

use lockstep_core::context::Overlay;
use lockstep_core::encoded_entries::Gathered;
use lockstep_core::entry::{Entry, EntryBody, Op};
use lockstep_core::event::{Encoding, EventId, Outcome};
use lockstep_core::ids::{Micros, Number, SessionId, StoreId, TableId, Term};
use lockstep_store::{Options, RealDisk, Store};
use lockstep_wire::events::{self, ClientMessage, Reply, ServerMessage};
use lockstep_wire::frame;
use tempfile::TempDir;

use crate::Desk;

/// How many events, frames or digests one round of a part is.
pub const BATCH: usize = 64;

/// A part of the hot path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A transfer from request to answer, in both cores, with the link's frames between them.
    LockStep,
    /// The same, each transfer a batch of its own.
    LockStepAlone,
    /// A transfer's request and reply, each encoded and decoded.
    ClientFrames,
    /// A transfer's entry, put into the redo log.
    StoreCommit,
    /// The digest of a work unit with two updates.
    Digest,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 5] =
        [Part::LockStep, Part::LockStepAlone, Part::ClientFrames, Part::StoreCommit, Part::Digest];

    /// Its name, as a baseline has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::LockStep => "lock_step",
            Part::LockStepAlone => "lock_step_alone",
            Part::ClientFrames => "client_frames",
            Part::StoreCommit => "store_commit",
            Part::Digest => "digest",
        }
    }

    /// The part of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.name() == name)
    }

    /// Makes it ready.
    ///
    /// # Panics
    /// When it can't be.
    #[must_use]
    pub fn prepare(self) -> Work {
        Work(match self {
            Part::LockStep => Kind::LockStep { desk: Box::default(), batch: BATCH },
            Part::LockStepAlone => Kind::LockStep { desk: Box::default(), batch: 1 },
            Part::ClientFrames => Kind::ClientFrames { buffer: Vec::new() },
            Part::StoreCommit => Kind::StoreCommit(Box::new(Log::new())),
            Part::Digest => Kind::Digest(unit()),
        })
    }
}

/// A part that is ready.
pub struct Work(Kind);

enum Kind {
    LockStep { desk: Box<Desk>, batch: usize },
    ClientFrames { buffer: Vec<u8> },
    StoreCommit(Box<Log>),
    Digest(Overlay),
}

impl Work {
    /// Does it [`BATCH`] times.
    ///
    /// # Panics
    /// When it goes wrong.
    pub fn round(&mut self) {
        match &mut self.0 {
            Kind::LockStep { desk, batch } => (0..BATCH / *batch).for_each(|_| desk.transfers(*batch)),
            Kind::ClientFrames { buffer } => (0..BATCH).for_each(|_| client_frames(buffer)),
            Kind::StoreCommit(log) => log.append(),
            Kind::Digest(overlay) => (0..BATCH).for_each(|_| {
                std::hint::black_box(std::hint::black_box(&*overlay).digest_from(0));
            }),
        }
    }
}

/// A unit with two updates, such as those of a transfer.
fn unit() -> Overlay {
    let op = |byte: u8| Op {
        table: TableId::of("accounts"),
        key: [byte; 16].into(),
        value: Some(vec![byte; 100].into()),
    };
    Overlay::of(&[op(1), op(2)])
}

fn client_frames(buffer: &mut Vec<u8>) {
    buffer.clear();
    let submit = ClientMessage::Submit {
        ticket: 300,
        key: String::new(),
        event: events::Event {
            id: events::EventId::Numbered { session: 70_000, number: 40_000 },
            awaited_from: 39_900,
            procedure: "transfer".into(),
            encoding: events::Encoding::Postcard,
            parameters: vec![7; 20],
            body: Vec::new(),
        },
    };
    frame::encode(&submit, buffer);
    let answer = ServerMessage::Answer {
        ticket: 300,
        reply: Reply::Committed { sequence: 1_000_000, reply: vec![7; 9] },
    };
    let at = buffer.len();
    frame::encode(&answer, buffer);
    let (payload, _) = whole(buffer);
    std::hint::black_box(frame::decode::<ClientMessage>(payload).expect("a frame of ours"));
    let (payload, _) = whole(&buffer[at..]);
    std::hint::black_box(frame::decode::<ServerMessage>(payload).expect("a frame of ours"));
}

fn whole(bytes: &[u8]) -> (&[u8], usize) {
    frame::split(bytes, frame::EVENT_FRAME_BYTES_MAX).expect("a frame of ours").expect("a whole frame")
}

/// A store in a directory of its own, and the entries that come next.
struct Log {
    store: Store,
    last: u64,
    gathered: Gathered,
    _directory: TempDir,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (store, _) = Store::open(Arc::new(RealDisk), directory.path(), Options::new(StoreId(1)))
            .expect("the store opens");
        Log { store, last: 0, gathered: Gathered::default(), _directory: directory }
    }

    fn append(&mut self) {
        let mut pieces = Vec::new();
        for _ in 0..BATCH {
            let entry = self.next();
            pieces.extend(self.gathered.push(&entry));
        }
        pieces.extend(self.gathered.seal());
        self.store.append(&pieces).expect("it is appended");
    }

    /// An entry as a transfer makes it.
    fn next(&mut self) -> Entry {
        self.last += 1;
        let number = self.last;
        let op = |part: u64| Op {
            table: TableId::of("accounts"),
            key: (number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(part)).to_be_bytes().into(),
            value: Some([number as u8 | 1; 60].into()),
        };
        let body = EntryBody::Procedure {
            event: EventId::Numbered { session: SessionId(70_000), number },
            awaited_from: number.saturating_sub(256),
            encoding: Encoding::Postcard,
            procedure: "transfer".into(),
            outcome: Outcome::Committed { reply: b"123456789"[..].into() },
            ops: (0..5).map(op).collect(),
        };
        Entry { number: Number(number), term: Term(1), time: Micros(number), body }
    }
}
