//! A safe way for hosts to call a plugin over its root module: [`HostedPlugin`], [`HostedRun`], and [`UnitHost`], which
//! a host implements to serve a work unit.
//!
//! For hosts: no author of a plugin touches this module.
//!
//! Invariants: nothing of the plugin's is kept but the run's handle, which goes back to the plugin when the run is
//! dropped; texts and bytes are copied. A panic of the host's own code inside a callback does not unwind through the
//! plugin: the callback reports it, and it goes on when the entry has returned.
//!
//! The caller keeps the library mapped as long as a [`HostedPlugin`] or [`HostedRun`] lives, and uses them on the
//! threads that the loader's rules name.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::resume_unwind;

use abi_stable::prefix_type::WithMetadata;

use crate::abi::{
    Begun, Bytes, DerivedSink, HostCalls, HostCallsRef, HostContext, HostServices, PluginModuleRef, Sink,
    Status, Visitor, encoding, status,
};
use crate::application::Description;
use crate::panics::outside;
use crate::procedure::Encoding;

/// The longest text that an entry may leave, in bytes; the rest is dropped.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// The longest row that is taken from a plugin; the core takes no longer one than 4 MiB.
const ROW_BYTES_MAX: usize = (4 << 20) + 1;
/// The most steps of a plan that a host looks at.
const PLAN_MAX: usize = 1 << 16;

/// How an entry ended, other than well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryFailure {
    /// The application's own "no".
    Refused {
        /// Its code.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// The author's code panicked; message and location.
    Panicked(String),
    /// The author's code returned an error.
    Failed(String),
    /// The plugin broke the contract.
    Contract(String),
    /// The control parameters can't be decoded; the field's path and why.
    Malformed(String),
}

impl std::fmt::Display for EntryFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EntryFailure::Refused { code, message } => write!(f, "refused ({code}): {message}"),
            EntryFailure::Panicked(what) => write!(f, "panicked: {what}"),
            EntryFailure::Failed(what) | EntryFailure::Malformed(what) => f.write_str(what),
            EntryFailure::Contract(what) => write!(f, "broke the contract: {what}"),
        }
    }
}

impl std::error::Error for EntryFailure {}

/// What a host offers a work unit while it runs.
pub trait UnitHost {
    /// The row under `key`, as this procedure has left it so far.
    fn get(&mut self, table: u32, key: &[u8]) -> Option<&[u8]>;
    /// Writes a row.
    fn put(&mut self, table: u32, key: &[u8], value: &[u8]);
    /// Removes a row.
    fn delete(&mut self, table: u32, key: &[u8]);
    /// Visits the rows with `from <= key < to` in order, as long as `visit` returns true.
    fn scan(
        &mut self,
        table: u32,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    );
    /// The procedure's time, in microseconds since the Unix epoch.
    fn time_us(&self) -> u64;
    /// The unit's next random number.
    fn random(&mut self) -> u64;
    /// The features that are on, a bit each.
    fn features(&self) -> u64;
    /// The format in which rows of `table` are to be written.
    fn format(&mut self, table: u32) -> u16;
    /// The event's body.
    fn body(&self) -> &[u8];
    /// Sets the reply.
    fn reply(&mut self, reply: &[u8]);
    /// A value that an earlier unit left.
    fn scratch(&mut self, name: &[u8]) -> Option<&[u8]>;
    /// Leaves a value for later units.
    fn set_scratch(&mut self, name: &[u8], value: &[u8]);
    /// Sets a timer that is due at `at_us`, microseconds since the Unix epoch.
    fn set_timer(&mut self, key: &str, at_us: u64, procedure: &str, parameters: &[u8]);
    /// Takes a timer away; true when there was one.
    fn cancel_timer(&mut self, key: &str) -> bool;
    /// When a timer is due.
    fn timer(&self, key: &str) -> Option<u64>;
    /// Sends a message.
    fn send(&mut self, application: &str, partition: u16, procedure: &str, parameters: &[u8]);
    /// Writes a line to the host's log. `level`: 1 error to 5 trace. No unit is given from inside of a scan's visitor, when
    /// it is busy.
    fn log(unit: Option<&Self>, level: u8, target: &str, message: &str);
}

