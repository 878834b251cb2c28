//! The load process: `rig __load SETTINGS`. Clients on one thread, orders on standard input, figures on standard
//! output, the record in a file.
//!
//! An open load sends at its rate whatever the answers do, so a stalled service shows in the latencies: a request that
//! was due while its client's window was full is measured from when it was due. A closed load keeps a number of
//! requests under way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use lockstep_client::raw::{self, Exchange, Request, Source};
use lockstep_client::{CallError, Counts, NO_ROOM, Reply};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::figures::{Collector, End};
use super::record::{Ended, Opened, RecordWriter, Told};
use super::{Done, Dropped, LoadSettings, Order, Pace, Word};
use crate::Failure;
use crate::ledger;

/// A request that goes out later than this after it was due is measured from when it was due. (The timer has a grain
/// of a millisecond: what lies below that is not the service's doing.)
const LATE: Duration = Duration::from_millis(3);
/// So many accounts are opened in one event.
const BATCH: u32 = 250;
/// How often the load says how it goes.
const GLANCE_EVERY: Duration = Duration::from_millis(250);

/// What all clients of the process share.
struct Board {
    collector: Collector,
    record: RecordWriter,
    /// Accounts not opened yet; transfers begin at zero.
    to_open: u32,
    transfers_begun: u64,
    under_way: u64,
    stopping: bool,
    /// By client: to be woken when the accounts are open, and at the end.
    wakers: Vec<Option<Waker>>,
    retries: Vec<u64>,
    failures: Vec<String>,
}

impl Board {
    fn wake(&mut self) {
        self.wakers.iter_mut().filter_map(Option::take).for_each(Waker::wake);
    }

    fn wake_later(&mut self, client: usize, context: &Context<'_>) {
        match &mut self.wakers[client] {
            Some(waker) => waker.clone_from(context.waker()),
            place => *place = Some(context.waker().clone()),
        }
    }
}

#[derive(Clone, Copy)]
enum Under {
    Opening { first: u32, count: u32 },
    Transfer { from: u32, to: u32, cents: u64 },
}

