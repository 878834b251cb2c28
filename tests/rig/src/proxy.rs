//! Stands between the two processors of a pair and can cut their stream at any frame: what is before the cut has
//! arrived, what is after it never does.
//!
//! Each processor is told that the other one's link is here. A cut silences the link both ways without closing it, as
//! a dying cable would, so that neither side acts on the cut before the drill has done what it wants to do. It can also be
//! cut one way, made slow, made to flip bits, and made to say something that no processor said.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockstep_core::message::{Frame, PeerMessage};
use lockstep_wire::frame::{self, LINK_FRAME_BYTES_MAX};

use crate::Failure;

/// How a link's payload says that a frame of the cores follows: the second variant of the links' message.
const CORE: u8 = 1;

#[derive(Debug, Default)]
struct State {
    /// Where the two processors listen for links.
    upstream: [Option<SocketAddr>; 2],
    /// Of the processor at `.0`, let so many more frames of procedures pass, then cut.
    armed: Option<(usize, u64)>,
    /// Frames of procedures that have passed since the arming.
    passed: u64,
    cut: bool,
    /// Nothing of what the processor at this place sends arrives.
    mute: Option<usize>,
    /// Everything that is read at once is kept for so long.
    delay: Duration,
    /// Of so many bytes one has a bit flipped.
    mangle_every: Option<u64>,
    /// Bits that were flipped.
    mangled: u64,
    /// By sender: bytes that go in between two of its frames.
    inject: [Vec<u8>; 2],
    /// Grows when a cut is healed: connections from before it are closed.
    heals: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ways between two processors.
#[derive(Debug)]
pub struct LinkProxy {
    shared: Arc<Shared>,
    /// What processor a and b are to be told as their partner's address.
    peers: [SocketAddr; 2],
}

impl LinkProxy {
    /// Listens for both processors; their own addresses come with [`Self::connect`].
    ///
    /// # Errors
    /// When there is no port.
    pub fn new() -> Result<Self, Failure> {
        let shared = Arc::new(Shared::default());
        let listen = |dialer: usize| -> Result<SocketAddr, Failure> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.state().closed {
                        return;
                    }
                    if let Ok(stream) = stream {
                        carry(&shared, dialer, &stream);
                    }
                }
            });
            Ok(address)
        };
        let peers = [listen(0)?, listen(1)?];
        Ok(LinkProxy { shared, peers })
    }

    /// What the processor at `at` is to be told as its partner's address.
    #[must_use]
    pub fn peer_of(&self, at: usize) -> String {
        self.peers[at].to_string()
    }

    /// Says where the processors' links really are.
    ///
    /// # Errors
    /// When these are no addresses.
    pub fn connect(&self, links: [&str; 2]) -> Result<(), Failure> {
        for (at, link) in links.into_iter().enumerate() {
            let address = link.parse().map_err(|_| Failure::new(format!("{link} is no address")))?;
            self.shared.state().upstream[at] = Some(address);
        }
        Ok(())
    }

    /// Lets `frames` more frames of procedures from the processor at `from` pass, then cuts.
    pub fn arm(&self, from: usize, frames: u64) {
        let mut state = self.shared.state();
        state.armed = Some((from, frames));
        state.passed = 0;
    }

    /// Does not cut after all; how many frames of procedures have passed since it was armed.
    pub fn disarm(&self) -> u64 {
        let mut state = self.shared.state();
        state.armed = None;
        state.passed
    }

    /// Waits until the cut has come; whether it has in `patience`.
    #[must_use]
    pub fn wait_cut(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.state();
        while !state.cut {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Cuts both ways, now.
    pub fn cut(&self) {
        self.shared.state().cut = true;
    }

    /// From now on nothing arrives of what the processor at `from` sends.
    pub fn cut_from(&self, from: usize) {
        self.shared.state().mute = Some(from);
    }

    /// From now on everything arrives so much later, both ways; at most 64 KiB in that time.
    pub fn slow_down(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// From now on one byte of so many has a bit flipped, both ways.
    pub fn mangle(&self, every_bytes: u64) {
        self.shared.state().mangle_every = Some(every_bytes.max(1));
    }

    /// How many bits were flipped.
    #[must_use]
    pub fn mangled(&self) -> u64 {
        self.shared.state().mangled
    }

    /// Puts `bytes` before the next frame that the processor at `from` sends.
    pub fn inject(&self, from: usize, bytes: Vec<u8>) {
        self.shared.state().inject[from] = bytes;
    }

    /// Passes everything on at once and as it is again. Connections stay; what was cut stays cut.
    pub fn calm(&self) {
        let mut state = self.shared.state();
        state.delay = Duration::ZERO;
        state.mangle_every = None;
    }

    /// Closes what was cut and lets new connections work.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.cut = false;
        state.mute = None;
        state.armed = None;
        state.heals += 1;
        self.shared.changed.notify_all();
    }
}

impl Drop for LinkProxy {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.heal();
        for peer in self.peers {
            // Wakes the listening threads, which then end.
            let _ = TcpStream::connect(peer);
        }
    }
}

