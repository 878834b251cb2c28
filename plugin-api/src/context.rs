//! The context of a work unit: the only way to rows, time, random numbers and the outside.
//!
//! Everything that it gives is the same on both sides of the pair. Deliberately absent: clocks, files, sockets.
//! The context is lent for one call of one unit; the run keeps its buffers between units.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::c_void;
use std::fmt::Display;
use std::panic::resume_unwind;
use std::time::Duration;

use serde::Serialize;

use crate::abi::{Bytes, HostContext, Status, Visitor, status};
use crate::application::Application;
use crate::key::Key;
use crate::outcome::Error;
use crate::panics::inside;
use crate::plan::Feature;
use crate::procedure::Encoding;
use crate::table::Appending;

/// How important a line of the log is.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// # fn unit(cx: &mut Context, name: &String) -> Outcome {
/// cx.log(Level::Warn, format_args!("{name} is odd"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something is broken.
    Error = 1,
    /// Something is odd.
    Warn = 2,
    /// Worth knowing.
    Info = 3,
    /// For the author.
    Debug = 4,
    /// For the author, in detail.
    Trace = 5,
}

/// What a work unit sees and does.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// #[work_unit]
/// fn count_up(cx: &mut Context, name: &String) -> Outcome {
///     cx.log(Level::Debug, format_args!("counting {name}"));
///     cx.reply(&1u64)?;
///     Ok(())
/// }
/// # fn main() {}
/// ```
pub struct Context {
    // Set for the time of a unit's call only; `entries` sees to it.
    host: Option<HostContext>,
    application: &'static Application,
    encoding: Encoding,
    key: RefCell<Vec<u8>>,
    row: RefCell<Vec<u8>>,
}

impl Context {
    pub(crate) fn new(application: &'static Application, encoding: Encoding) -> Self {
        // Room for what most keys and rows take: a run is short, and should not spend its time on growing buffers.
        let (key, row) = (RefCell::new(Vec::with_capacity(64)), RefCell::new(Vec::with_capacity(256)));
        Context { host: None, application, encoding, key, row }
    }

    /// # Safety
    /// `host` must be valid until [`Context::leave`].
    pub(crate) unsafe fn enter(&mut self, host: HostContext) {
        self.host = Some(host);
        // SAFETY: the host is valid until `leave`, which takes it away again.
        unsafe { crate::log_bridge::in_unit(Some(host)) }
    }

    pub(crate) fn leave(&mut self) {
        self.host = None;
        // SAFETY: there is no context now.
        unsafe { crate::log_bridge::in_unit(None) }
    }

