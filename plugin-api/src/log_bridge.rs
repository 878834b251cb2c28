//! Brings a loaded plugin's logs to the host.
//!
//! A plugin has its own copy of `tracing`, with a global subscriber of its own: the one here, which hands every event
//! to the host as a line, with the spans that it stands in. Inside of a work unit's call the line goes through the
//! unit's context, so that the host knows which procedure, unit and event it belongs to. After `shutdown` it is cut off,
//! holds nothing, and drops what it gets.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::abi::{Bytes, HostContext, HostServices};
use crate::spans;

type Log = unsafe extern "C" fn(level: u8, target: Bytes, message: Bytes);

static HOST_LOG: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static LEVEL_MAX: AtomicU8 = AtomicU8::new(0);

thread_local! {
    /// The context of the unit that this thread runs. Plain data without a destructor.
    static UNIT: Cell<Option<HostContext>> = const { Cell::new(None) };
}

/// This thread runs a unit with this context, or none any more.
///
/// # Safety
/// The context is valid until this is called again.
pub(crate) unsafe fn in_unit(context: Option<HostContext>) {
    UNIT.set(context);
}

/// Hands a line to the host, if it listens.
pub(crate) fn write(level: u8, target: &str, message: &str) {
    let log = HOST_LOG.load(Ordering::Acquire);
    if log.is_null() || level > LEVEL_MAX.load(Ordering::Relaxed) {
        return;
    }
    if let Some(unit) = UNIT.get() {
        let (target, message) = (Bytes::of(target.as_bytes()), Bytes::of(message.as_bytes()));
        // SAFETY: by the contract of `in_unit` the context is valid; the bytes are lent.
        return unsafe { unit.calls.log()(unit.this, level, target, message) };
    }
    // SAFETY: stored by `connect` from a function pointer of this very type.
    let log = unsafe { std::mem::transmute::<*mut (), Log>(log) };
    // SAFETY: the host keeps the function valid until `shutdown`, which cuts it off; the bytes are lent.
    unsafe { log(level, Bytes::of(target.as_bytes()), Bytes::of(message.as_bytes())) }
}

/// Connects a loaded plugin's `tracing` to the host.
pub(crate) fn connect(services: &HostServices) {
    LEVEL_MAX.store(services.log_level_max, Ordering::Relaxed);
    HOST_LOG.store(services.log as *mut (), Ordering::Release);
    // An error says that the author has set a subscriber; it is the author's to keep.
    let _ = tracing::subscriber::set_global_default(Lines);
}

/// Cuts the host off.
pub(crate) fn disconnect() {
    HOST_LOG.store(std::ptr::null_mut(), Ordering::Release);
    spans::clear();
}

struct Lines;

fn number(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= LEVEL_MAX.load(Ordering::Relaxed)
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL_MAX.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Line(String::new());
        span.record(&mut fields);
        let name = span.metadata().name();
        Id::from_u64(spans::begin(match fields.0.is_empty() {
            true => name.to_owned(),
            false => format!("{name}{{{}}}", fields.0),
        }))
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut fields = Line(String::new());
        values.record(&mut fields);
        spans::add(span.into_u64(), &fields.0);
    }
    fn clone_span(&self, span: &Id) -> Id {
        spans::hold(span.into_u64());
        span.clone()
    }
    fn try_close(&self, span: Id) -> bool {
        spans::release(span.into_u64())
    }
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let line = spans::prefix() + &line.0;
        write(number(event.metadata().level()), event.metadata().target(), &line);
    }
    fn enter(&self, span: &Id) {
        spans::enter(span.into_u64());
    }
    fn exit(&self, _span: &Id) {
        spans::exit();
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string can't fail.
        let _ = if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            write!(self.0, "{value:?}{}{rest}", if rest.is_empty() { "" } else { " " })
        } else {
            let space = if self.0.is_empty() { "" } else { " " };
            write!(self.0, "{space}{}={value:?}", field.name())
        };
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