/// Carries a connection of the processor `dialer` to the other one, on two threads.
fn carry(shared: &Arc<Shared>, dialer: usize, near: &TcpStream) {
    let (upstream, heals) = {
        let state = shared.state();
        (state.upstream[1 - dialer].filter(|_| !state.cut), state.heals)
    };
    let Some(far) = upstream.and_then(|address| TcpStream::connect(address).ok()) else {
        let _ = near.shutdown(Shutdown::Both);
        return;
    };
    for (from, source, sink) in [(dialer, near, &far), (1 - dialer, &far, near)] {
        let _ = source.set_nodelay(true);
        let (Ok(source), Ok(sink)) = (source.try_clone(), sink.try_clone()) else { return };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let _ = pump(&shared, from, heals, &source, &sink);
            let _ = source.shutdown(Shutdown::Both);
            let _ = sink.shutdown(Shutdown::Both);
        });
    }
}

/// Copies frames until the connection ends or is cut and healed.
fn pump(
    shared: &Shared,
    from: usize,
    heals: u64,
    mut source: &TcpStream,
    mut sink: &TcpStream,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    // So many bytes have passed since the last flipped bit.
    let mut since_flip = 0;
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..read]);
        let mut passed = 0;
        let mut cut = false;
        while let Some((payload, length)) =
            frame::split(&buffer[passed..], LINK_FRAME_BYTES_MAX).map_err(std::io::Error::other)?
        {
            if !passes(shared, from, heals, payload) {
                cut = true;
                break;
            }
            passed += length;
        }
        spoil(shared, from, &mut buffer, &mut passed, &mut since_flip);
        sink.write_all(&buffer[..passed])?;
        buffer.drain(..passed);
        if cut {
            let mut state = shared.state();
            shared.changed.notify_all();
            while state.heals == heals {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            return Ok(());
        }
    }
}

/// Keeps, spoils and adds to the first `passed` bytes of `buffer` as is asked for.
fn spoil(shared: &Shared, from: usize, buffer: &mut Vec<u8>, passed: &mut usize, since_flip: &mut u64) {
    let mut state = shared.state();
    if *passed == 0 {
        return;
    }
    if let Some(every) = state.mangle_every {
        for byte in &mut buffer[..*passed] {
            *since_flip += 1;
            if *since_flip >= every {
                *since_flip = 0;
                *byte ^= 0x10;
                state.mangled += 1;
            }
        }
    }
    let added = std::mem::take(&mut state.inject[from]);
    let delay = state.delay;
    drop(state);
    if !added.is_empty() {
        *passed += added.len();
        buffer.splice(0..0, added);
    }
    std::thread::sleep(delay);
}

/// Whether the frame may pass; the one that may not makes the cut.
fn passes(shared: &Shared, from: usize, heals: u64, payload: &[u8]) -> bool {
    let mut state = shared.state();
    // What was on a connection that was cut never arrives, not even after the cut is healed.
    if state.cut || state.heals != heals || state.mute == Some(from) {
        return false;
    }
    let Some((armed, left)) = state.armed.filter(|(armed, _)| *armed == from) else { return true };
    if !of_a_procedure(payload) {
        return true;
    }
    if left == 0 {
        state.cut = true;
        return false;
    }
    state.armed = Some((armed, left - 1));
    state.passed += 1;
    true
}

