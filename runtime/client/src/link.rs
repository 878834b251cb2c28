//! One TCP connection to one processor, made again with a growing wait whenever it is lost.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// The first wait before a connection is made again; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// The longest wait before a connection is made again.
const BACKOFF_MAX: Duration = Duration::from_millis(100);
/// How long the making of a connection may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// What is read at once.
const READ_BYTES: usize = 64 << 10;

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

enum State {
    Waiting(Pin<Box<Sleep>>),
    Connecting(Connecting),
    Up(TcpStream),
}

/// What a link has to say.
pub(crate) enum News {
    /// A connection is made.
    Connected,
    /// Further bytes stand in the buffer.
    Read,
    /// The connection ended, or could not be made.
    Ended(String),
}

/// The connection and what has been read from it.
pub(crate) struct Link {
    address: String,
    state: State,
    backoff: Duration,
    up_since: Option<Instant>,
    input: Vec<u8>,
    scratch: Box<[u8]>,
}

impl Link {
    pub(crate) fn new(address: String) -> Self {
        let state = State::Connecting(connecting(address.clone()));
        Link {
            address,
            state,
            backoff: BACKOFF_MIN,
            up_since: None,
            input: Vec::new(),
            scratch: vec![0; READ_BYTES].into(),
        }
    }

    /// Read, but not dealt with.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.input.drain(..bytes);
    }

    /// Ends the connection; another is made after a wait.
    pub(crate) fn end(&mut self) {
        self.input.clear();
        // One that held for a while was good: the next may follow at once.
        if self.up_since.take().is_some_and(|since| since.elapsed() > BACKOFF_MAX) {
            self.backoff = BACKOFF_MIN;
        }
        self.state = State::Waiting(Box::pin(tokio::time::sleep(self.backoff)));
        self.backoff = BACKOFF_MAX.min(self.backoff * 2);
    }

    /// Waits for news.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<News> {
        loop {
            match &mut self.state {
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(context));
                    self.state = State::Connecting(connecting(self.address.clone()));
                }
                State::Connecting(connecting) => match ready!(connecting.as_mut().poll(context)) {
                    Ok(stream) => {
                        self.state = State::Up(stream);
                        self.up_since = Some(Instant::now());
                        return Poll::Ready(News::Connected);
                    }
                    Err(error) => {
                        self.end();
                        return Poll::Ready(News::Ended(error.to_string()));
                    }
                },
                State::Up(stream) => {
                    let mut buffer = ReadBuf::new(&mut self.scratch);
                    let ended = match ready!(Pin::new(stream).poll_read(context, &mut buffer)) {
                        Ok(()) if buffer.filled().is_empty() => "closed by the processor".to_string(),
                        Ok(()) => {
                            self.input.extend_from_slice(buffer.filled());
                            return Poll::Ready(News::Read);
                        }
                        Err(error) => error.to_string(),
                    };
                    self.end();
                    return Poll::Ready(News::Ended(ended));
                }
            }
        }
    }

    /// Writes what the socket takes of `output` and removes it; an error is the connection's end.
    pub(crate) fn write(&mut self, output: &mut Vec<u8>, context: &mut Context<'_>) -> Result<(), String> {
        let State::Up(stream) = &mut self.state else { return Ok(()) };
        let mut written = 0;
        while written < output.len() {
            match Pin::new(&mut *stream).poll_write(context, &output[written..]) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err("closed by the processor".into()),
                Poll::Ready(Ok(bytes)) => written += bytes,
                Poll::Ready(Err(error)) => return Err(error.to_string()),
            }
        }
        output.drain(..written);
        Ok(())
    }
}

fn connecting(address: String) -> Connecting {
    Box::pin(async move {
        let made = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(&address)).await;
        let stream = made.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        // While nobody listens on a port of the ephemeral range a connection can meet itself there.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens: it met itself"));
        }
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}
