//! What is done on the desk: events, a crash, operators' commands; and the clock.
//!
//! Whatever may find the two sides different is `track_caller`, so that a panic has the place of the author's test.

use lockstep_core::command::{Command, CommandError};
use lockstep_core::event::{Answer, Event, Outcome, Request};
use lockstep_core::ids::{Micros, Number, Origin};
use lockstep_core::input::Input;

use super::{Desk, LONG, hash, store};
use crate::answer;
use crate::call::Call;
use crate::trace::Traced;

impl Desk {
    #[track_caller]
    fn step(&mut self, node: usize, input: Input) {
        self.now = self.now.plus(Micros(1));
        let now = self.now;
        // What was on its way to a side that has died is lost.
        let Some(group) = &mut self.sides[node].group else { return };
        let mut effects = Vec::new();
        group.step(now, input, &mut effects);
        group.end_batch(now, &mut effects);
        self.carry_out(node, effects);
    }

    #[track_caller]
    fn advance(&mut self) {
        if let Some((node, input)) = self.queue.pop_front() {
            return self.step(node, input);
        }
        self.link_up();
        let groups = self.sides.iter().filter_map(|side| side.group.as_ref());
        if let Some(deadline) = groups.filter_map(|group| group.next_deadline()).min() {
            self.now = self.now.max(deadline);
        }
        self.tick_both();
    }

    #[track_caller]
    pub(super) fn tick_both(&mut self) {
        for node in 0..2 {
            self.step(node, Input::Tick);
        }
    }

    #[track_caller]
    pub(super) fn run_until(&mut self, what: &str, done: impl Fn(&Desk) -> bool) {
        let end = self.now.plus(LONG);
        while !done(self) {
            assert!(
                self.now < end,
                "it never came about that {what}; alarms: {:?}",
                self.alarms.iter().rev().take(4).collect::<Vec<_>>()
            );
            self.advance();
        }
    }

    /// Runs until both sides hold everything, and looks whether it is the same.
    #[track_caller]
    pub(super) fn settle(&mut self) {
        self.settle_unseen();
        if let Some(difference) = self.difference() {
            panic!("the two sides differ: {difference}");
        }
    }

    /// Runs until both sides hold everything.
    #[track_caller]
    pub(super) fn settle_unseen(&mut self) {
        self.run_until("both sides hold everything", |desk| {
            desk.is_in_sync() && {
                let groups = [0, 1].map(|node| desk.group(node));
                let last = groups[0].state().meta.last;
                groups.iter().all(|group| group.state().meta.last == last)
                    && desk.group(desk.the_active()).held() == last
                    && desk.nothing_to_send()
            }
        });
    }

    #[track_caller]
    fn ask(&mut self, node: usize, request: Request) -> u64 {
        self.origins += 1;
        let origin = self.origins;
        self.step(node, Input::Request { origin: Origin(origin), request });
        origin
    }

    /// Asks the active again and again until it is answered.
    #[track_caller]
    fn answered(&mut self, request: &Request) -> Answer {
        let end = self.now.plus(LONG);
        loop {
            let node = self.the_active();
            let origin = self.ask(node, request.clone());
            self.run_until("a client is answered", |desk| desk.answers.contains_key(&origin));
            match self.answers.remove(&origin) {
                Some(Answer::Retry { reason }) => {
                    assert!(self.now < end, "a client is told to retry for ever: {reason}");
                    self.advance();
                }
                Some(answer) => return answer,
                None => unreachable!("it was just seen"),
            }
        }
    }

    #[track_caller]
    pub(super) fn open_session(&mut self) {
        match self.answered(&Request::OpenSession) {
            Answer::SessionOpened { session } => self.session = session,
            other => panic!("a session was asked for, and the answer is {other:?}"),
        }
        self.settle();
    }

    fn event(&mut self, call: &Call) -> Event {
        self.number += 1;
        call.event(self.session, self.number)
    }

    #[track_caller]
    fn outcome(&mut self, event: &Event) -> (Number, Outcome) {
        match self.answered(&Request::Submit(event.clone())) {
            Answer::Ended { number, outcome } => (number, outcome),
            Answer::Rejected(why) => panic!("`{}` was turned away: {why:?}", event.procedure),
            other => panic!("`{}` was answered with {other:?}", event.procedure),
        }
    }

