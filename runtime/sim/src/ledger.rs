//! The application of the simulated world: a ledger with every kind of procedure that the core knows.
//!
//! Each numbered event leaves a row of its own with the count of how often it ran, so that a doubled one shows. So does
//! each firing of a timer and each message, under the id of the event that set or sent it and a mark.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_core::application::{Application, PutDerived, Run, UnitEnd};
use lockstep_core::context::UnitContext;
use lockstep_core::descriptor::{
    ApplicationDescriptor, BodyUse, FeatureDescriptor, ProcedureDescriptor, ProcedureIndex, Recovery,
    TableDescriptor, TableIndex, TableKind, UnitDescriptor, UnitIndex, Version,
};
use lockstep_core::event::{Encoding, FaultKind, Refusal};
use lockstep_core::ids::{GroupName, Micros, PluginHash};

use crate::deeds::Deeds;

/// The table that counts how often each event ran.
pub const RAN: &str = "ran";
/// The table of accounts.
pub const ACCOUNTS: &str = "accounts";
/// The table that counts what was told and heard: rows [`SENT_OUT`], [`HEARD`] and [`DISORDER`].
pub const TOLD: &str = "told";

/// How many messages were sent, the first of them number 1.
pub const SENT_OUT: u8 = 0;
/// The number of the last message heard.
pub const HEARD: u8 = 1;
/// How many were heard that are not younger than the one before.
pub const DISORDER: u8 = 2;

const RAN_INDEX: usize = 0;
const ACCOUNTS_INDEX: usize = 1;
const BY_SUM_INDEX: usize = 3;
const BY_ID_INDEX: usize = 4;

/// The account that [`Edition::Lost`] can't translate, nor [`Edition::Smudged`] rewrite.
pub const LOST_ACCOUNT: u8 = 19;
const TOLD_INDEX: usize = 2;

/// Marks what a timer ran, in an event's id.
pub const FIRED: u64 = 1 << 60;
/// Marks what a message ran.
pub const MESSAGE: u64 = 1 << 61;
/// A timer of an event that pays from an odd account sets itself again, so that it fires so often.
pub const ROUNDS: u64 = 3;
const ROUND: u64 = 1 << 56;
/// Payments to accounts from here on are told to the partition with what is above it.
pub const ELSEWHERE: u8 = 200;

/// What round `round` of the timer that event `id` set runs as.
#[must_use]
pub fn fired_as(id: u64, round: u64) -> u64 {
    id | FIRED | (round * ROUND)
}

/// A version of the simulated ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// Version 1.
    One,
    /// Version 1 from other code: equal versions, another hash.
    Twin,
    /// Version 2: `transfer` has another number of units.
    Two,
    /// Version 2 that faults now and then.
    Broken,
    /// Version 1 that computes something else: it diverges.
    Wrong,
    /// Version 1 that can't read the rows of accounts although it says that it knows their format.
    Blind,
    /// Version 2 that kills its processor now and then.
    Deadly,
    /// Version 1.1: what version 1 does, with derived tables that each event checks (R17).
    Indexed,
    /// Version 1.1 that can't translate one of the accounts.
    Lost,
    /// Version 1.2 without `careful`; `exchange` and `peek` are new, and `exchange_at_once`, which is served at once (R32).
    Slim,
    /// Version 2 that can't bring one of the accounts into the new format (R31).
    Smudged,
    /// Version 3: what version 2 does, without its reader of the first format (R31).
    Three,
}

impl Edition {
    /// All editions.
    pub const ALL: [Edition; 12] = [
        Edition::One,
        Edition::Twin,
        Edition::Two,
        Edition::Broken,
        Edition::Wrong,
        Edition::Blind,
        Edition::Deadly,
        Edition::Indexed,
        Edition::Lost,
        Edition::Slim,
        Edition::Smudged,
        Edition::Three,
    ];

    /// The hash of its "file".
    #[must_use]
    pub fn hash(self) -> PluginHash {
        PluginHash([self as u8 + 1; 32])
    }

    /// The edition with `hash`.
    #[must_use]
    pub fn of(hash: PluginHash) -> Option<Self> {
        Self::ALL.into_iter().find(|edition| edition.hash() == hash)
    }

