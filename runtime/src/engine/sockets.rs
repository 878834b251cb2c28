//! The sockets of an engine, as somebody else can end them.
//!
//! The engine reads and writes its sockets on its own thread. Should that one hang, clients and the partner must see the
//! connections end at once (R23), and its descriptors can't be closed from outside. So each stands here as well, and
//! is shut down from here: its other end reads what had been written, and then the end.
//! Invariant: a descriptor is closed by whoever reads and writes it, and by nobody else.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// The fewest places before those of closed sockets are looked for.
const PLACES_MIN: usize = 64;

/// The sockets of one engine. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    all: Arc<Mutex<All>>,
}

#[derive(Debug, Default)]
struct All {
    open: Vec<Weak<TcpStream>>,
    /// At so many places those of closed sockets are given up.
    tidy_at: usize,
    /// Nothing is opened any more.
    ended: bool,
}

impl Sockets {
    /// Takes `stream`, from here on without blocking, and has `registry` watch it under `token`.
    ///
    /// # Errors
    /// When it can't be set up or watched, or the engine was given up.
    pub fn add(
        &self,
        stream: TcpStream,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        registry.register(&mut SourceFd(&stream.as_raw_fd()), token, interest)?;
        let stream = Arc::new(stream);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if all.open.len() >= all.tidy_at {
            all.open.retain(|socket| socket.strong_count() > 0);
            all.tidy_at = PLACES_MIN.max(2 * all.open.len());
        }
        all.open.push(Arc::downgrade(&stream));
        Ok(Socket { stream })
    }

    /// Ends all connections, and those that would come.
    pub fn end(&self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.ended = true;
        for socket in std::mem::take(&mut all.open).iter().filter_map(Weak::upgrade) {
            // One whose other end has gone is ended already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// A socket of an engine.
#[derive(Debug)]
pub struct Socket {
    stream: Arc<TcpStream>,
}

impl Socket {
    /// Who is at the other end.
    ///
    /// # Errors
    /// When nobody is any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(into)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use mio::Poll;

    use super::*;

    #[test]
    fn what_was_written_arrives_and_then_the_end_though_the_socket_stays_open() {
        let (poll, listener) = (Poll::new().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let sockets = Sockets::default();
        let pair = || {
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (ours, listener.accept().unwrap().0)
        };
        let add = |stream| sockets.add(stream, poll.registry(), Token(7), Interest::READABLE);
        let (ours, mut theirs) = pair();
        let mut socket = add(ours).unwrap();
        assert_eq!(socket.write(b"last words").unwrap(), 10);
        sockets.end();
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "last words");
        assert_eq!(socket.read(&mut [0; 8]).unwrap(), 0, "nor is anything heard");
        assert!(socket.write(b"more").is_err());
        assert!(add(pair().0).is_err(), "nothing is opened any more");
    }

    #[test]
    fn places_of_closed_sockets_are_given_up() {
        let (poll, listener) = (Poll::new().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let sockets = Sockets::default();
        for round in 0..4 * PLACES_MIN {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            drop(sockets.add(stream, poll.registry(), Token(round), Interest::READABLE).unwrap());
            drop(listener.accept().unwrap());
        }
        assert!(sockets.all.lock().unwrap().open.len() <= PLACES_MIN);
    }
}
