//! Fatal signals in a thread that runs the application's code: the page is marked and sent, then the process dies.
//!
//! A thread is *guarded* by a [`Guard`]: it stands in a static table by its id, with its page and the descriptor that a
//! note is written to. The handler runs on an alternate stack, so that a stack that has run over is no obstacle. Other
//! threads' signals pass through to whoever handled them before.
//!
//! Invariant: the handler allocates nothing, locks nothing and calls nothing but `gettid`, `write`, `sigaction` and
//! `tgkill`.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use super::page::{AT_CAUSE, AT_SEQUENCE, NOTE_BYTES, UnitPage, killed_by};

/// What kills a process by its own doing; `abort` raises the last but one.
const FATAL: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGSYS];
/// The most guarded threads: one for each group of the process.
const SEATS: usize = 256;
/// The alternate stack of a thread that has none.
const STACK_BYTES: usize = 64 << 10;

/// A guarded thread.
struct Seat {
    /// 0 while nobody sits there.
    taken: AtomicI32,
    thread: AtomicI32,
    page: AtomicPtr<AtomicU64>,
    connection: AtomicI32,
}

static TABLE: [Seat; SEATS] = [const {
    Seat {
        taken: AtomicI32::new(0),
        thread: AtomicI32::new(0),
        page: AtomicPtr::new(std::ptr::null_mut()),
        connection: AtomicI32::new(-1),
    }
}; SEATS];

/// Who handled a signal before: an address of a function, or a default; written before the handler is installed.
static BEFORE: [AtomicUsize; FATAL.len()] = [const { AtomicUsize::new(libc::SIG_DFL) }; FATAL.len()];
static INSTALL: Once = Once::new();

/// Guards the thread that runs the code of one group; may be moved from thread to thread with it.
#[derive(Debug)]
pub struct Guard {
    seat: &'static Seat,
    page: Arc<UnitPage>,
    connection: Mutex<Option<OwnedFd>>,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seat of thread {}", self.thread.load(Ordering::Relaxed))
    }
}

