//! The connection that a death note leaves by: opened before it is needed, to the partner's listener for links, and
//! silent until a death (R21). One a group and direction.
//!
//! Deliberately absent: writing; a signal handler or the watchdog does that.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::ids::NodeId;
use lockstep_os::unit_page::signals::Guard;
use tokio::net::TcpStream;

use crate::dial::{self, PartnerAddress};
use crate::engine::inbound::EngineHandle;

/// How long after the end of a connection, or in vain, the partner is dialled again.
const AGAIN: Duration = Duration::from_millis(50);

/// Keeps `guard` supplied with a connection to the partner of `engine`, as long as that lives.
pub async fn keep(node: NodeId, engine: EngineHandle, partner: Vec<PartnerAddress>, guard: Arc<Guard>) {
    tokio::select! {
        () = supply(&node, &engine, &partner, &guard) => {}
        () = engine.gone() => guard.set_connection(None),
    }
}

async fn supply(node: &NodeId, engine: &EngineHandle, partner: &[PartnerAddress], guard: &Guard) {
    let mut again = tokio::time::interval(AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        let Some(address) = dial::find(partner, node) else { continue };
        let Ok(stream) = dial::dial_for_notes(address, node, engine).await else { continue };
        let Ok(connection) = stream.as_fd().try_clone_to_owned() else { continue };
        guard.set_connection(Some(connection));
        wait_end(&stream).await;
        guard.set_connection(None);
    }
}

/// Waits until the partner closes the connection; it has nothing to say on it.
async fn wait_end(stream: &TcpStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut [0; 1]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}
