//! Requests that can't be served yet: those that wait for an active or for the stream, and those that are forwarded to
//! the active (R35).
//!
//! A forwarded request is kept until it is answered, and sent again to whoever becomes active. So many of them are under
//! way at a time as there are *credits*; an answer gives its credit back. The rest waits here, and from then on the shell
//! is asked to read no further clients, so that they are slowed by their own connections.
//! Invariant: what is kept is bounded by count and by bytes, whatever the sizes of single requests.

use std::collections::{BTreeMap, VecDeque};

use super::outputs::Asker;
use crate::event::Request;
use crate::ids::Origin;

/// Requests that wait are kept up to this many; beyond, clients are told to retry.
pub const REQUESTS_MAX: usize = 8_192;
/// From so many bytes of them on no further ones are read from clients.
const REQUESTS_BYTES_SOFT: usize = 32 << 20;
/// The most forwarded requests that are under way.
pub const FORWARD_CREDITS: usize = 1_024;
/// The most bytes of them, unless a single one has more.
const FORWARD_CREDIT_BYTES: usize = 4 << 20;

/// Requests in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Parked {
    requests: VecDeque<(Asker, Request)>,
    bytes: usize,
}

impl Parked {
    pub fn push(&mut self, asker: Asker, request: Request) {
        self.bytes += request.bytes();
        self.requests.push_back((asker, request));
    }

    pub fn pop(&mut self) -> Option<(Asker, Request)> {
        let (asker, request) = self.requests.pop_front()?;
        self.bytes -= request.bytes();
        Some((asker, request))
    }

    /// Takes all of them.
    pub fn take(&mut self) -> VecDeque<(Asker, Request)> {
        self.bytes = 0;
        std::mem::take(&mut self.requests)
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether their bytes are too many to read further ones.
    pub fn is_large(&self) -> bool {
        self.bytes >= REQUESTS_BYTES_SOFT
    }
}

/// One that is to be answered by the active.
#[derive(Clone, Debug)]
struct Forward {
    origin: Origin,
    request: Request,
    under_way: bool,
}

/// Requests for the active beside the partner, by ticket.
#[derive(Clone, Debug, Default)]
pub(super) struct Forwards {
    kept: BTreeMap<u64, Forward>,
    /// Those that wait for a credit, in order. Some may have been taken out of `kept` meanwhile.
    waiting: VecDeque<u64>,
    bytes: usize,
    under_way: usize,
    bytes_under_way: usize,
}

impl Forwards {
    /// Keeps a request under a ticket that is higher than all before it.
    pub fn keep(&mut self, ticket: u64, origin: Origin, request: Request) {
        self.bytes += request.bytes();
        self.waiting.push_back(ticket);
        self.kept.insert(ticket, Forward { origin, request, under_way: false });
    }

    /// The next one to be sent, if there is a credit for it, which is taken.
    pub fn send(&mut self) -> Option<(u64, Request)> {
        let ticket = *self.waiting.front()?;
        let next = self.kept.get_mut(&ticket).expect("one that waits is kept");
        let bytes = next.request.bytes();
        let fits = self.under_way == 0 || self.bytes_under_way + bytes <= FORWARD_CREDIT_BYTES;
        if self.under_way >= FORWARD_CREDITS || !fits {
            return None;
        }
        next.under_way = true;
        let request = next.request.clone();
        self.waiting.pop_front();
        self.under_way += 1;
        self.bytes_under_way += bytes;
        Some((ticket, request))
    }

    /// Whom the answer under this ticket is for; its credit is there again.
    pub fn answered(&mut self, ticket: u64) -> Option<Origin> {
        // An answer to what is not under way is none: the active that it came from was asked before this link.
        self.kept.get(&ticket).filter(|forward| forward.under_way)?;
        let Forward { origin, request, .. } = self.kept.remove(&ticket)?;
        let bytes = request.bytes();
        self.bytes -= bytes;
        self.under_way -= 1;
        self.bytes_under_way -= bytes;
        Some(origin)
    }

