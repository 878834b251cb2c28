//! Drives an [`Exchange`] over TCP for a [`Source`] of requests: one task, no task, channel or allocation per request
//! but the request's own. Everything that has come is read before anything is written, and one turn's requests leave
//! in one write.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

pub use crate::exchange::{Exchange, Request};
use crate::link::{Link, News};
use crate::{CallError, Counts, Reply};

/// The most rounds of reading in one turn, so that no link starves the others.
const READS_A_TURN: usize = 16;
/// The most requests taken in one turn.
const REQUESTS_A_TURN: usize = 1_024;

/// Where requests come from and answers go.
pub trait Source {
    /// The next request, if one is due now. `Pending`: the context is woken when there is one. `Ready(None)`: there
    /// will be no more, and the driver ends once everything is answered.
    fn poll_next(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Option<Request>>;

    /// The request with this tag is answered.
    fn answered(&mut self, tag: u64, result: Result<Reply, CallError>, now: Instant);

    /// Called after every turn with what the client counts.
    fn turned(&mut self, _exchange: &Exchange) {}
}

/// One client: its links, its session, its source. A future that ends when the source has no more and everything is
/// answered, with what was counted.
pub struct Driver<S> {
    exchange: Exchange,
    links: Vec<Link>,
    /// Taken out at the end.
    source: Option<S>,
    /// The source has said that it has no more.
    ended: bool,
    /// The source has a waker and will use it.
    source_waits: bool,
    alarm: Pin<Box<Sleep>>,
    alarm_at: Option<Instant>,
}

/// A driver for a partition of `application` at the processors with these addresses; see [`Exchange::new`] for
/// `window`. To be called within a tokio runtime.
pub fn drive<S: Source>(
    application: &str,
    partition: u16,
    addresses: &[String],
    window: usize,
    source: S,
) -> Driver<S> {
    let exchange = Exchange::new(application.to_owned(), partition, addresses, window);
    Driver {
        exchange,
        links: addresses.iter().cloned().map(Link::new).collect(),
        source: Some(source),
        ended: false,
        source_waits: false,
        alarm: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
        alarm_at: None,
    }
}

impl<S: Source> Driver<S> {
    /// Reads what has come; whether a link may have more at once.
    fn read(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let mut more = false;
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            for round in 0..READS_A_TURN {
                let Poll::Ready(news) = link.poll(context) else { break };
                more |= round + 1 == READS_A_TURN;
                match news {
                    News::Connected => self.exchange.connected(at, now),
                    News::Ended(reason) => self.exchange.dropped(at, reason, now),
                    News::Read => match self.exchange.received(at, link.input(), now) {
                        Ok(bytes) => link.consume(bytes),
                        Err(reason) => {
                            link.end();
                            self.exchange.dropped(at, reason, now);
                        }
                    },
                }
            }
        }
        more
    }

    /// Takes requests while they are there and there is room.
    fn take(&mut self, context: &mut Context<'_>, now: Instant) {
        let Some(source) = &mut self.source else { return };
        self.source_waits = false;
        for _ in 0..REQUESTS_A_TURN {
            if self.ended || !self.exchange.has_room() {
                return;
            }
            match source.poll_next(context, now) {
                Poll::Pending => {
                    self.source_waits = true;
                    return;
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(request)) => self.exchange.submit(request, now),
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>, now: Instant) {
        for (at, link) in self.links.iter_mut().enumerate() {
            if let Err(reason) = link.write(self.exchange.output(at), context) {
                link.end();
                self.exchange.dropped(at, reason, now);
                // The link's new state is to be polled, or nothing would wake this task for it.
                context.waker().wake_by_ref();
            }
        }
    }

    fn answer(&mut self, now: Instant) {
        let Some(source) = &mut self.source else { return };
        for (tag, result) in self.exchange.drain_answers() {
            source.answered(tag, result, now);
        }
    }

    fn set_alarm(&mut self, context: &mut Context<'_>) {
        let Some(at) = self.exchange.next_deadline() else { return };
        // An alarm that comes too early costs one turn; moving it at every turn would cost more.
        if self.alarm_at.is_none_or(|set| at < set || set <= Instant::now()) {
            self.alarm.as_mut().reset(at.into());
            self.alarm_at = Some(at);
        }
        if self.alarm.as_mut().poll(context).is_ready() {
            self.alarm_at = None;
            context.waker().wake_by_ref();
        }
    }
}

impl<S: Source + Unpin> Future for Driver<S> {
    type Output = (S, Counts);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let driver = self.get_mut();
        let now = Instant::now();
        let mut again = driver.read(context, now);
        driver.answer(now);
        driver.take(context, now);
        driver.exchange.turn(now);
        driver.answer(now);
        driver.write(context, now);
        if let Some(source) = &mut driver.source {
            source.turned(&driver.exchange);
        }
        if driver.ended && driver.exchange.is_idle() {
            let source = driver.source.take().expect("a driver is not polled after its end");
            return Poll::Ready((source, driver.exchange.counts().clone()));
        }
        again |= !driver.ended && !driver.source_waits && driver.exchange.has_room();
        driver.set_alarm(context);
        if again {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
