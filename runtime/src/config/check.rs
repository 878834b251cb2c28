//! From what is written to what is meant: addresses, paths, bounds and contradictions.
//!
//! Invariant: every error names the field by its path and points at its value.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use lockstep_core::ids::NodeId;
use lockstep_core::partition::PARTITIONS_MAX;

use super::error::ConfigError;
use super::locate::Key::{self, At, Field};
use super::{ApplicationConfig, ArbiterConfig, Listen, NodeConfig, Timeouts, Written, WrittenArbiter};

/// The longest path of a Unix socket that the operating system takes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The most engines that may hang: each keeps a thread and all its rows in memory.
const HUNG_ENGINES_MAX: u64 = 64;
/// The longest that an engine keeps a core although it has nothing to do: less than a sign of life takes.
const BUSY_POLL_US_MAX: u64 = 1_000;
/// The longest name of a node or an application.
const NAME_BYTES_MAX: usize = 64;

/// The place where values are checked: the file's text and path.
struct Place<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Place<'_> {
    fn error(&self, code: &'static str, at: &[Key], message: String, label: &str, help: &str) -> ConfigError {
        ConfigError::at_value(code, self.text, self.path, at, message, label, help)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        let base = self.path.parent().unwrap_or(Path::new(""));
        // Absolute from the start: the process may change its working directory, and messages name whole paths.
        let joined = base.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }

    fn address(
        &self,
        at: &[Key],
        written: &str,
        insecure: bool,
        listens: bool,
    ) -> Result<SocketAddr, ConfigError> {
        let name = field_name(at);
        let local = written.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let Ok(address) = local.as_deref().unwrap_or(written).parse::<SocketAddr>() else {
            return Err(self.error(
                "LS0101",
                at,
                format!("`{name}` is not an address"),
                "expected HOST:PORT",
                "write for example \"127.0.0.1:7101\"; HOST is an IP address or localhost",
            ));
        };
        if !insecure && !is_loopback(address.ip()) {
            return Err(self.error(
                "LS0103",
                at,
                format!("`{name}` can be reached from other machines, and nothing is encrypted yet"),
                "not a loopback address",
                "write 127.0.0.1, or `insecure: true` if the network is trusted",
            ));
        }
        if !listens && address.port() == 0 {
            return Err(self.error(
                "LS0101",
                at,
                format!("`{name}` has port 0"),
                "expected the partner's port",
                "write the address in the partner's `listen.link`",
            ));
        }
        Ok(address)
    }

    fn name(&self, at: &[Key], written: &str) -> Result<(), ConfigError> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=NAME_BYTES_MAX).contains(&written.len()) && written.chars().all(good) {
            return Ok(());
        }
        Err(self.error(
            "LS0104",
            at,
            format!("`{}` is not a name", field_name(at)),
            "expected 1 to 64 letters, digits, `-` or `_`",
            "names appear in paths, metrics and URLs; choose a short one",
        ))
    }

    fn within(
        &self,
        field: &'static str,
        value: u64,
        bounds: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        if bounds.contains(&value) {
            return Ok(value);
        }
        Err(self.error(
            "LS0104",
            &[Field(field)],
            format!("`{field}` is out of bounds"),
            &format!("expected {} to {}", bounds.start(), bounds.end()),
            "leave the field out for its default",
        ))
    }
}

/// Whether only this machine can reach `ip`.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// `listen.http` for the path to that field.
fn field_name(at: &[Key]) -> String {
    let mut name = String::new();
    for key in at {
        match key {
            Field(field) => {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(field);
            }
            At(index) => name.push_str(&format!("[{index}]")),
        }
    }
    name
}

