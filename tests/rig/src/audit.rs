//! The audit: the load's own record against the databases of the stopped processors. Nothing that the runtime says of
//! itself comes into it.
//!
//! It is a pure function over both databases' [`Books`] and the [`LoadRecord`]; its tests show that it fails on a
//! deleted and on a doubled row, on a changed amount and on differing databases.
//!
//! How exactly-once is seen: an acknowledgement names its transfer's entry in the journal. In each database that entry
//! is there once, with that transfer's accounts and amount; there is no entry that nobody asked for; no entry for what
//! was refused; and every balance is what it was at first, with every acknowledged transfer in it once. The journal has
//! so many slots: an acknowledged transfer whose slot a later acknowledged one has taken is seen in the balances alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use ledger_v1::rows::receipt_slot;
use serde::{Deserialize, Serialize};

use crate::load::Dropped;
use crate::load::record::{LoadRecord, Told};

/// A transfer as it stands in a database's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Its number.
    pub entry: u64,
    /// From which account, by its number in the load.
    pub from: u32,
    /// To which account.
    pub to: u32,
    /// How much.
    pub cents: u64,
    /// What the sender paid for it beside.
    pub fee_cents: u64,
}

/// A ledger as one processor's database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    /// The digest of all rows, as exported.
    pub digest: String,
    /// Accounts of the load and what they hold.
    pub accounts: BTreeMap<u32, u64>,
    /// What stands in other accounts: fees.
    pub elsewhere_cents: u64,
    /// The journal's rows, in the order of the export, a row that stands there twice twice.
    pub journal: Vec<Entry>,
}

/// A processor that was killed on purpose: its connections may drop, from then until it was back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed {
    /// Where its clients were connected.
    pub address: String,
    /// When it was killed, in milliseconds since 1970.
    pub from_ms: u64,
    /// When it was ready again.
    pub until_ms: u64,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Transfers that were acknowledged as committed.
    pub acknowledged: u64,
    /// Of those, how many have left the journal, as a later one has taken their slot.
    pub replaced: u64,
    /// Of those, how many a database does not hold as they were acknowledged.
    pub lost: u64,
    /// Entries of a database that nobody asked for, or that stand there more than once.
    pub doubled: u64,
    /// The accounts' sum is what it was at first, and every balance is what the acknowledged transfers make it.
    pub money_conserved: bool,
    /// Both databases have the same digest and the same rows.
    pub digests_equal: bool,
    /// Connections dropped by anything but a kill.
    pub connections_dropped: u64,
    /// Processors that were started again for another reason than a kill.
    pub host_restarts: u64,
    /// Transfers without an answer: each may stand in the databases once.
    pub unanswered: u64,
    /// What is wrong, for people; the first of each kind.
    pub problems: Vec<String>,
}

impl AuditReport {
    /// Whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost == 0
            && self.doubled == 0
            && self.money_conserved
            && self.digests_equal
            && self.connections_dropped == 0
            && self.host_restarts == 0
            && self.unanswered == 0
            && self.problems.is_empty()
    }
}

/// What is asked of an audit.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What the clients were told.
    pub record: &'a LoadRecord,
    /// The databases of processors a and b.
    pub books: [&'a Books; 2],
    /// Connections that the clients saw dropped.
    pub dropped: &'a [Dropped],
    /// Processors that were killed on purpose.
    pub killed: &'a [Killed],
    /// Processors that were started again for another reason than a kill.
    pub host_restarts: u64,
}

/// Holds the evidence together.
#[must_use]
pub fn audit(evidence: &Evidence<'_>) -> AuditReport {
    let mut report = AuditReport { host_restarts: evidence.host_restarts, ..AuditReport::default() };
    let [books_a, books_b] = evidence.books;
    let told =
        |wanted: fn(&Told) -> bool| evidence.record.transfers.iter().filter(move |ended| wanted(&ended.told));
    report.acknowledged = told(|told| matches!(told, Told::Committed { .. })).count() as u64;
    report.unanswered = told(|told| matches!(told, Told::Nothing)).count() as u64;
    if report.unanswered > 0 {
        report.problems.push(format!("{} requests got no answer", report.unanswered));
    }
    if report.acknowledged == 0 {
        report.problems.push("nothing was acknowledged: there is nothing to audit".into());
    }
    if evidence.host_restarts > 0 {
        report.problems.push(format!("processors were started again: {}", evidence.host_restarts));
    }
    same_sequences(evidence.record, &mut report);
    report.money_conserved = true;
    for (name, books) in [("a", books_a), ("b", books_b)] {
        journal(name, books, evidence.record, &mut report);
        balances(name, books, evidence.record, &mut report);
    }
    report.digests_equal = books_a.digest == books_b.digest && !books_a.digest.is_empty();
    if !report.digests_equal {
        report.problems.push(format!("the digests differ: {} and {}", books_a.digest, books_b.digest));
    }
    let sorted = |books: &Books| {
        let mut journal = books.journal.clone();
        journal.sort_unstable();
        journal
    };
    if books_a.accounts != books_b.accounts
        || books_a.elsewhere_cents != books_b.elsewhere_cents
        || sorted(books_a) != sorted(books_b)
    {
        report.digests_equal = false;
        report.problems.push("the databases' rows differ".into());
    }
    let excused = |dropped: &Dropped| {
        let during = |kill: &&Killed| dropped.at_ms >= kill.from_ms && dropped.at_ms <= kill.until_ms;
        evidence.killed.iter().filter(during).any(|kill| kill.address == dropped.address)
    };
    let dropped: Vec<_> = evidence.dropped.iter().filter(|dropped| !excused(dropped)).collect();
    report.connections_dropped = dropped.len() as u64;
    if let Some(first) = dropped.first() {
        report.problems.push(format!("a connection to {} was dropped: {}", first.address, first.reason));
    }
    report
}

