//! The thread that writes a group's store: redo, copies, and the liveness lock of each store it has.
//!
//! It takes whole batches, writes them, and syncs once for all that had come meanwhile; then it says how far the store
//! is durable (R9). The engine never waits for it: what does not fit into its queue stays with the engine, which then
//! reads no clients. A write or sync that fails ends the process: the partner takes over, and the store is trusted
//! again only as the store's own rules say (R26). What waits for no disk, or as one entry for a quick one, the engine does
//! itself, see `store_writer`.
//! Deliberately absent: what entries mean.

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::entry::Row;
use lockstep_core::ids::{Number, SessionId, StoreId};
use lockstep_core::sessions::{KeyedReply, Session};
use lockstep_core::state::{Meta, State, Undo};
use lockstep_store::{Background, Checkpoints, Options, Store, StoreError, Work};

use super::failing_disk::FailingDisk;
use super::inbound::{EngineHandle, Inbound};
use super::store_writer::{StoreWriter, hold};
use crate::config::Durability;
use crate::processor::StartError;

/// A store does not end in order.
pub const NOT_CLOSED: &str = "LS0521";
/// How many batches may wait.
const BATCHES_MAX: usize = 256;
/// How many entries are taken before the sync.
const ENTRIES_MAX: usize = 65_536;

/// What the engine asks of its store.
pub enum StoreOp {
    /// Append these.
    Append(Vec<EncodedEntries>),
    /// Cut back; words about what was durable before count no more.
    CutBack {
        /// The last number that stays.
        to: Number,
    },
    /// Everything up to here is held.
    Held {
        /// The number.
        number: Number,
    },
    /// What is durable has to rest on a sync from here on, or needs none under `replicated` (R9). It is said again.
    RestOnSyncs {
        /// Which.
        on: bool,
    },
    /// The end of the store lacks nothing any more (R26).
    TailSettled,
    /// Begin a copy.
    CopyBegin {
        /// The new store.
        store: StoreId,
        /// The database's own data.
        meta: Box<Meta>,
    },
    /// Rows of the copy.
    CopyRows(Vec<Row>),
    /// The copy is whole.
    CopyEnd {
        /// All sessions.
        sessions: Vec<(SessionId, Session)>,
        /// All keyed replies.
        keyed: Vec<(String, KeyedReply)>,
        /// The group's own data.
        meta: Box<Meta>,
    },
    /// The copy takes the old store's place.
    CopyKept,
    /// The copy goes.
    CopyDropped,
    /// A test: the next append fails.
    FailNext,
}

impl StoreOp {
    /// Whether the core waits for a word about what is durable after this: a cut or a dropped copy alone too, for the
    /// core takes no word from before it.
    pub(super) fn changes_what_is_durable(&self) -> bool {
        match self {
            StoreOp::Held { .. } | StoreOp::TailSettled | StoreOp::FailNext => false,
            StoreOp::RestOnSyncs { .. }
            | StoreOp::Append(_)
            | StoreOp::CutBack { .. }
            | StoreOp::CopyBegin { .. }
            | StoreOp::CopyRows(_)
            | StoreOp::CopyEnd { .. }
            | StoreOp::CopyKept
            | StoreOp::CopyDropped => true,
        }
    }
}

impl StoreOp {
    /// How many entries it appends.
    fn entries(&self) -> usize {
        if let StoreOp::Append(entries) = self { entries.len() } else { 0 }
    }
}

/// What the thread takes.
enum Handed {
    Batch(Vec<StoreOp>),
    /// Nothing more: the store is closed.
    End,
}

/// The engine's way to its store.
pub struct StoreHandle {
    batches: Sender<Handed>,
    handed_over: u64,
    done: Arc<AtomicU64>,
    /// Until the thread ends.
    writer: Arc<Mutex<Option<StoreWriter>>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreHandle {
    /// Hands over a batch; gives it back when there is no room.
    ///
    /// # Errors
    /// The batch, to be handed over later.
    pub fn hand_over(&mut self, batch: Vec<StoreOp>) -> Result<(), Vec<StoreOp>> {
        match self.batches.try_send(Handed::Batch(batch)) {
            Ok(()) => {
                self.handed_over += 1;
                Ok(())
            }
            Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) => match work {
                Handed::Batch(batch) => Err(batch),
                Handed::End => unreachable!("a batch was sent"),
            },
        }
    }