    /// Runs an event to its answer.
    #[track_caller]
    pub(crate) fn run(&mut self, call: &Call) -> answer::Answer {
        let event = self.event(call);
        let begun = self.trace.len();
        let (_, outcome) = self.outcome(&event);
        self.settle();
        let shipped =
            self.trace[begun..].iter().any(|traced| matches!(traced, Traced::Begin { shipped: true, .. }));
        answer::Answer { procedure: call.procedure.clone(), outcome, shipped }
    }

    /// Runs an event on an active that dies when `frames` frames of it have been sent to the standby; `late` lets it go
    /// on until it would send the next. The standby takes over; the client asks there with the same id, and once more.
    /// Returns the answer.
    #[track_caller]
    pub(crate) fn run_with_crash(&mut self, call: &Call, frames: usize, late: bool) -> answer::Answer {
        let (active, event) = (self.the_active(), self.event(call));
        self.frames_left = Some(frames);
        let origin = self.ask(active, Request::Submit(event.clone()));
        self.run_until("so many frames are sent", |desk| {
            desk.cut_off || (desk.frames_left == Some(0) && !late)
        });
        assert!(!self.answers.contains_key(&origin), "an answer left before the standby held the event");
        self.kill(active);
        self.frames_left = None;
        self.cut_off = false;
        self.run_until("the standby takes over", |desk| desk.active() == Some(1 - active));
        let first = self.outcome(&event);
        let again = self.outcome(&event);
        self.run_until("its messages are taken", Desk::nothing_to_send);
        assert!(
            first == again || self.is_read(call),
            "`{}`: a client that asked twice with one id was told different things: number {} {}, then number {} {}",
            call.procedure,
            first.0,
            answer::said(&first.1),
            again.0,
            answer::said(&again.1)
        );
        answer::Answer { procedure: call.procedure.clone(), outcome: first.1, shipped: false }
    }

    fn is_read(&self, call: &Call) -> bool {
        let descriptor = self.group(self.the_active()).descriptor();
        descriptor.procedure(&call.procedure).is_some_and(|(_, declared)| declared.reads_only)
    }

    /// The process of a side dies. What it has sent arrives.
    fn kill(&mut self, node: usize) {
        self.sides[node].group = None;
        self.queue.retain(|(to, _)| *to != node);
        self.drop_link();
        self.put(1 - node, Input::PartnerDied { store: store(node) });
    }

    #[track_caller]
    fn command(&mut self, command: Command) -> Result<(), CommandError> {
        let before = self.results.len();
        let active = self.the_active();
        self.step(active, Input::Command { origin: Origin(0), command });
        self.run_until("a command is answered", |desk| desk.results.len() > before);
        self.results.pop().expect("it was just answered").map(drop)
    }

    /// The active becomes standby and the standby active.
    #[track_caller]
    pub(crate) fn switch_over(&mut self) {
        let active = self.the_active();
        if let Err(why) = self.command(Command::SwitchOver) {
            panic!("the sides don't switch over: {why}");
        }
        self.run_until("the sides have switched over", |desk| {
            desk.active() == Some(1 - active) && desk.is_in_sync()
        });
        self.settle();
    }

    /// The standby changes to the library's application number `index`.
    #[track_caller]
    pub(crate) fn load(&mut self, index: usize) {
        let standby = 1 - self.the_active();
        if let Err(why) = self.command(Command::Load { hash: hash(index) }) {
            panic!("the standby does not load {:?}: {why}", self.library[index]);
        }
        let what = format!("the standby runs {:?}", self.library[index]);
        self.run_until(&what, |desk| desk.runs(standby) == index && desk.is_in_sync());
        self.settle();
    }

    /// Features and formats of the version that runs on both sides are switched on, if it has any that are not.
    #[track_caller]
    pub(crate) fn enable(&mut self) {
        match self.command(Command::EnableFeatures { features: Vec::new() }) {
            Ok(()) | Err(CommandError::NotNow(_)) => self.settle(),
            Err(why) => panic!("features can't be enabled: {why}"),
        }
    }
}
