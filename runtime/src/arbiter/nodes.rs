//! Where processors listen: each writes its addresses into the arbiter's directory, so that a partner whose address
//! is not configured, or who listens on a port that the operating system chose, is found.
//!
//! Only a hint: a processor that is gone leaves its addresses behind, and who answers there is asked for its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lockstep_core::ids::NodeId;
use serde::{Deserialize, Serialize};

const DIRECTORY: &str = "nodes";
/// No such file is longer, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// Where a processor listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// For its partner.
    pub link: SocketAddr,
    /// For clients, binary.
    #[serde(default)]
    pub events: Option<SocketAddr>,
    /// For clients, HTTP.
    #[serde(default)]
    pub http: Option<SocketAddr>,
}

impl From<SocketAddr> for NodeAddresses {
    fn from(link: SocketAddr) -> Self {
        NodeAddresses { link, events: None, http: None }
    }
}

#[derive(Serialize, Deserialize)]
struct NodeFile {
    node: NodeId,
    #[serde(flatten)]
    addresses: NodeAddresses,
}

/// A file's name for any node name: what is no letter, digit, `-` or `_` becomes `%` and two hexadecimal digits.
fn path(arbiter: &Path, node: &NodeId) -> PathBuf {
    let mut name = String::new();
    for byte in node.0.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte as char),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    arbiter.join(DIRECTORY).join(format!("{name}.json"))
}

/// Says where `node` listens. Whoever reads finds what was said before or this, whole.
///
/// # Errors
/// What the operating system says.
pub fn register(arbiter: &Path, node: &NodeId, addresses: impl Into<NodeAddresses>) -> io::Result<()> {
    let path = path(arbiter, node);
    let dir = arbiter.join(DIRECTORY);
    fs::create_dir_all(&dir)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let file = NodeFile { node: node.clone(), addresses: addresses.into() };
    let mut text = serde_json::to_vec_pretty(&file).map_err(io::Error::other)?;
    text.push(b'\n');
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(&dir)?.sync_all()
}

fn read(path: &Path) -> io::Result<NodeFile> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("it is far too long"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

/// Where `node` said that it listens, if it did.
#[must_use]
pub fn addresses(arbiter: &Path, node: &NodeId) -> Option<NodeAddresses> {
    match read(&path(arbiter, node)) {
        Ok(file) if file.node == *node => Some(file.addresses),
        Ok(_) => None,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%node, %error, code = "LS0605", "where the processor listens can't be read");
            }
            None
        }
    }
}

/// All processors that ever said where they listen, in the order of their names.
#[must_use]
pub fn all(arbiter: &Path) -> Vec<(NodeId, NodeAddresses)> {
    let Ok(entries) = fs::read_dir(arbiter.join(DIRECTORY)) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut found: Vec<_> =
        files.filter_map(|path| read(&path).ok()).map(|file| (file.node, file.addresses)).collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

/// Where the partner of `own` listens for its link: the other processor of the pair, if it ever said so.
#[must_use]
pub fn partner_of(arbiter: &Path, own: &NodeId) -> Option<(Option<NodeId>, SocketAddr)> {
    let partner = all(arbiter).into_iter().find(|(node, _)| node != own);
    partner.map(|(node, addresses)| (Some(node), addresses.link))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses_at(port: u16) -> NodeAddresses {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        NodeAddresses { link: at(port), events: Some(at(port + 1)), http: Some(at(port + 2)) }
    }

    #[test]
    fn each_finds_the_other_and_the_latest_word_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (NodeId("a/../x y".into()), NodeId("b".into()));
        assert_eq!(partner_of(dir.path(), &a), None);
        register(dir.path(), &a, addresses_at(1_000)).unwrap();
        assert_eq!(partner_of(dir.path(), &a), None);
        register(dir.path(), &b, addresses_at(2_000)).unwrap();
        register(dir.path(), &b, addresses_at(3_000)).unwrap();
        assert_eq!(partner_of(dir.path(), &a), Some((Some(b.clone()), addresses_at(3_000).link)));
        assert_eq!(partner_of(dir.path(), &b), Some((Some(a.clone()), addresses_at(1_000).link)));
        assert_eq!(addresses(dir.path(), &a), Some(addresses_at(1_000)));
        assert_eq!(all(dir.path()).len(), 2);
        assert_eq!(fs::read_dir(dir.path().join(DIRECTORY)).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn a_file_that_is_not_readable_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let b = NodeId("b".into());
        register(dir.path(), &b, addresses_at(1_000)).unwrap();
        fs::write(dir.path().join(DIRECTORY).join("a.json"), "{").unwrap();
        assert_eq!(partner_of(dir.path(), &NodeId("c".into())), Some((Some(b), addresses_at(1_000).link)));
        assert_eq!(addresses(dir.path(), &NodeId("a".into())), None);
    }
}
