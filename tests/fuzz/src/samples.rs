//! Values of the core's types to make seeds of: at least one of each kind of entry, message and command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_core::campaign::{CampaignPlan, CampaignRecord, CheckVerdict, Decide, Gates, Judgement};
use lockstep_core::campaign::{OwnCheck, OwnChecks, Redundancy, Step};
use lockstep_core::channels::GroupMessage;
use lockstep_core::command::{CampaignStatus, Command, CommandError, CommandReply, Counts, FeatureState};
use lockstep_core::command::{
    GroupStatus, HalfWay, HalfWayEnd, MemberStatus, MigrationStatus, Role, TableFormats,
};
use lockstep_core::descriptor::{
    ApplicationDescriptor, BodyUse, FeatureDescriptor, ProcedureDescriptor, Receiver, Recovery,
    TableDescriptor, TableKind, UnitDescriptor, Version,
};
use lockstep_core::entry::{ActingUnit, Control, Entry, EntryBody, Intent, Op, Row, TableMeta};
use lockstep_core::event::{
    Answer, Encoding, Event, EventId, Fault, FaultKind, Outcome, Refusal, Rejection, Request,
};
use lockstep_core::ids::{
    Epoch, GroupName, Micros, NodeId, Number, PluginHash, SessionId, StoreId, TableId, Term,
};
use lockstep_core::leg::{CampaignWord, LegReport};
use lockstep_core::message::{Begin, Divergence, End, Hello, Order, PeerMessage, PlainBody, UnitDescription};
use lockstep_core::migration::Chunk;
use lockstep_core::note::{DeathNote, NoteKind};
use lockstep_core::record::{Member, Record};
use lockstep_core::sessions::{KeyedReply, Recorded, Session};
use lockstep_core::state::{Installed, Meta, TermStart};

pub const ACCOUNTS: TableId = TableId(0x1234_5701);

pub fn node(name: &str) -> NodeId {
    NodeId(name.into())
}

pub fn version(major: u32) -> Version {
    Version { major, minor: 4, patch: 0 }
}

pub fn hash(byte: u8) -> PluginHash {
    PluginHash([byte; 32])
}

pub fn group() -> GroupName {
    GroupName { application: "orders".into(), partition: 1 }
}

pub fn event_ids() -> [EventId; 4] {
    [
        EventId::Numbered { session: SessionId(1), number: 1 },
        EventId::Keyed { key: "order-7".into() },
        EventId::Timer { key: "remind".into(), due: Micros(77) },
        EventId::Message { from: group(), number: 3 },
    ]
}

pub fn event(id: EventId) -> Event {
    let (parameters, body) = (b"{\"cents\":7}".to_vec(), vec![9, 0, 255]);
    Event { id, awaited_from: 1, procedure: "transfer".into(), encoding: Encoding::Json, parameters, body }
}

pub fn op(key: &str, value: Option<&str>) -> Op {
    Op { table: ACCOUNTS, key: key.as_bytes().into(), value: value.map(|value| value.as_bytes().into()) }
}

pub fn row(key: &str, value: &str) -> Row {
    Row { table: ACCOUNTS, key: key.as_bytes().into(), value: value.as_bytes().into() }
}

pub fn outcomes() -> [Outcome; 3] {
    [
        Outcome::Committed { reply: b"{\"entry\":7}".as_slice().into() },
        Outcome::Refused(refusal()),
        Outcome::Faulted(Fault { kind: FaultKind::Panic, unit: "debit".into(), message: "at a:1".into() }),
    ]
}

fn refusal() -> Refusal {
    Refusal { code: "too-little".into(), message: "it holds less".into() }
}

pub fn table() -> TableMeta {
    TableMeta::new(ACCOUNTS, "accounts", TableKind::Hash, 1)
}

fn intent() -> Intent {
    let units = vec![ActingUnit { position: 1, unit: "send".into(), undo: "recall".into() }];
    let [event, ..] = event_ids();
    Intent { event, procedure: "remind".into(), encoding: Encoding::Json, parameters: b"{}".to_vec(), units }
}