    /// Its version.
    #[must_use]
    pub fn version(self) -> Version {
        match self {
            Edition::One | Edition::Twin | Edition::Wrong | Edition::Blind => {
                Version { major: 1, minor: 0, patch: 0 }
            }
            Edition::Slim => Version { major: 1, minor: 2, patch: 0 },
            Edition::Indexed | Edition::Lost => Version { major: 1, minor: 1, patch: 0 },
            Edition::Two | Edition::Broken | Edition::Deadly | Edition::Smudged => {
                Version { major: 2, minor: 0, patch: 0 }
            }
            Edition::Three => Version { major: 3, minor: 0, patch: 0 },
        }
    }
}

/// Control parameters of every procedure here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Unique for each event.
    pub id: u64,
    /// The account that pays.
    pub from: u8,
    /// The account that gets.
    pub to: u8,
    /// How much; above [`LIMIT`] it is refused, and a few have a meaning of their own: see the constants.
    pub amount: u32,
}

/// Larger amounts are refused.
pub const LIMIT: u32 = 1_000;
/// This amount makes the last unit but one fault.
pub const FAULTY: u32 = 666;
/// This amount makes `letter` and `wire` refuse after all that they did to the world.
pub const RETURNED: u32 = 670;
/// For this amount `note` faults, and the undo of `stamp` does not know whether it took anything back.
pub const INDELIBLE: u32 = 671;
/// For this amount `note` faults, and the undo of `stamp` kills the processor when it has taken it back.
pub const CURSED: u32 = 673;
/// For this amount `stamp` faults after it has acted.
pub const SMUDGED: u32 = 672;
/// This amount kills the processor in the unit that moves money.
pub const DEADLY: u32 = 667;
/// This amount hangs there.
pub const HANGS: u32 = 668;
/// This amount takes [`LATE_US`] there.
pub const LATE: u32 = 669;
/// How long [`LATE`] takes, in microseconds: more than the deadline of `transfer`, [`DEADLINE_MS`].
pub const LATE_US: u64 = 7_500;
/// A longer body is left for later units, as a whole.
const LONG_BODY_BYTES: usize = 1 << 20;
/// The deadline of a unit of `transfer`.
pub const DEADLINE_MS: u32 = 7;
/// An event of [`Edition::Deadly`] whose id is divisible by this kills.
pub const DEADLY_EVERY: u64 = 13;

/// What a unit throws that takes its processor down with it: nothing catches it but the world.
#[derive(Clone, Copy, Debug)]
pub enum Doom {
    /// The process dies.
    Dies,
    /// The unit never returns.
    Hangs,
}

impl Parameters {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.id.to_le_bytes().to_vec();
        bytes.extend([self.from, self.to]);
        bytes.extend(self.amount.to_le_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When there are not 14 of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let bytes: [u8; 14] = bytes.try_into().map_err(|_| "14 bytes were expected".to_string())?;
        let (id, rest) = bytes.split_first_chunk::<8>().expect("8 of 14");
        let amount = u32::from_le_bytes(rest[2..].try_into().expect("4 of 6"));
        Ok(Parameters { id: u64::from_le_bytes(*id), from: rest[0], to: rest[1], amount })
    }
}

/// Names of the procedures. The last two act on the world.
pub const PROCEDURES: [&str; 6] = ["transfer", "careful", "upload", "balance", "letter", "wire"];
/// The units of what takes a message.
const HEAR: [&str; 6] = ["order", "check", "debit", "credit", "note", "record"];
/// Names of those that set a timer and send a message.
pub const POSTING: [&str; 2] = ["later", "tell"];

/// The simulated ledger in one edition.
pub struct Ledger {
    edition: Edition,
    descriptor: ApplicationDescriptor,
    units_run: Arc<AtomicU64>,
    took_us: Arc<AtomicU64>,
    deeds: Deeds,
}

