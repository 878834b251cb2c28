//! A thread on which clients live, for exercises that are themselves no asynchronous code.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use lockstep_client::{CallError, Client, Connect, Reply};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::Failure;
use crate::ledger::Call;

/// How long an answer is waited for beyond the client's own deadline.
const PATIENCE: Duration = Duration::from_secs(60);

/// The thread; ends when this is dropped.
#[derive(Debug)]
pub struct ClientThread {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

/// Something that was asked for and not yet waited for.
#[derive(Debug)]
pub struct Asked<T>(mpsc::Receiver<T>);

impl ClientThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn new() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name("clients".into()).spawn(move || runtime.block_on(ended))?;
        Ok(ClientThread { handle, _end: end })
    }

    /// Runs `future` on the thread.
    pub fn ask<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Asked<T> {
        let (sender, receiver) = mpsc::channel();
        self.handle.spawn(async move {
            // Whoever asked may no longer wait.
            let _ = sender.send(future.await);
        });
        Asked(receiver)
    }

    /// Makes a client of the ledger.
    ///
    /// # Errors
    /// When nobody serves it.
    pub fn connect(&self, connect: Connect) -> Result<Client, Failure> {
        let client = self.ask(async move { connect.application("ledger").await }).wait()?;
        client.map_err(|error| Failure::new(format!("a client can't connect: {error}")))
    }

    /// Calls a procedure of the ledger.
    #[must_use]
    pub fn call(&self, client: &Client, call: Call) -> Asked<Result<Reply, CallError>> {
        let client = client.clone();
        self.ask(async move {
            client.submit_raw(call.procedure, call.encoding, call.parameters, Vec::new()).await
        })
    }
}

impl<T> Asked<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait(self) -> Result<T, Failure> {
        self.0
            .recv_timeout(PATIENCE)
            .map_err(|error| Failure::new(format!("a client gives no answer: {error}")))
    }
}