/// Where a plugin's log lines go outside of work units.
pub trait LogLines {
    /// The highest level that is wanted; 0 for none.
    fn level_max() -> u8;
    /// A line. From any thread.
    fn line(level: u8, target: &str, message: &str);
}

/// The services of a host whose log is `L`.
#[must_use]
pub fn services<L: LogLines>() -> HostServices {
    HostServices { log: log_line::<L>, log_level_max: L::level_max() }
}

unsafe extern "C" fn log_line<L: LogLines>(level: u8, target: Bytes, message: Bytes) {
    // SAFETY: lent for the time of this call.
    let (target, message) = unsafe { (text(target), text(message)) };
    // A panic of the log's is not the plugin's business, and there is nobody to tell.
    let _ = outside(|| L::line(level, &target, &message));
}

/// # Safety
/// The bytes must be valid.
unsafe fn text<'a>(bytes: Bytes) -> std::borrow::Cow<'a, str> {
    // SAFETY: the caller vouches for it.
    String::from_utf8_lossy(unsafe { bytes.or_empty() })
}

/// A plugin whose entries can be called.
#[derive(Clone, Copy)]
pub struct HostedPlugin {
    module: PluginModuleRef,
}

impl std::fmt::Debug for HostedPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostedPlugin")
    }
}

/// Calls an entry with a sink; what it put, and how it went.
fn collect(entry: impl FnOnce(*const Sink) -> Status) -> (Status, Vec<u8>) {
    collect_up_to(TEXT_BYTES_MAX, entry)
}

