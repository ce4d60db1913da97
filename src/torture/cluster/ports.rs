//! Free loopback ports, from below the range that the kernel hands out to outgoing connections: a restarted
//! member must find its port again.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// The first port that may be given out.
const FIRST: u32 = 10_000;
/// How many may be given out; FIRST + COUNT stays below 32768, where outgoing connections begin.
const COUNT: u32 = 20_000;
/// Processes that give out ports begin this far apart.
const STRIDE: u32 = 50;

static GIVEN: AtomicU32 = AtomicU32::new(0);

/// A port of 127.0.0.1 that nobody listens on, and that this process gives out once. `None`: there is none.
fn free_port() -> Option<u16> {
    (0..COUNT).find_map(|_| {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (process::id().wrapping_mul(STRIDE).wrapping_add(step)) % COUNT;
        let port = u16::try_from(port).ok()?;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    })
}

/// `127.0.0.1` with a free port.
pub fn free_addr() -> Option<String> {
    free_port().map(|port| format!("127.0.0.1:{port}"))
}