impl Guard {
    /// A guard for whatever thread enters, with its page. The first one installs the handlers.
    ///
    /// # Errors
    /// When there are too many already, or the operating system refuses.
    pub fn new(page: Arc<UnitPage>) -> io::Result<Self> {
        install()?;
        let free =
            |seat: &&Seat| seat.taken.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let seat = TABLE.iter().find(free).ok_or_else(|| io::Error::other("too many guarded threads"))?;
        seat.page.store(page.words().as_ptr().cast_mut(), Ordering::Release);
        Ok(Guard { seat, page, connection: Mutex::new(None) })
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> &Arc<UnitPage> {
        &self.page
    }

    /// The calling thread runs the code from here on, in place of the one before.
    ///
    /// # Errors
    /// When it gets no alternate stack: a stack that runs over then leaves no note.
    pub fn enter(&self) -> io::Result<()> {
        // SAFETY: no arguments, no memory.
        self.seat.thread.store(unsafe { libc::gettid() }, Ordering::Release);
        alternate_stack()
    }

    /// Notes are written to this connection from here on, in place of the one before; to none.
    pub fn set_connection(&self, connection: Option<OwnedFd>) {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // First the new number, then the old one is closed: a handler never writes to a number that was given away.
        let number = connection.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        self.seat.connection.store(number, Ordering::Release);
        *kept = connection;
    }

    /// Writes a note to the connection, from any thread; whether there was one that took it.
    #[must_use]
    pub fn send(&self, note: &[u8]) -> bool {
        let kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().is_some_and(|connection| rustix::io::write(connection, note) == Ok(note.len()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.seat.thread.store(0, Ordering::Release);
        self.seat.connection.store(-1, Ordering::Release);
        self.seat.page.store(std::ptr::null_mut(), Ordering::Release);
        self.seat.taken.store(0, Ordering::Release);
    }
}

fn install() -> io::Result<()> {
    let mut result = Ok(());
    INSTALL.call_once(|| {
        for (at, signal) in FATAL.into_iter().enumerate() {
            if let Err(error) = install_one(at, signal) {
                result = Err(error);
            }
        }
    });
    result
}

fn install_one(at: usize, signal: c_int) -> io::Result<()> {
    // SAFETY: an all-zero `sigaction` is a valid one, with an empty mask.
    let (mut before, mut ours): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    // SAFETY: both point to a `sigaction`; nothing is installed by this call.
    if unsafe { libc::sigaction(signal, std::ptr::null(), &mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Only a handler that takes the same arguments can be called in place of this one.
    let callable = before.sa_flags & libc::SA_SIGINFO != 0 && before.sa_sigaction > libc::SIG_IGN;
    BEFORE[at].store(if callable { before.sa_sigaction } else { libc::SIG_DFL }, Ordering::Release);
    ours.sa_sigaction = handler as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `handler` has the signature of `SA_SIGINFO` and does only what is allowed in a handler.
    match unsafe { libc::sigaction(signal, &ours, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs on the alternate stack of the thread that got the signal.
extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    leave_note(signal);
    let at = FATAL.iter().position(|fatal| *fatal == signal).unwrap_or(0);
    let before = BEFORE[at].load(Ordering::Acquire);
    // SAFETY: the kernel passes a valid `info` to a handler of `SA_SIGINFO`.
    let of_the_kernel = unsafe { (*info).si_code } > 0;
    if before != libc::SIG_DFL && of_the_kernel {
        // The standard library's: it says that a stack has run over and aborts, or takes itself away and lets the
        // instruction fault again.
        // SAFETY: the address was that of a handler of `SA_SIGINFO`, and gets that one's arguments.
        let before: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(before) };
        return before(signal, info, context);
    }
    die_by(signal);
}

/// The default action, which ends the process once the handler returns.
fn die_by(signal: c_int) {
    // SAFETY: an all-zero `sigaction` is the default action; the calls are allowed in a handler and get valid
    // arguments. The signal stays blocked until this handler returns, and is delivered then.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &default, std::ptr::null_mut());
        libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal);
    }
}

/// Marks the page of this thread, if it is guarded and a piece runs, and sends it.
fn leave_note(signal: c_int) {
    // SAFETY: no arguments, no memory.
    let thread = unsafe { libc::gettid() };
    let Some(seat) = TABLE.iter().find(|seat| seat.thread.load(Ordering::Acquire) == thread) else { return };
    let page = seat.page.load(Ordering::Acquire);
    if page.is_null() {
        return;
    }
    let word = |at: usize| {
        // SAFETY: a guard keeps its page mapped, and its thread is here, in the guard's use; `at` is within the page.
        unsafe { &*page.add(at) }
    };
    let running = word(AT_SEQUENCE).load(Ordering::Acquire) % 2 == 1;
    // A stack that has run over is told of twice: by its own signal, then by the abort that follows.
    if !running || word(AT_CAUSE).load(Ordering::Acquire) != 0 {
        return;
    }
    word(AT_CAUSE).store(killed_by(signal), Ordering::Release);
    let connection = seat.connection.load(Ordering::Acquire);
    if connection >= 0 {
        // SAFETY: `NOTE_BYTES` are within the page. Whether it could be written can't be helped here.
        let _ = unsafe { libc::write(connection, page.cast::<c_void>(), NOTE_BYTES) };
    }
}

/// Gives this thread an alternate stack, if it has none: the standard library gives one to threads of its own making.
fn alternate_stack() -> io::Result<()> {
    // SAFETY: an all-zero `stack_t` is valid to be written over, and nothing is set by the call.
    let present = unsafe {
        let mut present: libc::stack_t = std::mem::zeroed();
        if libc::sigaltstack(std::ptr::null(), &mut present) != 0 {
            return Err(io::Error::last_os_error());
        }
        present
    };
    if present.ss_flags & libc::SS_DISABLE == 0 {
        return Ok(());
    }
    // For the life of the thread, of which nobody tells the end: one for each change of a generation, at most.
    let stack = Box::leak(vec![0_u8; STACK_BYTES].into_boxed_slice());
    let ours = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the memory is never given back, and nobody else uses it.
    match unsafe { libc::sigaltstack(&ours, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
