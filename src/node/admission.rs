//! Overload is answered, not suffered: a bounded number of reads and writes is under way at once. A place is
//! held until the work behind it has ended, also when nobody waits for that any more.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{error::Error, types::Limits};

/// What a client that was refused should wait before it tries again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Reads of many keys (ranges, pages of scans, hashes) that are done at once. Each takes a thread of those
/// for blocking work, which the flushes, compactions and snapshots need too. The next read waits for a place,
/// for as long as its own time allows: there are at most as many that wait as there are places for reads.
const HEAVY_READS_MAX: usize = 16;

/// Places for requests.
pub struct Admission {
    reads: Gate,
    writes: Gate,
    heavy: Arc<Semaphore>,
}

struct Gate {
    name: &'static str,
    places: Arc<Semaphore>,
    limit: usize,
}

/// A place, held while a request is under way, or work for it: until the last clone is dropped.
#[derive(Clone)]
pub struct Permit {
    _place: Arc<OwnedSemaphorePermit>,
}

impl Admission {
    /// As many places as the limits say.
    pub fn new(limits: &Limits) -> Admission {
        let gate = |name, limit| Gate { name, places: Arc::new(Semaphore::new(limit)), limit };
        Admission {
            reads: gate("limits.inflight_reads_max", limits.inflight_reads_max),
            writes: gate("limits.inflight_writes_max", limits.inflight_writes_max),
            heavy: Arc::new(Semaphore::new(HEAVY_READS_MAX)),
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

    /// A place for the blocking part of a read that was let in, waited for until the deadline.
    pub async fn heavy_read(&self, deadline: Instant) -> Result<Permit, Error> {
        let place = timeout_at(deadline, self.heavy.clone().acquire_owned()).await;
        let place = place.map_err(|_| Error::Deadline {
            waiting_for: format!("one of the {HEAVY_READS_MAX} places for reads of many keys"),
            maybe_committed: false,
        })?;
        place.map(Permit::new).map_err(|_| Error::ShuttingDown)
    }

    /// Lets nobody in any more. Who is in may finish.
    pub fn close(&self) {
        self.reads.places.close();
        self.writes.places.close();
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        [&self.reads, &self.writes].iter().all(|gate| gate.places.available_permits() == gate.limit)
    }
}

impl Permit {
    fn new(place: OwnedSemaphorePermit) -> Permit {
        Permit { _place: Arc::new(place) }
    }
}

impl Gate {
    fn enter(&self) -> Result<Permit, Error> {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => Ok(Permit::new(place)),
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
