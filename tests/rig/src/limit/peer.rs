//! A connection of `limit`: one read brings what has come, one write takes what is to go.

use std::net::TcpStream;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::Failure;

const READ_BYTES: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    token: u64,
    waits: bool,
    incoming: Vec<u8>,
    read_from: usize,
    /// What is to be sent; callers append.
    pub outgoing: Vec<u8>,
    sent_to: usize,
}

impl Peer {
    /// Watches this connection.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn new(stream: TcpStream, epoll: &OwnedFd, token: u64) -> Result<Self, Failure> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(epoll, &stream, EventData::new_u64(token), EventFlags::IN).map_err(failed)?;
        Ok(Peer {
            stream,
            token,
            waits: false,
            incoming: Vec::with_capacity(2 * READ_BYTES),
            read_from: 0,
            outgoing: Vec::with_capacity(READ_BYTES),
            sent_to: 0,
        })
    }

    /// Reads once; `false` when the other side is gone.
    pub fn read(&mut self) -> bool {
        self.incoming.drain(..self.read_from);
        self.read_from = 0;
        self.incoming.reserve(READ_BYTES);
        match rustix::io::read(&self.stream, spare_capacity(&mut self.incoming)) {
            Ok(read) => read > 0,
            Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
        }
    }

    /// What has come and was not taken.
    pub fn incoming(&self) -> &[u8] {
        &self.incoming[self.read_from..]
    }

    /// So many bytes of it were taken.
    pub fn take(&mut self, bytes: usize) {
        self.read_from += bytes;
    }

    /// Sends what waits, as far as the kernel takes it; `false` when the other side is gone.
    pub fn flush(&mut self, epoll: &OwnedFd) -> bool {
        let mut waits = false;
        while self.sent_to < self.outgoing.len() && !waits {
            match rustix::io::write(&self.stream, &self.outgoing[self.sent_to..]) {
                Ok(sent) => self.sent_to += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => waits = true,
                Err(_) => return false,
            }
        }
        if !waits {
            self.outgoing.clear();
            self.sent_to = 0;
        }
        if self.waits != waits {
            self.waits = waits;
            let flags = if waits { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            return epoll::modify(epoll, &self.stream, EventData::new_u64(self.token), flags).is_ok();
        }
        true
    }
}

/// Waits for sockets.
///
/// # Errors
/// When the operating system refuses.
pub fn wait(epoll: &OwnedFd, ready: &mut Vec<epoll::Event>) -> Result<(), Failure> {
    ready.clear();
    match epoll::wait(epoll, spare_capacity(ready), None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A new epoll instance.
///
/// # Errors
/// When the operating system refuses.
pub fn epoll() -> Result<OwnedFd, Failure> {
    epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)
}

/// The operating system's word as a failure.
pub fn failed(error: Errno) -> Failure {
    Failure::new(format!("limit: {error}"))
}
