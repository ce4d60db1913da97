//! Whether the leader's clock can be trusted for its lease.
//!
//! openraft measures the lease on a clock that stops while the machine is suspended, so that after a
//! suspension an acknowledgement looks younger than it is. When the suspended time has grown, the lease is
//! void for as long as the oldest acknowledgement from before could still count: one full lease of
//! unsuspended time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Smaller growth is the granularity of reading two clocks one after the other.
const TOLERANCE: Duration = Duration::from_millis(5);

/// Remembers the suspended time, and until when the lease is void.
pub struct SuspensionGuard {
    lease: Duration,
    seen: Mutex<Seen>,
}

struct Seen {
    suspended: Duration,
    void_until: Option<Instant>,
}

impl SuspensionGuard {
    /// Starts with the suspended time of the present.
    pub fn new(lease: Duration, suspended: Duration) -> SuspensionGuard {
        SuspensionGuard { lease, seen: Mutex::new(Seen { suspended, void_until: None }) }
    }

    /// Whether a lease that was found valid before this call can be trusted, given the suspended time now.
    pub fn trusted(&self, suspended: Duration, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if suspended > seen.suspended + TOLERANCE {
            seen.suspended = suspended;
            seen.void_until = Some(now + self.lease);
        }
        seen.void_until.is_none_or(|until| now >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_suspension_voids_one_full_lease() {
        let lease = Duration::from_secs(1);
        let guard = SuspensionGuard::new(lease, Duration::from_secs(7));
        let start = Instant::now();
        assert!(guard.trusted(Duration::from_secs(7), start));
        assert!(guard.trusted(Duration::from_millis(7003), start), "granularity is no suspension");
        let slept = Duration::from_secs(9);
        assert!(!guard.trusted(slept, start), "the machine slept for two seconds");
        assert!(!guard.trusted(slept, start + lease / 2));
        assert!(guard.trusted(slept, start + lease), "acknowledgements from before have expired by now");
    }
}