impl Ledger {
    /// An edition, ready to run.
    #[must_use]
    pub fn new(edition: Edition) -> Self {
        let two = edition.version().major >= 2;
        let table = |name: &str, kind, format| TableDescriptor {
            name: name.into(),
            kind,
            format,
            reads_from: 1,
            derived_from: None,
        };
        let derived = |name: &str, kind, from: &str| TableDescriptor {
            derived_from: Some(from.into()),
            ..table(name, kind, 1)
        };
        let mut tables = vec![
            table(RAN, TableKind::Hash, 1),
            // The second format differs in its number alone, which every row starts with.
            table(ACCOUNTS, TableKind::Ordered, 1 + u16::from(two)),
            table(TOLD, TableKind::Hash, 1),
        ];
        if edition == Edition::Three {
            tables[ACCOUNTS_INDEX].reads_from = 2;
        }
        if matches!(edition, Edition::Indexed | Edition::Lost) {
            tables.push(derived("by_sum", TableKind::Ordered, ACCOUNTS));
            tables.push(derived("by_id", TableKind::Hash, RAN));
        }
        let units = |names: &[&str]| {
            names
                .iter()
                .map(|name| UnitDescriptor {
                    name: (*name).into(),
                    reads_body: *name == "store",
                    undo: undo_of(name).map(Into::into),
                })
                .collect()
        };
        let procedure = |name: &str, version, recovery, names: &[&str]| ProcedureDescriptor {
            name: name.into(),
            version,
            recovery,
            reads_only: matches!(name, "balance" | "peek"),
            one_sided: name == "exchange_at_once",
            body: if name == "upload" { BodyUse::Withheld } else { BodyUse::Carried },
            deadline_ms: if name == "transfer" { DEADLINE_MS } else { 0 },
            hang_ms: 0,
            units: units(names),
            undos: names.iter().filter_map(|name| undo_of(name)).map(Into::into).collect(),
            parameters: String::new(),
        };
        let transfer_version = match edition {
            Edition::One | Edition::Twin | Edition::Wrong | Edition::Blind => 1,
            Edition::Indexed | Edition::Lost | Edition::Slim => 1,
            Edition::Two | Edition::Smudged | Edition::Three => 2,
            Edition::Broken => 3,
            Edition::Deadly => 4,
        };
        let transfer: &[&str] = if two {
            &["check", "move", "fee", "record"]
        } else {
            &["check", "debit", "credit", "note", "record"]
        };
        // The undo is found by its name, whatever the unit is called.
        let letter: &[&str] =
            if two { &["check", "post", "debit", "note", "credit", "stamp", "record"] } else { &WIRE };
        let fired: &[&str] = if two {
            &["check", "again", "debit", "credit", "note", "record"]
        } else {
            &["check", "debit", "credit", "again", "note", "record"]
        };
        let mut procedures = vec![
            procedure("transfer", transfer_version, Recovery::Complete, transfer),
            procedure("careful", 1, Recovery::RollBack, &["check", "debit", "credit", "record"]),
            procedure("upload", 1, Recovery::Complete, &["check", "store", "record"]),
            procedure("balance", 1, Recovery::RollBack, &["read"]),
            procedure("letter", 1 + u32::from(two), Recovery::RollBack, letter),
            procedure("wire", 1, Recovery::Complete, &WIRE),
            procedure("later", 1, Recovery::Complete, &["plan", "record"]),
            procedure("tell", 1, Recovery::RollBack, &["announce", "record"]),
            procedure("fired", 1 + u32::from(two), Recovery::RollBack, fired),
            procedure("hear", 1, Recovery::Complete, &HEAR),
        ];
        if edition == Edition::Slim {
            let exchange = ["check", "debit", "credit", "record"];
            procedures.retain(|procedure| procedure.name != "careful");
            procedures.push(procedure("exchange", 1, Recovery::Complete, &exchange));
            procedures.push(procedure("exchange_at_once", 1, Recovery::Complete, &exchange));
            procedures.push(procedure("peek", 1, Recovery::RollBack, &["read"]));
        }
        let descriptor = ApplicationDescriptor {
            name: "ledger".into(),
            version: edition.version(),
            hash: edition.hash(),
            tables,
            features: if two {
                vec![FeatureDescriptor {
                    name: "fee".into(),
                    description: "one unit of money a transfer".into(),
                }]
            } else {
                vec![]
            },
            procedures,
            sends: None,
        };
        let (took_us, deeds) = (Arc::default(), Deeds::default());
        Ledger { edition, descriptor, units_run: Arc::default(), took_us, deeds }
    }

