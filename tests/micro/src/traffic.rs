//! The events: transfers of the ledger between accounts that are opened beforehand.

use ledger_v1::name::AccountName;
use ledger_v1::parameters::{OpenAccounts, Transfer};
use lockstep_core::event::{Encoding, Event, EventId, Request};
use lockstep_core::ids::SessionId;

/// So many accounts: more than a processor's nearest caches hold.
pub(crate) const ACCOUNTS: u32 = 20_000;
/// How many of a session's answers are awaited at once.
const IN_FLIGHT: u64 = 256;

/// Makes one client's events.
#[derive(Debug)]
pub(crate) struct Traffic {
    session: SessionId,
    number: u64,
    random: u64,
    names: Vec<AccountName>,
}

impl Traffic {
    pub(crate) fn of(session: SessionId) -> Self {
        let names = (0..ACCOUNTS).map(AccountName::numbered).collect();
        Traffic { session, number: 0, random: 0x10c5, names }
    }

    fn event(&mut self, procedure: &str, parameters: Vec<u8>) -> Event {
        self.number += 1;
        Event {
            id: EventId::Numbered { session: self.session, number: self.number },
            awaited_from: self.number.saturating_sub(IN_FLIGHT).max(1),
            procedure: procedure.into(),
            encoding: Encoding::Postcard,
            parameters,
            body: Vec::new(),
        }
    }

    /// Opens accounts number `first` to `first + count - 1`.
    pub(crate) fn open(&mut self, first: u32, count: u32) -> Request {
        let parameters = postcard::to_stdvec(&OpenAccounts { first, count, cents: 1_000_000 });
        Request::Submit(self.event("open_accounts", parameters.expect("parameters can be encoded")))
    }

    fn account(&mut self) -> u32 {
        // A full period over 64 bits (Knuth's MMIX); the high bits are the good ones.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % u64::from(ACCOUNTS)) as u32
    }

    /// The next transfer.
    pub(crate) fn transfer(&mut self) -> Event {
        let from = self.account();
        let to = (from + 1 + self.account() % (ACCOUNTS - 1)) % ACCOUNTS;
        let (from, to) = (self.names[from as usize], self.names[to as usize]);
        let parameters = postcard::to_stdvec(&Transfer { from, to, cents: 1 });
        self.event("transfer", parameters.expect("parameters can be encoded"))
    }
}
