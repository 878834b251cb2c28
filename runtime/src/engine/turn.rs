//! One turn of the engine: read each ready socket once, step the core for each input, end the batch, carry out.
//!
//! A turn is bounded by count and by time; the mailbox has its turn between two of them. Order within a turn: what other threads
//! said, the link, the clock, clients and other groups (R35).

use std::time::{Duration, Instant};

use lockstep_core::command::Command;
use lockstep_core::ids::{LinkId, Origin};
use lockstep_core::input::Input;
use lockstep_core::message::PeerMessage;

use super::clients::{FIRST_TOKEN, ORIGIN_OTHERS, Said, Serving};
use super::failpoints::Moment;
use super::inbound::Inbound;
use super::link::{Dialled, Link, OUT_BYTES_SOFT};
use super::partner_notes::NOTES;
use super::{BELL, EngineLoop, LINKS, TurnEnd, now};
use crate::link_message::{LinkMessage, PROTOCOL_BROKEN, PluginAssembly};
use crate::plugins::Probe;

/// The most inputs of a turn.
const INPUTS_MAX: usize = 256;
/// What is left of them for clients when the link has taken the rest.
const CLIENT_INPUTS_MIN: usize = 64;
/// The most time of a turn.
const TIME_MAX: Duration = Duration::from_micros(200);
/// Clients are not read while the core owes more answers than this.
const OUTSTANDING_MAX: usize = 16_384;
/// Clients are not read while more batches than this wait for the store.
const STORE_BATCHES_MAX: usize = 64;

/// The longest that a thread sleeps on its sockets at once, and goes from turn to turn without looking at its mailbox.
pub(super) const WAIT_HERE_MAX: Duration = Duration::from_millis(1);

/// The clock is read once in so many inputs: a look takes as long as a short work unit.
const LOOK_AT_CLOCK_EVERY: usize = 8;

/// How much of a turn is left.
struct Budget {
    inputs: usize,
    until: Instant,
    late: bool,
}

impl Budget {
    fn new() -> Self {
        Budget { inputs: INPUTS_MAX, until: Instant::now() + TIME_MAX, late: false }
    }

    fn spend(&mut self) {
        self.inputs = self.inputs.saturating_sub(1);
        if self.inputs.is_multiple_of(LOOK_AT_CLOCK_EVERY) {
            self.late |= Instant::now() >= self.until;
        }
    }

    fn is_spent(&self) -> bool {
        self.inputs == 0 || self.late
    }
}

impl EngineLoop {
    /// One turn.
    pub fn turn(&mut self) -> TurnEnd {
        let mut budget = Budget::new();
        self.failpoints.at_turn();
        self.look();
        let begun = now();
        (self.time, self.stepped) = (begun, 1);
        let mut due = self.started && self.group.next_deadline().is_some_and(|deadline| deadline <= begun);
        if !self.started {
            self.started = true;
            self.group.start(begun, &mut self.effects);
            due = true;
        }
        if std::mem::take(&mut self.owes_batch_end) {
            self.group.end_batch(begun, &mut self.effects);
            self.note_generation_change();
        }
        self.busy = false;
        if self.retired.is_none() {
            if std::mem::take(&mut self.notes_wait) {
                self.hear_notes();
            }
            self.hear_others(&mut budget);
        }
        if self.retired.is_none() {
            self.hear_link(&mut budget);
        }
        if due && self.retired.is_none() {
            self.step(Input::Tick);
        }
        if self.retired.is_none() && self.stopping.is_none() {
            budget.inputs = budget.inputs.max(CLIENT_INPUTS_MIN);
            self.hear_clients(&mut budget);
        }
        if self.retired.is_none() {
            self.group.end_batch(now(), &mut self.effects);
            self.note_generation_change();
        }
        self.carry_out();
        self.faults.end_window(&self.handle.label);
        self.end_of_turn()
    }

    fn end_of_turn(&mut self) -> TurnEnd {
        if let Some(old) = self.retired.take() {
            self.failpoints.at_swap(Moment::HandOver);
            return TurnEnd::Retire(old);
        }
        if self.stopping.is_some() && self.store_backlog.is_empty() && self.store.is_idle() {
            return TurnEnd::Stopped;
        }
        let more = self.busy || self.link.as_ref().is_some_and(|link| link.has_more() || link.has_piece());
        if more { TurnEnd::Again } else { TurnEnd::Wait }
    }

