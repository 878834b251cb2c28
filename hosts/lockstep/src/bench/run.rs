//! The load's loop: one thread, one epoll instance, no allocation an event once buffers have grown.

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::board::{Board, Connection};
use super::error::Wrong;
use super::events::Events;
use super::interrupt;
use super::live::Live;

/// How often connections are looked at that nothing happens to, in nanoseconds.
const LOOK_EVERY_NS: u64 = 5_000_000;
/// Nanoseconds of a millisecond.
const NS_A_MS: u64 = 1_000_000;
/// The most socket events that are taken at a time.
const TAKEN_MAX: usize = 256;
/// How many sockets a connection has at most; tokens count them.
pub const LINES: u64 = 2;

/// When events are due.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As soon as the connection has room.
    Closed,
    /// One after the other at this distance, in nanoseconds, from a moment on.
    Open {
        /// The first one's moment.
        from_ns: u64,
        /// The distance.
        interval_ns: f64,
    },
}

/// A load under way.
pub struct Run<'a, C> {
    /// Its connections.
    pub connections: Vec<C>,
    /// What they share.
    pub board: Board,
    /// How many events a connection has under way at most.
    pub in_flight: usize,
    /// After so long without an answer it is given up, in nanoseconds.
    pub silence_max_ns: u64,
    /// How it goes.
    pub live: &'a mut Live,
}

/// A part of a load: preparing, or the load itself.
pub struct Phase<'a> {
    /// Where events come from.
    pub events: &'a mut Events,
    /// When they are due.
    pub pace: Pace,
    /// No event is due from then on.
    pub until_ns: u64,
    /// What is called as soon as a moment has passed, in their order.
    pub moments: Vec<(u64, Box<dyn FnMut() + 'a>)>,
    /// How it is called on the live line.
    pub name: &'static str,
}

impl<C: Connection> Run<'_, C> {
    /// Carries out a phase to its end: all its events are answered, or Ctrl-C was pressed, or nothing is answered any
    /// more. Returns how many events were due and not sent.
    ///
    /// # Errors
    /// When the load can't go on.
    pub fn phase(&mut self, mut phase: Phase<'_>) -> Result<u64, Wrong> {
        self.board.last_answer_ns = self.board.clock.now_ns();
        let mut ready = Vec::with_capacity(TAKEN_MAX);
        let mut dirty = Dirty::of(self.connections.len());
        let (mut look_ns, mut sent, mut turn) = (0, 0_u64, 0);
        let mut exhausted = vec![false; self.connections.len()];
        loop {
            let now_ns = self.board.clock.now_ns();
            if now_ns >= look_ns {
                look_ns = now_ns + LOOK_EVERY_NS;
                for (at, connection) in self.connections.iter_mut().enumerate() {
                    connection.look(&mut self.board);
                    dirty.insert(at);
                }
                self.live.glance(phase.name, &self.board);
                if interrupt::pressed() && now_ns < phase.until_ns {
                    phase.until_ns = now_ns;
                    self.board.figures.end(now_ns);
                }
            }
            while let Some((at_ns, then)) = phase.moments.first_mut()
                && (now_ns >= *at_ns || phase.until_ns <= now_ns)
            {
                then();
                drop(phase.moments.remove(0));
            }
            let due = self.send_due(&mut phase, now_ns, &mut sent, &mut turn, &mut dirty, &mut exhausted);
            while let Some(at) = dirty.pop() {
                self.connections[at].flush(&mut self.board);
            }
            if let Some(wrong) = self.board.wrong.take() {
                return Err(wrong);
            }
            let over = now_ns >= phase.until_ns || exhausted.iter().all(|exhausted| *exhausted);
            if over && self.board.open == 0 && due.left == 0 {
                return Ok(0);
            }
            let waits = self.board.open > 0 || due.left > 0 || matches!(phase.pace, Pace::Closed);
            if waits && now_ns.saturating_sub(self.board.last_answer_ns) > self.silence_max_ns {
                // What is left of a load that has ended is told with its figures.
                return if over {
                    Ok(due.left)
                } else {
                    Err(Wrong::Silent { ms: self.silence_max_ns / 1_000_000 })
                };
            }
            if !waits {
                self.board.last_answer_ns = now_ns;
            }
            let moments = phase.moments.first().map(|(at_ns, _)| *at_ns);
            let wake_ns =
                [Some(look_ns), due.next_ns, moments].into_iter().flatten().min().unwrap_or(look_ns);
            self.wait(wake_ns, &mut ready)?;
            for event in ready.drain(..) {
                let token = event.data.u64();
                let at = (token / LINES) as usize;
                self.connections[at].touched((token % LINES) as usize, event.flags, &mut self.board);
                dirty.insert(at);
            }
        }
    }

    /// Waits for sockets until a moment. The kernel counts epoll's own time-out in milliseconds; for the rest of the way
    /// it is waited for the epoll instance, whose time-out has nanoseconds.
    fn wait(&self, wake_ns: u64, ready: &mut Vec<epoll::Event>) -> Result<(), Wrong> {
        let epoll = &self.board.epoll;
        let left_ns = wake_ns.saturating_sub(self.board.clock.now_ns());
        let mut left_ms = left_ns / NS_A_MS;
        if left_ms == 0 && left_ns > 0 {
            let left = Timespec { tv_sec: 0, tv_nsec: left_ns as _ };
            interruptible(rustix::event::poll(&mut [PollFd::new(epoll, PollFlags::IN)], Some(&left)))?;
        }
        left_ms = left_ms.min(LOOK_EVERY_NS / NS_A_MS);
        let left = Timespec { tv_sec: 0, tv_nsec: (left_ms * NS_A_MS) as _ };
        interruptible(epoll::wait(epoll, spare_capacity(ready), Some(&left)))?;
        Ok(())
    }
}

