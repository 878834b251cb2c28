//! Links: who dials, who listens, and the hello on a new connection.
//!
//! One TCP connection a group. The processor with the smaller name dials; the other one dials too when nobody came
//! for a while. A newer link replaces an older one, in the engine; but for the one of two dialled at once, where that of
//! the smaller name stays. After the hello the socket leaves tokio and goes to
//! the engine. Retries are quiet.
//! Deliberately absent: what is said after the hello.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use actix::prelude::*;
use lockstep_core::ids::NodeId;
use lockstep_wire::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::arbiter;
use crate::engine::inbound::{EngineHandle, Inbound};
use crate::link_message::{LINK_PROTOCOL, LinkHello, LinkMessage};

/// How often is looked whether there is a link.
const LOOK: Duration = Duration::from_millis(20);
/// How long the processor with the greater name waits for the other one to dial.
const COURTESY: Duration = Duration::from_millis(300);
/// How long a connection and its hello may take.
const HELLO_TIME_MAX: Duration = Duration::from_secs(1);
/// The longest hello.
const HELLO_BYTES_MAX: usize = 4 << 10;
/// A link that was handed over has so long to be taken by the engine.
const HANDED_OVER: Duration = Duration::from_millis(200);
/// The two processors split an application into different numbers of partitions (R1).
const OTHER_PARTITIONS: &str = "LS0612";

/// Where the partner is found.
#[derive(Clone, Debug)]
pub enum PartnerAddress {
    /// Written in the configuration.
    Fixed(SocketAddr),
    /// Written down by the partner in the local arbiter's directory.
    Directory(PathBuf),
}

impl PartnerAddress {
    fn find(&self, own: &NodeId) -> Option<(Option<NodeId>, SocketAddr)> {
        match self {
            PartnerAddress::Fixed(address) => Some((None, *address)),
            PartnerAddress::Directory(directory) => arbiter::nodes::partner_of(directory, own),
        }
    }
}

/// Sees to it that one group has a link to its partner.
pub struct LinkActor {
    node: NodeId,
    engine: EngineHandle,
    partner: Vec<PartnerAddress>,
    /// The partner's name, once known.
    name: Option<NodeId>,
    unlinked_since: tokio::time::Instant,
    busy_until: tokio::time::Instant,
    dialling: bool,
}

impl LinkActor {
    /// Looks after the link of `engine`.
    #[must_use]
    pub fn new(node: NodeId, engine: EngineHandle, partner: Vec<PartnerAddress>) -> Self {
        let now = tokio::time::Instant::now();
        LinkActor { node, engine, partner, name: None, unlinked_since: now, busy_until: now, dialling: false }
    }

    fn hello(&self) -> LinkHello {
        hello_of(&self.node, &self.engine)
    }

    fn look(&mut self, context: &mut Context<Self>) {
        let now = tokio::time::Instant::now();
        if self.engine.face().linked() {
            self.unlinked_since = now;
            return;
        }
        if self.dialling || now < self.busy_until {
            return;
        }
        let Some((name, address)) = self.partner.iter().find_map(|place| place.find(&self.node)) else {
            return;
        };
        let first = name.as_ref().or(self.name.as_ref()).is_none_or(|name| self.node < *name);
        if !first && now.duration_since(self.unlinked_since) < COURTESY {
            return;
        }
        self.dialling = true;
        let hello = self.hello();
        let dial = async move {
            let dialled = tokio::time::timeout(HELLO_TIME_MAX, dial(address, hello)).await;
            dialled.unwrap_or_else(|_| Err("no hello came in time".into()))
        };
        context.spawn(dial.into_actor(self).map(|dialled, actor, _| {
            actor.dialling = false;
            match dialled {
                Ok((stream, theirs)) => actor.hand_over(stream, theirs, true),
                Err(why) => {
                    tracing::debug!(why, "no link yet");
                    actor.busy_until = tokio::time::Instant::now() + LOOK * 2;
                }
            }
        }));
    }

    fn hand_over(&mut self, stream: std::net::TcpStream, theirs: LinkHello, dialled: bool) {
        self.name = Some(theirs.node.clone());
        self.busy_until = tokio::time::Instant::now() + HANDED_OVER;
        let LinkHello { node: partner, process, .. } = theirs;
        let by_smaller = dialled == (self.node < partner);
        if self.engine.tell(Inbound::Link { stream, partner, process, by_smaller }).is_err() {
            tracing::debug!("the engine is busy; the link is made again");
        }
    }
}