/// What `entry` puts into its sink, cut off after `bytes_max`.
fn collect_up_to<R>(bytes_max: usize, entry: impl FnOnce(*const Sink) -> R) -> (R, Vec<u8>) {
    struct Said {
        bytes: Vec<u8>,
        bytes_max: usize,
    }
    unsafe extern "C" fn put(this: *mut c_void, bytes: Bytes) {
        // SAFETY: `collect_up_to` passes its own `Said` and touches it only after the entry's call.
        let said = unsafe { &mut *this.cast::<Said>() };
        // SAFETY: lent for the time of this call.
        let bytes = unsafe { bytes.or_empty() };
        let room = said.bytes_max - said.bytes.len();
        said.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
    let mut said = Said { bytes: Vec::new(), bytes_max };
    let sink = Sink { this: (&raw mut said).cast(), put };
    let result = entry(&raw const sink);
    (result, said.bytes)
}

fn failure(status: Status, said: &[u8]) -> EntryFailure {
    let said = String::from_utf8_lossy(said).into_owned();
    match status {
        status::REFUSED => {
            let (code, message) = said.split_once('\0').unwrap_or((&said, ""));
            EntryFailure::Refused { code: code.into(), message: message.into() }
        }
        status::PANICKED => EntryFailure::Panicked(said),
        status::FAILED => EntryFailure::Failed(said),
        status::MALFORMED => EntryFailure::Malformed(said),
        status::CONTRACT => EntryFailure::Contract(said),
        other => EntryFailure::Contract(format!("an entry returned status {other}: {said}")),
    }
}

impl HostedPlugin {
    /// The plugin behind a root module.
    #[must_use]
    pub fn new(module: PluginModuleRef) -> Self {
        HostedPlugin { module }
    }

    /// What the plugin says of itself.
    ///
    /// # Errors
    /// When it can't say it, or says it in words that are not understood.
    pub fn describe(&self) -> Result<Description, EntryFailure> {
        // SAFETY: the module's functions are those of a mapped library; the sink lives during the call.
        let (status, said) = collect(|sink| unsafe { self.module.describe()(sink) });
        if status != status::OK {
            return Err(failure(status, &said));
        }
        Description::decode(&said).map_err(|why| EntryFailure::Contract(why.to_string()))
    }

    /// Starts a linked application. A loaded one is started by the loader, which keeps count of its life.
    ///
    /// # Errors
    /// When the author's start fails.
    pub fn start(&self, services: &HostServices) -> Result<(), EntryFailure> {
        // SAFETY: as in `describe`; the services live during the call, and their functions for ever.
        let (status, said) = collect(|sink| unsafe { self.module.start()(services, sink) });
        if status == status::OK { Ok(()) } else { Err(failure(status, &said)) }
    }

    /// Shuts a linked application down.
    ///
    /// # Errors
    /// When the author's shutdown fails.
    pub fn shutdown(&self) -> Result<(), EntryFailure> {
        // SAFETY: as in `describe`.
        let (status, said) = collect(|sink| unsafe { self.module.shutdown()(sink) });
        if status == status::OK { Ok(()) } else { Err(failure(status, &said)) }
    }

    /// Begins a procedure.
    ///
    /// # Errors
    /// When the parameters can't be decoded, or the author's code fails.
    pub fn begin(
        &self,
        procedure: u32,
        encoding: Encoding,
        parameters: &[u8],
        features: u64,
    ) -> Result<HostedRun, EntryFailure> {
        let encoding = number_of(encoding);
        let mut begun = Begun { handle: std::ptr::null_mut(), plan: std::ptr::null(), plan_len: 0 };
        // SAFETY: as in `describe`; all that is lent lives during the call.
        let (status, said) = collect(|sink| unsafe {
            self.module.begin()(procedure, encoding, Bytes::of(parameters), features, &raw mut begun, sink)
        });
        if status != status::OK {
            return Err(failure(status, &said));
        }
        // From here on the run is ended, whatever else is wrong with it.
        let mut run = HostedRun { module: self.module, handle: begun.handle, plan: Vec::new() };
        if begun.handle.is_null() || begun.plan.is_null() || begun.plan_len > PLAN_MAX {
            return Err(EntryFailure::Contract("a procedure was begun without a run or a plan".into()));
        }
        // SAFETY: by the contract the plan is valid until `end`; it is copied here.
        let plan = unsafe { std::slice::from_raw_parts(begun.plan, begun.plan_len) };
        run.plan = plan.iter().map(|unit| *unit as usize).collect();
        Ok(run)
    }

    /// Runs the undo of that name of a procedure (R19). The host's writes are those of a context that takes none.
    ///
    /// # Errors
    /// When it fails or panics, or the plugin has no such undo.
    ///
    /// # Panics
    /// With the panic of `host`'s own code, if a callback led to one.
    pub fn undo<H: UnitHost>(
        &self,
        procedure: u32,
        undo: &str,
        encoding: Encoding,
        parameters: &[u8],
        host: &mut H,
    ) -> Result<(), EntryFailure> {
        let (undo, parameters) = (Bytes::of(undo.as_bytes()), Bytes::of(parameters));
        lending(host, |context| {
            // SAFETY: as in `describe`; all that is lent lives during the call.
            collect(|sink| unsafe {
                self.module.undo()(procedure, undo, number_of(encoding), parameters, context, sink)
            })
        })
    }

    /// Whether this version can read a row (R17).
    ///
    /// # Errors
    /// When it can't.
    pub fn check_row(&self, table: u32, key: &[u8], value: &[u8]) -> Result<(), EntryFailure> {
        // SAFETY: as in `describe`; all that is lent lives during the call.
        let (status, said) =
            collect(|sink| unsafe { self.module.check_row()(table, Bytes::of(key), Bytes::of(value), sink) });
        if status == status::OK { Ok(()) } else { Err(failure(status, &said)) }
    }

    /// The row in `format`, whatever format it is in now (R31).
    ///
    /// # Errors
    /// When the version can't read it, or can't write that format; when it was built with plugin API 1.0, which has no
    /// such entry.
    pub fn rewrite_row(
        &self,
        table: u32,
        key: &[u8],
        value: &[u8],
        format: u16,
    ) -> Result<Vec<u8>, EntryFailure> {
        let rewrite = self.module.rewrite_row().ok_or_else(|| {
            EntryFailure::Failed("a version that was built with plugin API 1.0 rewrites no rows".into())
        })?;
        let (key, value) = (Bytes::of(key), Bytes::of(value));
        let mut said = (status::CONTRACT, Vec::new());
        let ((), row) = collect_up_to(ROW_BYTES_MAX, |row| {
            // SAFETY: as in `describe`; all that is lent lives during the call.
            said = collect(|sink| unsafe { rewrite(table, key, value, format, row, sink) });
        });
        if said.0 == status::OK { Ok(row) } else { Err(failure(said.0, &said.1)) }
    }

    /// Hands `put` the derived rows that a row of `table` gives (R17): table, key, row.
    ///
    /// # Errors
    /// When the author's code fails.
    ///
    /// # Panics
    /// With `put`'s own panic.
    pub fn translate(
        &self,
        table: u32,
        key: &[u8],
        value: &[u8],
        put: PutDerived<'_>,
    ) -> Result<(), EntryFailure> {
        let mut putting = Putting { put, panic: None };
        let rows = DerivedSink { this: (&raw mut putting).cast(), put: put_derived };
        // SAFETY: as in `describe`; all that is lent lives during the call.
        let (status, said) = collect(|sink| unsafe {
            self.module.translate()(table, Bytes::of(key), Bytes::of(value), &raw const rows, sink)
        });
        if let Some(panic) = putting.panic {
            resume_unwind(panic);
        }
        if status == status::OK { Ok(()) } else { Err(failure(status, &said)) }
    }
}

/// Takes a derived row: its table, key and row.
pub type PutDerived<'a> = &'a mut dyn FnMut(u32, &[u8], &[u8]);

struct Putting<'a> {
    put: PutDerived<'a>,
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn put_derived(this: *mut c_void, table: u32, key: Bytes, value: Bytes) {
    // SAFETY: `translate` made it of a `Putting` that outlives its call of the entry; bytes are lent for this call.
    let (putting, key, value) =
        unsafe { (&mut *this.cast::<Putting<'_>>(), key.or_empty(), value.or_empty()) };
    if putting.panic.is_none() {
        putting.panic = outside(|| (putting.put)(table, key, value)).err();
    }
}

/// A procedure under way in a plugin.
pub struct HostedRun {
    module: PluginModuleRef,
    handle: *mut c_void,
    plan: Vec<usize>,
}

// SAFETY: the plugin makes runs of `Send` parameters and keeps nothing of a thread in them; a run is used by one
// thread at a time, as `run` and `drop` take it whole.
unsafe impl Send for HostedRun {}

impl std::fmt::Debug for HostedRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostedRun").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl HostedRun {
    /// The plan: places of the procedure's units, in the order in which they are to run.
    #[must_use]
    pub fn plan(&self) -> &[usize] {
        &self.plan
    }

    /// Runs the unit at `position` of the plan.
    ///
    /// # Errors
    /// When it refuses, fails or panics.
    ///
    /// # Panics
    /// With the panic of `host`'s own code, if a callback led to one.
    pub fn run<H: UnitHost>(&mut self, position: usize, host: &mut H) -> Result<(), EntryFailure> {
        let position = u32::try_from(position)
            .map_err(|_| EntryFailure::Contract("a position beyond every plan was asked for".into()))?;
        lending(host, |context| {
            // SAFETY: the handle is of `begin` and not ended; context and sink live during the call.
            collect(|sink| unsafe { self.module.run_unit()(self.handle, position, context, sink) })
        })
    }
}

fn number_of(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Postcard => encoding::POSTCARD,
        Encoding::Json => encoding::JSON,
    }
}

/// Lends `host` to an entry as its context; a panic of the host's own goes on when the entry has returned.
fn lending<H: UnitHost>(
    host: &mut H,
    entry: impl FnOnce(*const HostContext) -> (Status, Vec<u8>),
) -> Result<(), EntryFailure> {
    let frame = Frame {
        time_us: host.time_us(),
        features: host.features(),
        body: Bytes::of(host.body()),
        host: RefCell::new(host),
        panic: Cell::new(None),
    };
    let context = HostContext {
        this: (&raw const frame).cast_mut().cast(),
        calls: HostCallsRef(Calls::<H>::WITH_METADATA.static_as_prefix()),
    };
    let (status, said) = entry(&raw const context);
    if let Some(panic) = frame.panic.take() {
        resume_unwind(panic);
    }
    if status == status::OK { Ok(()) } else { Err(failure(status, &said)) }
}

impl Drop for HostedRun {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle is of `begin`, and this is its only end.
            unsafe { self.module.end()(self.handle) }
        }
    }
}