    pub(crate) fn application(&self) -> &'static Application {
        self.application
    }

    pub(crate) fn host(&self) -> &HostContext {
        self.host.as_ref().expect("a context is used during a call of its unit only")
    }

    /// Encodes `key` into the run's buffer for the time of `f`.
    pub(crate) fn with_key<R>(&self, key: &impl Key, f: impl FnOnce(&[u8]) -> R) -> R {
        with_buffer(&self.key, |buffer| {
            key.encode(buffer);
            f(buffer)
        })
    }

    /// Lends the run's buffer for a row to `f`.
    pub(crate) fn with_row<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        with_buffer(&self.row, f)
    }

    pub(crate) fn get<R>(
        &self,
        table: u32,
        key: &[u8],
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Error> {
        let host = self.host();
        let mut value = Bytes::ABSENT;
        // SAFETY: the host lent `this` and its callbacks for this call; `value` is ours.
        let status = unsafe { host.calls.get()(host.this, table, Bytes::of(key), &mut value) };
        if status == status::ABSENT {
            return Ok(None);
        }
        checked(status)?;
        // SAFETY: valid until the next callback; `f` has no way to make one with the context borrowed by `Table`,
        // which only decodes in it.
        Ok(Some(f(unsafe { value.or_empty() })))
    }

    pub(crate) fn put(&self, table: u32, key: &[u8], row: &[u8]) -> Result<(), Error> {
        let host = self.host();
        // SAFETY: as in `get`.
        checked(unsafe { host.calls.put()(host.this, table, Bytes::of(key), Bytes::of(row)) })
    }

    pub(crate) fn delete(&self, table: u32, key: &[u8]) -> Result<(), Error> {
        let host = self.host();
        // SAFETY: as in `get`.
        checked(unsafe { host.calls.delete()(host.this, table, Bytes::of(key)) })
    }

    pub(crate) fn scan(
        &self,
        table: u32,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let host = self.host();
        let mut visiting = Visiting { visit, panic: None };
        let visitor = Visitor { this: (&raw mut visiting).cast(), visit: visit_row };
        let to = to.map_or(Bytes::ABSENT, Bytes::of);
        // SAFETY: as in `get`; `visiting` outlives the call.
        let status = unsafe { host.calls.scan()(host.this, table, Bytes::of(from), to, visitor) };
        if let Some(panic) = visiting.panic {
            resume_unwind(panic);
        }
        checked(status)
    }

    /// The time of the procedure since the Unix epoch: the same in all its units and on both sides, never going back.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let microseconds = cx.time().as_micros();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn time(&self) -> Duration {
        let host = self.host();
        // SAFETY: as in `get`.
        Duration::from_micros(unsafe { host.calls.time_us()(host.this) })
    }

    /// The next random number of this unit; the same on both sides.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let die = cx.random() % 6 + 1;
    /// # Ok(())
    /// # }
    /// ```
    pub fn random(&mut self) -> u64 {
        let host = self.host();
        // SAFETY: as in `get`.
        unsafe { host.calls.random()(host.this) }
    }

    /// Whether a feature is on.
    ///
    /// # Panics
    /// When the feature is not in the list of `application!`.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const LOUD: Feature = Feature::new("loud", "names are shouted");
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let name = if cx.feature(LOUD) { name.to_uppercase() } else { name.clone() };
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn feature(&self, feature: Feature) -> bool {
        let index = self.application.feature_index(feature);
        let index = index
            .unwrap_or_else(|| panic!("feature `{}` is not in the list of `application!`", feature.name));
        let host = self.host();
        // SAFETY: as in `get`.
        unsafe { host.calls.feature()(host.this, index) != 0 }
    }

    pub(crate) fn format(&self, table: u32) -> u16 {
        let host = self.host();
        // SAFETY: as in `get`.
        unsafe { host.calls.format()(host.this, table) }
    }

    /// The event's body. A unit that reads it declares it: `#[work_unit(body)]`.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// #[work_unit(body)]
    /// fn keep(cx: &mut Context, _name: &String) -> Outcome {
    ///     let bytes = cx.body().len();
    ///     cx.reply(&bytes)?;
    ///     Ok(())
    /// }
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn body(&self) -> &[u8] {
        let host = self.host();
        // SAFETY: valid until `run_unit` returns; the context is borrowed for less.
        unsafe { host.calls.body()(host.this).or_empty() }
    }

    /// Sets the reply, encoded as the event asks for it; the last one counts.
    ///
    /// # Errors
    /// When it can't be encoded.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// cx.reply(&("eggs", 7u64))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply<T: Serialize + ?Sized>(&mut self, reply: &T) -> Result<(), Error> {
        let host = self.host();
        self.with_row(|buffer| {
            match self.encoding {
                Encoding::Postcard => {
                    postcard::serialize_with_flavor(reply, Appending(buffer)).map_err(Error::new)
                }
                Encoding::Json => serde_json::to_writer(&mut *buffer, reply).map_err(Error::new),
            }
            .map_err(|error| Error::new(format_args!("the reply can't be encoded: {error}")))?;
            // SAFETY: as in `get`.
            checked(unsafe { host.calls.reply()(host.this, Bytes::of(buffer)) })
        })
    }

    pub(crate) fn scratch<R>(&self, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Error> {
        let host = self.host();
        let mut value = Bytes::ABSENT;
        // SAFETY: as in `get`.
        let status = unsafe { host.calls.scratch()(host.this, Bytes::of(name), &mut value) };
        if status == status::ABSENT {
            return Ok(None);
        }
        checked(status)?;
        // SAFETY: as in `get`.
        Ok(Some(f(unsafe { value.or_empty() })))
    }

    pub(crate) fn set_scratch(&self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let host = self.host();
        // SAFETY: as in `get`.
        checked(unsafe { host.calls.set_scratch()(host.this, Bytes::of(name), Bytes::of(value)) })
    }

    /// Writes a line to the host's log. `tracing`'s macros end up there too.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// cx.log(Level::Info, format_args!("{name} was counted"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn log(&self, level: Level, message: impl Display) {
        let host = self.host();
        let message = message.to_string();
        let target = Bytes::of(self.application.name.as_bytes());
        // SAFETY: as in `get`.
        unsafe { host.calls.log()(host.this, level as u8, target, Bytes::of(message.as_bytes())) }
    }
}

/// Lends a buffer, emptied. A nested use gets one of its own.
fn with_buffer<R>(buffer: &RefCell<Vec<u8>>, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            f(&mut buffer)
        }
        Err(_) => f(&mut Vec::new()),
    }
}

pub(crate) fn checked(status: Status) -> Result<(), Error> {
    match status {
        status::OK => Ok(()),
        status::BUSY => Err(Error::new("the context was used inside the visitor of a scan")),
        status => Err(Error::new(format_args!("the host ended a callback with status {status}"))),
    }
}

struct Visiting<'a> {
    visit: &'a mut dyn FnMut(&[u8], &[u8]) -> bool,
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn visit_row(visitor: *mut c_void, key: Bytes, row: Bytes) -> u8 {
    // SAFETY: `scan` made it of a `Visiting` that outlives its call of the host.
    let visiting = unsafe { &mut *visitor.cast::<Visiting<'_>>() };
    // SAFETY: lent for the time of this call.
    let (key, row) = unsafe { (key.or_empty(), row.or_empty()) };
    match inside(|| (visiting.visit)(key, row)) {
        Ok(go_on) => u8::from(go_on),
        Err(panic) => {
            visiting.panic = Some(panic);
            0
        }
    }
}
