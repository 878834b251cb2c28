//! The handle that applications hold: typed calls over a driver in a task of its own.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lockstep_core::partition::partition_of;
use lockstep_wire::events::Encoding;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OnceCell, mpsc, oneshot};

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

    /// Connects to `application` and opens a session, with its first partition if it has several; with the others once
    /// they are needed. Starts one background task for each on the current tokio runtime.
    ///
    /// # Errors
    /// When no processor wants this client, or none serves by the deadline.
    pub async fn application(self, application: &str) -> Result<Client, CallError> {
        let first = Lane::open(&self, application, 0).await?;
        // A session was opened, so there is one, whatever was said.
        let partitions = first.partitions.max(1);
        let lanes: Vec<OnceCell<Lane>> = std::iter::once(OnceCell::new_with(Some(first)))
            .chain((1..partitions).map(|_| OnceCell::new()))
            .collect();
        let application = application.to_owned();
        let pair = Arc::new(ToPair { connect: self, application, lanes });
        Ok(Client { pair, key: Cow::Borrowed("") })
    }
}

struct Ask {
    request: Request,
    answer: oneshot::Sender<Result<Reply, CallError>>,
}

/// The way to one partition: its own connections and session.
#[derive(Debug)]
struct Lane {
    asks: mpsc::Sender<Ask>,
    counts: Arc<Mutex<Counts>>,
    partitions: u16,
}

impl Lane {
    async fn open(connect: &Connect, application: &str, partition: u16) -> Result<Self, CallError> {
        let (asks, receiver) = mpsc::channel(connect.window);
        let (opened, is_open) = oneshot::channel();
        let counts = Arc::new(Mutex::new(Counts::default()));
        let calls = Calls {
            asks: receiver,
            waiting: Vec::new(),
            free: Vec::new(),
            opened: Some(opened),
            counts: Arc::clone(&counts),
        };
        tokio::spawn(raw::drive(application, partition, &connect.addresses, connect.window, calls));
        match tokio::time::timeout(connect.deadline, is_open).await {
            Ok(Ok(Ok(partitions))) => Ok(Lane { asks, counts, partitions }),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => Err(CallError::Deadline { sent: false }),
        }
    }
}

#[derive(Debug)]
struct ToPair {
    connect: Connect,
    application: String,
    /// By partition; opened when first needed.
    lanes: Vec<OnceCell<Lane>>,
}

/// A client of one application of a pair: cheap to clone, many calls may be under way. Its connections close when the
/// last clone is gone and everything under way is answered.
#[derive(Clone, Debug)]
pub struct Client {
    pair: Arc<ToPair>,
    key: Cow<'static, str>,
}

impl Client {
    /// The same client, for events with this *partition key*, 1 to 128 bytes: where the application has several
    /// partitions, the key says which one they belong to. What has to be seen together has the same key.
    #[must_use]
    pub fn key(&self, key: impl Into<Cow<'static, str>>) -> Client {
        Client { pair: Arc::clone(&self.pair), key: key.into() }
    }

    /// How many partitions the application has.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.pair.lanes.len()).expect("as many as a u16 counted")
    }

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
        let deadline = self.pair.connect.deadline;
        let (answer, answered) = oneshot::channel();
        let request = Request {
            tag: 0,
            key: self.key.clone(),
            procedure: procedure.into(),
            encoding,
            parameters,
            body,
            deadline,
        };
        // The wait for a session and for a place in the window counts: a caller's deadline is the caller's.
        let asked = tokio::time::timeout(deadline, async {
            let lane = self.lane().await?;
            lane.asks.send(Ask { request, answer }).await.map_err(|_| CallError::Closed)
        });
        match asked.await {
            Err(_) => return Err(CallError::Deadline { sent: false }),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(())) => {}
        }
        answered.await.unwrap_or(Err(CallError::Closed))
    }

    /// The way to the partition of this client's key. Without a key it is the first one, which says what is missing.
    async fn lane(&self) -> Result<&Lane, CallError> {
        let pair = &*self.pair;
        let partition = match &*self.key {
            "" => 0,
            key => partition_of(key.as_bytes(), self.partitions()),
        };
        let open = || Lane::open(&pair.connect, &pair.application, partition);
        pair.lanes[usize::from(partition)].get_or_try_init(open).await
    }

    /// What this client has counted so far, over all partitions.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for lane in self.pair.lanes.iter().filter_map(OnceCell::get) {
            all.add(&lane.counts.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }
}

/// The source of a client's driver: a tag is a place in `waiting`.
struct Calls {
    asks: mpsc::Receiver<Ask>,
    waiting: Vec<Option<oneshot::Sender<Result<Reply, CallError>>>>,
    free: Vec<usize>,
    opened: Option<oneshot::Sender<Result<u16, CallError>>>,
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
            // A processor that opened a session had said how many there are.
            None if exchange.is_open() => Ok(exchange.partitions().unwrap_or(1)),
            None => return,
        };
        if let Some(opened) = self.opened.take() {
            let _ = opened.send(result);
        }
    }
}