/// What the callbacks work with. A unit's visitor may call back while a scan is under way: what needs the host then
/// says `BUSY`, and the rest stands here beside it.
struct Frame<'a, H> {
    time_us: u64,
    features: u64,
    body: Bytes,
    host: RefCell<&'a mut H>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
}

impl<H: UnitHost> Frame<'_, H> {
    /// Runs host code.
    fn with(&self, call: impl FnOnce(&mut H) -> Status) -> Status {
        let Ok(mut host) = self.host.try_borrow_mut() else { return status::BUSY };
        match outside(|| call(&mut host)) {
            Ok(status) => status,
            Err(panic) => {
                self.panic.set(Some(panic));
                status::HOST_PANICKED
            }
        }
    }
}

/// # Safety
/// `this` must be of [`HostedRun::run`] with the same `H`, during its call of the entry.
unsafe fn frame<'a, H>(this: *mut c_void) -> &'a Frame<'a, H> {
    // SAFETY: the caller vouches for it.
    unsafe { &*this.cast::<Frame<'a, H>>() }
}

struct Calls<H>(PhantomData<H>);

impl<H: UnitHost> Calls<H> {
    const WITH_METADATA: &'static WithMetadata<HostCalls> = &WithMetadata::new(HostCalls {
        get: get::<H>,
        put: put::<H>,
        delete: delete::<H>,
        scan: scan::<H>,
        time_us: time_us::<H>,
        random: random::<H>,
        feature: feature::<H>,
        format: format::<H>,
        body: body::<H>,
        reply: reply::<H>,
        scratch: scratch::<H>,
        set_scratch: set_scratch::<H>,
        log: log::<H>,
        set_timer: set_timer::<H>,
        cancel_timer: cancel_timer::<H>,
        timer: timer::<H>,
        send: send::<H>,
    });
}

