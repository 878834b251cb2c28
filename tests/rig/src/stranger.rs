//! Connections to a processor that say whatever an exercise wants: nonsense, too much, or nothing at all.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lockstep_wire::events::{ClientMessage, Encoding, Event, EventId, PROTOCOL, Reply, ServerMessage};
use lockstep_wire::frame::{self, EVENT_FRAME_BYTES_MAX};

use crate::Failure;

/// How long a processor may take to say anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct Stranger {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Stranger {
    /// Connects, and says nothing.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(address: &str) -> Result<Self, Failure> {
        let address: SocketAddr =
            address.parse().map_err(|_| Failure::new(format!("{address} is no address")))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Stranger { stream, input: Vec::new() })
    }

    /// Says hello as a client of the ledger does, and hears who serves.
    ///
    /// # Errors
    /// When it is not greeted.
    pub fn greet(&mut self) -> Result<(), Failure> {
        let hello = ClientMessage::Hello { protocol: PROTOCOL, application: "ledger".into(), partition: 0 };
        self.say(&framed(&hello))?;
        match self.hear()? {
            ServerMessage::Serving { .. } => Ok(()),
            other => Err(Failure::new(format!("a client is not greeted: {other:?}"))),
        }
    }

    /// Opens a session; its id.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn open_session(&mut self) -> Result<u64, Failure> {
        self.say(&framed(&ClientMessage::OpenSession { ticket: 0 }))?;
        loop {
            match self.hear()? {
                ServerMessage::Answer { reply: Reply::SessionOpened { session }, .. } => return Ok(session),
                ServerMessage::Serving { .. } => {}
                other => return Err(Failure::new(format!("a session is not opened: {other:?}"))),
            }
        }
    }

    /// Says this.
    ///
    /// # Errors
    /// When the other side takes nothing, or not in time.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Says as much of this as the other side takes now, at once; how much.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn say_what_fits(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        self.stream.set_nonblocking(true)?;
        let written = match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            other => other,
        };
        self.stream.set_nonblocking(false)?;
        Ok(written?)
    }

    /// The next message of a processor to its client.
    ///
    /// # Errors
    /// When none comes in time, or the connection ends.
    pub fn hear(&mut self) -> Result<ServerMessage, Failure> {
        loop {
            let whole = frame::split(&self.input, EVENT_FRAME_BYTES_MAX)
                .and_then(|found| {
                    found.map(|(payload, length)| Ok((frame::decode(payload)?, length))).transpose()
                })
                .map_err(|error| Failure::new(format!("a processor says something odd: {error}")))?;
            if let Some((message, length)) = whole {
                self.input.drain(..length);
                return Ok(message);
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(Failure::new("a processor ends the connection"));
            }
            self.input.extend_from_slice(&chunk[..read]);
        }
    }

    /// Waits for the other side to end the connection; whether it has in `patience`. What it says is not looked at.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn is_ended_within(&mut self, patience: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + patience;
        let mut chunk = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(true),
            }
        }
    }
}

/// A message as it goes over the wire.
#[must_use]
pub fn framed(message: &ClientMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(message, &mut bytes);
    bytes
}

/// Reads of the ledger's account `account`, numbered `from` and on in `session`, as one piece of bytes.
#[must_use]
pub fn reads(session: u64, from: u64, count: u64, account: &str) -> Vec<u8> {
    let parameters = format!("{{\"account\":\"{account}\"}}").into_bytes();
    let read = |number| ClientMessage::Submit {
        ticket: number,
        key: String::new(),
        event: Event {
            id: EventId::Numbered { session, number },
            awaited_from: number,
            procedure: "balance".into(),
            encoding: Encoding::Json,
            parameters: parameters.clone(),
            body: Vec::new(),
        },
    };
    (from..from + count).flat_map(|number| framed(&read(number))).collect()
}
