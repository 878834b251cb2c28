//! What a load is sent to: addresses and processes, from flags or from configurations; and what answers there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use lockstep_runtime::admin::protocol::{AdminReply, AdminRequest, AdminResponse, AdminVerb, call};
use lockstep_runtime::config::NodeConfig;
use lockstep_wire::borrowed::{ClientFrame, ServerFrame};
use lockstep_wire::events::PROTOCOL;
use lockstep_wire::frame;

use super::args::{Bench, Protocol};
use super::error::Wrong;
use crate::args::Global;
use crate::failure::Failure;

/// How long a first answer may take.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(5);

/// The pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens, the active processor first, as far as that is known.
    pub addresses: Vec<SocketAddr>,
    /// Its processes, as far as they are known, each with a name.
    pub processes: Vec<(String, u32)>,
    /// How many partitions the application has; 1 over HTTP, where the processor finds them.
    pub partitions: u16,
}

/// What one processor says of itself.
struct Answers {
    active: bool,
    partitions: u16,
}

impl Target {
    /// Finds the pair and asks both processors for the application.
    ///
    /// # Errors
    /// When it is not known where they listen, or neither takes this load.
    pub fn find(global: &Global, bench: &Bench) -> Result<Self, Failure> {
        let (mut addresses, mut processes) = (Vec::new(), Vec::new());
        for address in &bench.address {
            let found = address.to_socket_addrs().ok().and_then(|mut found| found.next());
            addresses.push(found.ok_or_else(|| Wrong::Address(format!("`{address}` is no HOST:PORT")))?);
        }
        if addresses.is_empty() {
            let files = std::iter::once(&global.config).chain(&bench.partner);
            for file in files {
                let config = NodeConfig::load(file)?;
                let address = match bench.protocol {
                    Protocol::Binary => config.listen.events,
                    Protocol::Http => config.listen.http,
                };
                if address.port() == 0 {
                    let why =
                        format!("{} has port 0, and only the processor knows which it took", file.display());
                    return Err(Wrong::Address(why).into());
                }
                addresses.push(address);
                processes.extend(process(&config));
            }
        }
        if !bench.pid.is_empty() {
            processes = bench.pid.iter().map(|pid| (pid.to_string(), *pid)).collect();
        }
        let mut target = Target { addresses, processes, partitions: 1 };
        target.ask(bench)?;
        Ok(target)
    }

    fn ask(&mut self, bench: &Bench) -> Result<(), Wrong> {
        let mut wrong = None;
        let mut active = None;
        let mut answered = false;
        for (at, address) in self.addresses.iter().enumerate() {
            let asked = match bench.protocol {
                Protocol::Binary => ask_binary(*address, &bench.application),
                Protocol::Http => ask_http(*address, &bench.application),
            };
            match asked {
                Ok(answers) => {
                    answered = true;
                    self.partitions = self.partitions.max(answers.partitions);
                    active = active.or(answers.active.then_some(at));
                }
                // A processor that says no says more than one that can't be reached.
                Err(error @ Wrong::Told { .. }) => wrong = Some(error),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        match (answered, wrong) {
            (false, Some(wrong)) => return Err(wrong),
            (false, None) => return Err(Wrong::Address("no address was said".into())),
            (true, _) => {}
        }
        self.addresses.rotate_left(active.unwrap_or(0));
        Ok(())
    }
}

/// The name and the process of the processor with this configuration, if it runs.
fn process(config: &NodeConfig) -> Option<(String, u32)> {
    let request = AdminRequest {
        application: None,
        partition: None,
        verb: AdminVerb::Status,
        by: String::new(),
        why: String::new(),
    };
    match call(&config.admin, &request, FIRST_ANSWER_MAX).ok()? {
        AdminResponse::Ok(reply) => match *reply {
            AdminReply::Status(status) => Some((status.node.0.to_string(), status.pid)),
            _ => None,
        },
        AdminResponse::Error(_) => None,
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, Wrong> {
    let connected = TcpStream::connect_timeout(&address, FIRST_ANSWER_MAX).and_then(|stream| {
        stream.set_read_timeout(Some(FIRST_ANSWER_MAX))?;
        stream.set_write_timeout(Some(FIRST_ANSWER_MAX))?;
        Ok(stream)
    });
    connected.map_err(|error| Wrong::Unreachable(format!("{address}: {error}")))
}

fn ask_binary(address: SocketAddr, application: &str) -> Result<Answers, Wrong> {
    let unreachable = |error: std::io::Error| Wrong::Unreachable(format!("{address}: {error}"));
    let mut stream = connect(address)?;
    let mut hello = Vec::new();
    frame::encode(&ClientFrame::Hello { protocol: PROTOCOL, application, partition: 0 }, &mut hello);
    stream.write_all(&hello).map_err(unreachable)?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let not_understood = |error: frame::FrameError| Wrong::NotUnderstood(format!("{address}: {error}"));
        if let Some((payload, _)) =
            frame::split(&bytes, frame::EVENT_FRAME_BYTES_MAX).map_err(not_understood)?
        {
            return match frame::decode::<ServerFrame<'_>>(payload).map_err(not_understood)? {
                ServerFrame::Serving { active, partitions, .. } => Ok(Answers { active, partitions }),
                ServerFrame::Refused { code, message } => {
                    Err(Wrong::Told { code: code.into(), message: message.into() })
                }
                ServerFrame::Answer { .. } => {
                    Err(Wrong::NotUnderstood(format!("{address}: an answer to nothing")))
                }
            };
        }
        match stream.read(&mut piece).map_err(unreachable)? {
            0 => return Err(Wrong::Unreachable(format!("{address}: it has closed the connection"))),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// The page of figures says which role the processor has.
fn ask_http(address: SocketAddr, application: &str) -> Result<Answers, Wrong> {
    let unreachable = |error: std::io::Error| Wrong::Unreachable(format!("{address}: {error}"));
    let mut stream = connect(address)?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: lockstep\r\nConnection: close\r\n\r\n")
        .map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(unreachable)?;
    let answer = String::from_utf8_lossy(&answer);
    if !answer.starts_with("HTTP/1.") {
        return Err(Wrong::NotUnderstood(format!("{address}: this is not HTTP")));
    }
    let of_application = format!("application=\"{application}\"");
    let roles =
        answer.lines().filter(|line| line.starts_with("lockstep_role{") && line.contains(&of_application));
    Ok(Answers {
        active: roles.into_iter().any(|line| line.contains("\"active\"") && line.ends_with(" 1")),
        partitions: 1,
    })
}
