//! Puts an [`EngineLoop`] on an actix arbiter.
//!
//! The arbiter (a thread) belongs to one plugin generation. It waits for the engine's poll through one `AsyncFd` and
//! runs turns; every so often the actor's mailbox is served. While events come in quick succession the engine waits on its
//! poll by itself, for a moment each time. When a generation ends, the engine is taken out,
//! a new arbiter is made, and the old thread drops the old version and stops (R28). One whose work unit hung has been
//! given up and replaced meanwhile (R23): should the unit return or call its host, all of the old engine is dropped here, and
//! the thread ends.
//! Deliberately absent: events; they never pass through a mailbox.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use lockstep_core::witness::GivenUp;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::turn::WAIT_HERE_MAX;
use super::{EngineLoop, TurnEnd, now};
use crate::plugins::{Failure, Generations};

/// The actor that runs an engine on the thread of one plugin generation.
pub struct EngineActor {
    engine: Rc<RefCell<Option<EngineLoop>>>,
    generations: Generations,
    started: Option<oneshot::Sender<Result<(), Failure>>>,
}

impl EngineActor {
    /// Starts `engine` on the thread on which its version was started, or on a new one; `generations` keeps it until it
    /// is to be joined. Tells whether its plugin started there.
    pub fn launch(engine: EngineLoop, generations: &Generations) -> oneshot::Receiver<Result<(), Failure>> {
        let (sender, started) = oneshot::channel();
        let started_thread = generations.take_started_thread(&engine.handle().group(), engine.version_hash());
        let arbiter = started_thread.unwrap_or_else(Arbiter::new);
        let keeper = generations.clone();
        let thread = arbiter.handle();
        let group = engine.handle().group();
        EngineActor::start_in_arbiter(&thread, move |_| EngineActor {
            engine: Rc::new(RefCell::new(Some(engine))),
            generations: keeper,
            started: Some(sender),
        });
        generations.set_thread(group, arbiter);
        started
    }
}

impl Actor for EngineActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if let Some(engine) = self.engine.borrow().as_ref() {
            engine.enter_thread();
        }
        let begun =
            self.engine.borrow().as_ref().map_or(Ok(()), |engine| engine.start_plugin(&self.generations));
        let failed = begun.is_err();
        let told = self.started.take().is_some_and(|sender| sender.send(begun.clone()).is_ok());
        if let (true, Err(failure)) = (failed, begun) {
            if told {
                return context.stop();
            }
            // A version that changes over was started before (R28); this is one that nobody had started.
            tracing::error!(code = failure.code, %failure, "the new version does not start; this processor stops");
            std::process::abort();
        }
        let engine = self.engine.clone();
        let end = async move { drive(&engine).await };
        context.spawn(end.into_actor(self).map(|end, actor, context| {
            match end {
                End::Retire(old) => actor.move_on(old),
                End::Stopped => actor.end(),
                End::GivenUp => actor.leave(),
            }
            context.stop();
            Arbiter::current().stop();
        }));
    }
}

enum End {
    Retire(Box<dyn lockstep_core::application::Application>),
    Stopped,
    /// Another engine was built in the place of this one.
    GivenUp,
}

/// One turn; none when a work unit came to an end in it that had been given up (R23).
fn turn(engine: &mut EngineLoop) -> Option<TurnEnd> {
    // Nothing looks at what it leaves behind: the engine is dropped.
    match catch_unwind(AssertUnwindSafe(|| engine.turn())) {
        Ok(end) => Some(end),
        Err(payload) if payload.is::<GivenUp>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

#[expect(deprecated, reason = "unsound only for types that do not own their descriptor; this one does")]
fn watch(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Runs turns until the engine has to leave this thread.
async fn drive(cell: &RefCell<Option<EngineLoop>>) -> End {
    let fd = cell.borrow().as_ref().map(EngineLoop::poll_fd).expect("an engine was put in");
    let fd = fd.and_then(watch).expect("the engine's poll can be watched");
    let timer = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(timer);
    let mut mailbox_served = Instant::now();
    // What comes does so in quick succession.
    let mut dense = false;
    loop {
        let end = {
            let mut cell = cell.borrow_mut();
            let engine = cell.as_mut().expect("an engine was put in");
            let Some(end) = turn(engine) else { return End::GivenUp };
            match end {
                TurnEnd::Wait if engine.busy_poll() || (dense && engine.wait_here()) => TurnEnd::Again,
                end => end,
            }
        };
        match end {
            TurnEnd::Again => {
                if mailbox_served.elapsed() >= WAIT_HERE_MAX {
                    tokio::task::yield_now().await;
                    mailbox_served = Instant::now();
                }
                continue;
            }
            TurnEnd::Retire(old) => return End::Retire(old),
            TurnEnd::Stopped => return End::Stopped,
            TurnEnd::Wait => {}
        }
        let deadline = cell.borrow().as_ref().and_then(EngineLoop::deadline);
        let wait = deadline
            .map_or(Duration::from_millis(100), |deadline| Duration::from_micros(deadline.since(now()).0));
        // Only an earlier deadline moves the timer; a later one is looked at when it fires.
        let began = Instant::now();
        let at = (began + wait).into();
        if timer.is_elapsed() || at < timer.deadline() {
            timer.as_mut().reset(at);
        }
        tokio::select! {
            ready = fd.readable() => {
                if let Ok(mut guard) = ready {
                    guard.clear_ready();
                }
            }
            () = &mut timer => {}
        }
        mailbox_served = Instant::now();
        dense = mailbox_served.duration_since(began) < WAIT_HERE_MAX;
    }
}

impl EngineActor {
    /// The engine has stopped: its generations are shut down here, on their thread, and then unloaded.
    fn end(&mut self) {
        let Some(engine) = self.engine.borrow_mut().take() else { return };
        let group = engine.handle().group();
        let stopping = engine.close();
        let thread = self.generations.take_thread(&group);
        self.generations.end(&group, thread, move || {
            if let Some(done) = stopping {
                // Nobody waits any more: fine.
                let _ = done.send(());
            }
        });
    }

    /// A unit that was given up has come to an end: what is left of its engine goes, and the library with the thread.
    fn leave(&mut self) {
        let Some(engine) = self.engine.borrow_mut().take() else { return };
        self.generations.came_back(engine.leave());
    }

    /// The engine goes on on a new thread; then this one drops what is left of its generation.
    fn move_on(&mut self, old: Box<dyn lockstep_core::application::Application>) {
        let Some(engine) = self.engine.borrow_mut().take() else { return };
        let group = engine.handle().group();
        let thread = self.generations.take_thread(&group);
        drop(EngineActor::launch(engine, &self.generations));
        self.generations.retire(old, thread);
    }
}
