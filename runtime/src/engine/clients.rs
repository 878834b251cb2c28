//! The connections of clients of the binary event protocol.
//!
//! Read and written by the engine itself, on its thread. Each has a slot and a generation of that slot, so that an
//! answer for a connection that is gone finds nobody. Bounds: connections, requests under way, buffers, the time
//! until `Hello`.
//! Deliberately absent: what a request means.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use lockstep_core::event::{Answer, Request};
use lockstep_core::ids::Origin;
use lockstep_wire::events::{BODY_BYTES_MAX, ClientMessage, PARAMETERS_BYTES_MAX, PROTOCOL, ServerMessage};
use lockstep_wire::frame;
use mio::{Interest, Registry, Token};

use super::answers::{reply_of, request_of};
use super::sockets::{Socket, Sockets};

/// The most connections.
pub const CONNECTIONS_MAX: usize = 16_384;
/// The most requests of one connection that may be under way; it is not read beyond.
pub const UNDER_WAY_MAX: usize = 4_096;
/// A connection with more than this to be written is not read, in bytes.
pub const OUT_BYTES_SOFT: usize = 1 << 20;
/// A connection with more than this to be written is dropped, in bytes.
pub const OUT_BYTES_HARD: usize = 16 << 20;
/// How long a connection may take to say `Hello`, and to take what is written to it.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// The first token of a client; lower ones are the bell and the link.
pub const FIRST_TOKEN: usize = 16;

/// Origins of clients have this bit clear, those of others have it set.
pub const ORIGIN_OTHERS: u64 = 1 << 63;

/// What a connection said.
#[derive(Debug)]
pub enum Said {
    /// A request, with the origin that its answer is to come back with.
    Request(Origin, Request),
    /// Nothing for now.
    Nothing,
    /// It is closed.
    Closed,
}

/// Who serves, as clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// This processor.
    pub node: String,
    /// Whether it is active.
    pub active: bool,
    /// The term.
    pub term: u64,
    /// The version that it runs.
    pub version: String,
    /// How many partitions the application has.
    pub partitions: u16,
}

impl Serving {
    fn message(&self) -> ServerMessage {
        ServerMessage::Serving {
            protocol: PROTOCOL,
            node: self.node.clone(),
            active: self.active,
            term: self.term,
            version: self.version.clone(),
            partitions: self.partitions,
        }
    }
}

struct Connection {
    stream: Socket,
    generation: u16,
    greeted: bool,
    since: Instant,
    /// Bytes that were read and not yet taken, from `taken` on.
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
    written: usize,
    /// When the output stopped moving.
    stuck_since: Option<Instant>,
    /// The socket may have more to read.
    readable: bool,
    /// What was read holds no whole frame.
    hungry: bool,
    /// The other side has sent everything it will send.
    read_closed: bool,
    in_ready: bool,
    in_dirty: bool,
    /// The client's tickets by index; free places are in `free`.
    tickets: Vec<u64>,
    free: Vec<u32>,
}

impl Connection {
    fn under_way(&self) -> usize {
        self.tickets.len() - self.free.len()
    }
    fn waiting_output(&self) -> usize {
        self.output.len() - self.written
    }
    fn may_be_read(&self) -> bool {
        self.under_way() < UNDER_WAY_MAX && self.waiting_output() < OUT_BYTES_SOFT
    }
}

/// All connections of clients.
pub struct Clients {
    application: String,
    partition: u16,
    serving: Serving,
    sockets: Sockets,
    slots: Vec<Option<Connection>>,
    generations: Vec<u16>,
    free: Vec<usize>,
    /// Slots that may have something to read or to take, in turn.
    ready: std::collections::VecDeque<usize>,
    /// Slots with output.
    dirty: Vec<usize>,
    ungreeted: usize,
    stuck: usize,
    checked: Instant,
    scratch: Box<[u8]>,
    /// How many were closed by this side since the last look.
    pub dropped: u64,
}

