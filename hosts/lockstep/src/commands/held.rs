//! The checkpoints of a running processor, held still while its files are read.
//!
//! Invariant: the processor ends a hold by itself, so it is asked for again and again until this is dropped.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use lockstep_runtime::admin::protocol::{
    AdminRequest, AdminResponse, AdminVerb, CallError, HOLD_MS_MAX, call,
};

use crate::args::Global;
use crate::failure::Failure;
use crate::session::user;

/// How long an answer may take: a checkpoint that is under way ends first.
const ANSWER_MS_MIN: u64 = 60_000;

/// The hold; ends when it is dropped.
pub struct Held {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Whom to ask, and about what.
struct Asker {
    admin: PathBuf,
    application: String,
    partition: u16,
    timeout: Duration,
}

impl Asker {
    fn ask(&self, ms: u64) -> Result<Result<(), Failure>, CallError> {
        let request = AdminRequest {
            application: Some(self.application.clone()),
            partition: Some(self.partition),
            verb: AdminVerb::HoldCheckpoints { ms },
            by: user(),
            why: String::new(),
        };
        Ok(match call(&self.admin, &request, self.timeout)? {
            AdminResponse::Ok(_) => Ok(()),
            AdminResponse::Error(error) => Err(error.into()),
        })
    }
}

impl Held {
    /// Holds the checkpoints of the group in `directory`, DATA/APPLICATION/PARTITION, through its processor's socket.
    pub fn begin(global: &Global, directory: &Path, admin: &Path) -> Result<Self, Failure> {
        let name = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let asker = Asker {
            admin: admin.to_owned(),
            application: name(directory.parent()),
            partition: name(Some(directory)).parse().unwrap_or(0),
            timeout: Duration::from_millis(global.timeout_ms.max(ANSWER_MS_MIN)),
        };
        asker.ask(HOLD_MS_MAX)??;
        let (end, ended) = mpsc::channel::<()>();
        let again = Duration::from_millis(HOLD_MS_MAX / 3);
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(again) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Without an answer the hold ends, and what is read may be found damaged, which is then said.
                let _ = asker.ask(HOLD_MS_MAX);
            }
            let _ = asker.ask(0);
        });
        Ok(Held { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