impl Actor for LinkActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.look(context);
        context.run_interval(LOOK, LinkActor::look);
    }
}

/// A connection that came in, after its hello.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CameIn {
    stream: std::net::TcpStream,
    hello: LinkHello,
}

impl Handler<CameIn> for LinkActor {
    type Result = ();

    fn handle(&mut self, CameIn { stream, hello }: CameIn, _: &mut Self::Context) {
        if !hello.notes {
            return self.hand_over(stream, hello, false);
        }
        if self.engine.tell(Inbound::Notes { stream, partner: hello.node }).is_err() {
            tracing::debug!("the engine is busy; the connection for notes is made again");
        }
    }
}

/// Where the partner of `node` listens, if that is known.
#[must_use]
pub fn find(partner: &[PartnerAddress], node: &NodeId) -> Option<SocketAddr> {
    partner.iter().find_map(|place| place.find(node)).map(|(_, address)| address)
}

/// Dials the partner of `engine` for a connection that a death note will leave by.
///
/// # Errors
/// When nobody answers in time, or it is somebody else.
pub async fn dial_for_notes(
    address: SocketAddr,
    node: &NodeId,
    engine: &EngineHandle,
) -> Result<TcpStream, String> {
    let ours = LinkHello { notes: true, ..hello_of(node, engine) };
    let dialled = tokio::time::timeout(HELLO_TIME_MAX, connect(address, ours)).await;
    dialled.unwrap_or_else(|_| Err("no hello came in time".into())).map(|(stream, _)| stream)
}

async fn dial(address: SocketAddr, ours: LinkHello) -> Result<(std::net::TcpStream, LinkHello), String> {
    let (stream, theirs) = connect(address, ours).await?;
    let stream = stream.into_std().map_err(|error| error.to_string())?;
    Ok((stream, theirs))
}

async fn connect(address: SocketAddr, ours: LinkHello) -> Result<(TcpStream, LinkHello), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    if stream.local_addr().ok() == stream.peer_addr().ok() {
        return Err("the connection ends where it began".into());
    }
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    say(&mut stream, &ours).await?;
    let theirs = hear(&mut stream).await?;
    check(&ours, &theirs)?;
    Ok((stream, theirs))
}

async fn say(stream: &mut TcpStream, hello: &LinkHello) -> Result<(), String> {
    let mut bytes = Vec::new();
    frame::encode(&LinkMessage::Hello(hello.clone()), &mut bytes);
    stream.write_all(&bytes).await.map_err(|error| error.to_string())
}

/// Reads exactly the hello: what follows it is the engine's.
async fn hear(stream: &mut TcpStream) -> Result<LinkHello, String> {
    let mut bytes = vec![0; frame::HEADER_BYTES];
    stream.read_exact(&mut bytes).await.map_err(|error| error.to_string())?;
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    if length > HELLO_BYTES_MAX {
        return Err(format!("a hello of {length} bytes is none"));
    }
    bytes.resize(frame::HEADER_BYTES + length, 0);
    stream.read_exact(&mut bytes[frame::HEADER_BYTES..]).await.map_err(|error| error.to_string())?;
    let (payload, _) = frame::split(&bytes, HELLO_BYTES_MAX)
        .map_err(|error| error.to_string())?
        .ok_or("the hello is cut short")?;
    match frame::decode(payload).map_err(|error| error.to_string())? {
        LinkMessage::Hello(hello) => Ok(hello),
        _ => Err("something else than a hello came first".into()),
    }
}

fn check(ours: &LinkHello, theirs: &LinkHello) -> Result<(), String> {
    if theirs.protocol.0 != ours.protocol.0 {
        return Err(format!(
            "the partner speaks version {}.{} of the link's protocol, this processor {}.{}",
            theirs.protocol.0, theirs.protocol.1, ours.protocol.0, ours.protocol.1
        ));
    }
    if theirs.node == ours.node {
        return Err(format!("the other end is called `{}` as well; names are unique in a pair", theirs.node));
    }
    if (&theirs.application, theirs.partition) != (&ours.application, ours.partition) {
        return Err(format!(
            "the partner's link is for `{}` partition {}, not for `{}` partition {}",
            theirs.application, theirs.partition, ours.application, ours.partition
        ));
    }
    same_partitions(ours, theirs)?;
    Ok(())
}