impl Clients {
    /// No connections; those to come stand in `sockets` as well.
    #[must_use]
    pub fn new(application: &str, partition: u16, serving: Serving, sockets: Sockets) -> Self {
        Clients {
            application: application.into(),
            partition,
            serving,
            sockets,
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            ready: std::collections::VecDeque::new(),
            dirty: Vec::new(),
            ungreeted: 0,
            stuck: 0,
            checked: Instant::now(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            dropped: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a new connection, of which `said` was read already.
    pub fn add(&mut self, stream: std::net::TcpStream, said: Vec<u8>, registry: &Registry) {
        if self.connections() >= CONNECTIONS_MAX {
            refuse(
                &stream,
                "LS0305",
                "this processor has as many connections as it takes; try the other one",
            );
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            self.slots.len() - 1
        });
        let token = Token(FIRST_TOKEN + slot);
        let added = self.sockets.add(stream, registry, token, Interest::READABLE | Interest::WRITABLE);
        let stream = match added {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a client's connection can't be watched");
                self.free.push(slot);
                return;
            }
        };
        self.ungreeted += 1;
        self.slots[slot] = Some(Connection {
            stream,
            generation: self.generations[slot],
            greeted: false,
            since: Instant::now(),
            hungry: said.is_empty(),
            input: said,
            taken: 0,
            output: Vec::new(),
            written: 0,
            stuck_since: None,
            readable: true,
            read_closed: false,
            in_ready: true,
            in_dirty: false,
            tickets: Vec::new(),
            free: Vec::new(),
        });
        self.ready.push_back(slot);
    }

    /// A socket has something to say.
    pub fn woken(&mut self, event: &mio::event::Event) {
        let slot = event.token().0.wrapping_sub(FIRST_TOKEN);
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            connection.readable = true;
            connection.read_closed |= event.is_read_closed() || event.is_error();
            if !connection.in_ready {
                connection.in_ready = true;
                self.ready.push_back(slot);
            }
        }
        if event.is_writable() && connection.waiting_output() > 0 && !connection.in_dirty {
            connection.in_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// The next connection that may have something; it is read once and then asked with [`Clients::take`].
    pub fn next_ready(&mut self) -> Option<usize> {
        while let Some(slot) = self.ready.pop_front() {
            let Some(connection) = self.slots[slot].as_mut() else { continue };
            connection.in_ready = false;
            if connection.may_be_read() {
                if connection.readable && connection.hungry {
                    self.read(slot);
                    if self.slots[slot].is_none() {
                        continue;
                    }
                }
                return Some(slot);
            }
            // It comes back when its answers have been written.
        }
        None
    }

    /// How many wait for a turn.
    #[must_use]
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The turn of `slot` ended before everything that it said was taken, or it may say more.
    pub fn again(&mut self, slot: usize) {
        if let Some(connection) = self.slots[slot].as_mut()
            && !connection.in_ready
        {
            connection.in_ready = true;
            self.ready.push_back(slot);
        }
    }

    /// Whether `slot` may have more to be read.
    #[must_use]
    pub fn has_more(&self, slot: usize) -> bool {
        self.slots[slot].as_ref().is_some_and(|connection| connection.readable || !connection.hungry)
    }

    fn read(&mut self, slot: usize) {
        let connection = self.slots[slot].as_mut().expect("the caller has looked");
        let read = connection.stream.read(&mut self.scratch);
        if let Ok(got @ 1..) = read {
            connection.hungry = false;
            if connection.taken > 0 {
                connection.input.drain(..connection.taken);
                connection.taken = 0;
            }
            connection.input.extend_from_slice(&self.scratch[..got]);
        }
        match read {
            Ok(0) => self.close(slot),
            // A short read emptied the socket: its next bytes make it ready again, unless they were its last.
            Ok(got) => connection.readable = got == READ_BYTES || connection.read_closed,
            Err(error) if error.kind() == ErrorKind::WouldBlock => connection.readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.close(slot),
        }
    }

    /// The next thing that `slot` said.
    pub fn take(&mut self, slot: usize) -> Said {
        let Some(connection) = self.slots[slot].as_mut() else { return Said::Closed };
        if !connection.may_be_read() {
            return Said::Nothing;
        }
        let unread = &connection.input[connection.taken..];
        let message = match frame::split(unread, frame::EVENT_FRAME_BYTES_MAX) {
            Ok(None) => {
                connection.hungry = true;
                return Said::Nothing;
            }
            Ok(Some((payload, length))) => {
                let message = frame::decode::<ClientMessage>(payload);
                connection.taken += length;
                message
            }
            Err(error) => Err(error),
        };
        match message {
            Err(error) => self.refuse(slot, "LS0302", &format!("{error}; see docs/events-protocol.md")),
            Ok(message) if connection.greeted => match message {
                ClientMessage::Submit { ticket, key, event } => {
                    if event.parameters.len() > PARAMETERS_BYTES_MAX || event.body.len() > BODY_BYTES_MAX {
                        let bytes_max = if event.body.len() > BODY_BYTES_MAX {
                            BODY_BYTES_MAX
                        } else {
                            PARAMETERS_BYTES_MAX
                        };
                        let rejection =
                            lockstep_core::event::Rejection::TooLarge { bytes_max: bytes_max as u64 };
                        self.write(slot, ticket, Answer::Rejected(rejection));
                        return self.take_next(slot);
                    }
                    Said::Request(self.origin(slot, ticket), request_of(key, event))
                }
                ClientMessage::OpenSession { ticket } => {
                    Said::Request(self.origin(slot, ticket), Request::OpenSession)
                }
                ClientMessage::Hello { .. } => self.refuse(slot, "LS0303", "`Hello` comes once"),
            },
            Ok(ClientMessage::Hello { protocol, application, partition }) => {
                if protocol.0 != PROTOCOL.0 {
                    let text = format!(
                        "version {}.{} is spoken here; use that client library",
                        PROTOCOL.0, PROTOCOL.1
                    );
                    return self.refuse(slot, "LS0301", &text);
                }
                if application != self.application {
                    let text = format!("the application here is `{}`, not `{application}`", self.application);
                    return self.refuse(slot, "LS0304", &text);
                }
                if partition != self.partition {
                    let partitions = self.serving.partitions;
                    let text = format!(
                        "`{application}` has partitions 0 to {} here, and {partition} is none of them",
                        partitions.saturating_sub(1)
                    );
                    return self.refuse(slot, "LS0307", &text);
                }
                connection.greeted = true;
                self.ungreeted -= 1;
                let message = self.serving.message();
                self.tell(slot, &message);
                self.take_next(slot)
            }
            Ok(_) => self.refuse(slot, "LS0303", "`Hello` comes first"),
        }
    }

    fn take_next(&mut self, slot: usize) -> Said {
        // Not a recursion of the client's choosing: each step takes a whole frame of a bounded buffer.
        self.take(slot)
    }

    fn origin(&mut self, slot: usize, ticket: u64) -> Origin {
        let connection = self.slots[slot].as_mut().expect("the caller has looked");
        let index = match connection.free.pop() {
            Some(index) => {
                connection.tickets[index as usize] = ticket;
                index
            }
            None => {
                connection.tickets.push(ticket);
                (connection.tickets.len() - 1) as u32
            }
        };
        Origin((slot as u64) << 48 | u64::from(connection.generation) << 32 | u64::from(index))
    }

    /// Queues the answer for whoever asked with `origin`, if it is still there.
    pub fn answer(&mut self, origin: Origin, answer: Answer) {
        let slot = (origin.0 >> 48) as usize;
        let generation = (origin.0 >> 32) as u16;
        let index = origin.0 as u32;
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        if connection.generation != generation {
            return;
        }
        let Some(ticket) = connection.tickets.get(index as usize).copied() else { return };
        connection.free.push(index);
        self.write(slot, ticket, answer);
    }

    fn write(&mut self, slot: usize, ticket: u64, answer: Answer) {
        self.tell(slot, &ServerMessage::Answer { ticket, reply: reply_of(answer) });
    }

    fn tell(&mut self, slot: usize, message: &ServerMessage) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        frame::encode(message, &mut connection.output);
        if !connection.in_dirty {
            connection.in_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Tells all clients who serves, if that changed.
    pub fn set_serving(&mut self, serving: Serving) {
        if serving == self.serving {
            return;
        }
        self.serving = serving;
        let message = self.serving.message();
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|connection| connection.greeted) {
                self.tell(slot, &message);
            }
        }
    }

    /// Writes each connection that has output, once.
    pub fn flush(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        for slot in &dirty {
            self.flush_one(*slot);
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
            self.dirty.clear();
        }
        self.look_at_clock();
    }

    fn flush_one(&mut self, slot: usize) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        connection.in_dirty = false;
        let was_stuck = connection.stuck_since.is_some();
        loop {
            if connection.waiting_output() == 0 {
                connection.output.clear();
                connection.written = 0;
                break;
            }
            match connection.stream.write(&connection.output[connection.written..]) {
                Ok(0) => return self.close(slot),
                Ok(written) => {
                    connection.written += written;
                    if was_stuck {
                        connection.stuck_since = Some(Instant::now());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(slot),
            }
        }
        if connection.waiting_output() > 0 {
            connection.stuck_since.get_or_insert_with(Instant::now);
            if !was_stuck {
                self.stuck += 1;
            }
            if connection.waiting_output() > OUT_BYTES_HARD {
                self.drop_it(slot, "it does not take its answers");
                return;
            }
            if connection.written > OUT_BYTES_SOFT {
                connection.output.drain(..connection.written);
                connection.written = 0;
            }
        } else if was_stuck {
            connection.stuck_since = None;
            self.stuck -= 1;
        }
        // It may have been passed over while its output or its requests were at their bound.
        let connection = self.slots[slot].as_mut().expect("still there");
        if (connection.readable || !connection.hungry) && connection.may_be_read() && !connection.in_ready {
            connection.in_ready = true;
            self.ready.push_back(slot);
        }
    }

    fn look_at_clock(&mut self) {
        if self.ungreeted == 0 && self.stuck == 0 {
            return;
        }
        let now = Instant::now();
        if now.duration_since(self.checked) < Duration::from_millis(500) {
            return;
        }
        self.checked = now;
        for slot in 0..self.slots.len() {
            let Some(connection) = self.slots[slot].as_ref() else { continue };
            if !connection.greeted && now.duration_since(connection.since) > PATIENCE {
                self.refuse(slot, "LS0303", "`Hello` did not come in time");
            } else if connection.stuck_since.is_some_and(|since| now.duration_since(since) > PATIENCE) {
                self.drop_it(slot, "it does not take its answers");
            }
        }
    }

    fn refuse(&mut self, slot: usize, code: &str, text: &str) -> Said {
        let message = ServerMessage::Refused { code: code.into(), message: text.into() };
        self.tell(slot, &message);
        self.flush_one(slot);
        self.drop_it(slot, text);
        Said::Closed
    }

    fn drop_it(&mut self, slot: usize, why: &str) {
        if let Some(connection) = &self.slots[slot] {
            let from = connection.stream.peer_addr().ok();
            tracing::info!(from = from.map(|from| from.to_string()), why, "a client's connection is closed");
            self.dropped += 1;
            self.close(slot);
        }
    }

    fn close(&mut self, slot: usize) {
        if let Some(connection) = self.slots[slot].take() {
            if !connection.greeted {
                self.ungreeted -= 1;
            }
            if connection.stuck_since.is_some() {
                self.stuck -= 1;
            }
            self.generations[slot] = self.generations[slot].wrapping_add(1);
            self.free.push(slot);
        }
    }
}

/// Says why a connection is not taken; best effort.
fn refuse(mut stream: &std::net::TcpStream, code: &str, text: &str) {
    let mut bytes = Vec::new();
    frame::encode(&ServerMessage::Refused { code: code.into(), message: text.into() }, &mut bytes);
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(&bytes);
}