    /// Acts on this world.
    #[must_use]
    pub fn acting_on(mut self, deeds: Deeds) -> Self {
        self.deeds = deeds;
        self
    }

    /// Counts every unit that it runs.
    #[must_use]
    pub fn counting(mut self, units_run: Arc<AtomicU64>) -> Self {
        self.units_run = units_run;
        self
    }

    /// Says there how long the last unit took, in microseconds.
    #[must_use]
    pub fn timed(mut self, took_us: Arc<AtomicU64>) -> Self {
        self.took_us = took_us;
        self
    }
}

impl Application for Ledger {
    fn descriptor(&self) -> &ApplicationDescriptor {
        &self.descriptor
    }

    fn begin(
        &self,
        procedure: ProcedureIndex,
        _: Encoding,
        parameters: &[u8],
        features: u64,
    ) -> Result<Box<dyn Run>, String> {
        // A message has its number behind them.
        let (parameters, place) = parameters.split_at_checked(14).ok_or("14 bytes were expected")?;
        let parameters = Parameters::from_bytes(parameters)?;
        let place = place.first_chunk::<8>().map_or(0, |place| i64::from_le_bytes(*place));
        let declared = &self.descriptor.procedures[procedure];
        // The fee's unit is planned only while its feature is on.
        let plan = (0..declared.units.len())
            .filter(|unit| declared.units[*unit].name != "fee" || features & 1 == 1)
            .collect();
        let names = declared.units.iter().map(|unit| unit.name.clone()).collect();
        let (units_run, took_us, deeds) = (self.units_run.clone(), self.took_us.clone(), self.deeds.clone());
        Ok(Box::new(LedgerRun {
            edition: self.edition,
            parameters,
            place,
            plan,
            names,
            units_run,
            took_us,
            deeds,
        }))
    }

    fn undo(
        &self,
        _: ProcedureIndex,
        undo: &str,
        _: Encoding,
        parameters: &[u8],
        context: &mut UnitContext<'_>,
    ) -> Result<(), String> {
        let Parameters { id, amount, .. } = Parameters::from_bytes(parameters)?;
        assert_eq!(
            context.get(RAN_INDEX, &id.to_le_bytes()),
            None,
            "an undo sees the rows before its procedure"
        );
        match undo {
            "unsend" => self.deeds.add(id, "send", true),
            "unstamp" => {
                self.deeds.add(id, "stamp", true);
                if amount == CURSED {
                    std::panic::resume_unwind(Box::new(Doom::Dies));
                }
                if amount == INDELIBLE {
                    return Err("nobody knows whether the ink was dry".into());
                }
            }
            _ => return Err(format!("there is no undo `{undo}`")),
        }
        Ok(())
    }

    fn check_row(&self, table: TableIndex, _key: &[u8], value: &[u8]) -> Result<(), String> {
        if self.edition == Edition::Blind && table == ACCOUNTS_INDEX {
            return Err("an account is a riddle to this edition".into());
        }
        if value.len() == 9 { Ok(()) } else { Err(format!("a row of {} bytes", value.len())) }
    }

    fn rewrite_row(
        &self,
        table: TableIndex,
        key: &[u8],
        value: &[u8],
        format: u16,
    ) -> Result<Vec<u8>, String> {
        self.check_row(table, key, value)?;
        if self.edition == Edition::Smudged && key == [LOST_ACCOUNT] {
            return Err("the account is smudged".into());
        }
        let mut row = value.to_vec();
        row[0] = format as u8;
        Ok(row)
    }

    fn translate(
        &self,
        table: TableIndex,
        key: &[u8],
        value: &[u8],
        put: PutDerived<'_>,
    ) -> Result<(), String> {
        match table {
            ACCOUNTS_INDEX if self.edition == Edition::Lost && key == [LOST_ACCOUNT] => {
                Err("the account can't be found on the map".into())
            }
            ACCOUNTS_INDEX => {
                put(BY_SUM_INDEX, &by_sum(number_in(value), key), &[1]);
                Ok(())
            }
            _ => {
                put(BY_ID_INDEX, &key.iter().rev().copied().collect::<Vec<u8>>(), value);
                Ok(())
            }
        }
    }
}

