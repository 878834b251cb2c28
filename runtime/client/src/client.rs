//! The handle that applications hold: typed calls over a driver in a task of its own.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lockstep_wire::events::Encoding;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::exchange::{Exchange, Request};
use crate::raw::{self, Source};
use crate::{CallError, Counts, Reply};

/// How long a call is tried unless [`Connect::deadline`] says otherwise.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many events of a session may be open unless [`Connect::window`] says otherwise.
const WINDOW: usize = 1_000;

/// Begins a connection to the pair whose processors listen for events at these addresses (`HOST:PORT`).
pub fn connect<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Connect {
    Connect { addresses: addresses.into_iter().map(Into::into).collect(), deadline: DEADLINE, window: WINDOW }
}

/// A connection in the making; [`Connect::application`] makes it.
#[derive(Clone, Debug)]
pub struct Connect {
    addresses: Vec<String>,
    deadline: Duration,
    window: usize,
}

impl Connect {
    /// How long a call, and the making of this connection, is tried; 5 s unless said.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many events may be under way at a time, 1 to 1,000; further calls wait.
    #[must_use]
    pub fn window(mut self, events: usize) -> Self {
        self.window = events.clamp(1, 1_000);
        self
    }

    /// Connects to `application` and opens a session. Starts one background task on the current tokio runtime.
    ///
    /// # Errors
    /// When no processor wants this client, or none serves by the deadline.
    pub async fn application(self, application: &str) -> Result<Client, CallError> {
        let (asks, receiver) = mpsc::channel(self.window);
        let (opened, is_open) = oneshot::channel();
        let counts = Arc::new(Mutex::new(Counts::default()));
        let calls = Calls {
            asks: receiver,
            waiting: Vec::new(),
            free: Vec::new(),
            opened: Some(opened),
            counts: Arc::clone(&counts),
        };
        tokio::spawn(raw::drive(application, &self.addresses, self.window, calls));
        let client = Client { asks, counts, deadline: self.deadline };
        match tokio::time::timeout(self.deadline, is_open).await {
            Ok(Ok(result)) => result.map(|()| client),
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => Err(CallError::Deadline { sent: false }),
        }
    }
}

struct Ask {
    request: Request,
    answer: oneshot::Sender<Result<Reply, CallError>>,
}

/// A client of one application of a pair: cheap to clone, many calls may be under way. Its connections close when the
/// last clone is gone and everything under way is answered.
#[derive(Clone, Debug)]
pub struct Client {
    asks: mpsc::Sender<Ask>,
    counts: Arc<Mutex<Counts>>,
    deadline: Duration,
}

impl Client {
    /// Runs `procedure` as one event: one id, tried until it is answered or past the deadline.
    ///
    /// # Errors
    /// The application's refusal, a fault, or why there is no answer; see [`CallError`].
    pub async fn call<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        procedure: impl Into<Cow<'static, str>>,
        parameters: &P,
    ) -> Result<R, CallError> {
        let parameters =
            postcard::to_stdvec(parameters).map_err(|error| CallError::NotSendable(error.to_string()))?;
        let reply = self.submit_raw(procedure, Encoding::Postcard, parameters, Vec::new()).await?;
        postcard::from_bytes(&reply.bytes)
            .map_err(|error| CallError::ReplyType { sequence: reply.sequence, message: error.to_string() })
    }

    /// Runs `procedure` with parameters that are encoded already; the reply comes in the same encoding.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn submit_raw(
        &self,
        procedure: impl Into<Cow<'static, str>>,
        encoding: Encoding,
        parameters: Vec<u8>,
        body: Vec<u8>,
    ) -> Result<Reply, CallError> {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            tag: 0,
            procedure: procedure.into(),
            encoding,
            parameters,
            body,
            deadline: self.deadline,
        };
        // The wait for a place in the window counts: a caller's deadline is the caller's.
        let asked = tokio::time::timeout(self.deadline, self.asks.send(Ask { request, answer })).await;
        match asked {
            Err(_) => return Err(CallError::Deadline { sent: false }),
            Ok(Err(_)) => return Err(CallError::Closed),
            Ok(Ok(())) => {}
        }
        answered.await.unwrap_or(Err(CallError::Closed))
    }

    /// What this client has counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The source of a client's driver: a tag is a place in `waiting`.
struct Calls {
    asks: mpsc::Receiver<Ask>,
    waiting: Vec<Option<oneshot::Sender<Result<Reply, CallError>>>>,
    free: Vec<usize>,
    opened: Option<oneshot::Sender<Result<(), CallError>>>,
    counts: Arc<Mutex<Counts>>,
}

impl Source for Calls {
    fn poll_next(&mut self, context: &mut Context<'_>, _now: Instant) -> Poll<Option<Request>> {
        self.asks.poll_recv(context).map(|ask| {
            let Ask { mut request, answer } = ask?;
            let place = self.free.pop().unwrap_or_else(|| {
                self.waiting.push(None);
                self.waiting.len() - 1
            });
            self.waiting[place] = Some(answer);
            request.tag = place as u64;
            Some(request)
        })
    }

    fn answered(&mut self, tag: u64, result: Result<Reply, CallError>, _now: Instant) {
        let place = tag as usize;
        if let Some(answer) = self.waiting.get_mut(place).and_then(Option::take) {
            self.free.push(place);
            // The caller may have stopped waiting; the event has run all the same.
            let _ = answer.send(result);
        }
    }

    fn turned(&mut self, exchange: &Exchange) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone_from(exchange.counts());
        if self.opened.is_none() {
            return;
        }
        let result = match exchange.refused_everywhere() {
            Some(error) => Err(error),
            None if exchange.is_open() => Ok(()),
            None => return,
        };
        if let Some(opened) = self.opened.take() {
            let _ = opened.send(result);
        }
    }
}