/// No two acknowledgements name the same place in the stream.
fn same_sequences(record: &LoadRecord, report: &mut AuditReport) {
    let mut seen = HashSet::new();
    for ended in &record.transfers {
        if let Told::Committed { sequence, .. } = ended.told
            && !seen.insert(sequence)
        {
            report.lost += 1;
            report.problems.push(format!("two acknowledgements name sequence {sequence}"));
        }
    }
}

/// The last acknowledged place in the stream for each slot of the journal.
fn last_of_slots(record: &LoadRecord) -> HashMap<u32, u64> {
    let mut last: HashMap<u32, u64> = HashMap::new();
    for ended in &record.transfers {
        if let Told::Committed { entry, sequence } = ended.told {
            let latest = last.entry(receipt_slot(entry)).or_default();
            *latest = sequence.max(*latest);
        }
    }
    last
}

/// Every acknowledged transfer is in the journal once, and nothing else is, but what got no answer.
fn journal(name: &str, books: &Books, record: &LoadRecord, report: &mut AuditReport) {
    let mut rows: HashMap<u64, Vec<&Entry>> = HashMap::with_capacity(books.journal.len());
    for entry in &books.journal {
        rows.entry(entry.entry).or_default().push(entry);
    }
    let (mut lost, mut doubled, mut problems) = (0, 0, Vec::new());
    let last = last_of_slots(record);
    report.replaced = 0;
    let mut unanswered: HashMap<(u32, u32, u64), u64> = HashMap::new();
    for ended in &record.transfers {
        match ended.told {
            Told::Committed { entry, sequence } => {
                // Taken out, so that a second acknowledgement of the same entry finds nothing.
                let found = rows.remove(&entry).unwrap_or_default();
                let later = last.get(&receipt_slot(entry)).is_some_and(|last| *last > sequence);
                if found.is_empty() && later {
                    report.replaced += 1;
                    continue;
                }
                let fits =
                    |row: &&&Entry| (row.from, row.to, row.cents) == (ended.from, ended.to, ended.cents);
                if found.iter().filter(fits).count() == 0 {
                    lost += 1;
                    problems.push(format!(
                        "{name} does not hold entry {entry} (sequence {sequence}) of {ended:?}"
                    ));
                }
                if found.len() > 1 {
                    doubled += found.len() as u64 - 1;
                    problems.push(format!("{name} holds entry {entry} {} times", found.len()));
                }
            }
            Told::Nothing => *unanswered.entry((ended.from, ended.to, ended.cents)).or_default() += 1,
            Told::Refused | Told::Faulted => {}
        }
    }
    for row in rows.into_values().flatten() {
        match unanswered.get_mut(&(row.from, row.to, row.cents)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => {
                doubled += 1;
                problems.push(format!("{name} holds an entry that nobody asked for: {row:?}"));
            }
        }
    }
    // Both databases are to be whole: the worse one counts.
    report.lost = report.lost.max(lost);
    report.doubled = report.doubled.max(doubled);
    let many = problems.len();
    report.problems.extend(problems.into_iter().take(5));
    if many > 5 {
        report.problems.push(format!("and {} more in the journal of {name}", many - 5));
    }
}

