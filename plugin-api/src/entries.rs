//! The entries of a plugin's root module: each catches the panics of what it calls, and says how it went by a status.

use std::ffi::c_void;
use std::fmt::Display;
use std::marker::PhantomData;

use abi_stable::prefix_type::WithMetadata;

use crate::abi::{
    API_VERSION, Begun, Bytes, DerivedSink, HostContext, HostServices, PluginModule, PluginModuleRef, Sink,
    Status, encoding, status,
};
use crate::alloc;
use crate::application::Application;
use crate::log_bridge;
use crate::outcome::Stop;
use crate::panics::{self, caught};
use crate::procedure::{Beginning, Encoding, Malformed, Undoing, drop_handle, run_handle};

/// A type that stands for an application, so that plain functions can find it.
#[doc(hidden)]
pub trait Exported: 'static {
    /// True in a plugin file, which has a standard library, a `tracing` and an allocator of its own.
    const LOADED: bool;
    fn application() -> &'static Application;
}

struct Entries<A>(PhantomData<A>);

impl<A: Exported> Entries<A> {
    const WITH_METADATA: &'static WithMetadata<PluginModule> = &WithMetadata::new(PluginModule {
        api: API_VERSION,
        describe: describe::<A>,
        start: start::<A>,
        shutdown: shutdown::<A>,
        purge,
        live_bytes: live_bytes::<A>,
        begin: begin::<A>,
        run_unit,
        end,
        check_row: check_row::<A>,
        translate: translate::<A>,
        undo: undo::<A>,
        rewrite_row: rewrite_row::<A>,
    });
}

/// The root module of an application.
#[doc(hidden)]
#[must_use]
pub fn module_of<A: Exported>() -> PluginModuleRef {
    PluginModuleRef(Entries::<A>::WITH_METADATA.static_as_prefix())
}

/// # Safety
/// The sink must be valid.
unsafe fn say(sink: *const Sink, what: &str) {
    // SAFETY: the caller vouches for it.
    unsafe { ((*sink).put)((*sink).this, Bytes::of(what.as_bytes())) }
}

/// Runs `entry` and puts what went wrong into the sink.
///
/// # Safety
/// The sink must be valid.
unsafe fn guarded<E: Display>(errors: *const Sink, entry: impl FnOnce() -> Result<(), E>) -> Status {
    let (status, said) = match caught(entry) {
        Ok(Ok(())) => return status::OK,
        Ok(Err(error)) => (status::FAILED, error.to_string()),
        Err(panic) => (status::PANICKED, panic),
    };
    // SAFETY: the caller vouches for it.
    unsafe { say(errors, &said) };
    status
}

unsafe extern "C" fn describe<A: Exported>(out: *const Sink) -> Status {
    let described = caught(|| A::application().description().encode());
    let Ok(Ok(bytes)) = described else { return status::PANICKED };
    // SAFETY: the host lends a valid sink.
    unsafe { ((*out).put)((*out).this, Bytes::of(&bytes)) };
    status::OK
}

unsafe extern "C" fn start<A: Exported>(services: *const HostServices, errors: *const Sink) -> Status {
    panics::install(A::LOADED);
    if A::LOADED {
        // SAFETY: the host lends valid services.
        log_bridge::connect(unsafe { &*services });
    }
    // SAFETY: the host lends a valid sink.
    unsafe { guarded(errors, || A::application().start()) }
}

unsafe extern "C" fn shutdown<A: Exported>(errors: *const Sink) -> Status {
    // SAFETY: the host lends a valid sink.
    let status = unsafe { guarded(errors, || A::application().shutdown()) };
    if A::LOADED {
        log_bridge::disconnect();
    }
    panics::remove(A::LOADED);
    status
}

unsafe extern "C" fn purge() -> usize {
    // SAFETY: by the contract nothing of the plugin runs now or later, and the host keeps none of its values.
    unsafe { alloc::purge() }
}

unsafe extern "C" fn live_bytes<A: Exported>() -> usize {
    if A::LOADED { alloc::live_bytes() } else { 0 }
}

unsafe extern "C" fn begin<A: Exported>(
    procedure: u32,
    encoding: u8,
    parameters: Bytes,
    features: u64,
    begun: *mut Begun,
    errors: *const Sink,
) -> Status {
    // SAFETY: lent for the time of this call.
    let parameters = unsafe { parameters.or_empty() };
    let result = caught(|| {
        let application = A::application();
        let procedure = application.procedures.get(procedure as usize);
        let procedure =
            procedure.ok_or_else(|| Malformed::Contract("the application has no such procedure".into()))?;
        let encoding = encoding_of(encoding).map_err(Malformed::Contract)?;
        let units = procedure.declared.units;
        (procedure.begin)(Beginning { application, units, encoding, parameters, features })
    });
    let (status, said) = match result {
        Ok(Ok(run)) => {
            let (plan, plan_len) = (run.plan, run.plan_len);
            // SAFETY: the host lends a place for it.
            unsafe { begun.write(Begun { handle: run.into_raw(), plan, plan_len }) };
            return status::OK;
        }
        Ok(Err(Malformed::Parameters(said))) => (status::MALFORMED, said),
        Ok(Err(Malformed::Contract(said))) => (status::CONTRACT, said),
        Err(panic) => (status::PANICKED, panic),
    };
    // SAFETY: the host lends a valid sink.
    unsafe { say(errors, &said) };
    status
}

