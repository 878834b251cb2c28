//! Timers and messages (R34): what a work unit posts for later, or for another group. Since plugin API 1.1.
//!
//! Both are rows of this group: a refused or faulted procedure leaves none, and nothing leaves before the procedure is
//! held on both sides. So no undo is needed. Parameters travel in `postcard`: a version that changes a procedure's
//! parameters must still read those that wait.

use std::time::Duration;

use serde::Serialize;

use crate::abi::{Bytes, status};
use crate::application::ReceiverDescription;
use crate::context::{Context, checked};
use crate::outcome::Error;
use crate::procedure::Typed;
use crate::table::Appending;

/// When a timer fires.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// # use std::time::Duration;
/// #[procedure(version = 1)]
/// fn remind(cx: &mut Context, name: &String) -> Reply<()> {
///     let when = When::After(Duration::from_secs(3_600));
///     cx.set_timer(name, when, remind, name)?;
///     Ok(())
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time since the Unix epoch; at once when that is over.
    At(Duration),
    /// So long after the time of the procedure that sets it.
    After(Duration),
}

/// Whom a message is for: one partition of an application, this one or another.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// # fn unit(cx: &mut Context, name: &String) -> Outcome {
/// cx.send(To::application("billing").partition(1), "charge", name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To<'a> {
    application: &'a str,
    partition: u16,
}

impl<'a> To<'a> {
    /// Partition 0 of an application.
    #[must_use]
    pub const fn application(name: &'a str) -> Self {
        To { application: name, partition: 0 }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn parts(self) -> (&'a str, u16) {
        (self.application, self.partition)
    }

    /// Another partition of it.
    #[must_use]
    pub const fn partition(self, partition: u16) -> Self {
        To { partition, ..self }
    }
}

/// A procedure of another application that this one sends messages to, for `sends` of
/// [`application!`](crate::application!). Since plugin API 1.2.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// application! {
///     name: "orders",
///     version: "1.0.0",
///     tables: [],
///     procedures: [bill],
///     sends: [Receiver::new("billing", "charge")],
/// }
///
/// #[procedure(version = 1)]
/// fn bill(cx: &mut Context, name: &String) -> Reply<()> {
///     cx.send(To::application("billing"), "charge", name)?;
///     Ok(())
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    application: &'static str,
    procedure: &'static str,
}

impl Receiver {
    /// `procedure` of `application`, in whatever partition.
    #[must_use]
    pub const fn new(application: &'static str, procedure: &'static str) -> Self {
        Receiver { application, procedure }
    }

    pub(crate) fn described(&self) -> ReceiverDescription {
        ReceiverDescription { application: self.application.into(), procedure: self.procedure.into() }
    }
}

/// A procedure with control parameters `P`, as a timer or a message names it: the procedure's own function, whose
/// parameters are then checked by the compiler, or its name as text, for one of an application that is not linked
/// here.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// # use std::time::Duration;
/// use lockstep_plugin_api::posting::Callee;
///
/// #[procedure(version = 1)]
/// fn expire(_cx: &mut Context, _name: &String) -> Reply<()> {
///     Ok(())
/// }
///
/// # fn unit(cx: &mut Context, name: &String) -> Outcome {
/// cx.set_timer(name, When::After(Duration::from_secs(60)), expire, name)?;
/// cx.send(To::application("billing"), "charge", name)?;
/// # Ok(())
/// # }
/// # fn main() {
/// assert_eq!(Callee::<String>::name(&expire), "expire");
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no procedure with control parameters `{P}`",
    label = "no procedure with these parameters",
    note = "name a function with `#[procedure]`, and give it its own parameters; or write the procedure's name as text"
)]
pub trait Callee<P: ?Sized> {
    /// The procedure's name.
    fn name(&self) -> &str;
}

impl<P: ?Sized> Callee<P> for &str {
    fn name(&self) -> &str {
        self
    }
}

impl<P, F: Fn() -> Typed<P>> Callee<P> for F {
    fn name(&self) -> &str {
        self().name()
    }
}