fn interruptible(result: Result<usize, Errno>) -> Result<usize, Wrong> {
    match result {
        Err(Errno::INTR) => Ok(0),
        other => other.map_err(Wrong::from),
    }
}

/// Connections that have something to send, each once.
struct Dirty {
    list: Vec<usize>,
    listed: Vec<bool>,
}

impl Dirty {
    fn of(connections: usize) -> Self {
        Dirty { list: Vec::with_capacity(connections), listed: vec![false; connections] }
    }

    fn insert(&mut self, at: usize) {
        if !std::mem::replace(&mut self.listed[at], true) {
            self.list.push(at);
        }
    }

    fn pop(&mut self) -> Option<usize> {
        let at = self.list.pop()?;
        self.listed[at] = false;
        Some(at)
    }
}

/// What is still due.
struct Due {
    /// Events that are due and found no room.
    left: u64,
    /// When the next one is due.
    next_ns: Option<u64>,
}

impl<C: Connection> Run<'_, C> {
    fn send_due(
        &mut self,
        phase: &mut Phase<'_>,
        now_ns: u64,
        sent: &mut u64,
        turn: &mut usize,
        dirty: &mut Dirty,
        exhausted: &mut [bool],
    ) -> Due {
        match phase.pace {
            Pace::Closed => {
                if now_ns < phase.until_ns {
                    for at in dirty.list.iter().copied() {
                        while !exhausted[at] && self.connections[at].has_room(self.in_flight) {
                            exhausted[at] = !self.send(at, now_ns, phase.events);
                        }
                    }
                }
                Due { left: 0, next_ns: None }
            }
            Pace::Open { from_ns, interval_ns } => {
                let due_ns = |number: u64| from_ns + (number as f64 * interval_ns) as u64;
                let until_ns = now_ns.min(phase.until_ns);
                let count = self.connections.len();
                loop {
                    let next_ns = due_ns(*sent);
                    if next_ns >= phase.until_ns {
                        return Due { left: 0, next_ns: None };
                    }
                    if next_ns > now_ns {
                        return Due { left: 0, next_ns: Some(next_ns) };
                    }
                    let turns = (0..count).map(|step| (*turn + step) % count);
                    let Some(at) =
                        turns.into_iter().find(|at| self.connections[*at].has_room(self.in_flight))
                    else {
                        // An answer makes room; how many wait is told if none comes.
                        let left = ((until_ns.saturating_sub(next_ns)) as f64 / interval_ns).ceil().max(1.0);
                        return Due { left: left as u64, next_ns: None };
                    };
                    *turn = (at + 1) % count;
                    self.send(at, next_ns, phase.events);
                    dirty.insert(at);
                    *sent += 1;
                }
            }
        }
    }

    fn send(&mut self, at: usize, due_ns: u64, events: &mut Events) -> bool {
        let connection = &mut self.connections[at];
        let mut event = connection.blank();
        event.due_ns = due_ns;
        let more = events.next(at as u64, connection.partition(), &mut event);
        if more {
            connection.submit(event, &mut self.board);
        }
        more
    }
}
