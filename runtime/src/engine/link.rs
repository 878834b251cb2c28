//! The engine's end of the link to its partner: one socket, read and written on the engine's thread.
//!
//! Frames are encoded straight into one buffer, which is written once a turn. Pieces of plugin files go out between
//! them, a little a turn, so that the stream does not wait behind a file (R35).
//! Deliberately absent: who dials, and what frames mean.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::ids::{LinkId, NodeId, PluginHash};
use lockstep_core::message::Frame;
use lockstep_wire::frame::{self, LINK_FRAME_BYTES_MAX};
use mio::{Interest, Registry, Token};
use tokio::sync::oneshot;

use super::failpoints::{Failpoints, Verdict, die};
use super::sockets::{Socket, Sockets};
use crate::admin::protocol::AdminError;
use crate::link_message::{LinkMessage, PLUGIN_PIECE_BYTES, PluginAssembly};

/// Clients are not read while more than this waits to be written to the partner, in bytes.
pub const OUT_BYTES_SOFT: usize = 8 << 20;
/// How much is read at once.
const READ_BYTES: usize = 256 << 10;
/// How often a socket is read in one turn while it has more.
const READS_A_TURN: usize = 4;

/// Two links that both sides dialled at once come within this.
const AT_ONCE: Duration = Duration::from_secs(2);

/// How a link came about.
#[derive(Clone, Copy, Debug)]
pub struct Dialled {
    /// The partner's process.
    pub process: u64,
    /// The one with the smaller name dialled.
    pub by_smaller: bool,
    /// When.
    pub at: Instant,
}

impl Dialled {
    /// Whether this link stays although `newer` has come: both sides dialled at once, and both keep that of the smaller
    /// name. To replace it would take a standby that is in sync out of the record for a moment.
    #[must_use]
    pub fn stays_beside(&self, newer: Dialled) -> bool {
        self.process == newer.process
            && self.by_smaller
            && !newer.by_smaller
            && newer.at.duration_since(self.at) < AT_ONCE
    }
}

/// The socket and its buffers.
pub struct Link {
    /// Its id, as the core knows it.
    pub id: LinkId,
    /// Who is there.
    pub partner: NodeId,
    /// How it came about.
    pub dialled: Dialled,
    stream: Socket,
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
    written: usize,
    readable: bool,
    read_closed: bool,
    /// Why nothing more can come; what came before is taken first (R22).
    ended: Option<String>,
    /// The socket takes nothing any more; what can still be read is.
    mute: bool,
    /// The partner waits for this file; so much of it has been sent.
    file_out: Option<(PluginHash, Arc<Vec<u8>>, usize)>,
    /// A file that the partner sends.
    pub file_in: Option<PluginAssembly>,
    /// A file that the partner sends to have it tried here, with what the upgrade needs on the disk, and whether it is kept.
    pub probe_in: Option<(PluginAssembly, u64, bool)>,
    /// A preflight waits for the partner's word on this file.
    pub probe_out: Option<(PluginHash, oneshot::Sender<Result<(), AdminError>>)>,
    scratch: Box<[u8]>,
}

