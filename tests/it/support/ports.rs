//! Free loopback ports, for tests that cannot do without.

use quorate::torture::cluster::ports;

/// `127.0.0.1` with a port that nobody listens on, and that this process gives out once.
pub fn free_addr() -> String {
    ports::free_addr().expect("a free port on the loopback interface")
}
