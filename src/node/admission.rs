//! Overload is answered, not suffered: a bounded number of reads and writes is under way at once.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{error::Error, types::Limits};

/// What a client that was refused should wait before it tries again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Places for requests.
pub struct Admission {
    reads: Gate,
    writes: Gate,
}

struct Gate {
    name: &'static str,
    places: Arc<Semaphore>,
    limit: usize,
}

/// A place, held while a request is under way.
pub struct Permit {
    _place: OwnedSemaphorePermit,
}

impl Admission {
    /// As many places as the limits say.
    pub fn new(limits: &Limits) -> Admission {
        let gate = |name, limit| Gate { name, places: Arc::new(Semaphore::new(limit)), limit };
        Admission {
            reads: gate("limits.inflight_reads_max", limits.inflight_reads_max),
            writes: gate("limits.inflight_writes_max", limits.inflight_writes_max),
        }
    }

    /// A place for a read, or `Overloaded`.
    pub fn read(&self) -> Result<Permit, Error> {
        self.reads.enter()
    }

    /// A place for a write, or `Overloaded`.
    pub fn write(&self) -> Result<Permit, Error> {
        self.writes.enter()
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.reads.places.close();
        self.writes.places.close();
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        [&self.reads, &self.writes].iter().all(|gate| gate.places.available_permits() == gate.limit)
    }
}

impl Gate {
    fn enter(&self) -> Result<Permit, Error> {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => Ok(Permit { _place: place }),
            Err(tokio::sync::TryAcquireError::Closed) => Err(Error::ShuttingDown),
            Err(tokio::sync::TryAcquireError::NoPermits) => Err(Error::Overloaded {
                what: self.name.to_owned(),
                limit: self.limit as u64,
                retry_after: RETRY_AFTER,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gate_names_its_limit_and_a_closed_one_says_so() {
        let admission = Admission::new(&Limits { inflight_writes_max: 1, ..Limits::default() });
        let held = admission.write().map_err(|e| e.to_string());
        assert!(held.is_ok() && !admission.is_idle());
        let refused = admission.write().err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some("overloaded: limits.inflight_writes_max is at its limit of 1"));
        assert!(admission.read().is_ok(), "reads have places of their own");
        drop(held);
        assert!(admission.is_idle());
        admission.close();
        assert!(matches!(admission.write(), Err(Error::ShuttingDown)));
    }
}