/// One client's requests.
struct Requests {
    client: usize,
    settings: Rc<LoadSettings>,
    board: Rc<RefCell<Board>>,
    /// Accounts that this client opens: the first one's number, and how many.
    openings: VecDeque<(u32, u32)>,
    under_way: Vec<Option<(Under, Instant)>>,
    free: Vec<usize>,
    open: usize,
    random: u64,
    /// When the next request of an open load is due.
    due: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Requests {
    fn random(&mut self) -> u64 {
        // xorshift64*: good enough for choosing accounts, the same in every run.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn request(&mut self, what: Under, since: Instant) -> Request {
        let place = self.free.pop().unwrap_or_else(|| {
            self.under_way.push(None);
            self.under_way.len() - 1
        });
        self.under_way[place] = Some((what, since));
        self.open += 1;
        let call = match what {
            Under::Opening { first, count } => ledger::open_accounts(first, count, self.settings.cents_each),
            Under::Transfer { from, to, cents } => ledger::transfer(from, to, cents),
        };
        Request {
            tag: place as u64,
            key: self.settings.partition_key.clone().into(),
            procedure: call.procedure.into(),
            encoding: call.encoding,
            parameters: call.parameters,
            body: Vec::new(),
            deadline: Duration::from_millis(self.settings.deadline_ms),
        }
    }

    /// When the next transfer may go: now, or when the alarm rings, or when an answer comes.
    fn due(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Instant> {
        match self.settings.pace {
            Pace::Closed { in_flight } => {
                if self.open < in_flight {
                    Poll::Ready(now)
                } else {
                    Poll::Pending
                }
            }
            Pace::Open { rate_per_s } => {
                let interval = Duration::from_secs_f64(self.settings.clients as f64 / rate_per_s.max(1e-3));
                // Clients start shifted against each other, so that requests come evenly.
                let shift = interval.mul_f64(self.client as f64 / self.settings.clients as f64);
                let due = *self.due.get_or_insert(now + shift);
                if due > now {
                    self.alarm.as_mut().reset(due.into());
                    if self.alarm.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
                self.due = Some(due + interval);
                Poll::Ready(if now.saturating_duration_since(due) > LATE { due } else { now })
            }
        }
    }
}

impl Source for Requests {
    fn poll_next(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Option<Request>> {
        if let Some((first, count)) = self.openings.pop_front() {
            return Poll::Ready(Some(self.request(Under::Opening { first, count }, now)));
        }
        {
            let mut board = self.board.borrow_mut();
            if board.stopping {
                return Poll::Ready(None);
            }
            if board.to_open > 0
                || self.settings.transfers_max.is_some_and(|max| board.transfers_begun >= max)
            {
                board.wake_later(self.client, context);
                return Poll::Pending;
            }
        }
        let Poll::Ready(since) = self.due(context, now) else {
            self.board.borrow_mut().wake_later(self.client, context);
            return Poll::Pending;
        };
        let accounts = u64::from(self.settings.accounts);
        let from = self.random() % accounts;
        let to = (from + 1 + self.random() % (accounts - 1)) % accounts;
        let overdraw_every = self.settings.overdraw_every;
        let cents = match overdraw_every {
            Some(every) if self.random().is_multiple_of(every) => u64::from(u32::MAX),
            _ => 1 + self.random() % self.settings.cents_max,
        };
        {
            let mut board = self.board.borrow_mut();
            board.transfers_begun += 1;
            board.under_way += 1;
        }
        let account = |number: u64| self.settings.first_account + number as u32;
        let what = Under::Transfer { from: account(from), to: account(to), cents };
        Poll::Ready(Some(self.request(what, since)))
    }

    fn answered(&mut self, tag: u64, result: Result<Reply, CallError>, now: Instant) {
        let place = tag as usize;
        let Some((what, since)) = self.under_way.get_mut(place).and_then(Option::take) else { return };
        self.free.push(place);
        self.open -= 1;
        let mut board = self.board.borrow_mut();
        match what {
            Under::Opening { first, count } => match result {
                Ok(_) => {
                    board.to_open -= count;
                    if board.to_open == 0 {
                        board.collector.begin_asking(now);
                        board.wake();
                        say(&Word::Opened { accounts: self.settings.accounts });
                    }
                }
                Err(error) => {
                    board.failures.push(format!("accounts from {first} on can't be opened: {error}"));
                    board.stopping = true;
                    board.wake();
                }
            },
            Under::Transfer { from, to, cents } => {
                board.under_way -= 1;
                let (end, told) = match result {
                    Ok(reply) => {
                        let entry = ledger::entry_of(&reply.bytes).unwrap_or_else(|error| {
                            board.failures.push(error.to_string());
                            u64::MAX
                        });
                        (End::Replied, Told::Committed { sequence: reply.sequence, entry })
                    }
                    Err(CallError::Refused { .. }) => (End::Refused, Told::Refused),
                    // Not run, and not asked for again: it must stand nowhere either.
                    Err(CallError::Rejected { code, .. }) if code == NO_ROOM => (End::Refused, Told::Refused),
                    Err(CallError::Faulted { .. }) => (End::Faulted, Told::Faulted),
                    Err(error) => {
                        if board.failures.len() < 100 {
                            board.failures.push(error.to_string());
                        }
                        (End::Failed, Told::Nothing)
                    }
                };
                board.collector.ended(end, now.saturating_duration_since(since), now);
                if let Err(error) = board.record.add(&Ended { from, to, cents, told }) {
                    board.failures.push(error.to_string());
                    board.stopping = true;
                }
            }
        }
    }

    fn turned(&mut self, exchange: &Exchange) {
        self.board.borrow_mut().retries[self.client] = exchange.counts().retries;
    }
}

fn say(word: &Word) {
    let mut line = serde_json::to_string(word).unwrap_or_default();
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    // When nobody listens any more the owner is gone, and the guard's signal is on its way.
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}

/// What `rig __load SETTINGS` does.
///
/// # Errors
/// When the settings or the record are no good.
pub fn run(settings: &str) -> Result<(), Failure> {
    let settings: LoadSettings = serde_json::from_str(settings)?;
    if settings.accounts < 2 || settings.clients == 0 || settings.cents_max == 0 {
        return Err(Failure::new("a load needs two accounts, a client and a cent"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, load(Rc::new(settings)))
}

/// The accounts to open, in batches.
fn batches(settings: &LoadSettings) -> impl Iterator<Item = (u32, u32)> {
    let accounts = settings.accounts;
    let batches = (0..accounts).step_by(BATCH as usize);
    let first = settings.first_account;
    batches.map(move |at| (first + at, BATCH.min(accounts - at)))
}

async fn load(settings: Rc<LoadSettings>) -> Result<(), Failure> {
    let opened = Opened {
        first: settings.first_account,
        accounts: settings.accounts,
        cents_each: settings.cents_each,
    };
    let board = Rc::new(RefCell::new(Board {
        collector: Collector::new("opening", Instant::now()),
        record: RecordWriter::create(&settings.record, &opened)?,
        to_open: settings.accounts,
        transfers_begun: 0,
        under_way: 0,
        stopping: false,
        wakers: vec![None; settings.clients],
        retries: vec![0; settings.clients],
        failures: Vec::new(),
    }));
    let clients = (0..settings.clients).map(|client| {
        let requests = Requests {
            client,
            settings: Rc::clone(&settings),
            board: Rc::clone(&board),
            openings: batches(&settings).skip(client).step_by(settings.clients).collect(),
            under_way: Vec::new(),
            free: Vec::new(),
            open: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ ((client as u64 + 1) << 32),
            due: None,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        tokio::task::spawn_local(raw::drive(
            "ledger",
            settings.partition,
            &settings.addresses,
            1_000,
            requests,
        ))
    });
    let clients: Vec<_> = clients.collect();
    let orders = tokio::task::spawn_local(follow_orders(Rc::clone(&board)));
    let mut done = Done::default();
    for client in clients {
        let (_, counts) = client.await.map_err(|error| Failure::new(format!("a client failed: {error}")))?;
        done.add(counts);
    }
    // The last order to stop may still be unread when all clients have ended by themselves.
    orders.abort();
    let mut board = board.borrow_mut();
    let retries = board.retries.iter().sum();
    let figures = board.collector.next_phase("", Instant::now(), retries);
    board.record.flush()?;
    say(&Word::Phase(figures));
    done.failures = std::mem::take(&mut board.failures);
    say(&Word::Done(done));
    Ok(())
}

/// Carries out what the owner writes on standard input, and says how it goes.
async fn follow_orders(board: Rc<RefCell<Board>>) {
    let (sender, mut orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(order) = serde_json::from_str::<Order>(&line) {
                let _ = sender.send(order);
            }
        }
        // The owner is gone or has nothing more to say.
        let _ = sender.send(Order::Stop);
    });
    let mut glances = tokio::time::interval(GLANCE_EVERY);
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Phase { name }) => {
                    let mut board = board.borrow_mut();
                    let retries = board.retries.iter().sum();
                    let figures = board.collector.next_phase(&name, Instant::now(), retries);
                    say(&Word::Phase(figures));
                }
                Some(Order::CountUnderWay) => say(&Word::UnderWay { events: board.borrow().under_way }),
                Some(Order::Stop) | None => break,
            },
            _ = glances.tick() => {
                let mut board = board.borrow_mut();
                let under_way = board.under_way;
                let glance = board.collector.glance(Instant::now(), under_way);
                say(&Word::Glance(glance));
            }
        }
    }
    let mut board = board.borrow_mut();
    board.stopping = true;
    board.wake();
}

impl Done {
    fn add(&mut self, counts: Counts) {
        self.retries += counts.retries;
        self.reconnects += counts.reconnects;
        self.dropped.extend(counts.connections_dropped.into_iter().map(|dropped| Dropped {
            at_ms: dropped.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |at| at.as_millis() as u64),
            address: dropped.address,
            reason: dropped.reason,
        }));
    }
}
