//! What came of the operations: latencies and errors, in few locks that are hardly ever contended.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{pace::Window, wire::Failed};

/// Clients share so many records: their threads are few, so that two seldom meet.
const SHARDS: usize = 16;

/// Latencies in nanoseconds: told apart from 1 µs on, to three digits, up to two minutes.
const LATENCY_MIN: u64 = 1_000;
const LATENCY_MAX: u64 = 120_000_000_000;
const DIGITS: u8 = 3;

/// Latencies.
pub(super) type Latencies = Histogram<u64>;

/// # Panics
/// Never: the bounds are constants that fit.
pub(super) fn latencies() -> Latencies {
    Histogram::new_with_bounds(LATENCY_MIN, LATENCY_MAX, DIGITS).expect("bounds that fit")
}

/// How a run stands.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Since clients began.
    pub elapsed: Duration,
    /// Whether it counts already.
    pub measuring: bool,
    /// Operations in the last second.
    pub ops_per_s: f64,
    /// Of those.
    pub p99_ms: f64,
    /// Failed since clients began.
    pub errors: u64,
}

/// Errors by kind.
pub(super) type Errors = BTreeMap<&'static str, u64>;

struct Shard {
    /// What is measured.
    all: Latencies,
    errors: Errors,
    /// Since the last look.
    lately: Latencies,
    /// Since the beginning.
    failed: u64,
}

/// Where clients write down what came of their operations.
pub(super) struct Recorder {
    window: Window,
    shards: Vec<Mutex<Shard>>,
}

impl Recorder {
    pub fn new(window: Window) -> Recorder {
        let shard = || Shard { all: latencies(), errors: Errors::new(), lately: latencies(), failed: 0 };
        Recorder { window, shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect() }
    }

    /// An operation of `client` that began then has ended now.
    pub fn record(&self, client: usize, began: Instant, result: Result<(), Failed>) {
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let measured = self.window.measures(began);
        let shard = &mut *self.shard(client);
        match result {
            Ok(()) => {
                shard.lately.saturating_record(nanos);
                if measured {
                    shard.all.saturating_record(nanos);
                }
            }
            Err(Failed(kind)) => {
                shard.failed += 1;
                if measured {
                    *shard.errors.entry(kind).or_default() += 1;
                }
            }
        }
    }

    /// How it stands; the last look was `since` ago.
    pub fn look(&self, since: Duration) -> Live {
        let (mut lately, mut errors) = (latencies(), 0);
        for shard in 0..SHARDS {
            let shard = &mut *self.shard(shard);
            // Of equal bounds: never fails.
            let _ = lately.add(&shard.lately);
            shard.lately.reset();
            errors += shard.failed;
        }
        let now = Instant::now();
        Live {
            elapsed: now - self.window.start,
            measuring: self.window.from <= now,
            ops_per_s: lately.len() as f64 / since.as_secs_f64().max(1e-3),
            p99_ms: millis(lately.value_at_quantile(0.99)),
            errors,
        }
    }

    /// All that was measured.
    pub fn total(&self) -> (Latencies, Errors) {
        let (mut all, mut errors) = (latencies(), Errors::new());
        for shard in 0..SHARDS {
            let shard = self.shard(shard);
            let _ = all.add(&shard.all);
            shard.errors.iter().for_each(|(kind, count)| *errors.entry(kind).or_default() += count);
        }
        (all, errors)
    }

    fn shard(&self, client: usize) -> MutexGuard<'_, Shard> {
        self.shards[client % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nanoseconds as milliseconds, to the microsecond.
pub(super) fn millis(nanos: u64) -> f64 {
    (nanos as f64 / 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_began_inside_the_window_is_measured() {
        let window = Window::beginning_now(Duration::from_millis(50), Duration::from_millis(50));
        let recorder = Recorder::new(window);
        recorder.record(0, window.start, Ok(()));
        recorder.record(1, window.from, Ok(()));
        recorder.record(17, window.from, Err(Failed("deadline")));
        recorder.record(2, window.until, Err(Failed("deadline")));
        let live = recorder.look(Duration::from_secs(1));
        assert_eq!((live.ops_per_s.round(), live.errors), (2.0, 2));
        assert_eq!(recorder.look(Duration::from_secs(1)).ops_per_s, 0.0, "looked at once");
        let (all, errors) = recorder.total();
        assert_eq!((all.len(), errors), (1, Errors::from([("deadline", 1)])));
    }

    #[test]
    fn percentiles_are_those_of_all_shards() {
        let window = Window::beginning_now(Duration::ZERO, Duration::from_secs(60));
        let recorder = Recorder::new(window);
        for millis in 1..=1000u64 {
            let mut shard = recorder.shard(millis as usize);
            shard.all.saturating_record(millis * 1_000_000);
        }
        let (all, _) = recorder.total();
        for (quantile, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = millis(all.value_at_quantile(quantile));
            assert!((found / expected - 1.0).abs() < 0.002, "{quantile}: {found}, not {expected}");
        }
        assert!((millis(all.max()) / 1000.0 - 1.0).abs() < 0.002);
        assert_eq!(millis(1_234_567), 1.235);
    }
}