    /// How many batches wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.batches.len()
    }

    /// Carries out `ops` here and now, and leaves none, if the disk is not waited for, or not for long; else leaves them all.
    /// What the store says to its engine goes into `said`.
    pub fn carry_out_at_once(&self, ops: &mut Vec<StoreOp>, said: &mut Vec<Inbound>) {
        if !self.is_idle() {
            return;
        }
        // The thread has nothing to do. Where it ends just now it has the lock, or has taken the store away.
        if let Ok(mut writer) = self.writer.try_lock()
            && let Some(writer) = &mut *writer
        {
            writer.carry_out_at_once(ops, &mut |word| said.push(word));
        }
    }

    /// Whether all that was handed over is done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.handed_over
    }

    /// Closes the store in order and waits for its thread.
    pub fn close(self) {
        let StoreHandle { batches, thread, .. } = self;
        // One that has ended with a panic takes nothing.
        let _ = batches.send(Handed::End);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(code = NOT_CLOSED, "the store's thread ended with a panic");
        }
    }
}

/// Closes the store of an engine that can't do it: its thread hangs (R23).
pub struct StoreEnd {
    batches: Sender<Handed>,
    /// Both threads of the store hold the other end.
    threads: Receiver<Infallible>,
}

impl StoreEnd {
    /// Has what was handed over written and the store closed, and waits until it is, for at most twice `patience`;
    /// whether it is.
    #[must_use]
    pub fn close(self, patience: Duration) -> bool {
        let StoreEnd { batches, threads } = self;
        // One that has ended already takes nothing.
        let _ = batches.send_timeout(Handed::End, patience);
        matches!(threads.recv_timeout(patience), Err(crossbeam_channel::RecvTimeoutError::Disconnected))
    }
}

/// A store that was opened, with what it holds.
pub struct OpenedStore {
    /// Its id.
    pub store: StoreId,
    /// Whether its content can be relied on.
    pub trusted: bool,
    /// Whether its machine may have lost the end of what it had acknowledged (R26).
    pub may_lack_tail: bool,
    /// Its content.
    pub state: State,
    /// The latest entries.
    pub recent: Vec<EncodedEntries>,
    /// What takes back the entries that were not known to be held (R24).
    pub undos: Vec<Undo>,
    /// Its thread, before it is launched.
    pub thread: StoreThread,
}

/// Opens the store in `directory`.
///
/// # Errors
/// When the disk fails, or another process has the store.
pub fn open(
    directory: &Path,
    recorded: Option<Vec<StoreId>>,
    recent_bytes: usize,
    durability: Durability,
) -> Result<OpenedStore, StartError> {
    let failed = |error: StoreError| {
        StartError::of_text(&error.to_string(), error.code(), "see `lockstep db inspect`")
    };
    let system = |what: &str, error: std::io::Error| {
        StartError::of_system(format!("{what} can't be had: {error}"), "start it again; see the log")
    };
    let fresh = StoreId(lockstep_os::random_u128().map_err(|error| system("an id for a store", error))?);
    let boot = lockstep_os::boot_id().map_err(|error| system("the machine's boot id", error))?;
    let options = Options { recorded, boot, recent_bytes, ..Options::new(fresh) };
    let disk = FailingDisk::default();
    let begun = std::time::Instant::now();
    let (mut store, found) = Store::open(Arc::new(disk.clone()), directory, options).map_err(failed)?;
    if durability == Durability::Fsync && found.trusted {
        // Nothing was acknowledged that the power could take.
        store.settle_tail().map_err(failed)?;
    }
    if let Some(warning) = &found.warning {
        tracing::warn!(store = %found.store, %warning, "the store was opened with a warning");
    }
    let may_lack_tail = durability == Durability::Replicated && !found.same_boot;
    if may_lack_tail {
        tracing::warn!(
            store = %found.store,
            code = "LS0522",
            "the store was last written under another boot of this machine, with `durability: replicated`; \
             the partner's store may hold more; this one serves only after it has heard that one, or by `--force` (R26)"
        );
    }
    tracing::info!(
        store = %found.store,
        last = found.state.meta.last.0,
        fresh = found.fresh,
        trusted = found.trusted,
        ms = begun.elapsed().as_millis() as u64,
        "the store is open"
    );
    let lock = hold(found.store).map_err(|error| {
        let message = format!("the liveness lock of store {} can't be had: {error}", found.store);
        StartError::new("LS0107", message, "stop the other process that uses this store")
    })?;
    let thread = StoreThread(StoreWriter::new(store, disk, durability, lock));
    Ok(OpenedStore {
        store: found.store,
        trusted: found.trusted,
        may_lack_tail,
        state: found.state,
        recent: found.recent,
        undos: found.undos,
        thread,
    })
}

