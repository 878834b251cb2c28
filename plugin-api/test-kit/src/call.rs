//! What a test asks of an application: a procedure and its control parameters.

use lockstep_core::event::{Encoding, Event, EventId};
use lockstep_core::ids::SessionId;
use serde::{Deserialize, Serialize};

/// An event to be: a procedure, its control parameters, perhaps a body. Made by [`call`].
///
/// ```
/// use lockstep_test_kit::{Call, call};
/// fn add(name: &str, by: u64) -> Call {
///     call("add", &(name, by))
/// }
/// # drop(add("eggs", 1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub(crate) procedure: String,
    parameters: Vec<u8>,
    body: Vec<u8>,
}

/// A call of the procedure called `procedure`.
///
/// ```
/// use lockstep_test_kit::call;
/// let add = call("add", &("eggs", 3));
/// let upload = call("upload", &"picture").with_body([1, 2, 3]);
/// # assert_ne!(add, upload);
/// ```
///
/// # Panics
/// When the parameters can't be encoded.
pub fn call<P: Serialize + ?Sized>(procedure: impl Into<String>, parameters: &P) -> Call {
    let procedure = procedure.into();
    let parameters = postcard::to_stdvec(parameters)
        .unwrap_or_else(|why| panic!("the parameters of `{procedure}` can't be encoded: {why}"));
    Call { procedure, parameters, body: Vec::new() }
}

impl Call {
    /// The same call with ancillary data.
    ///
    /// ```
    /// # use lockstep_test_kit::call;
    /// let upload = call("upload", &"picture").with_body(vec![7; 1_000]);
    /// # drop(upload);
    /// ```
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Procedure and parameters, as a message has them.
    pub(crate) fn message(&self) -> (String, Vec<u8>) {
        (self.procedure.clone(), self.parameters.clone())
    }

    /// The event that a client makes of it.
    pub(crate) fn event(&self, session: SessionId, number: u64) -> Event {
        Event {
            id: EventId::Numbered { session, number },
            awaited_from: number,
            procedure: self.procedure.as_str().into(),
            encoding: Encoding::Postcard,
            parameters: self.parameters.clone(),
            body: self.body.clone(),
        }
    }
}
