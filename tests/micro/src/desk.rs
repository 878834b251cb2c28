//! Two real groups with the real ledger in one thread, their frames encoded and decoded as on a link.

use std::collections::VecDeque;

use lockstep_binding::{Bound, host_services};
use lockstep_core::command::Role;
use lockstep_core::effect::Effect;
use lockstep_core::event::{Answer, Outcome, Request};
use lockstep_core::group::{Group, GroupConfig};
use lockstep_core::ids::{LinkId, Micros, NodeId, Origin, PluginHash, SessionId, StoreId};
use lockstep_core::input::Input;
use lockstep_core::message::Frame;
use lockstep_core::record::{Record, SwapOutcome};
use lockstep_core::state::State;
use lockstep_plugin_api::host::HostedPlugin;
use lockstep_wire::frame;

use crate::traffic::{ACCOUNTS, Traffic};

const LINK: LinkId = LinkId(1);
/// How much of the stream is kept: little, so that memory is as ever after a few batches.
const RECENT_BYTES_MAX: usize = 1 << 20;
/// How many accounts one event opens.
const OPENED_AT_ONCE: u32 = 500;
/// How many inputs until it is thought that the pair never gets there.
const INPUTS_MAX: usize = 100_000;

/// A pair in lock step; side 0 is active.
pub struct Desk {
    groups: [Group; 2],
    now: Micros,
    queue: VecDeque<(usize, Input)>,
    record: Option<Record>,
    effects: Vec<Effect>,
    wire: Vec<u8>,
    traffic: Traffic,
    answers: u64,
    opened: Option<SessionId>,
}

fn store(side: usize) -> StoreId {
    StoreId(side as u128 + 1)
}

fn group(side: usize) -> Group {
    let hash = PluginHash([1; 32]);
    let module = ledger_v1::application().module();
    HostedPlugin::new(module).start(&host_services()).expect("the ledger starts");
    let application = Bound::new(module, hash).expect("the ledger can be described");
    let node = NodeId(["a", "b"][side].into());
    let config = GroupConfig {
        // The clock stands still between batches.
        heartbeat_ms: 1 << 40,
        silence_shrink_ms: 1 << 40,
        silence_promote_ms: 1 << 41,
        ack_age_max_ms: 1 << 40,
        recent_bytes_max: RECENT_BYTES_MAX,
        ..GroupConfig::new(node, "ledger".into(), 7)
    };
    Group::new(
        config,
        store(side),
        true,
        State::new(store(side)),
        Vec::new(),
        Vec::new(),
        Box::new(application),
    )
}

impl Desk {
    /// A pair in sync, its accounts opened.
    ///
    /// # Panics
    /// When the pair does not get there.
    #[must_use]
    pub fn new() -> Self {
        let mut desk = Desk {
            groups: [group(0), group(1)],
            now: Micros(1),
            queue: VecDeque::new(),
            record: None,
            effects: Vec::new(),
            wire: Vec::new(),
            traffic: Traffic::of(SessionId(0)),
            answers: 0,
            opened: None,
        };
        desk.start(0);
        desk.settle();
        desk.start(1);
        desk.settle();
        (0..2).for_each(|side| desk.queue.push_back((side, Input::LinkUp { link: LINK })));
        desk.settle();
        let in_sync = desk.record.as_ref().map_or(0, |record| record.in_sync.len());
        assert_eq!((in_sync, desk.groups[0].role(), desk.groups[1].role()), (2, Role::Active, Role::Standby));
        desk.submit(Request::OpenSession);
        desk.settle();
        desk.traffic = Traffic::of(desk.opened.expect("a session is opened"));
        for first in (0..ACCOUNTS).step_by(OPENED_AT_ONCE as usize) {
            let request = desk.traffic.open(first, OPENED_AT_ONCE);
            desk.submit(request);
            desk.settle();
        }
        desk
    }

    /// Runs `count` transfers as one batch on both sides, until all are answered.
    ///
    /// # Panics
    /// When one is not answered with a reply.
    pub fn transfers(&mut self, count: usize) {
        self.now = self.now.plus(Micros(100));
        let before = self.answers;
        for _ in 0..count {
            let request = Request::Submit(self.traffic.transfer());
            self.step(0, Input::Request { origin: Origin(0), request });
        }
        self.end_batch(0);
        self.settle();
        assert_eq!(self.answers - before, count as u64, "each transfer is answered");
    }

    fn submit(&mut self, request: Request) {
        self.queue.push_back((0, Input::Request { origin: Origin(0), request }));
    }

    fn start(&mut self, side: usize) {
        let mut effects = std::mem::take(&mut self.effects);
        self.groups[side].start(self.now, &mut effects);
        self.effects = effects;
        self.end_batch(side);
    }

    fn step(&mut self, side: usize, input: Input) {
        self.groups[side].step(self.now, input, &mut self.effects);
    }

    fn end_batch(&mut self, side: usize) {
        self.groups[side].end_batch(self.now, &mut self.effects);
        let mut effects = std::mem::take(&mut self.effects);
        let mut durable = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { frame, .. } => frame::encode(&frame, &mut self.wire),
                Effect::Append(entries) => durable = Some(entries.last()),
                Effect::Answer { answer, .. } => self.answered(&answer),
                Effect::ReadRecord => {
                    let record = self.record.clone();
                    self.queue.push_back((side, Input::RecordRead(Ok(record))));
                }
                Effect::PrepareSwap { .. } => self.queue.push_back((side, Input::SwapPrepared)),
                Effect::Swap { next, .. } => {
                    self.record = Some(next.clone());
                    self.queue.push_back((side, Input::Swapped(SwapOutcome::Done(next))));
                }
                Effect::Stop { reason } => panic!("side {side} stops: {reason}"),
                Effect::CloseLink { .. } => panic!("side {side} closed the link"),
                _ => {}
            }
        }
        self.effects = effects;
        self.deliver(1 - side);
        if let Some(through) = durable {
            self.queue.push_back((side, Input::Durable { store: store(side), through }));
        }
    }

    /// What was sent arrives as one batch.
    fn deliver(&mut self, side: usize) {
        let mut wire = std::mem::take(&mut self.wire);
        let mut taken = 0;
        while let Some((payload, length)) =
            frame::split(&wire[taken..], frame::LINK_FRAME_BYTES_MAX).expect("whole frames")
        {
            let frame: Frame = frame::decode(payload).expect("a frame of ours");
            taken += length;
            self.step(side, Input::Peer { link: LINK, frame });
        }
        wire.clear();
        let any = taken > 0;
        self.wire = wire;
        if any {
            self.end_batch(side);
        }
    }

    fn settle(&mut self) {
        let mut inputs = 0;
        while let Some((side, input)) = self.queue.pop_front() {
            inputs += 1;
            assert!(inputs < INPUTS_MAX, "the pair does not come to rest");
            self.step(side, input);
            self.end_batch(side);
        }
    }

    fn answered(&mut self, answer: &Answer) {
        match answer {
            Answer::SessionOpened { session } => self.opened = Some(*session),
            Answer::Ended { outcome: Outcome::Committed { .. }, .. } => self.answers += 1,
            other => panic!("a transfer was answered with {other:?}"),
        }
    }
}

impl Default for Desk {
    fn default() -> Self {
        Desk::new()
    }
}
