//! Timers and messages of the application under test: the clock goes on, timers fire, messages leave and come.
//!
//! A message to another application leaves and is taken there at once, unseen by any code: a test looks at it with
//! [`Pair::messages`]. One to this application itself is taken as it would be.

use std::time::Duration;

use lockstep_core::ids::GroupName;
use lockstep_core::timers::{self, Timer};
use lockstep_plugin_api::To;
use serde::de::DeserializeOwned;

use crate::answer::Answer;
use crate::call::Call;
use crate::pair::{Done, Pair};

/// A message that has left, for another application.
///
/// ```
/// # use lockstep_test_kit::{Pair, call, example};
/// let mut pair = Pair::of(example::application());
/// pair.run(call("announce", &("eggs", 10u64)));
/// let [message] = &pair.messages()[..] else { panic!("one is sent") };
/// assert_eq!((message.to(), message.procedure()), ("news.0", "count_is"));
/// assert_eq!(message.parameters::<(String, u64)>(), ("eggs".to_string(), 0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub(crate) to: String,
    pub(crate) procedure: String,
    pub(crate) parameters: Vec<u8>,
}

impl Message {
    /// The receiver: application and partition, such as `news.0`.
    #[must_use]
    pub fn to(&self) -> &str {
        &self.to
    }

    /// The procedure that is to take it.
    #[must_use]
    pub fn procedure(&self) -> &str {
        &self.procedure
    }

    /// The control parameters.
    ///
    /// # Panics
    /// When they are no `P`.
    #[must_use]
    #[track_caller]
    pub fn parameters<P: DeserializeOwned>(&self) -> P {
        match postcard::from_bytes(&self.parameters) {
            Ok(parameters) => parameters,
            Err(why) => {
                panic!("the parameters for `{}` are no {}: {why}", self.procedure, std::any::type_name::<P>())
            }
        }
    }
}

/// The group that a message names.
pub(crate) fn group(to: To<'_>) -> GroupName {
    let (application, partition) = to.parts();
    GroupName { application: application.into(), partition }
}

impl Pair {
    /// Lets time pass. Gives what timers started since this was asked last, in order, and what messages of the
    /// application to itself did.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let mut pair = Pair::of(example::application());
    /// pair.run(call("announce", &("eggs", 10u64)));
    /// assert!(pair.advance(Duration::from_secs(9)).is_empty());
    /// let fired = pair.advance(Duration::from_secs(1));
    /// assert_eq!(fired.len(), 1);
    /// assert_eq!(fired[0].procedure(), "announce");
    /// ```
    ///
    /// # Panics
    /// When the two sides differ.
    #[track_caller]
    pub fn advance(&mut self, length: Duration) -> Vec<Answer> {
        self.done(Done::Passed(length));
        std::mem::take(&mut self.desk.ended)
    }

    /// The timers that have not fired, in the order in which they will: key, procedure, and in how long.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let mut pair = Pair::of(example::application());
    /// pair.run(call("announce", &("eggs", 10u64)));
    /// let [(key, procedure, left)] = &pair.timers()[..] else { panic!("one is set") };
    /// assert_eq!((key.as_str(), procedure.as_str()), ("eggs", "announce"));
    /// assert!(*left > Duration::from_secs(9) && *left <= Duration::from_secs(10));
    /// ```
    #[must_use]
    pub fn timers(&self) -> Vec<(String, String, Duration)> {
        let now = self.desk.now();
        let told = |timer: Timer| (timer.key, timer.procedure, Duration::from_micros(timer.due.since(now).0));
        timers::all(&self.desk.group(self.desk.the_active()).state().tables).into_iter().map(told).collect()
    }

    /// Takes out the messages that have left for other applications since this was asked last, in order.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let mut pair = Pair::of(example::application());
    /// pair.run(call("announce", &("eggs", 10u64)));
    /// assert_eq!(pair.messages().len(), 1);
    /// assert!(pair.messages().is_empty(), "it was taken out");
    /// ```
    pub fn messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.desk.left)
    }

    /// Another application, or a partition of it, sends a message: a call of a procedure here.
    ///
    /// ```
    /// # use lockstep_plugin_api::To;
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let mut pair = Pair::of(example::application());
    /// let answer = pair.receive(To::application("shop"), call("add", &("eggs", 3u64)));
    /// assert_eq!(answer.reply::<u64>(), 3);
    /// ```
    ///
    /// # Panics
    /// When the two sides differ.
    #[track_caller]
    pub fn receive(&mut self, from: To<'_>, call: Call) -> Answer {
        let before = self.desk.ended.len();
        self.done(Done::Received(group(from), call));
        assert!(self.desk.ended.len() > before, "a message that was taken has ended");
        self.desk.ended.remove(before)
    }
}
