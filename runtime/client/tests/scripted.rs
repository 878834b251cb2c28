//! The client against processors that follow a script: real TCP, real frames, every message chosen by the test.

use std::time::Duration;

use lockstep_client::{CallError, Client, Connect, connect};
use lockstep_wire::events::{ClientMessage, Event, EventId, PROTOCOL, Reply, ServerMessage};
use lockstep_wire::frame::{self, EVENT_FRAME_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A script that does not go on has gone wrong.
const PATIENCE: Duration = Duration::from_secs(20);

struct Processor {
    listener: TcpListener,
    name: &'static str,
}

impl Processor {
    async fn new(name: &'static str) -> Self {
        Processor { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), name }
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Accepts a connection and reads its `Hello`.
    async fn accept(&self) -> Conversation {
        self.accept_for(0).await
    }

    async fn accept_for(&self, partition: u16) -> Conversation {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        let mut conversation = Conversation { stream, input: Vec::new(), name: self.name };
        let hello = conversation.read().await;
        assert_eq!(
            hello,
            ClientMessage::Hello { protocol: PROTOCOL, application: "ledger".into(), partition }
        );
        conversation
    }

    /// As [`Self::accept`], and says that it serves.
    async fn serve(&self, active: bool, term: u64) -> Conversation {
        let mut conversation = self.accept().await;
        conversation.serving(active, term).await;
        conversation
    }
}

struct Conversation {
    stream: TcpStream,
    input: Vec<u8>,
    name: &'static str,
}

impl Conversation {
    /// The next message; `None` at the connection's end.
    async fn next(&mut self) -> Option<ClientMessage> {
        loop {
            if let Some((payload, length)) = frame::split(&self.input, EVENT_FRAME_BYTES_MAX).unwrap() {
                let message = frame::decode(payload).unwrap();
                self.input.drain(..length);
                return Some(message);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            if read.unwrap_or_else(|_| panic!("nothing comes at {}", self.name)).unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn read(&mut self) -> ClientMessage {
        self.next().await.unwrap_or_else(|| panic!("the client left {}", self.name))
    }

    async fn event(&mut self) -> (u64, Event) {
        match self.read().await {
            ClientMessage::Submit { ticket, event, .. } => (ticket, event),
            other => panic!("{} expected an event: {other:?}", self.name),
        }
    }

    async fn write(&mut self, message: ServerMessage) {
        let mut bytes = Vec::new();
        frame::encode(&message, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn answer(&mut self, ticket: u64, reply: Reply) {
        self.write(ServerMessage::Answer { ticket, reply }).await;
    }

    /// Answers an event whose parameters are a number with that number.
    async fn echo(&mut self, ticket: u64, event: &Event) {
        let reply = Reply::Committed { sequence: 1, reply: event.parameters.clone() };
        self.answer(ticket, reply).await;
    }

    async fn serving(&mut self, active: bool, term: u64) {
        self.serving_of(active, term, 1).await;
    }

    async fn serving_of(&mut self, active: bool, term: u64, partitions: u16) {
        let (node, version) = (self.name.to_owned(), "1.0.0".to_owned());
        self.write(ServerMessage::Serving { protocol: PROTOCOL, node, active, term, version, partitions })
            .await;
    }

    async fn open_session(&mut self, session: u64) {
        let ClientMessage::OpenSession { ticket } = self.read().await else { panic!("not an opening") };
        self.answer(ticket, Reply::SessionOpened { session }).await;
    }
}

fn number(event: &Event) -> (u64, u64) {
    match event.id {
        EventId::Numbered { session, number } => (session, number),
        EventId::Keyed { .. } => panic!("the client numbers its events"),
    }
}

/// Processors a (active, term 1) and b (standby), a client, and the two conversations.
async fn pair(
    settings: impl FnOnce(Connect) -> Connect,
) -> (Processor, Processor, Client, [Conversation; 2]) {
    let (a, b) = (Processor::new("a").await, Processor::new("b").await);
    let connect = settings(connect([a.address(), b.address()]).deadline(PATIENCE));
    let client = tokio::spawn(async move { connect.application("ledger").await });
    let at_b = b.serve(false, 1).await;
    let mut at_a = a.serve(true, 1).await;
    at_a.open_session(70).await;
    (a, b, client.await.unwrap().unwrap(), [at_a, at_b])
}

fn call(client: &Client, value: u64) -> JoinHandle<Result<u64, CallError>> {
    let client = client.clone();
    tokio::spawn(async move { client.call("echo", &value).await })
}

#[tokio::test]
async fn events_are_numbered_from_one_and_say_which_answers_are_awaited() {
    let (_a, _b, client, [mut at_a, _at_b]) = pair(|connect| connect).await;
    for round in 1..=3 {
        let call = call(&client, round * 10);
        let (ticket, event) = at_a.event().await;
        assert_eq!(number(&event), (70, round));
        assert_eq!(event.awaited_from, round, "everything before is answered");
        assert_eq!(event.procedure, "echo");
        at_a.echo(ticket, &event).await;
        assert_eq!(call.await.unwrap(), Ok(round * 10));
    }
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let (_a, _b, client, [mut at_a, _at_b]) = pair(|connect| connect).await;
    let calls: Vec<_> = (0..100).map(|value| call(&client, value)).collect();
    let mut events = Vec::new();
    for _ in 0..100 {
        events.push(at_a.event().await);
    }
    assert!(events.iter().all(|(_, event)| event.awaited_from == 1));
    for (ticket, event) in events.iter().rev() {
        at_a.echo(*ticket, event).await;
    }
    for (value, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), Ok(value as u64));
    }
    assert_eq!(client.counts().retries, 0);
}

#[tokio::test]
async fn the_window_bounds_what_is_open() {
    let (_a, _b, client, [mut at_a, _at_b]) = pair(|connect| connect.window(2)).await;
    let calls: Vec<_> = (0..3).map(|value| call(&client, value)).collect();
    let (first, event) = at_a.event().await;
    let second = at_a.event().await;
    // The second is answered, but the first keeps the window: nothing follows until it is answered too.
    at_a.echo(second.0, &second.1).await;
    let early = tokio::time::timeout(Duration::from_millis(30), at_a.next()).await;
    assert!(early.is_err(), "number 3 lies outside of a window of 2 from number 1: {early:?}");
    at_a.echo(first, &event).await;
    let (third, event) = at_a.event().await;
    assert_eq!((number(&event).1, event.awaited_from), (3, 3));
    at_a.echo(third, &event).await;
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_lost_connection_sends_the_same_id_to_the_other_processor() {
    let (a, _b, client, [mut at_a, mut at_b]) = pair(|connect| connect).await;
    let call = call(&client, 5);
    let (_, event) = at_a.event().await;
    drop((at_a, a));
    let (ticket, again) = at_b.event().await;
    assert_eq!(again, event);
    at_b.echo(ticket, &again).await;
    assert_eq!(call.await.unwrap(), Ok(5));
    let counts = client.counts();
    assert_eq!((counts.retries, counts.connections_dropped.len()), (1, 1), "{counts:?}");
}

#[tokio::test]
async fn a_higher_term_moves_everything_unanswered() {
    let (_a, _b, client, [mut at_a, mut at_b]) = pair(|connect| connect).await;
    let calls: Vec<_> = (0..10).map(|value| call(&client, value)).collect();
    let mut events = Vec::new();
    for _ in 0..10 {
        events.push(at_a.event().await);
    }
    at_a.echo(events[0].0, &events[0].1).await;
    let mut calls = calls.into_iter();
    assert_eq!(calls.next().unwrap().await.unwrap(), Ok(0));
    // The old active says nothing: it may be stopped, its connection as good as before.
    at_b.serving(true, 2).await;
    for (_, event) in &events[1..] {
        let (ticket, again) = at_b.event().await;
        assert_eq!((&again.id, &again.parameters), (&event.id, &event.parameters));
        assert_eq!(again.awaited_from, 2);
        at_b.echo(ticket, &again).await;
    }
    // A word from an earlier term changes nothing.
    at_a.serving(true, 1).await;
    at_a.answer(events[1].0, Reply::Retry { reason: "not active".into() }).await;
    for (value, call) in (1..).zip(calls) {
        assert_eq!(call.await.unwrap(), Ok(value));
    }
    let call = call(&client, 99);
    let (ticket, event) = at_b.event().await;
    at_b.echo(ticket, &event).await;
    assert_eq!(call.await.unwrap(), Ok(99));
    assert!(client.counts().connections_dropped.is_empty());
}

#[tokio::test]
async fn who_was_asked_as_standby_is_asked_again_as_active() {
    let (a, _b, client, [mut at_a, mut at_b]) = pair(|connect| connect).await;
    let call = call(&client, 5);
    let (_, event) = at_a.event().await;
    drop((at_a, a));
    // The standby has the event before it is active; what it makes of it then is its own affair.
    assert_eq!(at_b.event().await.1, event);
    at_b.serving(true, 2).await;
    let said = std::time::Instant::now();
    let (ticket, again) = at_b.event().await;
    // At once: after two seconds of silence it would go again without any word.
    assert!(said.elapsed() < Duration::from_millis(1_500));
    assert_eq!(again, event);
    at_b.echo(ticket, &again).await;
    assert_eq!(call.await.unwrap(), Ok(5));
}

#[tokio::test]
async fn an_old_active_that_steps_down_is_not_asked_while_the_new_one_is_about_to_speak() {
    let (_a, _b, client, [mut at_a, mut at_b]) = pair(|connect| connect).await;
    let call = call(&client, 1);
    at_a.event().await;
    at_a.serving(false, 2).await;
    at_b.serving(true, 2).await;
    let (ticket, event) = at_b.event().await;
    at_b.echo(ticket, &event).await;
    assert_eq!(call.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn retry_means_the_same_id_again() {
    let (_a, _b, client, [mut at_a, _at_b]) = pair(|connect| connect).await;
    let call = call(&client, 1);
    let (ticket, event) = at_a.event().await;
    for _ in 0..3 {
        at_a.answer(ticket, Reply::Retry { reason: "starting".into() }).await;
        assert_eq!(at_a.event().await, (ticket, event.clone()));
    }
    at_a.echo(ticket, &event).await;
    assert_eq!(call.await.unwrap(), Ok(1));
    assert_eq!(client.counts().retries, 3);
}

#[tokio::test]
async fn refusal_fault_and_rejection_are_told_apart() {
    let (_a, _b, client, [mut at_a, _at_b]) = pair(|connect| connect).await;
    let text = |text: &str| text.to_string();
    let script = [
        (
            Reply::Refused { sequence: 8, code: text("too-little"), message: text("no") },
            CallError::Refused { sequence: 8, code: text("too-little"), message: text("no") },
        ),
        (
            Reply::Faulted { sequence: 9, kind: text("panic"), unit: text("debit"), message: text("oh") },
            CallError::Faulted { sequence: 9, kind: text("panic"), unit: text("debit"), message: text("oh") },
        ),
        (
            Reply::Rejected { code: text("LS0201"), message: text("no such procedure") },
            CallError::Rejected { code: text("LS0201"), message: text("no such procedure") },
        ),
    ];
    for (reply, error) in script {
        let call = call(&client, 1);
        let (ticket, _) = at_a.event().await;
        at_a.answer(ticket, reply).await;
        assert_eq!(call.await.unwrap(), Err(error));
    }
    let call = call(&client, 1);
    let (ticket, _) = at_a.event().await;
    at_a.answer(ticket, Reply::Committed { sequence: 10, reply: vec![] }).await;
    assert!(matches!(call.await.unwrap(), Err(CallError::ReplyType { sequence: 10, .. })));
}

#[tokio::test]
async fn past_its_deadline_a_call_ends_and_its_number_is_no_longer_awaited() {
    let (a, b) = (Processor::new("a").await, Processor::new("b").await);
    let connect = connect([a.address(), b.address()]).deadline(Duration::from_millis(500));
    let client = tokio::spawn(async move { connect.application("ledger").await });
    let (mut at_a, _at_b) = (a.serve(true, 1).await, b.serve(false, 1).await);
    at_a.open_session(70).await;
    let client = client.await.unwrap().unwrap();
    let call_1 = call(&client, 1);
    let (late, event) = at_a.event().await;
    assert_eq!(call_1.await.unwrap(), Err(CallError::Deadline { sent: true }));
    let call_2 = call(&client, 2);
    let (ticket, second) = at_a.event().await;
    assert_eq!((number(&second).1, second.awaited_from), (2, 2));
    at_a.echo(late, &event).await;
    at_a.echo(ticket, &second).await;
    assert_eq!(call_2.await.unwrap(), Ok(2), "a late answer is nobody else's");
}

#[tokio::test]
async fn an_expired_session_is_reported_and_followed_by_another() {
    let (_a, _b, client, [mut at_a, mut at_b]) = pair(|connect| connect).await;
    let unknown = || Reply::Rejected {
        code: lockstep_wire::events::UNKNOWN_SESSION.into(),
        message: "no such session".into(),
    };
    let call_1 = call(&client, 1);
    let (ticket_1, _) = at_a.event().await;
    let call_2 = call(&client, 2);
    let (_ticket_2, _) = at_a.event().await;
    at_a.answer(ticket_1, unknown()).await;
    assert_eq!(call_1.await.unwrap(), Err(CallError::SessionLost { fate_unknown: false }));
    // A new event waits until the fate of the old ones is known; it is not sent under the old session.
    let call_3 = call(&client, 3);
    at_b.serving(true, 2).await;
    let (ticket_2, event) = at_b.event().await;
    assert_eq!(number(&event), (70, 2));
    at_b.answer(ticket_2, unknown()).await;
    assert_eq!(call_2.await.unwrap(), Err(CallError::SessionLost { fate_unknown: true }));
    at_b.open_session(90).await;
    let (ticket_3, event) = at_b.event().await;
    assert_eq!((number(&event), event.awaited_from), ((90, 1), 1));
    at_b.echo(ticket_3, &event).await;
    assert_eq!(call_3.await.unwrap(), Ok(3));
}

async fn not_yet(conversation: &mut Conversation, message: ClientMessage) {
    let ClientMessage::OpenSession { ticket } = message else { panic!("not an opening: {message:?}") };
    conversation.answer(ticket, Reply::Retry { reason: "starting".into() }).await;
}

#[tokio::test]
async fn a_session_is_asked_for_again_until_it_is_open() {
    let (a, b) = (Processor::new("a").await, Processor::new("b").await);
    let connect = connect([a.address(), b.address()]).deadline(PATIENCE);
    let client = tokio::spawn(async move { connect.application("ledger").await });
    let (mut at_a, mut at_b) = (a.serve(false, 1).await, b.serve(false, 1).await);
    // Nobody serves yet: whoever is asked says so.
    tokio::select! {
        message = at_a.read() => not_yet(&mut at_a, message).await,
        message = at_b.read() => not_yet(&mut at_b, message).await,
    }
    // Who serves is asked anew; a session asked for before may still be in its stream unused.
    at_b.serving(true, 2).await;
    at_b.open_session(3).await;
    client.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_nobody_wants_is_told_so() {
    let (a, b) = (Processor::new("a").await, Processor::new("b").await);
    let connect = connect([a.address(), b.address()]).deadline(PATIENCE);
    let client = tokio::spawn(async move { connect.application("ledger").await });
    for processor in [&a, &b] {
        let refused = ServerMessage::Refused { code: "LS0302".into(), message: "no such application".into() };
        processor.accept().await.write(refused).await;
    }
    let error = client.await.unwrap().unwrap_err();
    assert_eq!(
        error,
        CallError::ConnectionRefused { code: "LS0302".into(), message: "no such application".into() }
    );
}

#[tokio::test]
async fn mangled_bytes_end_the_connection_and_nothing_else() {
    let (a, _b, client, [mut at_a, _at_b]) = pair(|connect| connect).await;
    let call = call(&client, 1);
    let (_, event) = at_a.event().await;
    at_a.stream.write_all(&[1, 0, 0, 0, 0, 0, 0, 0, 9]).await.unwrap();
    let mut at_a = a.serve(true, 1).await;
    let (ticket, again) = at_a.event().await;
    assert_eq!(again, event);
    at_a.echo(ticket, &again).await;
    assert_eq!(call.await.unwrap(), Ok(1));
    assert_eq!(client.counts().reconnects, 1);
}

#[tokio::test]
async fn what_is_too_large_never_leaves() {
    let (_a, _b, client, _conversations) = pair(|connect| connect).await;
    let error = client.call::<_, u64>("echo", &vec![0u8; 70 << 10]).await.unwrap_err();
    assert!(matches!(error, CallError::NotSendable(_)), "{error:?}");
}

/// Where `bob` belongs among four partitions, as docs/events-protocol.md has it.
const BOBS: u16 = 1;

#[tokio::test]
async fn an_event_goes_to_the_partition_of_its_key_over_a_session_of_its_own() {
    let a = Processor::new("a").await;
    let connect = connect([a.address()]).deadline(PATIENCE);
    let client = tokio::spawn(async move { connect.application("ledger").await });
    let mut first = a.accept().await;
    first.serving_of(true, 1, 4).await;
    first.open_session(70).await;
    let client = client.await.unwrap().unwrap();
    assert_eq!(client.partitions(), 4);

    let bobs = call(&client.key("bob"), 5);
    let mut second = a.accept_for(BOBS).await;
    second.serving_of(true, 9, 4).await;
    second.open_session(71).await;
    let ClientMessage::Submit { ticket, key, event } = second.read().await else { panic!("not an event") };
    assert_eq!((key.as_str(), number(&event)), ("bob", (71, 1)));
    second.echo(ticket, &event).await;
    assert_eq!(bobs.await.unwrap(), Ok(5));

    // `alice` belongs to partition 0, whose connection is there; its numbers are its own.
    let alices = call(&client.key("alice"), 6);
    let ClientMessage::Submit { ticket, key, event } = first.read().await else { panic!("not an event") };
    assert_eq!((key.as_str(), number(&event)), ("alice", (70, 1)));
    first.echo(ticket, &event).await;
    assert_eq!(alices.await.unwrap(), Ok(6));
    assert_eq!((client.counts().answered, client.counts().term), (2, 9));
}