/// Hands found bytes out.
fn found(bytes: Option<&[u8]>, out: *mut Bytes) -> Status {
    let Some(bytes) = bytes else { return status::ABSENT };
    // SAFETY: the plugin lends a place for it, by the contract of `get` and `scratch`.
    unsafe { out.write(Bytes::of(bytes)) };
    status::OK
}

unsafe extern "C" fn get<H: UnitHost>(
    this: *mut c_void,
    table: u32,
    key: Bytes,
    value: *mut Bytes,
) -> Status {
    // SAFETY: in this and all callbacks below: `this` is what `run` passed to the entry, which is under way; bytes are
    // lent for the time of the call.
    let (frame, key) = unsafe { (frame::<H>(this), key.or_empty()) };
    frame.with(|host| found(host.get(table, key), value))
}

unsafe extern "C" fn put<H: UnitHost>(this: *mut c_void, table: u32, key: Bytes, value: Bytes) -> Status {
    // SAFETY: as in `get`.
    let (frame, key, value) = unsafe { (frame::<H>(this), key.or_empty(), value.or_empty()) };
    frame.with(|host| {
        host.put(table, key, value);
        status::OK
    })
}

unsafe extern "C" fn delete<H: UnitHost>(this: *mut c_void, table: u32, key: Bytes) -> Status {
    // SAFETY: as in `get`.
    let (frame, key) = unsafe { (frame::<H>(this), key.or_empty()) };
    frame.with(|host| {
        host.delete(table, key);
        status::OK
    })
}

unsafe extern "C" fn scan<H: UnitHost>(
    this: *mut c_void,
    table: u32,
    from: Bytes,
    to: Bytes,
    visitor: Visitor,
) -> Status {
    // SAFETY: as in `get`.
    let (frame, from, to) = unsafe { (frame::<H>(this), from.or_empty(), to.get()) };
    frame.with(|host| {
        host.scan(table, from, to, &mut |key, value| {
            // SAFETY: the visitor is the plugin's and valid during this callback; it never unwinds.
            unsafe { (visitor.visit)(visitor.this, Bytes::of(key), Bytes::of(value)) != 0 }
        });
        status::OK
    })
}

unsafe extern "C" fn time_us<H: UnitHost>(this: *mut c_void) -> u64 {
    // SAFETY: as in `get`.
    unsafe { frame::<H>(this) }.time_us
}

unsafe extern "C" fn random<H: UnitHost>(this: *mut c_void) -> u64 {
    // SAFETY: as in `get`.
    let frame = unsafe { frame::<H>(this) };
    let mut random = 0;
    // A visitor has the context shared, and this needs it alone: the plugin's types rule it out.
    frame.with(|host| {
        random = host.random();
        status::OK
    });
    random
}

