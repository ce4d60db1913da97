//! The seam to the outside world: clock, network, randomness. Everything that measures time, dials, listens
//! or draws numbers takes it from an [`Env`], so that a simulator can put its own behind the same code.
//!
//! Files are not here: the log and the engine have traits of their own, with in-memory twins.

mod blocking;
mod clock;
mod net;
mod simulation;
mod skew;

use std::sync::Arc;

pub use self::blocking::{Blocking, Lost, blocking};
pub use self::clock::{Clock, Moment, SystemClock};
pub use self::net::{BoxIo, CONNECT_TIMEOUT, Incoming, Listening, Net, Tcp};
pub use self::simulation::{draw, is_simulated, simulate, undated};
pub use self::skew::{CLOCK_VARIABLE, by_the_machine, obey, skewed};

/// One world. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    clock: Arc<dyn Clock>,
    net: Arc<dyn Net>,
    random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Env {
    /// The machine's clock, TCP, and the thread's random numbers.
    pub fn real() -> Env {
        Env::new(Arc::new(SystemClock), Arc::new(Tcp), Arc::new(draw))
    }

    /// A world made of these parts.
    pub fn new(clock: Arc<dyn Clock>, net: Arc<dyn Net>, random: Arc<dyn Fn() -> u64 + Send + Sync>) -> Env {
        Env { clock, net, random }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The network.
    pub fn net(&self) -> Arc<dyn Net> {
        self.net.clone()
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        (self.random)()
    }

    /// A random name for a request: 16 hexadecimal digits.
    pub fn request_id(&self) -> String {
        format!("{:016x}", self.random())
    }
}