fn of_a_procedure(payload: &[u8]) -> bool {
    let frame = payload.split_first().filter(|(kind, _)| **kind == CORE);
    let frame = frame.and_then(|(_, frame)| frame::decode::<Frame>(frame).ok());
    frame.is_some_and(|frame| {
        matches!(
            frame.message,
            PeerMessage::Procedure { .. }
                | PeerMessage::Begin { .. }
                | PeerMessage::StepUp { .. }
                | PeerMessage::EndProcedure { .. }
                | PeerMessage::Abort { .. }
        )
    })
}

#[cfg(test)]
mod tests {
    use lockstep_core::ids::{Number, Term};

    use super::*;

    fn step_up(number: u64) -> Vec<u8> {
        let message = PeerMessage::StepUp { number: Number(number), position: 0, digest: 0, unit: None };
        let mut payload = vec![CORE];
        payload.extend(postcard::to_stdvec(&Frame { term: Term(1), message }).unwrap());
        payload
    }

    /// The frame of a payload that is there already.
    fn framed(payload: &[u8]) -> Vec<u8> {
        struct Raw<'a>(&'a [u8]);
        impl serde::Serialize for Raw<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeTuple;
                let mut tuple = serializer.serialize_tuple(self.0.len())?;
                self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
                tuple.end()
            }
        }
        let mut bytes = Vec::new();
        frame::encode(&Raw(payload), &mut bytes);
        bytes
    }

    #[test]
    fn a_mute_side_is_not_heard_and_a_mangled_frame_is_another() {
        let b = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = b.local_addr().unwrap().to_string();
        let proxy = LinkProxy::new().unwrap();
        proxy.connect([&address, &address]).unwrap();
        let mut at_a = TcpStream::connect(proxy.peer_of(0)).unwrap();
        let (mut at_b, _) = b.accept().unwrap();
        for stream in [&at_a, &at_b] {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        let whole = framed(&step_up(1));
        proxy.inject(0, vec![0xff; 5]);
        proxy.mangle(whole.len() as u64);
        at_a.write_all(&whole).unwrap();
        let mut arrived = vec![0; 5 + whole.len()];
        at_b.read_exact(&mut arrived).unwrap();
        let (added, rest) = arrived.split_at(5);
        assert_eq!(added, [0xff; 5]);
        assert_eq!(rest.iter().zip(&whole).filter(|(is, was)| is != was).count(), 1);
        assert_eq!(proxy.mangled(), 1);
        proxy.calm();
        proxy.cut_from(0);
        at_a.write_all(&whole).unwrap();
        // The other way still works.
        at_b.write_all(&whole).unwrap();
        let mut back = vec![0; whole.len()];
        at_a.read_exact(&mut back).unwrap();
        assert_eq!(back, whole);
        proxy.heal();
        let mut none = Vec::new();
        let _ = at_b.read_to_end(&mut none);
        assert_eq!(none, b"", "what a mute side said never arrives");
    }

    #[test]
    fn exactly_the_frames_before_the_cut_arrive() {
        let b = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = b.local_addr().unwrap().to_string();
        let proxy = LinkProxy::new().unwrap();
        proxy.connect([&address, &address]).unwrap();
        let mut at_a = TcpStream::connect(proxy.peer_of(0)).unwrap();
        let (mut at_b, _) = b.accept().unwrap();
        at_b.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        proxy.arm(0, 3);
        // Other frames pass without being counted.
        let other = framed(&[0, 7, 7]);
        let stream: Vec<u8> =
            (1..=5).flat_map(|number| [other.clone(), framed(&step_up(number))].concat()).collect();
        at_a.write_all(&stream).unwrap();
        assert!(proxy.wait_cut(Duration::from_secs(20)));
        let mut arrived = vec![0; 3 * (other.len() + framed(&step_up(1)).len()) + other.len()];
        at_b.read_exact(&mut arrived).unwrap();
        assert_eq!(arrived, stream[..arrived.len()]);
        // Nothing more comes, not even the other way, until the cut is healed; then the connection ends.
        at_b.write_all(&other).unwrap();
        proxy.heal();
        let mut rest = Vec::new();
        let _ = at_b.read_to_end(&mut rest);
        assert_eq!(rest, b"");
        let mut none = Vec::new();
        let _ = at_a.read_to_end(&mut none);
        assert_eq!(none, b"");
    }
}