unsafe extern "C" fn feature<H: UnitHost>(this: *mut c_void, feature: u32) -> u8 {
    // SAFETY: as in `get`.
    let features = unsafe { frame::<H>(this) }.features;
    u8::from(features.checked_shr(feature).is_some_and(|rest| rest & 1 == 1))
}

unsafe extern "C" fn format<H: UnitHost>(this: *mut c_void, table: u32) -> u16 {
    // SAFETY: as in `get`.
    let frame = unsafe { frame::<H>(this) };
    // No version writes format 0, so a failure here is an error there.
    let mut format = 0;
    frame.with(|host| {
        format = host.format(table);
        status::OK
    });
    format
}

unsafe extern "C" fn body<H: UnitHost>(this: *mut c_void) -> Bytes {
    // SAFETY: as in `get`.
    unsafe { frame::<H>(this) }.body
}

unsafe extern "C" fn reply<H: UnitHost>(this: *mut c_void, reply: Bytes) -> Status {
    // SAFETY: as in `get`.
    let (frame, reply) = unsafe { (frame::<H>(this), reply.or_empty()) };
    frame.with(|host| {
        host.reply(reply);
        status::OK
    })
}

unsafe extern "C" fn scratch<H: UnitHost>(this: *mut c_void, name: Bytes, value: *mut Bytes) -> Status {
    // SAFETY: as in `get`.
    let (frame, name) = unsafe { (frame::<H>(this), name.or_empty()) };
    frame.with(|host| found(host.scratch(name), value))
}

unsafe extern "C" fn set_scratch<H: UnitHost>(this: *mut c_void, name: Bytes, value: Bytes) -> Status {
    // SAFETY: as in `get`.
    let (frame, name, value) = unsafe { (frame::<H>(this), name.or_empty(), value.or_empty()) };
    frame.with(|host| {
        host.set_scratch(name, value);
        status::OK
    })
}

unsafe extern "C" fn set_timer<H: UnitHost>(
    this: *mut c_void,
    key: Bytes,
    at_us: u64,
    procedure: Bytes,
    parameters: Bytes,
) -> Status {
    // SAFETY: as in `get`.
    let (frame, parameters) = unsafe { (frame::<H>(this), parameters.or_empty()) };
    // SAFETY: as in `get`.
    let (key, procedure) = unsafe { (text(key), text(procedure)) };
    frame.with(|host| {
        host.set_timer(&key, at_us, &procedure, parameters);
        status::OK
    })
}

unsafe extern "C" fn cancel_timer<H: UnitHost>(this: *mut c_void, key: Bytes) -> Status {
    // SAFETY: as in `get`.
    let (frame, key) = unsafe { (frame::<H>(this), text(key)) };
    frame.with(|host| if host.cancel_timer(&key) { status::OK } else { status::ABSENT })
}

unsafe extern "C" fn timer<H: UnitHost>(this: *mut c_void, key: Bytes, at_us: *mut u64) -> Status {
    // SAFETY: as in `get`.
    let (frame, key) = unsafe { (frame::<H>(this), text(key)) };
    frame.with(|host| {
        let Some(at) = host.timer(&key) else { return status::ABSENT };
        // SAFETY: the plugin lends a place for it.
        unsafe { at_us.write(at) };
        status::OK
    })
}

unsafe extern "C" fn send<H: UnitHost>(
    this: *mut c_void,
    application: Bytes,
    partition: u16,
    procedure: Bytes,
    parameters: Bytes,
) -> Status {
    // SAFETY: as in `get`.
    let (frame, parameters) = unsafe { (frame::<H>(this), parameters.or_empty()) };
    // SAFETY: as in `get`.
    let (application, procedure) = unsafe { (text(application), text(procedure)) };
    frame.with(|host| {
        host.send(&application, partition, &procedure, parameters);
        status::OK
    })
}

unsafe extern "C" fn log<H: UnitHost>(this: *mut c_void, level: u8, target: Bytes, message: Bytes) {
    // SAFETY: as in `get`.
    let (frame, target, message) = unsafe { (frame::<H>(this), text(target), text(message)) };
    // As in `log_line`.
    let _ = outside(|| {
        H::log(frame.host.try_borrow().ok().as_deref().map(|host| &**host), level, &target, &message)
    });
}