/// A store whose thread is to be launched.
pub struct StoreThread(StoreWriter);

impl StoreThread {
    /// The way to pauses of the store's checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> Checkpoints {
        self.0.checkpoints()
    }

    /// Starts the thread and the one that makes checkpoints.
    ///
    /// # Errors
    /// When there are no threads left.
    pub fn launch(self, engine: EngineHandle) -> Result<(StoreHandle, StoreEnd), StartError> {
        let (batches, work) = crossbeam_channel::bounded(BATCHES_MAX);
        let (lives, threads) = crossbeam_channel::bounded::<Infallible>(0);
        let background_lives = lives.clone();
        let done = Arc::new(AtomicU64::new(0));
        let background = self.0.background();
        let no_thread =
            |error: std::io::Error| StartError::of_system(error.to_string(), "see the limits on threads");
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                let report = |error: &StoreError| {
                    tracing::warn!(%error, code = error.code(), "a checkpoint failed");
                };
                background.run(report, checkpoint_giving_way);
                drop(background_lives);
            })
            .map_err(no_thread)?;
        let writer = Arc::new(Mutex::new(Some(self.0)));
        let (shared, counter) = (writer.clone(), done.clone());
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                run(&shared, &work, &engine, &counter);
                // Last: files and liveness lock are let go.
                drop(lives);
            })
            .map_err(no_thread)?;
        let end = StoreEnd { batches: batches.clone(), threads };
        Ok((StoreHandle { batches, handed_over: 0, done, writer, thread: Some(thread) }, end))
    }
}

/// Carries out what is handed over, as much at once as there is; closes the store at the end.
fn run(
    writer: &Mutex<Option<StoreWriter>>,
    work: &Receiver<Handed>,
    engine: &EngineHandle,
    done: &AtomicU64,
) {
    let mut ends = false;
    while !ends && let Ok(Handed::Batch(first)) = work.recv() {
        let (mut batches, mut appended, mut next) = (0, 0, Some(first));
        let all = std::iter::from_fn(|| {
            let batch = next.take()?;
            batches += 1;
            appended += batch.iter().map(StoreOp::entries).sum::<usize>();
            if appended < ENTRIES_MAX {
                match work.try_recv() {
                    Ok(Handed::Batch(batch)) => next = Some(batch),
                    Ok(Handed::End) => ends = true,
                    Err(_) => {}
                }
            }
            Some(batch)
        });
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &mut *writer {
            writer.carry_out(all, &mut |said| engine.tell_waiting(said));
        }
        drop(writer);
        done.fetch_add(batches, Ordering::AcqRel);
        engine.ring();
    }
    let last = writer.lock().unwrap_or_else(PoisonError::into_inner).take();
    last.into_iter().for_each(StoreWriter::close);
}

