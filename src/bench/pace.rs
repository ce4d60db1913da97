//! When the next operation begins.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// When clients work, and when that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub start: Instant,
    /// What begins from here on is measured,
    pub from: Instant,
    /// and from here on nothing begins.
    pub until: Instant,
}

impl Window {
    pub fn beginning_now(warmup: Duration, duration: Duration) -> Window {
        let start = Instant::now();
        Window { start, from: start + warmup, until: start + warmup + duration }
    }

    /// Whether what began then is measured.
    pub fn measures(&self, began: Instant) -> bool {
        self.from <= began && began < self.until
    }
}

/// Gives clients their turns. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pace {
    window: Window,
    open: Option<Arc<Open>>,
}

/// Operations that are due at fixed moments, whoever is free to do them.
struct Open {
    interval: Duration,
    /// Due, and not begun: a number, however far behind it is.
    due: Semaphore,
    begun: AtomicU64,
    released: AtomicU64,
}

/// The schedule is looked at no more often than this: at high rates several operations become due at once.
const TICK_MIN: Duration = Duration::from_micros(100);

impl Pace {
    /// Turns as soon as a client is free; with a `rate`, at so many moments a second.
    pub fn new(window: Window, rate: Option<u32>) -> Pace {
        let open = rate.map(|rate| {
            let interval = Duration::from_secs(1) / rate.max(1);
            let open = Open {
                interval,
                due: Semaphore::new(0),
                begun: AtomicU64::new(0),
                released: AtomicU64::new(0),
            };
            let open = Arc::new(open);
            let keeper = open.clone();
            // A thread of its own: the runtime's timers are a millisecond wide, which would count as latency.
            thread::spawn(move || keeper.keep(window));
            open
        });
        Pace { window, open }
    }

    /// Waits for a turn; the moment at which the operation was to begin. `None`: the run is over.
    pub async fn turn(&self) -> Option<Instant> {
        let Some(open) = &self.open else {
            let now = Instant::now();
            return (now < self.window.until).then_some(now);
        };
        open.due.acquire().await.ok()?.forget();
        let number = open.begun.fetch_add(1, Ordering::Relaxed);
        Some(open.moment(self.window.start, number))
    }

    /// Operations that were due and had not begun when the run was over; only of an open loop.
    pub fn behind(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        Some(open.released.load(Ordering::Relaxed).saturating_sub(open.begun.load(Ordering::Relaxed)))
    }
}

impl Open {
    fn moment(&self, start: Instant, number: u64) -> Instant {
        start + Duration::from_nanos((self.interval.as_nanos() as u64).saturating_mul(number))
    }

    /// Releases what has become due until the end, and then nobody waits any more.
    fn keep(&self, window: Window) {
        let mut released = 0;
        loop {
            let now = Instant::now().min(window.until);
            let due = 1 + ((now - window.start).as_nanos() / self.interval.as_nanos().max(1)) as u64;
            // The moment of the end itself is no more.
            let due = if now == window.until { due - 1 } else { due };
            self.due.add_permits(due.saturating_sub(released) as usize);
            released = released.max(due);
            self.released.store(released, Ordering::Relaxed);
            if now == window.until {
                return self.due.close();
            }
            let next = self.moment(window.start, released).min(window.until);
            thread::sleep(next.saturating_duration_since(Instant::now()).max(TICK_MIN));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_open_loop_counts_from_the_moment_that_was_meant() {
        let window = Window::beginning_now(Duration::ZERO, Duration::from_millis(200));
        let pace = Pace::new(window, Some(100));
        // A client that hangs for a while: what became due meanwhile began when it was due.
        tokio::time::sleep(Duration::from_millis(60)).await;
        for number in 0..5 {
            let began = pace.turn().await.expect("a turn");
            assert_eq!(began - window.start, Duration::from_millis(10 * number));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(pace.turn().await, None, "the run is over");
        assert_eq!(pace.behind(), Some(15), "20 were due, 5 began");
    }

    #[tokio::test]
    async fn a_closed_loop_ends_with_the_window() {
        let pace = Pace::new(Window::beginning_now(Duration::ZERO, Duration::from_millis(20)), None);
        let began = pace.turn().await.expect("a turn");
        assert!(pace.window.measures(began) && pace.behind().is_none());
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(pace.turn().await, None);
    }
}
