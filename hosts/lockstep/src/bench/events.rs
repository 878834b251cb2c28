//! The events of a load, one after the other: which key, which partition, which bytes.

use std::rc::Rc;

use lockstep_core::partition::partition_of;
use lockstep_wire::events::{Encoding, KEY_BYTES_MAX, PARAMETERS_BYTES_MAX};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::args::{self, Bench, Protocol};
use super::board::What;
use super::error::Wrong;
use super::keys::Keys;
use super::template::{Template, Values};

/// An event that is sent, and kept until it is answered. The buffers are used again.
#[derive(Debug, Default)]
pub struct Event {
    /// The moment that its latency counts from, in nanoseconds of the load's clock.
    pub due_ns: u64,
    /// Its number in the run.
    pub seq: u64,
    /// Its partition key.
    pub key: Vec<u8>,
    /// Its control parameters.
    pub parameters: Vec<u8>,
}

/// In which order keys come.
enum Order {
    /// Drawn, for ever.
    Drawn(Keys),
    /// Each once: the next one of each partition, how many there are, and how far they are apart.
    Once { next: Vec<u64>, count: u64, step: u64 },
}

/// Makes events.
pub struct Events {
    /// What they have in common.
    pub what: Rc<What>,
    parameters: Template,
    partition_key: Option<Template>,
    /// By partition: a key that belongs to it, where no template says one.
    keys_of_partitions: Vec<Vec<u8>>,
    order: Order,
    has_other: bool,
    seq: u64,
    random: SmallRng,
}

fn template(bench: &Bench, text: &str, what: &str) -> Result<Template, Wrong> {
    let made = match (bench.encoding, bench.protocol) {
        (args::Encoding::Json, _) => Template::json(text),
        (args::Encoding::Postcard, Protocol::Binary) => Template::postcard(text),
        (args::Encoding::Postcard, Protocol::Http) => return Err(Wrong::PostcardOverHttp),
    };
    made.map_err(|why| Wrong::Template { what: what.into(), why })
}

impl Events {
    /// The events of the load, for an application with so many partitions.
    ///
    /// # Errors
    /// When the flags say something that can't be.
    pub fn load(bench: &Bench, partitions: u16) -> Result<Self, Wrong> {
        let keys = Keys::new(bench).map_err(Wrong::Distribution)?;
        let parameters = template(bench, &bench.parameters, "PARAMETERS")?;
        // Any fixed bytes: what is in a body is the application's business.
        let body = (0..bench.body_bytes).map(|at| at as u8).collect();
        Events::new(bench, partitions, bench.procedure.clone(), parameters, body, Order::Drawn(keys))
    }

    /// The events that prepare it.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn prepare(bench: &Bench, procedure: &str, partitions: u16) -> Result<Self, Wrong> {
        let parameters = template(bench, &bench.prepare_parameters, "--prepare-parameters")?;
        let order = Order::Once {
            next: vec![0; usize::from(partitions)],
            count: bench.keys,
            step: bench.prepare_step,
        };
        Events::new(bench, partitions, procedure.to_owned(), parameters, Vec::new(), order)
    }

    fn new(
        bench: &Bench,
        partitions: u16,
        procedure: String,
        parameters: Template,
        body: Vec<u8>,
        order: Order,
    ) -> Result<Self, Wrong> {
        let partition_key = bench.partition_key.as_deref().map(Template::text).transpose();
        let partition_key =
            partition_key.map_err(|why| Wrong::Template { what: "--partition-key".into(), why })?;
        let has_other = parameters.has_other() || partition_key.as_ref().is_some_and(Template::has_other);
        if has_other && bench.keys < 2 {
            return Err(Wrong::NoOtherKey);
        }
        let key_of = |partition| {
            let keys = (0_u32..).map(|n| format!("bench-{n}").into_bytes());
            keys.into_iter().find(|key| partition_of(key, partitions) == partition).unwrap_or_default()
        };
        let keys_of_partitions = match partitions {
            // With one partition no key is needed.
            1 => vec![Vec::new()],
            _ => (0..partitions).map(key_of).collect(),
        };
        let encoding = match bench.encoding {
            args::Encoding::Json => Encoding::Json,
            args::Encoding::Postcard => Encoding::Postcard,
        };
        let random = SmallRng::seed_from_u64(bench.seed);
        let mut events = Events {
            what: Rc::new(What { procedure, encoding, body }),
            parameters,
            partition_key,
            keys_of_partitions,
            order,
            has_other,
            seq: 0,
            random,
        };
        events.check()?;
        Ok(events)
    }

    /// Whether one event keeps the bounds of the protocol; templates make all alike but for some digits.
    fn check(&mut self) -> Result<(), Wrong> {
        let (mut event, mut random) = (Event::default(), self.random.clone());
        let mut values = Values {
            key: u64::MAX,
            other: u64::MAX,
            seq: u64::MAX,
            connection: u64::MAX,
            random: &mut random,
        };
        self.parameters.fill(&mut values, &mut event.parameters);
        if let Some(template) = &self.partition_key {
            template.fill(&mut values, &mut event.key);
            if !(1..=KEY_BYTES_MAX).contains(&event.key.len()) {
                return Err(Wrong::Template {
                    what: "--partition-key".into(),
                    why: format!("a partition key has 1 to {KEY_BYTES_MAX} bytes, and this may have more"),
                });
            }
        }
        if event.parameters.len() > PARAMETERS_BYTES_MAX {
            let why = format!("control parameters have at most {PARAMETERS_BYTES_MAX} bytes");
            return Err(Wrong::Template { what: "PARAMETERS".into(), why });
        }
        Ok(())
    }

    /// Numbers its events behind those of `before`.
    pub fn follow(&mut self, before: &Events) {
        self.seq = before.seq;
    }

    /// Fills in the next event of a partition that `connection` is to send; `false` when there are no more. `None` is
    /// any partition: over HTTP the processor finds it.
    pub fn next(&mut self, connection: u64, partition: Option<u16>, event: &mut Event) -> bool {
        let partitions = self.keys_of_partitions.len() as u16;
        let turn = partition.unwrap_or((connection % u64::from(partitions)) as u16);
        loop {
            let key = match &mut self.order {
                Order::Drawn(keys) => keys.draw(&mut self.random),
                Order::Once { next, count, step } => {
                    // Without a template each partition has all keys; with one, each key has its partition.
                    let next = &mut next[usize::from(turn)];
                    if *next >= *count {
                        return false;
                    }
                    std::mem::replace(next, *next + *step)
                }
            };
            let other = match (&self.order, self.has_other) {
                (Order::Drawn(keys), true) => keys.draw_other(key, &mut self.random),
                _ => key,
            };
            event.key.clear();
            event.parameters.clear();
            event.seq = self.seq;
            let mut values = Values { key, other, seq: self.seq, connection, random: &mut self.random };
            match &self.partition_key {
                Some(template) => {
                    template.fill(&mut values, &mut event.key);
                    // In the order of keys a connection over HTTP has those of its turn too: each key is sent once.
                    let ordered = matches!(self.order, Order::Once { .. });
                    if (partition.is_some() || ordered) && partition_of(&event.key, partitions) != turn {
                        continue;
                    }
                }
                None => event.key.extend_from_slice(&self.keys_of_partitions[usize::from(turn)]),
            }
            self.parameters.fill(&mut values, &mut event.parameters);
            self.seq += 1;
            return true;
        }
    }
}
