//! A connection without blocking: what has come is read in one call, what is to go leaves in one.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 64 << 10;

/// The load's time, in nanoseconds from its start.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins at zero.
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    /// The time.
    pub fn now_ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// A socket with what waits in both directions.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    token: u64,
    connected: bool,
    /// The kernel is asked to say when it takes more.
    waits: bool,
    incoming: Vec<u8>,
    read_from: usize,
    /// What is to be sent; callers append.
    pub outgoing: Vec<u8>,
    sent_to: usize,
}

/// Why a connection is of no use any more.
pub type Lost = String;

impl Socket {
    /// Begins to connect; the epoll instance tells of it with `token`.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn connect(address: SocketAddr, epoll: &OwnedFd, token: u64) -> Result<Self, Errno> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let descriptor = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&descriptor, true)?;
        match rustix::net::connect(&descriptor, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        epoll::add(epoll, &descriptor, EventData::new_u64(token), EventFlags::IN | EventFlags::OUT)?;
        Ok(Socket {
            descriptor,
            token,
            connected: false,
            waits: true,
            incoming: Vec::with_capacity(2 * READ_BYTES),
            read_from: 0,
            outgoing: Vec::with_capacity(READ_BYTES),
            sent_to: 0,
        })
    }

    fn watch(&mut self, epoll: &OwnedFd, waits: bool) -> Result<(), Lost> {
        if self.waits != waits {
            self.waits = waits;
            let flags = if waits { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(epoll, &self.descriptor, EventData::new_u64(self.token), flags)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// It can be written, or the connection was made.
    ///
    /// # Errors
    /// When it is lost.
    pub fn writable(&mut self, epoll: &OwnedFd) -> Result<(), Lost> {
        if !self.connected {
            match sockopt::socket_error(&self.descriptor) {
                Ok(Ok(())) => self.connected = true,
                Ok(Err(error)) | Err(error) => return Err(error.to_string()),
            }
        }
        self.flush(epoll)
    }

    /// Sends what waits, as far as the kernel takes it.
    ///
    /// # Errors
    /// When it is lost.
    pub fn flush(&mut self, epoll: &OwnedFd) -> Result<(), Lost> {
        if !self.connected {
            return Ok(());
        }
        while self.sent_to < self.outgoing.len() {
            match rustix::io::write(&self.descriptor, &self.outgoing[self.sent_to..]) {
                Ok(sent) => self.sent_to += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return self.watch(epoll, true),
                Err(error) => return Err(error.to_string()),
            }
        }
        self.outgoing.clear();
        self.sent_to = 0;
        self.watch(epoll, false)
    }

    /// Reads once.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn read(&mut self) -> Result<(), Lost> {
        if self.read_from == self.incoming.len() {
            self.incoming.clear();
        } else {
            self.incoming.drain(..self.read_from);
        }
        self.read_from = 0;
        self.incoming.reserve(READ_BYTES);
        loop {
            return match rustix::io::read(&self.descriptor, spare_capacity(&mut self.incoming)) {
                Ok(0) => Err("the other side has closed it".into()),
                Ok(_) | Err(Errno::AGAIN) => Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.to_string()),
            };
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
}
