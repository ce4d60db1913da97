//! Free loopback ports, from below the range that the kernel hands out to outgoing connections: a restarted
//! node must find its port again.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// The first port that may be given out.
const FIRST: u32 = 10_000;
/// How many may be given out; FIRST + COUNT stays below 32768, where outgoing connections begin.
const COUNT: u32 = 20_000;
/// Test processes begin this far apart.
const STRIDE: u32 = 50;

static GIVEN: AtomicU32 = AtomicU32::new(0);

/// A port that nobody listens on, and that this process gives out once.
pub fn free_port() -> u16 {
    for _ in 0..COUNT {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (process::id().wrapping_mul(STRIDE) + step) % COUNT;
        let port = u16::try_from(port).expect("FIRST + COUNT fits");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on the loopback interface");
}

/// `127.0.0.1` with a free port.
pub fn free_addr() -> String {
    format!("127.0.0.1:{}", free_port())
}