pub fn note() -> DeathNote {
    DeathNote {
        event: EventId::Keyed { key: "order-7".into() },
        plugin: hash(3),
        procedure: "transfer".into(),
        unit: "debit".into(),
        died: node("a"),
        kind: NoteKind::Killed { signal: 11 },
    }
}

pub fn plan() -> CampaignPlan {
    CampaignPlan {
        from: version(1),
        from_hash: hash(1),
        to: version(2),
        to_hash: hash(2),
        redundancy: Redundancy::Keep,
        gates: Gates::default(),
        own_checks: OwnChecks {
            checks: vec![
                OwnCheck::Command("./sums".into()),
                OwnCheck::Procedure { name: "audit".into(), parameters: "{}".into() },
            ],
            ..OwnChecks::default()
        },
        decide: Decide::Operator,
        rollback_after_ms: 600_000,
        step_time_max_ms: 60_000,
        enable_features: true,
        notify: "logger".into(),
        retire: vec!["close_account".into()],
        only_new: vec!["audit".into()],
        started_by: "operator".into(),
        why: "fees".into(),
    }
}

pub fn campaign(step: Step) -> CampaignRecord {
    CampaignRecord {
        id: 42,
        plan: plan(),
        step,
        attempt: 2,
        revision: 43,
        no_way_back: false,
        since: Micros(5),
        first: node("b"),
        yardstick_p99_us: 900,
        longest_gap: Micros(4_000),
        paused: false,
        paused_at: Micros(0),
        accepted: true,
        partner_gone: false,
        reason: String::new(),
        trail: vec![(Step::IsolateFirst, Micros(1)), (step, Micros(5))],
    }
}

fn chunk() -> Chunk {
    let (upto, ops) = (Some(b"alice".as_slice().into()), vec![op("alice", Some("\u{2}new"))]);
    Chunk { table: ACCOUNTS, upto, rows: 1, left: 0, ops }
}

/// A stream from number 1 on, with every kind of entry, that can be applied.
pub fn entries() -> Vec<Entry> {
    let [numbered, keyed, timer, message] = event_ids();
    let [committed, refused, faulted] = outcomes();
    let procedure = |event, outcome, ops| EntryBody::Procedure {
        event,
        awaited_from: 1,
        encoding: Encoding::Json,
        procedure: "transfer".into(),
        outcome,
        ops,
    };
    let installed = Control::Installed {
        node: node("a"),
        version: version(1),
        hash: hash(1),
        by_hand: false,
        tables: [&TableMeta::own()[..], &[table()]].concat(),
    };
    let enable =
        Control::Enable { features: vec!["fees".into()], formats: vec![(ACCOUNTS, 2)], floor: version(2) };
    let bodies = [
        EntryBody::OpenSession,
        EntryBody::Control(installed),
        procedure(
            numbered,
            committed,
            vec![op("alice", Some("one")), op("bob", Some("two")), op("bob", None)],
        ),
        procedure(keyed, refused, vec![]),
        procedure(timer, faulted.clone(), vec![]),
        procedure(message, faulted, vec![]),
        EntryBody::Intent(Box::new(intent())),
        EntryBody::Aborted,
        EntryBody::Delivered { ops: vec![Op { table: TableId::OUTBOX, key: [1, 2].into(), value: None }] },
        EntryBody::Control(Control::Note(Box::new(note()))),
        EntryBody::Control(Control::Campaign(Some(Box::new(campaign(Step::Evaluate))))),
        EntryBody::Control(Control::Campaign(Some(Box::new(campaign(Step::Done))))),
        EntryBody::Control(enable),
        EntryBody::Migrated(Box::new(chunk())),
        EntryBody::Control(Control::Disable { feature: "fees".into() }),
    ];
    let entry =
        |(number, body)| Entry { number: Number(number), term: Term(1), time: Micros(10 * number), body };
    (1..).zip(bodies).map(entry).collect()
}