/// Makes a checkpoint on a thread that gives way to all others: the engines' answers do not wait for it. It is a thread of
/// its own because only the privileged may raise a priority again, and a checkpoint that falls behind needs the usual one.
fn checkpoint_giving_way(background: &mut Background) -> Result<Work, StoreError> {
    let made = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("checkpoint-slow".into());
        let made = thread.spawn_scoped(scope, || {
            if let Err(error) = lockstep_os::give_way() {
                tracing::debug!(%error, "the checkpoint has the usual priority");
            }
            background.run_once()
        });
        made.ok().map(|made| made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // Without a thread of its own it is made here.
    made.unwrap_or_else(|| background.run_once())
}

#[cfg(test)]
mod tests {
    use lockstep_core::entry::{Entry, EntryBody};
    use lockstep_core::ids::{Micros, Term};
    use lockstep_core::input::Input;

    use super::*;
    use crate::engine::sync_times::SyncTimes;
    use crate::engine::{empty_descriptor, poll_and_bell};

    fn entry(number: u64) -> EncodedEntries {
        EncodedEntries::from(&Entry {
            number: Number(number),
            term: Term(1),
            time: Micros(number),
            body: EntryBody::OpenSession,
        })
    }

    fn opened(directory: &Path) -> OpenedStore {
        open(directory, None, 1 << 20, Durability::Fsync).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Hands over `batches` to the store in `directory`, one after the other, and tells what is said to be durable
    /// after each.
    fn durable_after(directory: &Path, batches: Vec<Vec<StoreOp>>) -> Vec<(u64, Number)> {
        let (_poll, bell) = poll_and_bell().unwrap();
        let (engine, control, _requests) =
            EngineHandle::new("test", (0, 1), bell, Arc::new(empty_descriptor("test")));
        let launched = opened(directory).thread.launch(engine);
        let (mut store, _end) = launched.unwrap_or_else(|error| panic!("{error}"));
        let said = batches.into_iter().map(|batch| {
            assert!(store.hand_over(batch).is_ok());
            match control.recv_timeout(std::time::Duration::from_secs(10)) {
                Ok(Inbound::Durable { cuts, through, .. }) => (cuts, through),
                Ok(_) => panic!("something else was said"),
                Err(error) => panic!("nothing was said: {error}"),
            }
        });
        let said = said.collect();
        store.close();
        said
    }

    /// R24: the core takes no word from before a cut, so it gets one after it.
    #[test]
    fn what_is_durable_is_said_after_a_cut_alone() {
        let directory = tempfile::tempdir().unwrap();
        let batches = vec![
            vec![StoreOp::Append(vec![entry(1), entry(2), entry(3)])],
            vec![StoreOp::CutBack { to: Number(2) }],
            vec![StoreOp::CutBack { to: Number(1) }, StoreOp::Append(vec![entry(2)])],
        ];
        let said = durable_after(directory.path(), batches);
        assert_eq!(said, [(0, Number(3)), (1, Number(2)), (2, Number(2))]);
    }

    /// R25: so for a copy that was given up, although nothing was appended to it.
    #[test]
    fn what_is_durable_is_said_after_a_dropped_copy_alone() {
        let directory = tempfile::tempdir().unwrap();
        let batches = vec![
            vec![StoreOp::Append(vec![entry(1)])],
            vec![
                StoreOp::CopyBegin { store: StoreId(7), meta: Box::default() },
                StoreOp::CopyRows(vec![]),
                StoreOp::CopyDropped,
            ],
        ];
        assert_eq!(durable_after(directory.path(), batches), [(0, Number(1)), (0, Number(1))]);
    }

    /// R24: a restarted store can take back what was not held.
    #[test]
    fn what_was_not_held_can_be_taken_back_after_a_start() {
        let directory = tempfile::tempdir().unwrap();
        durable_after(directory.path(), vec![vec![StoreOp::Append(vec![entry(1), entry(2)])]]);
        let numbers: Vec<_> = opened(directory.path()).undos.iter().map(|undo| undo.number).collect();
        assert_eq!(numbers, [Number(1), Number(2)]);
    }

    /// R23: what an engine had handed over when its thread hung is in the store, which can be opened again at once.
    #[test]
    fn a_store_is_closed_without_its_engine_and_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let (_poll, bell) = poll_and_bell().unwrap();
        let (engine, _control, _requests) =
            EngineHandle::new("test", (0, 1), bell, Arc::new(empty_descriptor("test")));
        let first = opened(directory.path());
        let id = first.store;
        let (mut store, end) = first.thread.launch(engine).unwrap_or_else(|error| panic!("{error}"));
        for number in 1..=20 {
            assert!(store.hand_over(vec![StoreOp::Append(vec![entry(number)])]).is_ok());
        }
        assert!(lockstep_os::is_living(&id.to_string()).unwrap());
        // The engine keeps its handle: it hangs.
        assert!(end.close(Duration::from_secs(10)));
        assert!(!lockstep_os::is_living(&id.to_string()).unwrap(), "its partner sees that it is gone");
        let again = opened(directory.path());
        assert_eq!((again.store, again.state.meta.last), (id, Number(20)));
        assert!(
            store.hand_over(vec![StoreOp::Append(vec![entry(21)])]).is_err(),
            "nothing is taken any more"
        );
    }

    /// R26: a write that failed leaves a store that only a copy brings back.
    #[test]
    fn a_write_that_fails_goes_the_way_of_a_failed_disk() {
        let directory = tempfile::tempdir().unwrap();
        let StoreThread(mut writer) = opened(directory.path()).thread;
        let mut said = Vec::new();
        let mut carry_out = |ops| writer.carry_out(std::iter::once(ops), &mut |word| said.push(word));
        carry_out(vec![StoreOp::FailNext, StoreOp::Append(vec![entry(1)])]);
        // Nothing is taken after it, and nothing more said.
        carry_out(vec![StoreOp::Append(vec![entry(1)])]);
        let [Inbound::Input(Input::StoreFailed { reason })] = &said[..] else { panic!("{}", said.len()) };
        assert!(reason.contains("cannot write"), "{reason}");
        drop(writer);
        assert!(!opened(directory.path()).trusted);
    }

    /// Under `fsync` an entry that comes alone is synced by the engine, once the disk has been quick for a while.
    #[test]
    fn one_entry_is_synced_at_once_by_a_quick_disk() {
        let directory = tempfile::tempdir().unwrap();
        let StoreThread(mut writer) = opened(directory.path()).thread;
        let mut said = Vec::new();
        let mut at_once = |writer: &mut StoreWriter, mut ops: Vec<StoreOp>| {
            writer.carry_out_at_once(&mut ops, &mut |word| said.push(word));
            ops.len()
        };
        let append = |numbers: &[u64]| vec![StoreOp::Append(numbers.iter().copied().map(entry).collect())];
        // The first write of all notes that the store is written.
        writer.carry_out(std::iter::once(append(&[1])), &mut |_| {});
        writer.sync_times = SyncTimes::default();
        assert_eq!(at_once(&mut writer, append(&[2])), 1, "nobody knows how quick the disk is");
        (0..1_000).for_each(|_| writer.sync_times.took(Duration::ZERO));
        assert_eq!(at_once(&mut writer, append(&[2, 3])), 1, "two are more than one");
        assert_eq!(at_once(&mut writer, append(&[2])), 0);
        let [Inbound::Durable { through: Number(2), .. }] = &said[..] else { panic!("{}", said.len()) };
    }

    /// R9: the engine writes what needs no sync, in its order behind what it had handed over; a sync it does not wait for.
    #[test]
    fn what_waits_for_no_disk_is_done_at_once_and_the_rest_is_left() {
        for durability in [Durability::Fsync, Durability::Replicated] {
            let directory = tempfile::tempdir().unwrap();
            let (_poll, bell) = poll_and_bell().unwrap();
            let (engine, control, _requests) =
                EngineHandle::new("test", (0, 1), bell, Arc::new(empty_descriptor("test")));
            let opened =
                open(directory.path(), None, 1 << 20, durability).unwrap_or_else(|error| panic!("{error}"));
            let (mut store, _end) = opened.thread.launch(engine).unwrap_or_else(|error| panic!("{error}"));
            let at_once = |store: &StoreHandle, mut ops: Vec<StoreOp>| {
                let mut said = Vec::new();
                store.carry_out_at_once(&mut ops, &mut said);
                (ops.len(), said.len())
            };
            let append = |number| StoreOp::Append(vec![entry(number)]);
            assert_eq!(
                at_once(&store, vec![append(1)]),
                (1, 0),
                "it rests on syncs until it is told otherwise"
            );
            assert!(store.hand_over(vec![append(1), StoreOp::RestOnSyncs { on: false }]).is_ok());
            assert!(control.recv_timeout(Duration::from_secs(10)).is_ok());
            let until = std::time::Instant::now() + Duration::from_secs(10);
            while !store.is_idle() {
                assert!(std::time::Instant::now() < until);
                std::thread::yield_now();
            }
            assert_eq!(at_once(&store, vec![StoreOp::Held { number: Number(1) }]), (0, 0));
            let written = if durability == Durability::Fsync { (2, 0) } else { (0, 1) };
            assert_eq!(at_once(&store, vec![append(2), StoreOp::Held { number: Number(1) }]), written);
            assert_eq!(at_once(&store, vec![StoreOp::CutBack { to: Number(1) }]), (1, 0));
            store.close();
            let last = if durability == Durability::Fsync { 1 } else { 2 };
            assert_eq!(self::opened(directory.path()).state.meta.last, Number(last));
        }
    }
}
