//! What operators asked goes to the partner's audit trail, over a link that is up.
//!
//! The side that lacks something asks: when the link comes up, when it hears that the other has more, and after each piece
//! that it got. So nothing is kept of what was sent, and what a broken link loses is asked for again.

use super::EngineLoop;
use super::link::OUT_BYTES_SOFT;
use crate::link_message::LinkMessage;

impl EngineLoop {
    /// This processor was asked something.
    pub(super) fn tell_trail_grown(&mut self) {
        if let Some(link) = &mut self.link {
            link.tell(&LinkMessage::TrailGrown);
        }
    }

    /// Asks the partner for what is missing here. One link of an application is enough.
    pub(super) fn ask_for_trail(&mut self) {
        if let Some(link) = self.link.as_mut().filter(|_| self.handle.partition == 0) {
            link.tell(&LinkMessage::TrailHave { number: self.services.trail.partners_last() });
        }
    }

    /// Takes what the partner says of the trails; gives back what is of something else.
    pub(super) fn hear_about_trails(&mut self, message: LinkMessage) -> Option<LinkMessage> {
        let trail = &self.services.trail;
        let link = self.link.as_mut()?;
        match message {
            LinkMessage::TrailGrown => link.tell(&LinkMessage::TrailHave { number: trail.partners_last() }),
            // What a partner asks for is bounded by what it reads; it asks again when there is more to hear.
            LinkMessage::TrailHave { .. } if link.waiting_output() > OUT_BYTES_SOFT => {}
            LinkMessage::TrailHave { number } => {
                let entries = trail.behind(number);
                if !entries.is_empty() {
                    link.tell(&LinkMessage::TrailEntries(entries));
                }
            }
            LinkMessage::TrailEntries(entries) => {
                if trail.take(&link.partner, entries) {
                    link.tell(&LinkMessage::TrailHave { number: trail.partners_last() });
                }
            }
            other => return Some(other),
        }
        None
    }
}