/// The same with so many rows behind it that they fill several segments of a few kilobytes.
pub fn long_stream() -> Vec<Entry> {
    let mut stream = entries();
    for number in stream.len() as u64 + 1..60 {
        let body = EntryBody::Procedure {
            event: EventId::Keyed { key: format!("order-{number}") },
            awaited_from: 0,
            encoding: Encoding::Json,
            procedure: "transfer".into(),
            outcome: Outcome::Committed { reply: [7; 40].as_slice().into() },
            ops: vec![op(&format!("acc{number}"), Some(&"x".repeat(200)))],
        };
        stream.push(Entry { number: Number(number), term: Term(1), time: Micros(10 * number), body });
    }
    stream
}

pub fn session() -> Session {
    let [outcome, ..] = outcomes();
    let recorded = Recorded { number: Number(3), encoding: Encoding::Json, outcome };
    Session { awaited_from: 1, used: Number(3), replies: [(1, recorded)].into() }
}

pub fn keyed_reply() -> KeyedReply {
    let [_, outcome, _] = outcomes();
    KeyedReply {
        time: Micros(40),
        recorded: Recorded { number: Number(4), encoding: Encoding::Postcard, outcome },
    }
}

pub fn meta() -> Meta {
    Meta {
        last: Number(15),
        time: Micros(150),
        terms: vec![TermStart { term: Term(1), first: Number(1) }],
        tables: BTreeMap::from([(ACCOUNTS, table())]),
        installed: BTreeMap::from([(
            node("a"),
            Installed { version: version(1), hash: hash(1), by_hand: false },
        )]),
        floor: version(1),
        features: BTreeSet::from(["fees".to_owned()]),
        campaign: Some(Box::new(campaign(Step::LoadFirst))),
        campaigns: vec![campaign(Step::FellBack)],
        intent: Some(Box::new(intent())),
        ..Meta::default()
    }
}

pub fn record() -> Record {
    let member = |number, name| Member { store: StoreId(number), node: node(name) };
    let first = Record::first(member(1 << 100, "a"));
    let both = [member(1 << 100, "a"), member(2, "b")];
    first.with_in_sync(BTreeSet::from(both))
}

pub fn descriptor() -> ApplicationDescriptor {
    let unit = |name: &str, undo: Option<&str>| UnitDescriptor {
        name: name.into(),
        reads_body: false,
        undo: undo.map(str::to_owned),
    };
    ApplicationDescriptor {
        name: "ledger".into(),
        version: version(1),
        hash: hash(1),
        tables: vec![
            TableDescriptor {
                name: "accounts".into(),
                kind: TableKind::Hash,
                format: 2,
                reads_from: 1,
                derived_from: None,
            },
            TableDescriptor {
                name: "by_cents".into(),
                kind: TableKind::Ordered,
                format: 1,
                reads_from: 1,
                derived_from: Some("accounts".into()),
            },
        ],
        features: vec![FeatureDescriptor { name: "fees".into(), description: "transfers cost".into() }],
        procedures: vec![ProcedureDescriptor {
            name: "transfer".into(),
            version: 2,
            recovery: Recovery::Complete,
            reads_only: false,
            one_sided: true,
            body: BodyUse::Withheld,
            deadline_ms: 50,
            hang_ms: 500,
            units: vec![unit("debit", None), unit("send", Some("recall"))],
            undos: vec!["recall".into()],
            parameters: "{\"type\":\"object\"}".into(),
        }],
        sends: Some(vec![Receiver { application: "archive".into(), procedure: "store".into() }]),
    }
}