fn encoding_of(encoding: u8) -> Result<Encoding, String> {
    match encoding {
        encoding::POSTCARD => Ok(Encoding::Postcard),
        encoding::JSON => Ok(Encoding::Json),
        other => Err(format!("encoding {other} is unknown")),
    }
}

unsafe extern "C" fn run_unit(
    handle: *mut c_void,
    position: u32,
    context: *const HostContext,
    errors: *const Sink,
) -> Status {
    // SAFETY: the host gives a handle of `begin`, not yet ended, and a context that is valid for this call.
    let result = caught(|| unsafe { run_handle(handle, position as usize, *context) });
    let (status, said) = match result {
        Ok(Some(Ok(()))) => return status::OK,
        Ok(Some(Err(Stop::Refused(refusal)))) => {
            let code = refusal.code.replace('\0', " ");
            (status::REFUSED, format!("{code}\0{}", refusal.message))
        }
        Ok(Some(Err(Stop::Failed(error)))) => (status::FAILED, error.to_string()),
        Ok(None) => (status::CONTRACT, format!("the plan has no position {position}")),
        Err(panic) => (status::PANICKED, panic),
    };
    // SAFETY: the host lends a valid sink.
    unsafe { say(errors, &said) };
    status
}

unsafe extern "C" fn end(handle: *mut c_void) {
    // SAFETY: the host gives a handle of `begin` and does not use it again.
    let ended = caught(|| unsafe { drop_handle(handle) });
    if let Err(panic) = ended {
        log_bridge::write(1, "panic", &format!("dropping a procedure's parameters panicked: {panic}"));
    }
}

unsafe extern "C" fn check_row<A: Exported>(
    table: u32,
    key: Bytes,
    value: Bytes,
    errors: *const Sink,
) -> Status {
    // SAFETY: lent for the time of this call.
    let (key, value) = unsafe { (key.or_empty(), value.or_empty()) };
    let check = || {
        let table = A::application().tables.get(table as usize);
        table.ok_or_else(|| crate::Error::new("the application has no such table"))?.check_row(key, value)
    };
    // SAFETY: the host lends a valid sink.
    unsafe { guarded(errors, check) }
}

unsafe extern "C" fn rewrite_row<A: Exported>(
    table: u32,
    key: Bytes,
    value: Bytes,
    format: u16,
    row: *const Sink,
    errors: *const Sink,
) -> Status {
    // SAFETY: lent for the time of this call.
    let (key, value) = unsafe { (key.or_empty(), value.or_empty()) };
    let rewrite = || {
        let table = A::application().tables.get(table as usize);
        let table = table.ok_or_else(|| crate::Error::new("the application has no such table"))?;
        let new = table.rewrite_row(key, value, format)?;
        // SAFETY: the host lends a valid sink.
        unsafe { ((*row).put)((*row).this, Bytes::of(&new)) };
        Ok::<(), crate::Error>(())
    };
    // SAFETY: the host lends a valid sink.
    unsafe { guarded(errors, rewrite) }
}

unsafe extern "C" fn translate<A: Exported>(
    table: u32,
    key: Bytes,
    value: Bytes,
    rows: *const DerivedSink,
    errors: *const Sink,
) -> Status {
    // SAFETY: lent for the time of this call.
    let (key, value, rows) = unsafe { (key.or_empty(), value.or_empty(), *rows) };
    let translate = || {
        let tables = A::application().tables;
        let source = tables.get(table as usize);
        let source = source.ok_or_else(|| crate::Error::new("the application has no such table"))?;
        for (index, table) in tables.iter().enumerate() {
            let Some(derived) = table.derived.filter(|derived| derived.source() == source.name) else {
                continue;
            };
            derived.translate(key, value, &mut |key, value| {
                // SAFETY: the host's sink is valid for this call, and so are the bytes.
                unsafe { (rows.put)(rows.this, index as u32, Bytes::of(key), Bytes::of(value)) }
            })?;
        }
        Ok::<(), crate::Error>(())
    };
    // SAFETY: the host lends a valid sink.
    unsafe { guarded(errors, translate) }
}

unsafe extern "C" fn undo<A: Exported>(
    procedure: u32,
    undo: Bytes,
    encoding: u8,
    parameters: Bytes,
    context: *const HostContext,
    errors: *const Sink,
) -> Status {
    // SAFETY: lent for the time of this call, as is the context.
    let (undo, parameters, host) = unsafe { (undo.or_empty(), parameters.or_empty(), *context) };
    let result = caught(|| {
        let application = A::application();
        let procedure = application.procedures.get(procedure as usize);
        let procedure = procedure.ok_or("the application has no such procedure")?;
        let undo = std::str::from_utf8(undo).map_err(|_| "the name of an undo is text")?;
        let encoding = encoding_of(encoding)?;
        (procedure.undo)(&Undoing { application, undo, encoding, parameters, host })
            .ok_or_else(|| format!("the procedure has no undo `{undo}`"))
    });
    let (status, said) = match result {
        Ok(Ok(Ok(()))) => return status::OK,
        Ok(Ok(Err(Stop::Failed(error)))) => (status::FAILED, error.to_string()),
        Ok(Ok(Err(Stop::Refused(refusal)))) => {
            (status::FAILED, format!("it refused ({}): {}", refusal.code, refusal.message))
        }
        Ok(Err(contract)) => (status::CONTRACT, contract),
        Err(panic) => (status::PANICKED, panic),
    };
    // SAFETY: the host lends a valid sink.
    unsafe { say(errors, &said) };
    status
}