/// Checks the whole file.
pub(super) fn check(written: Written, text: &str, path: &Path) -> Result<NodeConfig, ConfigError> {
    let place = Place { text, path };
    place.name(&[Field("node")], &written.node)?;
    let insecure = written.insecure;
    let listen = |field: &'static str, value: &str| {
        place.address(&[Field("listen"), Field(field)], value, insecure, true)
    };
    let listen = Listen {
        http: listen("http", &written.listen.http)?,
        events: listen("events", &written.listen.events)?,
        link: listen("link", &written.listen.link)?,
    };
    let peer = written
        .peer
        .as_deref()
        .map(|peer| place.address(&[Field("peer")], peer, insecure, false))
        .transpose()?;
    if let Some(peer) = peer.filter(|peer| *peer == listen.link) {
        return Err(place.error(
            "LS0104",
            &[Field("peer")],
            format!("`peer` is this processor's own `listen.link`, {peer}"),
            "expected the partner's address",
            "write the address in the partner's `listen.link`",
        ));
    }
    let data = place.resolve(&written.data);
    let arbiter = match written.arbiter {
        Some(WrittenArbiter::Local(directory)) => ArbiterConfig::Local(place.resolve(&directory)),
        // A pair must share its arbiter, so it is not guessed from one side's data directory.
        None if peer.is_some() => {
            return Err(place.error(
                "LS0104",
                &[Field("peer")],
                "`peer` needs an `arbiter`".into(),
                "a pair has a third party that records who is active",
                "write `arbiter: Local(\"DIRECTORY\")` with the same directory on both sides",
            ));
        }
        None => ArbiterConfig::Local(data.join("arbiter")),
    };
    let admin = match &written.admin {
        Some(socket) => place.resolve(socket),
        None => data.join("admin.sock"),
    };
    if admin.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let field = if written.admin.is_some() { "admin" } else { "data" };
        return Err(place.error(
            "LS0104",
            &[Field(field)],
            format!(
                "the path of the admin socket is longer than {SOCKET_PATH_BYTES_MAX} bytes: {}",
                admin.display()
            ),
            "too long",
            "write a shorter `admin: \"PATH\"`",
        ));
    }
    Ok(NodeConfig {
        file: path.to_owned(),
        node: NodeId(written.node),
        data,
        listen,
        peer,
        arbiter,
        durability: written.durability,
        applications: applications(&place, &written.applications)?,
        insecure,
        standby: written.standby,
        step_ups: written.step_ups,
        timeouts: timeouts(&place, written.timeouts)?,
        recent_mb: place.within("recent_mb", written.recent_mb, 1..=1 << 20)?,
        rows_mb: written.rows_mb.map(|mb| place.within("rows_mb", mb, 1..=1 << 20)).transpose()?,
        kept_plugins_mb: place.within("kept_plugins_mb", written.kept_plugins_mb, 1..=1 << 20)?,
        hung_engines_max: place.within("hung_engines_max", written.hung_engines_max, 0..=HUNG_ENGINES_MAX)?,
        busy_poll_us: place.within("busy_poll_us", written.busy_poll_us, 0..=BUSY_POLL_US_MAX)?,
        log: written.log,
        admin,
    })
}

fn applications(
    place: &Place<'_>,
    written: &[super::WrittenApplication],
) -> Result<Vec<ApplicationConfig>, ConfigError> {
    if written.is_empty() {
        return Err(place.error(
            "LS0104",
            &[Field("applications")],
            "`applications` is empty".into(),
            "expected at least one",
            "write for example [(name: \"ledger\", plugin: \"plugins/libledger_v1.so\")]",
        ));
    }
    for (index, application) in written.iter().enumerate() {
        let at = [Field("applications"), At(index), Field("name")];
        place.name(&at, &application.name)?;
        if written[..index].iter().any(|other| other.name == application.name) {
            return Err(place.error(
                "LS0104",
                &at,
                format!("application `{}` is listed twice", application.name),
                "already listed above",
                "a name stands for one application; remove one of the two",
            ));
        }
    }
    let resolved = |(index, application): (usize, &super::WrittenApplication)| {
        Ok(ApplicationConfig {
            name: application.name.clone(),
            plugin: place.resolve(&application.plugin),
            partitions: partitions(place, index, application.partitions)?,
        })
    };
    written.iter().enumerate().map(resolved).collect()
}

fn partitions(place: &Place<'_>, index: usize, written: u64) -> Result<u16, ConfigError> {
    let number = u16::try_from(written).ok().filter(|number| (1..=PARTITIONS_MAX).contains(number));
    number.ok_or_else(|| {
        place.error(
            "LS0104",
            &[Field("applications"), At(index), Field("partitions")],
            format!("`applications[{index}].partitions` is out of bounds"),
            &format!("expected 1 to {PARTITIONS_MAX}"),
            "leave the field out for one partition; it can't be changed once there are data",
        )
    })
}

fn timeouts(place: &Place<'_>, times: Timeouts) -> Result<Timeouts, ConfigError> {
    let bound_ms = 3_600_000;
    let Timeouts { heartbeat_ms, silence_shrink_ms, silence_promote_ms, ack_age_max_ms } = times;
    let wrong = |field: &'static str, message: String, label: &str| {
        Err(place.error(
            "LS0104",
            &[Field("timeouts"), Field(field)],
            message,
            label,
            "leave the field out for its default; the three times grow in this order: heartbeat, shrink, promote",
        ))
    };
    if heartbeat_ms == 0 {
        return wrong("heartbeat_ms", "`timeouts.heartbeat_ms` is 0".into(), "expected at least 1");
    }
    if silence_shrink_ms < heartbeat_ms.saturating_mul(2) {
        let message = "`timeouts.silence_shrink_ms` is shorter than two heartbeats".into();
        return wrong("silence_shrink_ms", message, "a living partner would be thought dead");
    }
    if silence_promote_ms <= silence_shrink_ms {
        let message = "`timeouts.silence_promote_ms` is not longer than `silence_shrink_ms`".into();
        return wrong("silence_promote_ms", message, "the active must give up its standby first");
    }
    if silence_promote_ms > bound_ms {
        let message = "`timeouts.silence_promote_ms` is longer than an hour".into();
        return wrong("silence_promote_ms", message, "expected at most 3600000");
    }
    if ack_age_max_ms < heartbeat_ms.saturating_mul(2) || ack_age_max_ms > bound_ms {
        let message = format!("`timeouts.ack_age_max_ms` is {ack_age_max_ms}");
        let label =
            "expected two heartbeats to an hour (3600000): longer than the worst stall of a healthy disk";
        return wrong("ack_age_max_ms", message, label);
    }
    Ok(times)
}