    /// Looks at the sockets without waiting; whether something has come.
    fn glance(&mut self) -> bool {
        self.wait_at_most(Duration::ZERO)
    }

    /// Waits on the sockets until something has come, but no longer than `wait`; whether something has.
    fn wait_at_most(&mut self, wait: Duration) -> bool {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                panic!("the engine's sockets can't be watched: {error}")
            }
            _ => !self.events.is_empty(),
        }
    }

    /// Looks for more without letting the thread sleep, as long as the configuration says and nothing is due; whether
    /// something has come. A thread that has slept is woken late: longer than a transfer takes.
    #[must_use]
    pub fn busy_poll(&mut self) -> bool {
        if self.busy_poll.is_zero() {
            return false;
        }
        let until = Instant::now() + self.at_most(self.busy_poll);
        while !self.found && Instant::now() < until {
            self.found = self.glance();
        }
        self.found
    }

    /// Lets the thread sleep on the sockets themselves, for a millisecond at most and until something is due; whether something
    /// has come. The arbiter's own wait is dearer: one poll within another, and a future to be woken.
    #[must_use]
    pub fn wait_here(&mut self) -> bool {
        self.found = self.wait_at_most(self.at_most(WAIT_HERE_MAX));
        self.found
    }

    /// So long, or until something is due.
    fn at_most(&self, wait: Duration) -> Duration {
        self.deadline().map_or(wait, |due| Duration::from_micros(due.since(now()).0).min(wait))
    }

    /// Takes what has come on the sockets.
    fn look(&mut self) {
        if !std::mem::take(&mut self.found) {
            self.glance();
        }
        self.bell.silence();
        let mut notes = false;
        for event in &self.events {
            match event.token() {
                BELL => {}
                NOTES => notes = true,
                token if token.0 >= FIRST_TOKEN => self.clients.woken(event),
                token => {
                    if let Some(link) =
                        self.link.as_mut().filter(|link| token == LINKS[link.id.0 as usize % 2])
                    {
                        link.woken(event);
                    }
                }
            }
        }
        self.notes_wait |= notes;
    }

    /// Steps the core; notices a generation change at once.
    pub(super) fn step(&mut self, input: Input) {
        // Of an event's pieces many come at once, and all are of the time that the first of them came at.
        if self.stepped == 0 || !input.is_of_an_event() {
            self.time = now();
        }
        self.stepped = (self.stepped + 1) % LOOK_AT_CLOCK_EVERY;
        self.group.step(self.time, input, &mut self.effects);
        self.note_generation_change();
    }

    fn next_origin(&mut self) -> u64 {
        self.origins += 1;
        ORIGIN_OTHERS | self.origins
    }

    /// Takes what the store has said while this thread wrote to it.
    pub(super) fn hear_store(&mut self) {
        let mut said = std::mem::take(&mut self.store_said);
        for word in said.drain(..) {
            // At most two words, and neither ends a generation.
            self.take(word);
        }
        self.store_said = said;
    }

    fn hear_others(&mut self, budget: &mut Budget) {
        self.hear_store();
        while self.retired.is_none() {
            let Ok(inbound) = self.control.try_recv() else { break };
            self.take(inbound);
            budget.spend();
        }
    }

    fn take(&mut self, inbound: Inbound) {
        match inbound {
            // A death may be told of before the link's end: what the dead one has left comes first (R21).
            Inbound::Input(Input::PartnerDied { store }) => {
                self.hear_notes();
                self.died = Some(store);
            }
            Inbound::Input(input @ Input::Living { living: false, .. }) => {
                self.hear_notes();
                self.step(input);
            }
            Inbound::Notes { stream, partner } => self.notes_up(stream, partner),
            Inbound::Input(input) => {
                if matches!(input, Input::PluginLoaded { .. }) {
                    self.failpoints.at_swap(Moment::Loaded);
                }
                self.step(input);
            }
            Inbound::Durable { cuts, store, through } => {
                if cuts == self.cuts {
                    self.step(Input::Durable { store, through });
                }
            }
            Inbound::Command { command, reply } => {
                let origin = self.next_origin();
                self.commands.insert(origin, reply);
                self.step(Input::Command { origin: Origin(origin), command });
            }
            Inbound::Siblings(engines) => self.siblings = engines,
            Inbound::Word { word, from } => {
                let origin = self.next_origin();
                self.words.insert(origin, from);
                let command = Command::FollowCampaign(word);
                self.step(Input::Command { origin: Origin(origin), command });
            }
            Inbound::Client { stream, said } => self.clients.add(stream, said, self.poll.registry()),
            Inbound::Link { stream, partner, process, by_smaller } => {
                let dialled = Dialled { process, by_smaller, at: Instant::now() };
                if self.link.as_ref().is_none_or(|link| !link.dialled.stays_beside(dialled)) {
                    self.link_up(stream, partner, dialled);
                }
            }
            Inbound::WantPlugin { hash } => match &mut self.link {
                Some(link) => {
                    link.file_in = Some(PluginAssembly::new(hash));
                    link.tell(&LinkMessage::PluginWanted { hash });
                }
                None => self.services.plugin_not_got(hash, "the partner is not connected", &self.handle),
            },
            Inbound::PluginFound { hash, bytes } => {
                if let Some(link) = &mut self.link {
                    link.send_file(hash, bytes);
                }
            }
            Inbound::ProbePartner { hash, content, bytes, keeps, reply } => {
                // Without a link the answer is that nobody answers.
                if let Some(link) = &mut self.link {
                    link.probe(hash, content, bytes, keeps, reply);
                }
            }
            Inbound::Probed { hash, found } => {
                let refused = found.err().map(|failure| (failure.code, failure.message, failure.help));
                if let Some(link) = &mut self.link {
                    link.tell(&LinkMessage::Probed { hash, refused });
                }
            }
            Inbound::TrailGrown => self.tell_trail_grown(),
            Inbound::Arm(failpoint) => self.failpoints.arm(failpoint),
            Inbound::Stop { done } => self.stopping = Some(done),
        }
    }

    fn link_up(
        &mut self,
        stream: std::net::TcpStream,
        partner: lockstep_core::ids::NodeId,
        dialled: Dialled,
    ) {
        self.link_down("a newer link takes its place");
        self.links_made += 1;
        let id = LinkId(self.links_made);
        let token = LINKS[id.0 as usize % 2];
        match Link::new(id, partner.clone(), dialled, stream, (&self.sockets, self.poll.registry(), token)) {
            Ok(link) => {
                tracing::info!(%partner, link = id.0, "the link is up");
                self.link = Some(link);
                self.handle.face().set_linked(true);
                self.step(Input::LinkUp { link: id });
                self.ask_for_trail();
            }
            Err(error) => {
                tracing::warn!(%partner, %error, "a link can't be watched");
                self.handle.face().set_linked(false);
            }
        }
    }

    /// Drops the link, if there is one, and tells who has to know.
    pub(super) fn link_down(&mut self, why: &str) {
        let Some(link) = self.link.take() else { return };
        tracing::info!(partner = %link.partner, link = link.id.0, why, "the link is down");
        if let Some(file) = &link.file_in {
            self.services.plugin_not_got(file.hash(), "the link broke", &self.handle);
        }
        let id = link.id;
        drop(link);
        self.handle.face().set_linked(false);
        self.step(Input::LinkDown { link: id });
    }

    fn hear_link(&mut self, budget: &mut Budget) {
        if let Some(link) = &mut self.link {
            link.read();
        }
        while self.retired.is_none()
            && let Some(link) = &mut self.link
        {
            if budget.is_spent() {
                self.busy |= link.has_more();
                return;
            }
            let id = link.id;
            match link.take() {
                Ok(Some(LinkMessage::Core(frame))) => {
                    if matches!(frame.message, PeerMessage::Versions(_)) {
                        self.failpoints.at_swap(Moment::Announced);
                    }
                    self.step(Input::Peer { link: id, frame });
                    budget.spend();
                }
                Ok(Some(message)) => {
                    if let Some(message) = self.hear_about_trails(message) {
                        self.hear_about_files(message);
                    }
                }
                Ok(None) => {
                    if let Some(why) = link.end().map(str::to_owned) {
                        self.link_down(&why);
                    }
                    break;
                }
                Err(why) => {
                    tracing::warn!(code = PROTOCOL_BROKEN, why, "the partner sent what is no message");
                    self.link_down(&why);
                }
            }
        }
        // All that a dead partner had sent is taken before the core hears of its death (R22).
        if self.retired.is_none()
            && !self.link.as_ref().is_some_and(Link::has_more)
            && let Some(store) = self.died.take()
        {
            self.step(Input::PartnerDied { store });
        }
    }

    fn hear_about_files(&mut self, message: LinkMessage) {
        let Some(link) = &mut self.link else { return };
        match message {
            LinkMessage::PluginWanted { hash } => self.services.find_plugin(hash, &self.handle),
            LinkMessage::PluginMissing { hash } => {
                if link.file_in.take_if(|file| file.hash() == hash).is_some() {
                    self.services.plugin_not_got(hash, "the partner does not have it either", &self.handle);
                }
            }
            LinkMessage::ProbeWanted { hash, bytes, keeps } => {
                link.probe_in = Some((PluginAssembly::new(hash), bytes, keeps));
            }
            LinkMessage::Probed { hash, refused } => link.probed(hash, refused),
            LinkMessage::PluginBytes { hash, offset, total, bytes }
                if link.probe_in.as_ref().is_some_and(|(file, _, _)| file.hash() == hash) =>
            {
                let Some((mut file, needed, keeps)) = link.probe_in.take() else { return };
                match file.take(offset, total, &bytes) {
                    Ok(None) => link.probe_in = Some((file, needed, keeps)),
                    Ok(Some(content)) => {
                        let engine = self.handle.clone();
                        self.services.probe(Probe { hash, content, bytes: needed, keeps, engine });
                    }
                    Err(why) => {
                        let refused =
                            Some((crate::plugins::NOT_PASSED_ON.to_owned(), why, "ask again".to_owned()));
                        link.tell(&LinkMessage::Probed { hash, refused });
                    }
                }
            }
            LinkMessage::PluginBytes { hash, offset, total, bytes } => {
                let Some(file) = link.file_in.as_mut().filter(|file| file.hash() == hash) else { return };
                match file.take(offset, total, &bytes) {
                    Ok(None) => self.failpoints.at_swap(Moment::File),
                    Ok(Some(bytes)) => {
                        link.file_in = None;
                        self.services.plugin_got(hash, bytes, &self.handle);
                    }
                    Err(why) => {
                        link.file_in = None;
                        self.services.plugin_not_got(hash, &why, &self.handle);
                    }
                }
            }
            LinkMessage::Hello(_)
            | LinkMessage::Core(_)
            | LinkMessage::TrailGrown
            | LinkMessage::TrailHave { .. }
            | LinkMessage::TrailEntries(_) => {
                self.link_down("a second `Hello` came");
            }
        }
    }

    fn may_read_clients(&self) -> bool {
        self.store_backlog.is_empty()
            && self.store.waiting() < STORE_BATCHES_MAX
            && self.group.outstanding() < OUTSTANDING_MAX
            && !self.group.is_throttled()
            && self.link.as_ref().is_none_or(|link| link.waiting_output() < OUT_BYTES_SOFT)
    }

    fn hear_clients(&mut self, budget: &mut Budget) {
        if !self.may_read_clients() {
            // An acknowledgement, the store's word or a written link brings the next turn.
            return;
        }
        while self.retired.is_none() && !budget.is_spent() {
            let Ok(asked) = self.requests.try_recv() else { break };
            let origin = self.next_origin();
            self.http.insert(origin, asked.reply);
            self.step(Input::Request { origin: Origin(origin), request: asked.request });
            budget.spend();
        }
        while self.retired.is_none() && !budget.is_spent() {
            let Some((from, what)) = self.seat.hear() else { break };
            self.step(Input::Told { from, what });
            budget.spend();
        }
        let mut turns = self.clients.ready_len();
        // Requests may be large, so that a turn's number of them is no bound of their bytes (R35).
        while turns > 0 && self.retired.is_none() && !budget.is_spent() && !self.group.is_throttled() {
            turns -= 1;
            let Some(slot) = self.clients.next_ready() else { break };
            loop {
                if self.retired.is_some() || budget.is_spent() || self.group.is_throttled() {
                    self.clients.again(slot);
                    break;
                }
                match self.clients.take(slot) {
                    Said::Request(origin, request) => {
                        self.step(Input::Request { origin, request });
                        budget.spend();
                    }
                    Said::Nothing => {
                        if self.clients.has_more(slot) {
                            self.clients.again(slot);
                        }
                        break;
                    }
                    Said::Closed => break,
                }
            }
        }
        self.busy |= self.clients.ready_len() > 0 || !self.requests.is_empty() || self.seat.has_more();
    }

    /// Tells clients who serves.
    pub(super) fn tell_serving(&mut self) {
        let role = self.group.role();
        self.clients.set_serving(Serving {
            node: self.node.0.clone(),
            active: role == lockstep_core::command::Role::Active,
            term: self.group.term().0,
            version: self.group.descriptor().version.to_string(),
            partitions: self.handle.partitions,
        });
    }
}
