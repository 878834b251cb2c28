//! Procedures as declared by `#[procedure]`, and their runs.
//!
//! A run owns its decoded control parameters, its plan and its buffers: parameters are decoded once, and a unit's
//! call allocates nothing but what the author's own types need.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::HostContext;
use crate::application::Application;
use crate::context::Context;
use crate::names::place_of;
use crate::outcome::{Outcome, Stop};
use crate::plan::{Plan, Undo, UnitDeclared, WorkUnit};

/// How control parameters are encoded and the reply is to be.
///
/// For hosts: to an author both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `postcard`.
    Postcard,
    /// JSON.
    Json,
}

/// What `#[procedure]` says in its arguments.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Declared {
    pub name: &'static str,
    pub version: u32,
    pub completes: bool,
    pub reads_only: bool,
    pub one_sided: bool,
    pub body_withheld: bool,
    pub deadline_ms: u32,
    pub hang_ms: u32,
    pub units: &'static [UnitDeclared],
    /// Undos that are kept beside those of the units.
    pub undos: &'static [&'static str],
}

/// A procedure, as `application!` lists it.
#[doc(hidden)]
pub struct Procedure {
    pub(crate) declared: Declared,
    pub(crate) begin: fn(Beginning<'_>) -> Result<RunHandle, Malformed>,
    pub(crate) undo: fn(&Undoing<'_>) -> Option<Outcome>,
    pub(crate) parameters: fn() -> String,
}

impl Procedure {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        declared: Declared,
        begin: fn(Beginning<'_>) -> Result<RunHandle, Malformed>,
        undo: fn(&Undoing<'_>) -> Option<Outcome>,
        parameters: fn() -> String,
    ) -> Self {
        Procedure { declared, begin, undo, parameters }
    }
}

/// A procedure with control parameters `P`: what the name of a function with `#[procedure]` stands for. It goes into the
/// list of `application!`, and to [`Context::set_timer`] and [`Context::send`].
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// use lockstep_plugin_api::procedure::Typed;
///
/// #[procedure(version = 1)]
/// fn add(_cx: &mut Context, _by: &u64) -> Reply<()> {
///     Ok(())
/// }
///
/// const ADD: Typed<u64> = add();
/// # fn main() {}
/// ```
pub struct Typed<P: ?Sized> {
    procedure: Procedure,
    parameters: PhantomData<fn(&P)>,
}

impl<P: ?Sized> Typed<P> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(procedure: Procedure) -> Self {
        Typed { procedure, parameters: PhantomData }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn listed(self) -> Procedure {
        self.procedure
    }

    pub(crate) fn name(&self) -> &'static str {
        self.procedure.declared.name
    }
}

/// Why a run could not begin; a sentence with the field's path.
#[doc(hidden)]
pub enum Malformed {
    Parameters(String),
    Contract(String),
}

/// What a run is made of.
#[doc(hidden)]
pub struct Beginning<'a> {
    pub(crate) application: &'static Application,
    pub(crate) units: &'static [UnitDeclared],
    pub(crate) encoding: Encoding,
    pub(crate) parameters: &'a [u8],
    pub(crate) features: u64,
}

impl Beginning<'_> {
    /// Begins a procedure whose plan is made from its parameters.
    pub fn planned<P: Parameters>(self, plan: fn(&P) -> Plan<P>) -> Result<RunHandle, Malformed> {
        let parameters: P = decode(self.encoding, self.parameters)?;
        let features = self.features;
        let application = self.application;
        let units = plan(&parameters)
            .resolve(|feature| match application.feature_index(feature) {
                Some(index) => Ok(features & (1 << index) != 0),
                None => Err(format!("feature `{}` is not in the list of `application!`", feature.name)),
            })
            .map_err(Malformed::Contract)?;
        self.run(parameters, units)
    }