pub fn status() -> GroupStatus {
    GroupStatus {
        application: "ledger".into(),
        partition: 0,
        partitions: 1,
        epoch: Epoch(4),
        term: Term(2),
        members: vec![MemberStatus {
            node: node("a"),
            role: Role::Active,
            version: Some(version(1)),
            hash: Some(hash(1)),
            last: Number(15),
            in_sync: true,
            connected: true,
        }],
        held: Number(15),
        features: vec![("fees".into(), "transfers cost".into(), FeatureState::Migrating)],
        migration: Some(MigrationStatus { rows: 1, of: 3, left: 0 }),
        formats: vec![TableFormats { table: "accounts".into(), oldest: 1, format: 2, left: 0 }],
        floor: version(1),
        shipped: BTreeSet::from(["transfer".to_owned()]),
        campaign: Some(CampaignStatus {
            record: campaign(Step::Evaluate),
            in_step: Micros(9),
            events: 7,
            faults: 0,
            divergences: 0,
            p99_us: 800,
            longest_gap: Micros(0),
            own_checks: Some(CheckVerdict::Fail("3 cents".into())),
            judgement: Some(Judgement::Failed("a check".into())),
            rollback_in_ms: Some(5),
        }),
        campaigns: vec![],
        counts: Counts { committed: 9, ..Counts::default() },
        half_way: vec![(
            HalfWay { procedure: "transfer".into(), step_ups: 2, end: HalfWayEnd::Completed },
            1,
        )],
        latency_us: (300, 900),
        events_per_s: 12,
        table_bytes: 1_000,
        table_bytes_max: 1_000_000,
        notes: vec![note()],
    }
}

fn commands() -> Vec<Command> {
    let word = CampaignWord { term: Term(1), campaign: Some(Box::new(campaign(Step::LoadSecond))) };
    vec![
        Command::Status,
        Command::Isolate,
        Command::Integrate,
        Command::SwitchOver,
        Command::Load { hash: hash(2) },
        Command::EnableFeatures { features: vec!["fees".into()] },
        Command::DisableFeature { feature: "fees".into() },
        Command::StartCampaign(Box::new(plan())),
        Command::PauseCampaign,
        Command::ResumeCampaign,
        Command::AcceptCampaign { partner_gone: false },
        Command::AbortCampaign { partner_gone: true },
        Command::Force,
        Command::FollowCampaign(Box::new(word)),
        Command::ActiveStatus,
    ]
}

fn leg() -> LegReport {
    LegReport {
        revision: Some(43),
        wish: Some((Step::SwitchOver, String::new())),
        own: hash(1),
        partner: Some(hash(2)),
        in_sync: true,
        order_open: false,
        floor: version(1),
        events: 1,
        faults: 2,
        divergences: 3,
        deaths: 4,
        gap: Some(Micros(5)),
        latencies: vec![(3, 9)],
    }
}