/// A key would belong to one partition here and to another one there (R1).
fn same_partitions(ours: &LinkHello, theirs: &LinkHello) -> Result<(), String> {
    if theirs.partitions == ours.partitions {
        return Ok(());
    }
    tracing::error!(
        code = OTHER_PARTITIONS,
        application = ours.application,
        here = ours.partitions,
        partner = theirs.partitions,
        "the partner's configuration has another number of `partitions`: there is no link until both are the same"
    );
    Err(format!(
        "the partner gives `{}` {} partitions, this processor {}",
        ours.application, theirs.partitions, ours.partitions
    ))
}

/// A group's link, with what it says first.
pub type Answering = (LinkHello, Addr<LinkActor>);

/// Takes connections of partners and hands them to the group they are for.
pub async fn listen(listener: TcpListener, groups: Vec<Answering>) {
    let mut under_way = 0usize;
    let (finished, mut finishes) = tokio::sync::mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = finishes.recv() => {
                under_way -= 1;
                continue;
            }
        };
        let Ok((stream, from)) = accepted else {
            // Out of descriptors, most likely: not at once again.
            tokio::time::sleep(LOOK).await;
            continue;
        };
        if under_way >= 64 {
            continue;
        }
        under_way += 1;
        let (groups, finished) = (groups.clone(), finished.clone());
        actix_rt::spawn(async move {
            let answered = tokio::time::timeout(HELLO_TIME_MAX, answer(stream, &groups)).await;
            if let Err(why) = answered.unwrap_or_else(|_| Err("no hello came in time".into())) {
                tracing::warn!(%from, why, code = "LS0610", "a connection for the link was not taken");
            }
            let _ = finished.send(()).await;
        });
    }
}

async fn answer(mut stream: TcpStream, groups: &[Answering]) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let theirs = hear(&mut stream).await?;
    let same =
        |(ours, _): &&Answering| ours.application == theirs.application && ours.partition == theirs.partition;
    let Some((ours, group)) = groups.iter().find(same) else {
        if let Some((ours, _)) = groups.iter().find(|(ours, _)| ours.application == theirs.application) {
            same_partitions(ours, &theirs)?;
        }
        return Err(format!("application `{}` does not run here", theirs.application));
    };
    check(ours, &theirs)?;
    say(&mut stream, ours).await?;
    let stream = stream.into_std().map_err(|error| error.to_string())?;
    group.try_send(CameIn { stream, hello: theirs }).map_err(|error| error.to_string())
}

/// What an engine of `node` says first on a link.
#[must_use]
pub fn hello_of(node: &NodeId, engine: &EngineHandle) -> LinkHello {
    LinkHello {
        protocol: LINK_PROTOCOL,
        node: node.clone(),
        application: engine.application.to_string(),
        partition: engine.partition,
        partitions: engine.partitions,
        process: this_process(),
        notes: false,
    }
}

/// This process among all that there ever are.
fn this_process() -> u64 {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    *PROCESS.get_or_init(|| {
        lockstep_os::random_u128().map_or_else(|_| std::process::id().into(), |random| random as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(node: &str, application: &str) -> LinkHello {
        LinkHello {
            protocol: LINK_PROTOCOL,
            node: NodeId(node.into()),
            application: application.into(),
            partition: 0,
            partitions: 1,
            process: 1,
            notes: false,
        }
    }

    #[test]
    fn a_hello_is_taken_only_from_another_node_of_the_same_group_and_protocol() {
        let ours = hello("a", "ledger");
        assert_eq!(check(&ours, &hello("b", "ledger")), Ok(()));
        assert!(check(&ours, &hello("a", "ledger")).is_err());
        assert!(check(&ours, &hello("b", "other")).is_err());
        let newer = LinkHello { protocol: (LINK_PROTOCOL.0 + 1, 0), ..hello("b", "ledger") };
        assert!(check(&ours, &newer).is_err());
        assert!(check(&ours, &LinkHello { partition: 1, ..hello("b", "ledger") }).is_err());
        assert!(check(&ours, &LinkHello { partitions: 4, ..hello("b", "ledger") }).is_err());
    }

    #[tokio::test]
    async fn what_follows_the_hello_stays_in_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let other = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            frame::encode(&LinkMessage::Hello(hello("b", "ledger")), &mut bytes);
            bytes.extend_from_slice(b"more");
            stream.write_all(&bytes).await.unwrap();
            stream
        });
        let (stream, theirs) = dial(address, hello("a", "ledger")).await.unwrap();
        let _other = other.await.unwrap();
        assert_eq!(theirs.node, NodeId("b".into()));
        stream.set_nonblocking(false).unwrap();
        let mut rest = [0; 4];
        std::io::Read::read_exact(&mut &stream, &mut rest).unwrap();
        assert_eq!(&rest, b"more");
    }
}