    /// Begins a procedure of one unit.
    pub fn single<P: Parameters>(self, unit: WorkUnit<P>) -> Result<RunHandle, Malformed> {
        let parameters = decode(self.encoding, self.parameters)?;
        self.run(parameters, vec![unit])
    }

    fn run<P: Send + 'static>(self, parameters: P, units: Vec<WorkUnit<P>>) -> Result<RunHandle, Malformed> {
        if units.is_empty() || units.len() > crate::plan::STEPS_MAX {
            return Err(Malformed::Contract(format!("a plan of {} work units", units.len())));
        }
        let mut plan = Vec::with_capacity(units.len());
        for unit in &units {
            let name = unit.declared.name;
            match place_of(self.units.iter().map(|declared| declared.name), name) {
                Some(index) => plan.push(index as u32),
                None => {
                    return Err(Malformed::Contract(format!(
                        "the plan names work unit `{name}`, which `#[procedure]` did not see; \
                         write `units = [.., {name}]` in its arguments"
                    )));
                }
            }
        }
        let context = Context::new(self.application, self.encoding);
        let run = Running {
            head: Head { run: run_unit::<P>, drop: drop_run::<P> },
            plan,
            units,
            parameters,
            context,
        };
        let (plan, plan_len) = (run.plan.as_ptr(), run.plan.len());
        Ok(RunHandle { head: Box::into_raw(Box::new(run)).cast(), plan, plan_len })
    }
}

/// One call of an undo (R19).
#[doc(hidden)]
pub struct Undoing<'a> {
    pub(crate) application: &'static Application,
    pub(crate) undo: &'a str,
    pub(crate) encoding: Encoding,
    pub(crate) parameters: &'a [u8],
    pub(crate) host: HostContext,
}

impl Undoing<'_> {
    /// Runs the undo of that name; `None` when there is none. Those of the units come first.
    pub fn among<P: Parameters>(&self, units: &[Option<Undo<P>>], kept: &[Undo<P>]) -> Option<Outcome> {
        let undo = units.iter().flatten().chain(kept).find(|undo| undo.name() == self.undo)?;
        let parameters: P = match decode(self.encoding, self.parameters) {
            Ok(parameters) => parameters,
            Err(Malformed::Parameters(why) | Malformed::Contract(why)) => {
                return Some(Err(Stop::Failed(crate::Error::new(format_args!(
                    "its control parameters: {why}"
                )))));
            }
        };
        let mut context = Context::new(self.application, self.encoding);
        // SAFETY: valid for this call, as the entry's caller vouches; `Entered` takes it away before the call ends.
        unsafe { context.enter(self.host) };
        let entered = Entered(&mut context);
        Some(undo.run(entered.0, &parameters))
    }

    /// A procedure without any undo.
    pub fn none(&self) -> Option<Outcome> {
        None
    }
}

/// What the function of a procedure of one unit gives: a [`Reply`](crate::Reply).
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a procedure of one unit returns `Reply<T>`, and this one returns `{Self}`",
    label = "write `Reply<{Self}>`",
    note = "`Ok(value)` is the reply, and `T` is anything that implements `Serialize`"
)]
pub trait IsReply {
    fn into_outcome(self, cx: &mut Context) -> Outcome;
}

impl<T: Serialize, E: Into<Stop>> IsReply for Result<T, E> {
    fn into_outcome(self, cx: &mut Context) -> Outcome {
        let value = self.map_err(Into::into)?;
        cx.reply(&value)?;
        Ok(())
    }
}

/// The result of a single unit's function as the unit's outcome: the value becomes the reply.
#[doc(hidden)]
pub fn replied<R: IsReply>(result: R, cx: &mut Context) -> Outcome {
    result.into_outcome(cx)
}

/// What control parameters have to be.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the control parameters of a procedure",
    label = "these can't be read from an event",
    note = "derive `Deserialize` (and `Serialize`, for tests, timers and messages) for `{Self}`; it owns all that it holds"
)]
pub trait Parameters: DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<P: DeserializeOwned + Send + 'static> Parameters for P {}

