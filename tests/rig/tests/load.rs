//! The load process itself, against a processor that answers everything at once: its figures, its record, its end.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lockstep_wire::events::{ClientMessage, EventId, PROTOCOL, Reply, ServerMessage};
use lockstep_wire::frame::{self, EVENT_FRAME_BYTES_MAX};
use rig::load::record::Told;
use rig::load::{Load, LoadSettings, Pace};

/// What the processor has run.
#[derive(Default)]
struct Served {
    sequence: AtomicU64,
    transfers: AtomicU64,
    answers: Mutex<HashMap<EventId, Reply>>,
    /// A transfer in so many is told to come again.
    retry_every: u64,
}

fn serve(served: &Served, mut stream: TcpStream) -> std::io::Result<()> {
    let mut input = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..read]);
        let mut output = Vec::new();
        let mut at = 0;
        while let Some((payload, length)) = frame::split(&input[at..], EVENT_FRAME_BYTES_MAX).unwrap() {
            at += length;
            let message = match frame::decode(payload).unwrap() {
                ClientMessage::Hello { .. } => ServerMessage::Serving {
                    protocol: PROTOCOL,
                    node: "a".into(),
                    active: true,
                    term: 1,
                    version: "1.0.0".into(),
                    partitions: 1,
                },
                ClientMessage::OpenSession { ticket } => {
                    let session = served.sequence.fetch_add(1, Ordering::Relaxed) + 1;
                    ServerMessage::Answer { ticket, reply: Reply::SessionOpened { session } }
                }
                ClientMessage::Submit { ticket, event, .. } => {
                    let sequence = served.sequence.fetch_add(1, Ordering::Relaxed) + 1;
                    let mut answers = served.answers.lock().unwrap();
                    if served.retry_every > 0
                        && sequence.is_multiple_of(served.retry_every)
                        && !answers.contains_key(&event.id)
                    {
                        ServerMessage::Answer { ticket, reply: Reply::Retry { reason: "again".into() } }
                    } else {
                        let reply = answers.entry(event.id).or_insert_with(|| {
                            let entry = match event.procedure.as_str() {
                                "transfer" => served.transfers.fetch_add(1, Ordering::Relaxed) + 1,
                                _ => 0,
                            };
                            Reply::Committed { sequence, reply: rig::ledger::reply_of_entry(entry) }
                        });
                        ServerMessage::Answer { ticket, reply: reply.clone() }
                    }
                }
            };
            frame::encode(&message, &mut output);
        }
        input.drain(..at);
        stream.write_all(&output)?;
    }
}

fn processor(retry_every: u64) -> (String, Arc<Served>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = Arc::new(Served { retry_every, ..Served::default() });
    let shared = Arc::clone(&served);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let served = Arc::clone(&shared);
            std::thread::spawn(move || serve(&served, stream));
        }
    });
    (address, served)
}

#[test]
fn a_load_records_every_transfer_once_and_its_figures_add_up() {
    let (address, served) = processor(10);
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record");
    let mut settings = LoadSettings::new(vec![address], Pace::Closed { in_flight: 8 }, record);
    settings.accounts = 50;
    settings.first_account = 100;
    settings.clients = 3;
    settings.transfers_max = Some(3_000);
    let mut load = Load::start(Path::new(env!("CARGO_BIN_EXE_rig")), settings).unwrap();
    load.phase("first").unwrap();
    load.wait_answers(1).unwrap();
    load.phase("second").unwrap();
    while load.under_way().unwrap() > 0 {
        std::thread::yield_now();
    }
    let stopped = load.stop().unwrap();
    assert_eq!(stopped.done.failures, Vec::<String>::new());
    assert_eq!(stopped.done.dropped, vec![]);
    assert_eq!(stopped.record.transfers.len(), 3_000);
    assert_eq!(served.transfers.load(Ordering::Relaxed), 3_000, "a repeat is no second transfer");
    let mut entries: Vec<_> = stopped
        .record
        .transfers
        .iter()
        .map(|ended| match ended.told {
            Told::Committed { entry, .. } => entry,
            told => panic!("{told:?}"),
        })
        .collect();
    entries.sort_unstable();
    assert_eq!(entries, (1..=3_000).collect::<Vec<_>>());
    assert!(stopped.record.transfers.iter().all(|ended| {
        (100..150).contains(&ended.from) && (100..150).contains(&ended.to) && ended.from != ended.to
    }));
    let names: Vec<_> = stopped.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(names, ["opening", "first", "second"]);
    assert_eq!(stopped.phases.iter().map(|phase| phase.events).sum::<u64>(), 3_000);
    let retries: u64 = stopped.phases.iter().map(|phase| phase.retries).sum();
    assert!(retries > 100 && retries == stopped.done.retries, "{retries} and {:?}", stopped.done);
}

#[test]
fn an_open_load_keeps_its_rate() {
    let (address, _served) = processor(0);
    let directory = tempfile::tempdir().unwrap();
    let pace = Pace::Open { rate_per_s: 1_000.0 };
    let mut settings = LoadSettings::new(vec![address], pace, directory.path().join("record"));
    settings.accounts = 10;
    let mut load = Load::start(Path::new(env!("CARGO_BIN_EXE_rig")), settings).unwrap();
    load.phase("open").unwrap();
    load.wait_answers(500).unwrap();
    let figures = load.phase("end").unwrap();
    // However slow the machine: never faster than asked for, and what was late is made up for.
    assert!(figures.rate_per_s < 1_200.0, "{figures:?}");
    assert!(figures.events as f64 >= figures.seconds * 1_000.0 - 300.0, "{figures:?}");
    load.stop().unwrap();
}
