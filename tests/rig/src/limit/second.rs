//! The second process: applies records and says how many it has applied.

use std::net::TcpListener;

use rustix::fd::OwnedFd;

use super::Listens;
use super::books::{Books, RECORD_BYTES, Record};
use super::peer::{self, Peer};
use crate::Failure;

/// Serves one first process, to its end.
pub fn run() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let listens = Listens { address: listener.local_addr()?.to_string() };
    println!("{}", serde_json::to_string(&listens)?);
    let (stream, _) = listener.accept()?;
    let epoll: OwnedFd = peer::epoll()?;
    let mut first = Peer::new(stream, &epoll, 0)?;
    let (mut books, mut applied) = (Books::default(), 0_u64);
    let mut ready = Vec::with_capacity(1);
    loop {
        peer::wait(&epoll, &mut ready)?;
        if !first.read() {
            return Ok(());
        }
        let before = applied;
        while let Some(bytes) = first.incoming().first_chunk::<RECORD_BYTES>() {
            // What it answers is the first one's business; both find the same.
            let _ = books.run(&Record::read(bytes));
            first.take(RECORD_BYTES);
            applied += 1;
        }
        if applied > before {
            first.outgoing.extend_from_slice(&applied.to_le_bytes());
        }
        if !first.flush(&epoll) {
            return Ok(());
        }
    }
}