impl Link {
    /// A link over `stream`, watched by the registry under the token, which stands among the sockets.
    ///
    /// # Errors
    /// When the socket can't be watched.
    pub fn new(
        id: LinkId,
        partner: NodeId,
        dialled: Dialled,
        stream: std::net::TcpStream,
        (sockets, registry, token): (&Sockets, &Registry, Token),
    ) -> std::io::Result<Self> {
        let stream = sockets.add(stream, registry, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Link {
            id,
            partner,
            dialled,
            stream,
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
            written: 0,
            readable: true,
            read_closed: false,
            ended: None,
            mute: false,
            file_out: None,
            file_in: None,
            probe_in: None,
            probe_out: None,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// The socket has something to say.
    pub fn woken(&mut self, event: &mio::event::Event) {
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.readable = true;
            self.read_closed |= event.is_read_closed() || event.is_error();
        }
    }

    /// Whether there may be more to read, or something read is not taken.
    #[must_use]
    pub fn has_more(&self) -> bool {
        (self.readable && self.ended.is_none()) || self.has_whole_frame()
    }

    fn has_whole_frame(&self) -> bool {
        let unread = self.input.len() - self.taken;
        let Some(header) = self.input.get(self.taken..self.taken + frame::HEADER_BYTES) else { return false };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        length > LINK_FRAME_BYTES_MAX || unread >= frame::HEADER_BYTES + length
    }

    /// Reads what has come. Nothing is lost when the link ends: what came before its end is taken first.
    pub fn read(&mut self) {
        if self.has_whole_frame() {
            return;
        }
        if self.taken > 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        for _ in 0..READS_A_TURN {
            if !self.readable || self.ended.is_some() {
                break;
            }
            match self.stream.read(&mut self.scratch) {
                Ok(0) => self.ended = Some("the partner closed the link".into()),
                Ok(got) => {
                    self.input.extend_from_slice(&self.scratch[..got]);
                    self.readable = got == READ_BYTES || self.read_closed;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.ended = Some(format!("the link can't be read: {error}")),
            }
        }
    }

    /// Why the link is gone, once everything that had come was taken.
    #[must_use]
    pub fn end(&self) -> Option<&str> {
        self.ended.as_deref().filter(|_| !self.has_whole_frame())
    }

    /// The next message, if a whole one has come.
    ///
    /// # Errors
    /// When what came is no message: the link can't go on.
    pub fn take(&mut self) -> Result<Option<LinkMessage>, String> {
        match frame::split(&self.input[self.taken..], LINK_FRAME_BYTES_MAX) {
            Ok(None) => Ok(None),
            Ok(Some((payload, length))) => {
                let message = frame::decode(payload).map_err(|error| error.to_string())?;
                self.taken += length;
                Ok(Some(message))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Queues a frame of the core.
    pub fn send(&mut self, frame: Frame, failpoints: &mut Failpoints) {
        let verdict = failpoints.at_frame(&frame);
        if verdict == Verdict::DieBefore {
            self.write_all_and_die();
        }
        frame::encode(&LinkMessage::Core(frame), &mut self.output);
        if verdict == Verdict::DieAfter {
            self.write_all_and_die();
        }
    }

    /// Queues another message.
    pub fn tell(&mut self, message: &LinkMessage) {
        frame::encode(message, &mut self.output);
    }

    /// Sends a plugin file, piece by piece.
    pub fn send_file(&mut self, hash: PluginHash, bytes: Option<Arc<Vec<u8>>>) {
        match bytes {
            Some(bytes) if !bytes.is_empty() => self.file_out = Some((hash, bytes, 0)),
            _ => self.tell(&LinkMessage::PluginMissing { hash }),
        }
    }

    /// Sends a plugin file to have it tried on the partner's host; `reply` gets what it says, or is dropped with the link.
    pub fn probe(
        &mut self,
        hash: PluginHash,
        content: Arc<Vec<u8>>,
        bytes: u64,
        keeps: bool,
        reply: oneshot::Sender<Result<(), AdminError>>,
    ) {
        if self.file_out.is_some() {
            let busy = AdminError {
                code: crate::plugins::NOT_PASSED_ON.into(),
                message: "another plugin file is on its way to the partner's host".into(),
                help: "ask again".into(),
            };
            // Whoever asked may have gone.
            let _ = reply.send(Err(busy));
            return;
        }
        self.probe_out = Some((hash, reply));
        self.tell(&LinkMessage::ProbeWanted { hash, bytes, keeps });
        self.send_file(hash, Some(content));
    }

    /// The partner's host has tried a file.
    pub fn probed(&mut self, hash: PluginHash, refused: Option<(String, String, String)>) {
        let Some((_, reply)) = self.probe_out.take_if(|(asked, _)| *asked == hash) else { return };
        let partner = &self.partner;
        let _ = reply.send(match refused {
            None => Ok(()),
            Some((code, message, help)) => {
                Err(AdminError { code, message: format!("{partner}: {message}"), help })
            }
        });
    }

    /// How much waits to be written, in bytes.
    #[must_use]
    pub fn waiting_output(&self) -> usize {
        self.output.len() - self.written
    }

    /// Whether a file is on its way out and its next piece may go at once.
    #[must_use]
    pub fn has_piece(&self) -> bool {
        self.file_out.is_some() && self.waiting_output() == 0
    }

    /// Writes what is queued, as far as the socket takes it.
    pub fn flush(&mut self, failpoints: &mut Failpoints) {
        if self.output.is_empty() {
            self.queue_piece();
        }
        while self.waiting_output() > 0 && !self.mute {
            let mut next = &self.output[self.written..];
            if let Some(left) = failpoints.link_bytes_left() {
                next = &next[..next.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            }
            match self.stream.write(next) {
                Ok(written) if written > 0 => {
                    self.written += written;
                    failpoints.wrote_link_bytes(written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    // The reading side finds the end, after what the partner said before it.
                    self.mute = true;
                    self.readable = true;
                }
            }
        }
        if self.waiting_output() == 0 || self.mute {
            self.output.clear();
            self.written = 0;
            // A copy may have made it large; what a turn needs is small.
            self.output.shrink_to(4 << 20);
        } else if self.written > OUT_BYTES_SOFT {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    fn queue_piece(&mut self) {
        let Some((hash, bytes, sent)) = self.file_out.take() else { return };
        let end = bytes.len().min(sent + PLUGIN_PIECE_BYTES);
        let piece = bytes[sent..end].to_vec();
        let total = bytes.len() as u64;
        self.tell(&LinkMessage::PluginBytes { hash, offset: sent as u64, total, bytes: piece });
        if end < bytes.len() {
            self.file_out = Some((hash, bytes, end));
        }
    }

    fn write_all_and_die(&mut self) -> ! {
        while self.waiting_output() > 0 {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => break,
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(std::time::Duration::from_micros(50));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        die()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_links_dialled_at_once_that_of_the_smaller_name_stays() {
        let dialled = |process, by_smaller, at| Dialled { process, by_smaller, at };
        let (now, later) = (Instant::now(), Instant::now() + AT_ONCE);
        assert!(dialled(1, true, now).stays_beside(dialled(1, false, now)));
        assert!(!dialled(1, false, now).stays_beside(dialled(1, true, now)), "the other side sees them so");
        assert!(
            !dialled(1, true, now).stays_beside(dialled(1, true, now)),
            "it was dialled again: the first is gone"
        );
        assert!(!dialled(1, true, now).stays_beside(dialled(2, false, now)), "the partner has restarted");
        assert!(!dialled(1, true, now).stays_beside(dialled(1, false, later)), "it lost the first one since");
    }
}