impl Context {
    /// Sets the timer called `key`, in place of an earlier one of that name: it starts `procedure` once, as an event of
    /// the group's own, also after a failover or a change of version. What it starts may be refused or fault like any
    /// event; nobody is answered, operators are told.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # use std::time::Duration;
    /// #[derive(Serialize, Deserialize)]
    /// pub struct Order { number: u64 }
    ///
    /// #[procedure(version = 1)]
    /// fn order(cx: &mut Context, order: &Order) -> Reply<()> {
    ///     cx.set_timer(&format!("order {}", order.number), When::After(Duration::from_secs(60)), expire, order)?;
    ///     Ok(())
    /// }
    ///
    /// #[procedure(version = 1)]
    /// fn expire(cx: &mut Context, order: &Order) -> Reply<()> {
    ///     cx.send(To::application("billing"), "expired", &order.number)?;
    ///     Ok(())
    /// }
    /// # application! { name: "orders", version: "1.0.0", tables: [], procedures: [order, expire] }
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// When the parameters can't be encoded. What is over a bound is a fault of the procedure.
    pub fn set_timer<P: Serialize + ?Sized>(
        &mut self,
        key: &str,
        when: When,
        procedure: impl Callee<P>,
        parameters: &P,
    ) -> Result<(), Error> {
        let at = match when {
            When::At(time) => time,
            When::After(length) => self.time().saturating_add(length),
        };
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let (host, procedure) = (self.host(), Bytes::of(procedure.name().as_bytes()));
        self.with_parameters(parameters, |parameters| {
            // SAFETY: the host lent `this` and its callbacks for this call; the bytes live until it returns.
            checked(unsafe {
                host.calls.set_timer()(host.this, Bytes::of(key.as_bytes()), at_us, procedure, parameters)
            })
        })
    }

    /// Takes the timer called `key` away; true when there was one.
    ///
    /// # Errors
    /// When the context is used inside the visitor of a scan.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let was_set: bool = cx.cancel_timer(name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel_timer(&mut self, key: &str) -> Result<bool, Error> {
        let host = self.host();
        // SAFETY: as in `set_timer`.
        let status = unsafe { host.calls.cancel_timer()(host.this, Bytes::of(key.as_bytes())) };
        if status == status::ABSENT {
            return Ok(false);
        }
        checked(status).map(|()| true)
    }

    /// When the timer called `key` is due, since the Unix epoch; none when there is none.
    ///
    /// # Errors
    /// As for [`cancel_timer`](Self::cancel_timer).
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let due_in = cx.timer(name)?.map(|due| due.saturating_sub(cx.time()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn timer(&self, key: &str) -> Result<Option<Duration>, Error> {
        let (host, mut at_us) = (self.host(), 0);
        // SAFETY: as in `set_timer`; `at_us` is ours.
        let status = unsafe { host.calls.timer()(host.this, Bytes::of(key.as_bytes()), &raw mut at_us) };
        if status == status::ABSENT {
            return Ok(None);
        }
        checked(status).map(|()| Some(Duration::from_micros(at_us)))
    }

    /// Sends a message: its receiver runs `procedure` with these parameters once, after those of all messages that were
    /// sent there before. It leaves once this procedure is held, and waits while no such group is there. Nobody
    /// answers; whoever wants an answer has one sent back.
    ///
    /// # Errors
    /// When the parameters can't be encoded. What is over a bound is a fault of the procedure, and so is a message to
    /// another application where `application!` has `sends` and this receiver is not in it.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// cx.send(To::application("billing"), "charge", name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send<P: Serialize + ?Sized>(
        &mut self,
        to: To<'_>,
        procedure: impl Callee<P>,
        parameters: &P,
    ) -> Result<(), Error> {
        let (host, procedure) = (self.host(), Bytes::of(procedure.name().as_bytes()));
        self.with_parameters(parameters, |parameters| {
            let application = Bytes::of(to.application.as_bytes());
            // SAFETY: as in `set_timer`.
            checked(unsafe { host.calls.send()(host.this, application, to.partition, procedure, parameters) })
        })
    }

    fn with_parameters<P: Serialize + ?Sized>(
        &self,
        parameters: &P,
        f: impl FnOnce(Bytes) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.with_row(|buffer| {
            postcard::serialize_with_flavor(parameters, Appending(buffer))
                .map_err(|error| Error::new(format_args!("the parameters can't be encoded: {error}")))?;
            f(Bytes::of(buffer))
        })
    }
}
