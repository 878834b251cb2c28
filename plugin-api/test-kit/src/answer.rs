//! What a client was told: a reply, a refusal or a fault.

use lockstep_core::event::Outcome;
use serde::de::DeserializeOwned;

use crate::rows::show;

/// The answer to a call, from [`Pair::run`](crate::Pair::run).
///
/// ```
/// # use lockstep_test_kit::{Answer, Pair, call, example};
/// # let mut pair = Pair::of(example::application());
/// let answer: Answer = pair.run(call("add", &("eggs", 3u64)));
/// assert!(answer.refusal().is_none() && answer.fault().is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(crate) procedure: String,
    pub(crate) outcome: Outcome,
    pub(crate) shipped: bool,
}

impl Answer {
    /// The reply of a procedure that ran to its end.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let mut pair = Pair::of(example::application());
    /// let count: u64 = pair.run(call("add", &("eggs", 3u64))).reply();
    /// assert_eq!(count, 3);
    /// ```
    ///
    /// # Panics
    /// When it was refused or faulted, or the reply is no `T`.
    #[must_use]
    #[track_caller]
    pub fn reply<T: DeserializeOwned>(&self) -> T {
        let Outcome::Committed { reply } = &self.outcome else {
            panic!("`{}` has no reply: {}", self.procedure, said(&self.outcome));
        };
        match postcard::take_from_bytes(reply) {
            Ok((value, [])) => value,
            Ok((_, rest)) => panic!(
                "the reply of `{}` is no {}: {} bytes too many",
                self.procedure,
                std::any::type_name::<T>(),
                rest.len()
            ),
            Err(why) => {
                panic!("the reply of `{}` is no {}: {why}", self.procedure, std::any::type_name::<T>())
            }
        }
    }

    /// Code and sentence of a refusal, the application's own "no".
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let mut pair = Pair::of(example::application());
    /// let answer = pair.run(call("add", &("eggs", 0u64)));
    /// assert_eq!(answer.refusal().map(|(code, _)| code), Some("nothing"));
    /// ```
    #[must_use]
    pub fn refusal(&self) -> Option<(&str, &str)> {
        match &self.outcome {
            Outcome::Refused(refusal) => Some((&refusal.code, &refusal.message)),
            Outcome::Committed { .. } | Outcome::Faulted(_) => None,
        }
    }

    /// Work unit and message of a fault: a panic, an error that is no refusal, a breach of the contract.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let mut pair = Pair::of(example::application());
    /// let answer = pair.run(call("add", &("eggs", 3u64)));
    /// assert_eq!(answer.fault(), None);
    /// ```
    #[must_use]
    pub fn fault(&self) -> Option<(&str, &str)> {
        match &self.outcome {
            Outcome::Faulted(fault) => Some((&fault.unit, &fault.message)),
            Outcome::Committed { .. } | Outcome::Refused(_) => None,
        }
    }

    /// The procedure that ran.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let mut pair = Pair::of(example::application());
    /// assert_eq!(pair.run(call("add", &("eggs", 3u64))).procedure(), "add");
    /// ```
    #[must_use]
    pub fn procedure(&self) -> &str {
        &self.procedure
    }

    /// Whether the procedure was shipped to the standby, as its versions differ there; otherwise both sides ran it in
    /// lock step, or, when it only reads, the active alone.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let mut pair = Pair::of(example::application());
    /// assert!(!pair.run(call("add", &("eggs", 3u64))).was_shipped());
    /// ```
    #[must_use]
    pub fn was_shipped(&self) -> bool {
        self.shipped
    }
}

/// An outcome in words.
pub(crate) fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Committed { reply } => format!("committed, with the reply {}", show(reply)),
        Outcome::Refused(refusal) => format!("refused ({}): {}", refusal.code, refusal.message),
        Outcome::Faulted(fault) => {
            format!("faulted ({:?}) in work unit `{}`: {}", fault.kind, fault.unit, fault.message)
        }
    }
}
