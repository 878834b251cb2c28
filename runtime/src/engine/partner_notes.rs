//! The engine's end of the connection on which the partner's death note comes (R21): silent until then, read to its
//! end before the core hears of a death.
//!
//! Deliberately absent: who dials, and what a note means. Invariant: one note is read, and no more than its bytes.

use std::io::{ErrorKind, Read};

use lockstep_core::ids::NodeId;
use lockstep_core::input::Input;
use lockstep_core::note::{DeathNote, NoteKind};
use lockstep_os::unit_page::{NOTE_BYTES, decode};
use mio::{Interest, Token};

use super::EngineLoop;
use super::sockets::Socket;
use crate::link_message::PROTOCOL_BROKEN;
use crate::notes::note;

/// The connection's token.
pub const NOTES: Token = Token(3);

/// The connection and what has come on it.
pub struct PartnerNotes {
    partner: NodeId,
    stream: Socket,
    bytes: Vec<u8>,
}

impl PartnerNotes {
    /// The note, if it has come; none and `false` while more may come.
    fn read(&mut self) -> (Option<DeathNote>, bool) {
        loop {
            let mut piece = [0; NOTE_BYTES];
            match self.stream.read(&mut piece[..NOTE_BYTES - self.bytes.len()]) {
                Ok(0) => return (None, true),
                Ok(got) => {
                    self.bytes.extend_from_slice(&piece[..got]);
                    if self.bytes.len() < NOTE_BYTES {
                        continue;
                    }
                    let left = decode(&self.bytes).and_then(|left| note(left, &self.partner));
                    let left = left.filter(|note| note.kind != NoteKind::Suspected);
                    if left.is_none() {
                        let partner = &self.partner;
                        tracing::warn!(code = PROTOCOL_BROKEN, %partner, "what came as a death note is none");
                    }
                    return (left, true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (None, false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return (None, true),
            }
        }
    }
}

impl EngineLoop {
    /// A connection for the partner's note came in; it replaces any older one.
    pub(super) fn notes_up(&mut self, stream: std::net::TcpStream, partner: NodeId) {
        self.hear_notes();
        // Closed, it is not watched any more.
        self.partner_notes = None;
        match self.sockets.add(stream, self.poll.registry(), NOTES, Interest::READABLE) {
            Ok(stream) => self.partner_notes = Some(PartnerNotes { partner, stream, bytes: Vec::new() }),
            Err(error) => tracing::warn!(%partner, %error, "a connection for death notes can't be watched"),
        }
    }

    /// Reads what has come on the connection. Before anything else that tells of the partner's death.
    pub(super) fn hear_notes(&mut self) {
        let Some(notes) = &mut self.partner_notes else { return };
        let (note, over) = notes.read();
        if over {
            self.partner_notes = None;
        }
        if let Some(note) = note {
            self.step(Input::Note { note, own: false });
        }
    }
}