/// The key of an account in the table by sums, whose order is that of the sums.
fn by_sum(sum: i64, account: &[u8]) -> Vec<u8> {
    let mut key = (sum.cast_unsigned() ^ 1 << 63).to_be_bytes().to_vec();
    key.extend(account);
    key
}

/// Whether the derived tables are what the rows make them; each event asks before it does anything.
fn check_index(context: &mut UnitContext<'_>, accounts: &[u8]) -> Result<(), UnitEnd> {
    let (mut there, mut listed) = (0, 0);
    context.scan(ACCOUNTS_INDEX, &[], None, &mut |_, _| {
        there += 1;
        true
    });
    context.scan(BY_SUM_INDEX, &[], None, &mut |_, _| {
        listed += 1;
        true
    });
    let listed_alike = accounts.iter().all(|account| {
        let sum = context.get(ACCOUNTS_INDEX, &[*account]).map(number_in);
        sum.is_none_or(|sum| context.get(BY_SUM_INDEX, &by_sum(sum, &[*account])).is_some())
    });
    if there == listed && listed_alike {
        return Ok(());
    }
    let message = format!("{there} accounts, {listed} by their sums, and {accounts:?}: {listed_alike} (R17)");
    Err(UnitEnd::Faulted { kind: FaultKind::Error, message })
}

const WIRE: [&str; 8] = ["check", "debit", "send", "credit", "stamp", "note", "seal", "record"];

/// The undo of a unit that acts on the world.
fn undo_of(unit: &str) -> Option<&'static str> {
    match unit {
        "send" | "post" => Some("unsend"),
        "stamp" => Some("unstamp"),
        _ => None,
    }
}

struct LedgerRun {
    edition: Edition,
    parameters: Parameters,
    place: i64,
    plan: Vec<UnitIndex>,
    names: Vec<String>,
    units_run: Arc<AtomicU64>,
    took_us: Arc<AtomicU64>,
    deeds: Deeds,
}

/// The number in a row: format, then eight bytes.
#[must_use]
pub fn number_in(row: &[u8]) -> i64 {
    i64::from_le_bytes(row[1..9].try_into().expect("rows of the simulated ledger have nine bytes"))
}

fn add(context: &mut UnitContext<'_>, table: usize, key: &[u8], amount: i64) -> i64 {
    let sum = context.get(table, key).map_or(0, number_in) + amount;
    let mut row = vec![context.format(table) as u8];
    row.extend(sum.to_le_bytes());
    context.put(table, key, &row);
    sum
}

/// The key of the timer that an event sets.
fn timer_of(id: u64) -> String {
    format!("event {}", id % ROUND)
}

impl Run for LedgerRun {
    fn plan(&self) -> &[UnitIndex] {
        &self.plan
    }