/// At least one of each kind.
pub fn peer_messages() -> Vec<PeerMessage> {
    let number = Number(16);
    let [id, ..] = event_ids();
    let [outcome, ..] = outcomes();
    let hello = Hello {
        node: node("a"),
        store: StoreId(1 << 100),
        role: Role::Standby,
        record: Some(record()),
        terms: meta().terms,
        last: Number(15),
        needs_copy: false,
        yields: true,
        application: descriptor(),
    };
    let unit = UnitDescription {
        name: "debit".into(),
        version: 2,
        updates: [op("alice", Some("x")).lent()].into_iter().collect(),
    };
    let divergence = Divergence {
        number,
        procedure: "transfer".into(),
        unit: "debit".into(),
        position: 1,
        offset: 2,
        updates: vec![op("alice", None)],
    };
    let begin = Begin {
        number,
        time: Micros(160),
        seed: 7,
        shipped: true,
        event: Arc::new(event(id.clone())),
        withheld: false,
    };
    let acting = ActingUnit { position: 1, unit: "send".into(), undo: "recall".into() };
    let mut messages = vec![
        PeerMessage::Hello(Box::new(hello)),
        PeerMessage::CatchUp { common: Number(9), runs: hash(1) },
        PeerMessage::CopyBegin { meta: Box::new(meta()) },
        PeerMessage::CopyRows(vec![row("alice", "one")]),
        PeerMessage::CopySessions(vec![(SessionId(1), session())]),
        PeerMessage::CopyKeyed(vec![("order-7".into(), keyed_reply())]),
        PeerMessage::CopyEnd { meta: Box::new(meta()) },
        PeerMessage::InStep,
        PeerMessage::RecordChanged(record()),
        PeerMessage::Begin(begin.clone()),
        PeerMessage::UnitBegins { number, unit: Box::new(acting) },
        PeerMessage::StepUp { number, position: 0, digest: u64::MAX / 3, unit: Some(Box::new(unit.clone())) },
        PeerMessage::StepUp { number, position: 1, digest: 0, unit: None },
        PeerMessage::EndProcedure { number, digest: 1 },
        PeerMessage::Procedure {
            begin,
            digests: vec![u64::MAX / 3, 0],
            units: vec![(1, unit)],
            end: End::Committed(1),
        },
        PeerMessage::Abort { number, outcome: Box::new(outcome.clone()) },
        PeerMessage::VersionsFrom { number },
        PeerMessage::Confirm { ticket: 3 },
        PeerMessage::OutOfService { out: true },
        PeerMessage::HandOver { record: record(), silent_for: Some(Micros(4)) },
        PeerMessage::Order { attempt: 1, order: Order::Load { hash: hash(2) } },
        PeerMessage::Ack { through: number, confirmed: 3 },
        PeerMessage::Diverged(Box::new(divergence)),
        PeerMessage::Versions(Box::new(descriptor())),
        PeerMessage::OrderFailed { attempt: 1, reason: "no room".into(), may_pass: true },
        PeerMessage::Heartbeat { last: number, held: number },
        PeerMessage::Note(Box::new(note())),
        PeerMessage::Told { from: group(), what: Box::new(GroupMessage::Taken { through: 4 }) },
    ];
    let message = GroupMessage::Message { number: 4, procedure: "remind".into(), parameters: vec![1, 2] };
    messages.push(PeerMessage::Told { from: group(), what: Box::new(message) });
    let requests = [
        Request::OpenSession,
        Request::Submit(event(id.clone())),
        Request::SubmitByKey { key: "alice".into(), event: event(id) },
    ];
    messages.extend(requests.map(|request| PeerMessage::Forward { ticket: 9, request: Box::new(request) }));
    let answers = [
        Answer::SessionOpened { session: SessionId(1) },
        Answer::Ended { number, outcome },
        Answer::Retry { reason: "starting".into() },
        Answer::Rejected(Rejection::MalformedParameters("`cents`: missing".into())),
        Answer::Rejected(Rejection::WrongPartition { partition: 1, partitions: 4 }),
    ];
    messages.extend(answers.map(|answer| PeerMessage::ForwardAnswer { ticket: 9, answer: Box::new(answer) }));
    let forwarded = |command| PeerMessage::ForwardCommand { ticket: 9, command: Box::new(command) };
    messages.extend(commands().into_iter().map(forwarded));
    let results = [
        Ok(CommandReply::Done),
        Ok(CommandReply::Accepted),
        Ok(CommandReply::Status(Box::new(status()))),
        Ok(CommandReply::Leg(Box::new(leg()))),
        Err(CommandError::CampaignUnderWay(203)),
    ];
    messages.extend(results.map(|result| PeerMessage::ForwardResult { ticket: 9, result: Box::new(result) }));
    for entry in entries() {
        let plain = match &entry.body {
            EntryBody::OpenSession => Some(PlainBody::OpenSession),
            EntryBody::Aborted => Some(PlainBody::Aborted),
            EntryBody::Intent(intent) => Some(PlainBody::Intent(intent.clone())),
            EntryBody::Control(control) => Some(PlainBody::Control(control.clone())),
            EntryBody::Delivered { ops } => Some(PlainBody::Delivered { ops: ops.clone() }),
            EntryBody::Migrated(chunk) => Some(PlainBody::Migrated(chunk.clone())),
            EntryBody::Procedure { .. } => None,
        };
        let (number, time) = (entry.number, entry.time);
        messages.extend(plain.map(|body| PeerMessage::Plain { number, time, body }));
        messages.push(PeerMessage::Entry(Box::new(entry)));
    }
    messages
}
