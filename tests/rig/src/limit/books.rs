//! What both processes do: a transfer on a bounded hash map, once.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// The bytes of a record between the two.
pub const RECORD_BYTES: usize = 150;
/// The most accounts.
const ACCOUNTS_MAX: usize = 1 << 20;
/// How many replies a generation of their table holds; two generations are kept.
const REPLIES_A_GENERATION: usize = 1 << 18;

/// An account's name: up to 16 bytes.
pub type Name = [u8; 16];

/// What one event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The client's session.
    pub session: u64,
    /// The event's number in it.
    pub number: u64,
    /// What it does.
    pub deed: Deed,
}

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Moves money.
    Transfer {
        /// From this account.
        from: Name,
        /// To this one.
        to: Name,
        /// So much.
        cents: u64,
    },
    /// Opens accounts `acc{first}` and those after it.
    Open {
        /// The first one's number.
        first: u32,
        /// How many.
        count: u32,
        /// With so much.
        cents: u64,
    },
}

/// An account: as large as a row of the ledger with its indexes.
#[derive(Clone, Debug)]
struct Account {
    cents: u64,
    entries: u64,
    last: [Name; 5],
}

/// Replies by session and number.
type Replies = HashMap<(u64, u64), Result<u64, &'static str>, FixedState>;

/// Accounts, and the replies of late.
#[derive(Debug, Default)]
pub struct Books {
    accounts: HashMap<Name, Account, FixedState>,
    replies: [Replies; 2],
    entries: u64,
}

/// The name with this text; `None` if it is longer than 16 bytes.
pub fn name(text: &str) -> Option<Name> {
    let mut name = [0; 16];
    name.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(name)
}

impl Record {
    /// Appends its bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, first, second, number) = match self.deed {
            Deed::Transfer { from, to, cents } => (0, from, to, cents),
            Deed::Open { first, count, cents } => {
                (1, u128::from(first).to_le_bytes(), u128::from(count).to_le_bytes(), cents)
            }
        };
        out.push(kind);
        for part in [self.session, self.number, number] {
            out.extend_from_slice(&part.to_le_bytes());
        }
        out.extend_from_slice(&first);
        out.extend_from_slice(&second);
        out.resize(start + RECORD_BYTES, 0);
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(bytes: &[u8; RECORD_BYTES]) -> Self {
        let word =
            |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("a record has its fields"));
        let name = |at: usize| -> Name { *bytes[at..].first_chunk().expect("a record has its fields") };
        let cents = word(17);
        let deed = match bytes[0] {
            0 => Deed::Transfer { from: name(25), to: name(41), cents },
            _ => Deed::Open { first: word(25) as u32, count: word(41) as u32, cents },
        };
        Record { session: word(1), number: word(9), deed }
    }
}

impl Books {
    /// Runs the event, or gives its recorded reply: the number of the entry, or a refusal. `true`: it was run.
    pub fn run(&mut self, record: &Record) -> (Result<u64, &'static str>, bool) {
        let id = (record.session, record.number);
        if let Some(reply) = self.replies.iter().find_map(|replies| replies.get(&id)) {
            return (*reply, false);
        }
        let reply = match record.deed {
            Deed::Transfer { from, to, cents } => self.transfer(from, to, cents),
            Deed::Open { first, count, cents } => self.open(first, count, cents),
        };
        if self.replies[0].len() >= REPLIES_A_GENERATION {
            self.replies.swap(0, 1);
            self.replies[0].clear();
        }
        self.replies[0].insert(id, reply);
        (reply, true)
    }

    fn transfer(&mut self, from: Name, to: Name, cents: u64) -> Result<u64, &'static str> {
        if from == to || !self.accounts.contains_key(&to) {
            return Err("no-account");
        }
        let sender = self.accounts.get_mut(&from).ok_or("no-account")?;
        sender.cents = sender.cents.checked_sub(cents).ok_or("too-little")?;
        sender.note(to);
        if let Some(payee) = self.accounts.get_mut(&to) {
            payee.cents += cents;
            payee.note(from);
        }
        self.entries += 1;
        Ok(self.entries)
    }

    fn open(&mut self, first: u32, count: u32, cents: u64) -> Result<u64, &'static str> {
        if self.accounts.len() + count as usize > ACCOUNTS_MAX {
            return Err("too-many");
        }
        for number in first..first.saturating_add(count) {
            let name = name(&format!("acc{number}")).ok_or("no-account")?;
            self.accounts.entry(name).or_insert(Account { cents, entries: 0, last: [[0; 16]; 5] });
        }
        Ok(self.accounts.len() as u64)
    }
}

impl Account {
    fn note(&mut self, other: Name) {
        self.last[(self.entries % 5) as usize] = other;
        self.entries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let deeds = [
            Deed::Transfer { from: [1; 16], to: [2; 16], cents: u64::MAX },
            Deed::Open { first: 7, count: 250, cents: 9 },
        ];
        for deed in deeds {
            let record = Record { session: 3, number: 4, deed };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            assert_eq!(Record::read(bytes.first_chunk().unwrap()), record);
            assert_eq!(bytes.len(), RECORD_BYTES);
        }
    }

    #[test]
    fn an_event_runs_once_and_the_table_of_replies_is_bounded() {
        let mut books = Books::default();
        let run = |books: &mut Books, number, deed| books.run(&Record { session: 1, number, deed });
        assert_eq!(run(&mut books, 1, Deed::Open { first: 0, count: 2, cents: 10 }), (Ok(2), true));
        let [from, to] = ["acc0", "acc1"].map(|text| name(text).unwrap());
        let transfer = Deed::Transfer { from, to, cents: 4 };
        assert_eq!(run(&mut books, 2, transfer), (Ok(1), true));
        assert_eq!(run(&mut books, 2, transfer), (Ok(1), false));
        assert_eq!(run(&mut books, 3, transfer), (Ok(2), true));
        assert_eq!(run(&mut books, 4, transfer), (Err("too-little"), true));
        assert_eq!((books.accounts[&from].cents, books.accounts[&to].cents), (2, 18));
        for number in 5..3 * REPLIES_A_GENERATION as u64 {
            let (_, is_new) = run(&mut books, number, Deed::Open { first: 0, count: 0, cents: 0 });
            assert!(is_new);
        }
        assert!(books.replies.iter().all(|replies| replies.len() <= REPLIES_A_GENERATION));
        assert!(!run(&mut books, 3 * REPLIES_A_GENERATION as u64 - 1, transfer).1);
    }
}