    fn run(&mut self, position: usize, context: &mut UnitContext<'_>) -> Result<(), UnitEnd> {
        self.units_run.fetch_add(1, Ordering::Relaxed);
        let Parameters { id, from, to, amount } = self.parameters;
        if matches!(self.names[self.plan[position]].as_str(), "debit" | "move") {
            let deadly = self.edition == Edition::Deadly && id % DEADLY_EVERY == 0;
            match amount {
                HANGS => std::panic::resume_unwind(Box::new(Doom::Hangs)),
                _ if amount == DEADLY || deadly => std::panic::resume_unwind(Box::new(Doom::Dies)),
                LATE => self.took_us.store(LATE_US, Ordering::Relaxed),
                _ => {}
            }
        }
        let amount = i64::from(amount);
        if position == 0 && self.edition == Edition::Indexed {
            check_index(context, &[from, to])?;
        }
        match self.names[self.plan[position]].as_str() {
            "check" if amount > i64::from(LIMIT) => {
                let message = format!("{amount} is above {LIMIT}");
                return Err(UnitEnd::Refused(Refusal { code: "too-much".into(), message }));
            }
            "check" => context.set_scratch(b"drawn", &context.time().0.to_le_bytes()),
            "debit" => {
                add(context, ACCOUNTS_INDEX, &[from], -amount);
            }
            "credit" => {
                let amount = if self.edition == Edition::Wrong && id % 5 == 0 { amount + 1 } else { amount };
                add(context, ACCOUNTS_INDEX, &[to], amount);
            }
            "move" => {
                if self.edition == Edition::Broken && id % 7 == 0 {
                    return Err(UnitEnd::Faulted { kind: FaultKind::Panic, message: "broken".into() });
                }
                add(context, ACCOUNTS_INDEX, &[from], -amount);
                add(context, ACCOUNTS_INDEX, &[to], amount);
            }
            "fee" => {
                add(context, ACCOUNTS_INDEX, &[from], -1);
                add(context, ACCOUNTS_INDEX, &[255], 1);
            }
            "store" => {
                let length = context.body().len() as i64;
                add(context, ACCOUNTS_INDEX, &[254], length);
                context.set_scratch(b"length", &length.to_le_bytes());
                // Goes with the unit when it is shipped, and into no row.
                let body = context.body();
                if body.len() > LONG_BODY_BYTES {
                    context.set_scratch(b"body", body);
                }
            }
            "send" | "post" => self.deeds.add(id, "send", false),
            "stamp" => {
                self.deeds.add(id, "stamp", false);
                context.set_scratch(b"stamp", &id.to_le_bytes());
                if self.parameters.amount == SMUDGED {
                    return Err(UnitEnd::Faulted { kind: FaultKind::Error, message: "smudged".into() });
                }
            }
            "seal" if self.parameters.amount == RETURNED => {
                let message = "nobody lives there".into();
                return Err(UnitEnd::Refused(Refusal { code: "returned".into(), message }));
            }
            "seal" => {}
            "note" if [FAULTY, INDELIBLE, CURSED].contains(&self.parameters.amount) => {
                return Err(UnitEnd::Faulted { kind: FaultKind::Error, message: "faulty amount".into() });
            }
            "note" => {
                let random = context.random();
                context.set_scratch(b"random", &random.to_le_bytes());
            }
            "record" => {
                let ran = add(context, RAN_INDEX, &id.to_le_bytes(), 1);
                let mut reply = ran.to_le_bytes().to_vec();
                reply.extend(context.scratch(b"length").unwrap_or_default());
                context.reply(&reply);
            }
            "read" => {
                let sum = context.get(ACCOUNTS_INDEX, &[from]).map_or(0, number_in);
                context.reply(&[sum.to_le_bytes(), context.time().0.to_le_bytes()].concat());
            }
            "plan" => {
                let wait = Micros(context.random() % 30_000);
                let fires = Parameters { id: fired_as(id, 0), ..self.parameters };
                context.set_timer(&timer_of(id), context.time().plus(wait), "fired", &fires.to_bytes());
            }
            // The same timer again, as long as it has rounds left.
            "again" if from % 2 == 1 && (id / ROUND) % 16 + 1 < ROUNDS => {
                let wait = Micros(context.random() % 30_000);
                let fires = Parameters { id: id + ROUND, ..self.parameters };
                context.set_timer(&timer_of(id), context.time().plus(wait), "fired", &fires.to_bytes());
            }
            "again" => {}
            "announce" => {
                let place = add(context, TOLD_INDEX, &[SENT_OUT], 1);
                let mut tells = Parameters { id: id | MESSAGE, ..self.parameters }.to_bytes();
                tells.extend(place.to_le_bytes());
                let partition = u16::from(to.saturating_sub(ELSEWHERE));
                context.send(&GroupName { application: "ledger".into(), partition }, "hear", &tells);
            }
            "order" => {
                let heard = context.get(TOLD_INDEX, &[HEARD]).map_or(0, number_in);
                if self.place <= heard {
                    add(context, TOLD_INDEX, &[DISORDER], 1);
                }
                add(context, TOLD_INDEX, &[HEARD], self.place - heard);
            }
            name => unreachable!("no unit is called {name}"),
        }
        Ok(())
    }
}
