//! The first process: serves clients, and answers what the second one has acknowledged.

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};

use lockstep_wire::borrowed::{Bytes, ClientFrame, EventFrame, IdFrame, ReplyFrame, ServerFrame};
use lockstep_wire::events::{Encoding, PROTOCOL};
use lockstep_wire::frame;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use serde::Deserialize;

use super::Listens;
use super::books::{Books, Deed, Record, name};
use super::peer::{self, Peer};
use crate::Failure;

const LISTENER: u64 = 0;
const LINK: u64 = 1;
/// The tokens of clients begin here.
const CLIENTS: u64 = 2;
/// The most socket events of a turn.
const READY_MAX: usize = 256;

/// What is said to a client at the end of its turn.
enum Now {
    Frame(ServerFrame<'static>),
    /// An event that has run: its recorded reply.
    Repeat(Waiting),
}

/// An answer that waits for the second process.
struct Waiting {
    client: usize,
    ticket: u64,
    reply: Result<u64, &'static str>,
}

struct First {
    epoll: OwnedFd,
    listener: TcpListener,
    link: Peer,
    clients: Vec<Option<Peer>>,
    books: Books,
    sessions: u64,
    /// In the order of the records that were forwarded.
    waiting: VecDeque<Waiting>,
    /// How many records the second one has acknowledged.
    acknowledged: u64,
    /// Clients to be written to at the end of the turn.
    dirty: Vec<usize>,
}

/// Serves until the second process is gone.
pub fn run(second: &str) -> Result<(), Failure> {
    let epoll = peer::epoll()?;
    let link = Peer::new(TcpStream::connect(second)?, &epoll, LINK)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).map_err(peer::failed)?;
    println!("{}", serde_json::to_string(&Listens { address: listener.local_addr()?.to_string() })?);
    let mut first = First {
        epoll,
        listener,
        link,
        clients: Vec::new(),
        books: Books::default(),
        sessions: 0,
        waiting: VecDeque::new(),
        acknowledged: 0,
        dirty: Vec::new(),
    };
    let mut ready = Vec::with_capacity(READY_MAX);
    loop {
        peer::wait(&first.epoll, &mut ready)?;
        first.turn(&ready)?;
    }
}

