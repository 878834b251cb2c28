//! The admin socket's server: lines in, lines out, bounded.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::protocol::{AdminError, AdminRequest, AdminResponse, LINE_BYTES_MAX, parse_line, to_line};
use super::{View, verbs};

/// How many tools may be connected.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Makes the socket at `path`, for its owner alone. A socket that a dead processor left is replaced.
///
/// # Errors
/// When a living process answers there, or the place can't be written.
pub fn bind(path: &Path) -> io::Result<StdListener> {
    if path.exists() {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "a living processor answers there"));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
        }
    }
    // Closed to others from its first moment: the permissions are taken away before it exists.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = StdListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The actor that serves the admin socket.
pub struct Admin {
    view: Rc<View>,
    listener: Option<StdListener>,
    path: PathBuf,
}

impl Admin {
    /// Serves `listener`, which stands at `path`.
    #[must_use]
    pub fn new(view: View, listener: StdListener, path: PathBuf) -> Self {
        Admin { view: Rc::new(view), listener: Some(listener), path }
    }
}

impl Actor for Admin {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let Some(listener) = self.listener.take() else { return };
        let view = self.view.clone();
        context.spawn(async move { accept(listener, view).await }.into_actor(self));
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // A socket that is left behind is replaced at the next start; nothing is lost if this fails.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: StdListener, view: Rc<View>) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, code = "LS0810", "the admin socket can't be served; start the processor again");
            return;
        }
    };
    let places = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let view = view.clone();
                actix_rt::spawn(async move {
                    serve(stream, &view).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: UnixStream, view: &View) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut read).take(LINE_BYTES_MAX as u64 + 1);
        match tokio::time::timeout(SILENCE_MAX, bounded.read_until(b'\n', &mut line)).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => return,
        }
        let answer = if line.len() > LINE_BYTES_MAX {
            refusal("LS0811", format!("a request is at most {LINE_BYTES_MAX} bytes long"), "send less")
        } else {
            match parse_line::<AdminRequest>(&line) {
                Ok(request) => verbs::carry_out(view, request).await,
                Err(why) => refusal(
                    "LS0812",
                    format!("the request was not understood: {why}"),
                    "use the lockstep of the same version as lockstepd",
                ),
            }
        };
        if write.write_all(&to_line(&answer)).await.is_err() || line.len() > LINE_BYTES_MAX {
            return;
        }
    }
}

pub(super) fn refusal(code: &str, message: impl Into<String>, help: &str) -> AdminResponse {
    AdminResponse::Error(AdminError { code: code.into(), message: message.into(), help: help.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_its_owners_and_a_stale_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let first = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse, "somebody listens");
        drop(first);
        assert!(path.exists(), "a dead processor leaves its socket");
        bind(&path).unwrap();
    }
}