    /// What was under way is lost, or will be answered by one that is no longer asked: all of it is to be sent again.
    pub fn lost(&mut self) {
        self.kept.values_mut().for_each(|forward| forward.under_way = false);
        self.waiting = self.kept.keys().copied().collect();
        (self.under_way, self.bytes_under_way) = (0, 0);
    }

    /// Takes all of them, in order.
    pub fn take(&mut self) -> impl Iterator<Item = (Origin, Request)> + use<> {
        std::mem::take(self).kept.into_values().map(|forward| (forward.origin, forward.request))
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether some wait for a credit.
    pub fn lacks_credits(&self) -> bool {
        self.under_way > 0 && !self.waiting.is_empty()
    }

    /// Whether their bytes are too many to read further ones.
    pub fn is_large(&self) -> bool {
        self.bytes >= REQUESTS_BYTES_SOFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Encoding, Event, EventId};

    fn request(body_bytes: usize) -> Request {
        Request::Submit(Event {
            id: EventId::Keyed { key: "k".into() },
            awaited_from: 0,
            procedure: "p".into(),
            encoding: Encoding::Json,
            parameters: vec![],
            body: vec![0; body_bytes],
        })
    }

    fn sent(forwards: &mut Forwards) -> Vec<u64> {
        std::iter::from_fn(|| forwards.send().map(|(ticket, _)| ticket)).collect()
    }

    #[test]
    fn an_answer_gives_its_credit_back() {
        let mut forwards = Forwards::default();
        for ticket in 0..FORWARD_CREDITS as u64 + 2 {
            forwards.keep(ticket, Origin(ticket), request(1));
        }
        assert_eq!(sent(&mut forwards).len(), FORWARD_CREDITS);
        assert!(forwards.lacks_credits());
        assert_eq!(forwards.answered(FORWARD_CREDITS as u64 + 1), None, "it is not under way");
        assert_eq!(forwards.answered(7), Some(Origin(7)));
        assert_eq!(sent(&mut forwards), [FORWARD_CREDITS as u64]);
        assert_eq!(forwards.answered(7), None, "it is answered");
    }

    #[test]
    fn large_ones_use_up_the_bytes_and_one_that_is_larger_goes_alone() {
        let mut forwards = Forwards::default();
        for (ticket, bytes) in [3 << 20, 3 << 20, 8 << 20].into_iter().enumerate() {
            forwards.keep(ticket as u64, Origin(0), request(bytes));
        }
        assert_eq!(sent(&mut forwards), [0]);
        forwards.answered(0);
        assert_eq!(sent(&mut forwards), [1]);
        forwards.answered(1);
        assert_eq!(sent(&mut forwards), [2], "it would never fit");
    }

    #[test]
    fn what_is_lost_is_sent_again_in_its_order() {
        let mut forwards = Forwards::default();
        (0..4).for_each(|ticket| forwards.keep(ticket, Origin(ticket), request(9)));
        assert_eq!(sent(&mut forwards), [0, 1, 2, 3]);
        forwards.answered(1);
        forwards.lost();
        assert!(!forwards.lacks_credits());
        assert_eq!(sent(&mut forwards), [0, 2, 3]);
        assert_eq!(forwards.take().map(|(origin, _)| origin.0).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!((forwards.len(), forwards.is_large()), (0, false));
    }

    #[test]
    fn bytes_are_counted_until_a_request_is_gone() {
        let mut parked = Parked::default();
        (0..33).for_each(|_| parked.push(Asker::Nobody, request(1 << 20)));
        assert!(parked.is_large());
        (0..2).for_each(|_| drop(parked.pop()));
        assert!(!parked.is_large());
        assert_eq!(parked.take().len(), 31);
        assert_eq!((parked.bytes, parked.len()), (0, 0));
    }
}