impl First {
    fn turn(&mut self, ready: &[epoll::Event]) -> Result<(), Failure> {
        for event in ready {
            match event.data.u64() {
                LISTENER => self.accept()?,
                LINK => self.acknowledged()?,
                token => self.read((token - CLIENTS) as usize),
            }
        }
        // The second one first: it works while clients are written to.
        if !self.link.flush(&self.epoll) {
            return Err(Failure::new("limit's second process is gone"));
        }
        while let Some(at) = self.dirty.pop() {
            if self.clients[at].as_mut().is_some_and(|client| !client.flush(&self.epoll)) {
                self.clients[at] = None;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Failure> {
        let Ok((stream, _)) = self.listener.accept() else { return Ok(()) };
        // Places of clients that are gone are not used again: answers may still wait for them.
        let at = self.clients.len();
        self.clients.push(Some(Peer::new(stream, &self.epoll, CLIENTS + at as u64)?));
        Ok(())
    }

    fn acknowledged(&mut self) -> Result<(), Failure> {
        if !self.link.read() {
            return Err(Failure::new("limit's second process is gone"));
        }
        while let Some(count) = self.link.incoming().first_chunk() {
            let count = u64::from_le_bytes(*count);
            self.link.take(8);
            for _ in self.acknowledged..count {
                let Some(waiting) = self.waiting.pop_front() else { break };
                self.acknowledged += 1;
                self.answer(waiting, self.acknowledged);
            }
        }
        Ok(())
    }

    fn answer(&mut self, Waiting { client, ticket, reply }: Waiting, sequence: u64) {
        let mut number = [0; 10];
        let reply = match reply {
            Ok(entry) => {
                let reply = postcard::to_slice(&entry, &mut number).expect("ten bytes hold any number");
                ReplyFrame::Committed { sequence, reply: Bytes(reply) }
            }
            Err(code) => ReplyFrame::Refused { sequence, code, message: "" },
        };
        self.say(client, &ServerFrame::Answer { ticket, reply });
    }

    fn say(&mut self, at: usize, message: &ServerFrame<'_>) {
        if let Some(client) = &mut self.clients[at] {
            if client.outgoing.is_empty() {
                self.dirty.push(at);
            }
            frame::encode(message, &mut client.outgoing);
        }
    }

    fn read(&mut self, at: usize) {
        let Some(mut client) = self.clients[at].take() else { return };
        let lives = client.read();
        // Said once all frames were taken: the client is not at its place meanwhile. Empty for ordinary events.
        let mut said = Vec::new();
        loop {
            let length = match frame::split(client.incoming(), frame::EVENT_FRAME_BYTES_MAX) {
                Ok(None) => break,
                Ok(Some((payload, length))) => match frame::decode::<ClientFrame<'_>>(payload) {
                    Ok(message) => {
                        said.extend(self.take(at, &message));
                        length
                    }
                    Err(_) => return,
                },
                Err(_) => return,
            };
            client.take(length);
        }
        // What waits for the kernel is written when it takes more.
        if !client.outgoing.is_empty() {
            self.dirty.push(at);
        }
        self.clients[at] = lives.then_some(client);
        for now in said {
            match now {
                Now::Frame(message) => self.say(at, &message),
                Now::Repeat(waiting) => self.answer(waiting, 0),
            }
        }
    }

    fn take(&mut self, at: usize, message: &ClientFrame<'_>) -> Option<Now> {
        match *message {
            ClientFrame::Hello { .. } => Some(Now::Frame(ServerFrame::Serving {
                protocol: PROTOCOL,
                node: "limit",
                active: true,
                term: 1,
                version: "0.0.0",
                partitions: 1,
            })),
            ClientFrame::OpenSession { ticket } => {
                self.sessions += 1;
                let reply = ReplyFrame::SessionOpened { session: self.sessions };
                Some(Now::Frame(ServerFrame::Answer { ticket, reply }))
            }
            ClientFrame::Submit { ticket, event, .. } => match record(&event) {
                Some(record) => {
                    let (reply, ran) = self.books.run(&record);
                    let waiting = Waiting { client: at, ticket, reply };
                    if !ran {
                        return Some(Now::Repeat(waiting));
                    }
                    record.write(&mut self.link.outgoing);
                    self.waiting.push_back(waiting);
                    None
                }
                None => {
                    let reply = ReplyFrame::Rejected {
                        code: "LS0201",
                        message: "limit knows `transfer` and `open_accounts`, with parameters in postcard and numbered ids",
                    };
                    Some(Now::Frame(ServerFrame::Answer { ticket, reply }))
                }
            },
        }
    }
}

#[derive(Deserialize)]
struct Transfer<'a> {
    from: &'a str,
    to: &'a str,
    cents: u64,
}

#[derive(Deserialize)]
struct OpenAccounts {
    first: u32,
    count: u32,
    cents: u64,
}

fn record(event: &EventFrame<'_>) -> Option<Record> {
    let (IdFrame::Numbered { session, number }, Encoding::Postcard) = (event.id, event.encoding) else {
        return None;
    };
    let bytes = event.parameters.0;
    let deed = match event.procedure {
        "transfer" => {
            let Transfer { from, to, cents } = postcard::from_bytes(bytes).ok()?;
            Deed::Transfer { from: name(from)?, to: name(to)?, cents }
        }
        "open_accounts" => {
            let OpenAccounts { first, count, cents } = postcard::from_bytes(bytes).ok()?;
            Deed::Open { first, count, cents }
        }
        _ => return None,
    };
    Some(Record { session, number, deed })
}