fn decode<P: DeserializeOwned>(encoding: Encoding, bytes: &[u8]) -> Result<P, Malformed> {
    // The path to the field is found in a second pass, so that well-formed events don't pay for it.
    let decoded = match encoding {
        Encoding::Postcard => match postcard::take_from_bytes(bytes) {
            Ok((parameters, [])) => return Ok(parameters),
            Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
            Err(_) => {
                let mut deserializer = postcard::Deserializer::from_bytes(bytes);
                serde_path_to_error::deserialize::<_, P>(&mut deserializer).map_err(|error| said(&error))
            }
        },
        Encoding::Json => match serde_json::from_slice(bytes) {
            Ok(parameters) => return Ok(parameters),
            Err(error) => {
                let mut deserializer = serde_json::Deserializer::from_slice(bytes);
                match serde_path_to_error::deserialize::<_, P>(&mut deserializer) {
                    Ok(_) => Err(error.to_string()),
                    Err(error) => Err(said(&error)),
                }
            }
        },
    };
    decoded.map_err(Malformed::Parameters)
}

fn said<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> String {
    let path = error.path().to_string();
    if path == "." { error.inner().to_string() } else { format!("`{path}`: {}", error.inner()) }
}

/// A run as its handle points to it.
#[repr(C)]
struct Running<P: 'static> {
    // First, so that a pointer to the run is a pointer to its head.
    head: Head,
    plan: Vec<u32>,
    units: Vec<WorkUnit<P>>,
    parameters: P,
    context: Context,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Head {
    run: unsafe fn(*mut Head, usize, HostContext) -> Option<Outcome>,
    drop: unsafe fn(*mut Head),
}

/// A run that crosses the boundary.
#[doc(hidden)]
pub struct RunHandle {
    head: *mut Head,
    pub(crate) plan: *const u32,
    pub(crate) plan_len: usize,
}

impl RunHandle {
    pub(crate) fn into_raw(self) -> *mut std::ffi::c_void {
        self.head.cast()
    }
}

/// Runs a unit; `None` when the plan has no such position.
///
/// # Safety
/// `handle` is of `RunHandle::into_raw`, not yet dropped, and used by nobody else; `host` is valid for the call.
pub(crate) unsafe fn run_handle(
    handle: *mut std::ffi::c_void,
    position: usize,
    host: HostContext,
) -> Option<Outcome> {
    let head = handle.cast::<Head>();
    // SAFETY: the caller vouches for handle and host; the head stands first in the run.
    unsafe { ((*head).run)(head, position, host) }
}

/// # Safety
/// `handle` is of `RunHandle::into_raw`, and this is its last use.
pub(crate) unsafe fn drop_handle(handle: *mut std::ffi::c_void) {
    let head = handle.cast::<Head>();
    // SAFETY: the caller vouches for it.
    unsafe { ((*head).drop)(head) }
}

/// Takes the host's context away at the end of a call, also when the unit panics.
struct Entered<'a>(&'a mut Context);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

unsafe fn run_unit<P: 'static>(head: *mut Head, position: usize, host: HostContext) -> Option<Outcome> {
    // SAFETY: this function stands in the head of a `Running<P>` only, and the caller uses it alone.
    let running = unsafe { &mut *head.cast::<Running<P>>() };
    let unit = running.units.get(position)?;
    // SAFETY: valid for this call; `Entered` takes it away before the call ends.
    unsafe { running.context.enter(host) };
    let entered = Entered(&mut running.context);
    Some((unit.run)(entered.0, &running.parameters))
}

unsafe fn drop_run<P: 'static>(head: *mut Head) {
    // SAFETY: made by `Box::into_raw` of a `Running<P>`; the caller vouches that this is the last use.
    drop(unsafe { Box::from_raw(head.cast::<Running<P>>()) });
}