/// The sum of the accounts is what it was, and every balance is what the journal's transfers make it.
fn balances(name: &str, books: &Books, record: &LoadRecord, report: &mut AuditReport) {
    let opened = &record.opened;
    let before = i128::from(opened.accounts) * i128::from(opened.cents_each);
    let sum = books.accounts.values().map(|cents| i128::from(*cents)).sum::<i128>()
        + i128::from(books.elsewhere_cents);
    if sum != before {
        report.money_conserved = false;
        report.problems.push(format!("the accounts of {name} hold {sum} cents, and {before} were paid in"));
    }
    let mut expected: BTreeMap<u32, i128> = (opened.first..opened.first + opened.accounts)
        .map(|account| (account, i128::from(opened.cents_each)))
        .collect();
    let fees: HashMap<u64, u64> = books.journal.iter().map(|row| (row.entry, row.fee_cents)).collect();
    let mut uncertain = HashSet::new();
    for ended in &record.transfers {
        match ended.told {
            Told::Committed { entry, .. } => {
                let fee = fees.get(&entry).copied().unwrap_or(0);
                *expected.entry(ended.from).or_default() -= i128::from(ended.cents) + i128::from(fee);
                *expected.entry(ended.to).or_default() += i128::from(ended.cents);
            }
            Told::Nothing => uncertain.extend([ended.from, ended.to]),
            Told::Refused | Told::Faulted => {}
        }
    }
    let holds = |account: &u32| books.accounts.get(account).map(|cents| i128::from(*cents));
    let wrong = expected
        .iter()
        .filter(|(account, cents)| !uncertain.contains(*account) && holds(account) != Some(**cents));
    let wrong: Vec<_> = wrong.collect();
    if let Some((account, cents)) = wrong.first() {
        report.money_conserved = false;
        let holds = holds(account).map_or("nothing at all".into(), |cents| format!("{cents} cents"));
        report.problems.push(format!(
            "{} balances of {name} are wrong: account {account} has {holds} and should have {cents}",
            wrong.len()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::{Ended, Opened};

    /// Three accounts of 100 cents; 0 pays 1 ten cents, 1 pays 2 five cents and a fee of one; 2 was refused.
    fn whole() -> (LoadRecord, Books) {
        let committed = |from, to, cents, entry| Ended {
            from,
            to,
            cents,
            told: Told::Committed { sequence: 100 + entry, entry },
        };
        let record = LoadRecord {
            opened: Opened { first: 0, accounts: 3, cents_each: 100 },
            transfers: vec![
                committed(0, 1, 10, 1),
                Ended { from: 2, to: 0, cents: 1_000, told: Told::Refused },
                committed(1, 2, 5, 2),
            ],
        };
        let books = Books {
            digest: "d1".into(),
            accounts: BTreeMap::from([(0, 90), (1, 104), (2, 105)]),
            elsewhere_cents: 1,
            journal: vec![
                Entry { entry: 1, from: 0, to: 1, cents: 10, fee_cents: 0 },
                Entry { entry: 2, from: 1, to: 2, cents: 5, fee_cents: 1 },
            ],
        };
        (record, books)
    }

    fn hold(record: &LoadRecord, a: &Books, b: &Books) -> AuditReport {
        audit(&Evidence { record, books: [a, b], dropped: &[], killed: &[], host_restarts: 0 })
    }

    #[test]
    fn whole_books_hold() {
        let (record, books) = whole();
        let report = hold(&record, &books, &books);
        assert!(report.holds(), "{report:?}");
        assert_eq!((report.acknowledged, report.lost, report.doubled), (2, 0, 0));
    }

    #[test]
    fn a_deleted_row_is_a_lost_transfer() {
        let (record, books) = whole();
        let mut bad = books.clone();
        bad.journal.remove(0);
        // In one database or in both, with equal digests or not.
        for (a, b) in [(&bad, &books), (&books, &bad), (&bad, &bad)] {
            let report = hold(&record, a, b);
            assert!(!report.holds() && report.lost == 1, "{report:?}");
        }
    }

    #[test]
    fn a_doubled_row_is_a_doubled_transfer() {
        let (record, books) = whole();
        for number in [1, 3] {
            let mut bad = books.clone();
            bad.journal.push(Entry { entry: number, ..bad.journal[0] });
            for (a, b) in [(&bad, &books), (&books, &bad), (&bad, &bad)] {
                let report = hold(&record, a, b);
                assert!(!report.holds() && report.doubled == 1, "{report:?}");
            }
        }
    }

    #[test]
    fn a_transfer_that_ran_twice_shows_in_the_balances_even_without_a_row() {
        let (record, books) = whole();
        let mut bad = books;
        *bad.accounts.get_mut(&0).unwrap() -= 10;
        *bad.accounts.get_mut(&1).unwrap() += 10;
        let report = hold(&record, &bad, &bad);
        assert!(!report.holds() && !report.money_conserved, "{report:?}");
    }

    #[test]
    fn a_receipt_that_a_later_one_replaced_is_seen_in_the_balances_alone() {
        let (mut record, mut books) = whole();
        let later = (3..).find(|entry| receipt_slot(*entry) == receipt_slot(1)).unwrap();
        record.transfers.push(Ended {
            from: 0,
            to: 1,
            cents: 1,
            told: Told::Committed { sequence: 100 + later, entry: later },
        });
        let row = |entry| Entry { entry, from: 0, to: 1, cents: 1, fee_cents: 0 };
        books.journal.push(row(later));
        *books.accounts.get_mut(&0).unwrap() -= 1;
        *books.accounts.get_mut(&1).unwrap() += 1;
        // Entry 1 has the slot of a later one, entry 2 one of its own.
        books.journal.remove(0);
        let report = hold(&record, &books, &books);
        assert!(report.holds() && report.replaced == 1, "{report:?}");
        let mut bad = books.clone();
        bad.journal.remove(0);
        assert_eq!(hold(&record, &bad, &bad).lost, 1);
        *books.accounts.get_mut(&1).unwrap() += 10;
        assert!(!hold(&record, &books, &books).money_conserved);
    }

    #[test]
    fn a_changed_amount_is_found() {
        let (record, books) = whole();
        let mut bad = books.clone();
        bad.journal[0].cents += 1;
        assert_eq!(hold(&record, &bad, &bad).lost, 1);
        let mut bad = books;
        *bad.accounts.get_mut(&2).unwrap() += 1;
        let report = hold(&record, &bad, &bad);
        assert!(!report.holds() && !report.money_conserved, "{report:?}");
    }

    #[test]
    fn a_missing_account_is_found() {
        let (record, books) = whole();
        let mut bad = books;
        bad.elsewhere_cents += bad.accounts.remove(&0).unwrap();
        assert!(!hold(&record, &bad, &bad).money_conserved);
    }

    #[test]
    fn differing_databases_are_found() {
        let (record, books) = whole();
        let mut other = books.clone();
        other.digest = "d2".into();
        let report = hold(&record, &books, &other);
        assert!(!report.holds() && !report.digests_equal, "{report:?}");
        // Digests that say "equal" of rows that are not.
        let mut other = books.clone();
        other.elsewhere_cents = 2;
        assert!(!hold(&record, &books, &other).digests_equal);
        let mut none = books;
        none.digest = String::new();
        assert!(!hold(&record, &none, &none).digests_equal);
    }

    #[test]
    fn a_refused_transfer_that_stands_in_the_journal_is_found() {
        let (record, mut books) = whole();
        books.journal.push(Entry { entry: 3, from: 2, to: 0, cents: 1_000, fee_cents: 0 });
        let report = hold(&record, &books, &books);
        assert!(!report.holds() && report.doubled == 1, "{report:?}");
    }

    #[test]
    fn one_entry_does_not_stand_for_two_acknowledgements() {
        let (mut record, books) = whole();
        let twice = record.transfers[0];
        record.transfers.push(twice);
        let report = hold(&record, &books, &books);
        assert!(!report.holds() && report.lost >= 1, "{report:?}");
    }

    #[test]
    fn what_got_no_answer_may_stand_there_once_but_is_no_success() {
        let (mut record, mut books) = whole();
        record.transfers.push(Ended { from: 0, to: 2, cents: 7, told: Told::Nothing });
        let report = hold(&record, &books, &books);
        assert_eq!((report.unanswered, report.lost, report.doubled), (1, 0, 0));
        assert!(!report.holds());
        let row = Entry { entry: 3, from: 0, to: 2, cents: 7, fee_cents: 0 };
        books.journal.push(row);
        assert_eq!(hold(&record, &books, &books).doubled, 0);
        books.journal.push(Entry { entry: 4, ..row });
        assert_eq!(hold(&record, &books, &books).doubled, 1);
    }

    #[test]
    fn a_drop_is_excused_by_a_kill_of_that_processor_and_by_nothing_else() {
        let (record, books) = whole();
        let dropped =
            |at_ms, address: &str| Dropped { at_ms, address: address.into(), reason: "reset".into() };
        let killed = Killed { address: "a:1".into(), from_ms: 100, until_ms: 200 };
        let found = |dropped: Dropped| {
            let evidence = Evidence {
                record: &record,
                books: [&books, &books],
                dropped: &[dropped],
                killed: std::slice::from_ref(&killed),
                host_restarts: 0,
            };
            audit(&evidence).connections_dropped
        };
        assert_eq!(found(dropped(150, "a:1")), 0);
        assert_eq!(found(dropped(150, "b:1")), 1);
        assert_eq!(found(dropped(99, "a:1")), 1);
        assert_eq!(found(dropped(201, "a:1")), 1);
    }

    #[test]
    fn an_empty_record_proves_nothing() {
        let record =
            LoadRecord { opened: Opened { first: 0, accounts: 0, cents_each: 0 }, transfers: vec![] };
        let books =
            Books { digest: "d".into(), accounts: BTreeMap::new(), elsewhere_cents: 0, journal: vec![] };
        assert!(!hold(&record, &books, &books).holds());
    }
}
