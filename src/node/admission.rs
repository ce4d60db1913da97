//! Overload is answered, not suffered: a bounded number of reads and writes is under way at once. A place is
//! held until the work behind it has ended, also when nobody waits for that any more.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    env::{Blocking, blocking},
    error::Error,
    types::Limits,
};

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

    /// Begins the blocking part of a read that was let in, which keeps its `place` too until the end: in one
    /// of few further places, waited for until the deadline. It is waited for in a task of its own, since
    /// whoever reads may not be polled any more: a stream is polled only while the client takes what it
    /// sends.
    pub async fn heavy_read<T: Send + 'static>(
        &self,
        place: Permit,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Blocking<T>, Error> {
        let heavy = self.heavy.clone();
        let beginning = AbortOnDropHandle::new(tokio::spawn(async move {
            let heavy = timeout_at(deadline, heavy.acquire_owned()).await.map_err(|_| Error::Deadline {
                waiting_for: format!("one of the {HEAVY_READS_MAX} places for reads of many keys"),
                maybe_committed: false,
            })?;
            let places = (place, heavy.map_err(|_| Error::ShuttingDown)?);
            Ok(blocking(move || {
                let _places = places;
                work()
            }))
        }));
        beginning.await.map_err(|panic| Error::Stopped(panic.to_string()))?
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_is_not_polled_holds_up_no_other() {
        let admission = Admission::new(&Limits::default());
        let release = Arc::new(AtomicBool::new(false));
        let read = || {
            let (place, release) = (admission.read().map_err(|error| error.to_string()), release.clone());
            let work = move || {
                while !release.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            let deadline = Instant::now() + Duration::from_secs(60);
            Box::pin(admission.heavy_read(place.expect("a place"), deadline, work))
        };
        let mut unread: Vec<_> = (0..HEAVY_READS_MAX * 2).map(|_| read()).collect();
        for read in &mut unread {
            let _ = futures::poll!(read);
        }
        release.store(true, Ordering::Relaxed);
        read().await.map(drop).expect("a place, once those before it are done");
    }

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
