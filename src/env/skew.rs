//! A clock that is wrong on purpose: what this process takes for the time runs ahead of, or behind, the
//! machine's. For `quorate torture`, which shows what holds while clocks differ, and what does not once they
//! differ by more than leases allow for.
//!
//! Put wrong alike are Raft's moments and timers, and [`super::SystemClock`], as on a machine whose
//! oscillator is off. Not put wrong are deadlines of requests and pauses between attempts, on which no
//! promise rests, and the time for which a suspension voids the lease (`node::lease`), which is not tried
//! together with this.

use std::{
    fs,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Whether the clocks were ever put wrong: what costs nothing while they are right.
static WRONG: AtomicBool = AtomicBool::new(false);

static SKEW: Mutex<Option<Skew>> = Mutex::new(None);

/// How the process's time differs from the machine's.
#[derive(Clone, Copy)]
struct Skew {
    rate: f64,
    /// Jumps so far.
    jumped: Duration,
    /// At `since`, the process was ahead by so many nanoseconds.
    lead: i64,
    since: Instant,
    /// The latest time that was shown.
    shown: Duration,
}

impl Skew {
    fn lead_at(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.since).as_nanos() as f64;
        self.lead + (passed * (self.rate - 1.0)) as i64
    }
}

/// What this process takes for the time, if the machine's clock shows `read()`. It never goes back.
pub(super) fn shown(read: impl FnOnce() -> Duration) -> Duration {
    if !WRONG.load(Ordering::Relaxed) {
        return read();
    }
    let mut skew = SKEW.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(skew) = skew.as_mut() else { return read() };
    skew.shown = skew.shown.max(moved(read(), skew.lead_at(Instant::now())));
    skew.shown
}

fn moved(time: Duration, lead: i64) -> Duration {
    let by = Duration::from_nanos(lead.unsigned_abs());
    if lead < 0 { time.saturating_sub(by) } else { time + by }
}

/// How fast this process's time passes.
fn rate() -> f64 {
    let skew = SKEW.lock().unwrap_or_else(PoisonError::into_inner);
    skew.map_or(1.0, |skew| skew.rate)
}

/// Goes on at another rate, from a moment that lies ahead of the present if `jumped` has grown since the last
/// call. Time never goes back.
fn set(rate: f64, jumped: Duration) {
    let now = Instant::now();
    let mut skew = SKEW.lock().unwrap_or_else(PoisonError::into_inner);
    let (lead, before) = skew.map_or((0, Duration::ZERO), |skew| (skew.lead_at(now), skew.jumped));
    let jump = i64::try_from(jumped.saturating_sub(before).as_nanos()).unwrap_or(i64::MAX / 4);
    let shown = skew.map_or(Duration::ZERO, |skew| skew.shown);
    *skew =
        Some(Skew { rate, jumped: jumped.max(before), lead: lead.saturating_add(jump), since: now, shown });
    WRONG.store(true, Ordering::Relaxed);
}

/// The process's time, of a moment that the machine's timers tell. A later moment is never earlier.
pub fn skewed(moment: tokio::time::Instant) -> tokio::time::Instant {
    if !WRONG.load(Ordering::Relaxed) {
        return moment;
    }
    let skew = SKEW.lock().unwrap_or_else(PoisonError::into_inner);
    match skew.map_or(0, |skew| skew.lead_at(moment.into_std())) {
        ahead @ 0.. => moment + Duration::from_nanos(ahead.unsigned_abs()),
        behind => moment.checked_sub(Duration::from_nanos(behind.unsigned_abs())).unwrap_or(moment),
    }
}

/// How long the machine must wait for so much of the process's time to pass.
pub fn by_the_machine(time: Duration) -> Duration {
    match WRONG.load(Ordering::Relaxed) {
        false => time,
        true => time.div_f64(rate()),
    }
}

/// The variable that names a file for `quorate serve` to [`obey`]. For tests only.
pub const CLOCK_VARIABLE: &str = "QUORATE_TEST_CLOCK";

/// Between two looks at the file.
const LOOK: Duration = Duration::from_millis(20);

/// From now on the process's clocks obey a file, for as long as it runs: `RATE JUMPED_MS`, for example
/// `0.5 0`: half as fast; or `1 3000`: three seconds ahead. A file that is missing or makes no sense changes
/// nothing.
pub fn obey(path: PathBuf) {
    thread::spawn(move || {
        let mut last = String::new();
        loop {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if text != last
                && let Some((rate, jumped)) = read(&text)
            {
                set(rate, jumped);
                tracing::warn!(
                    rate,
                    jumped_ms = jumped.as_millis() as u64,
                    "this member's clock is put wrong"
                );
            }
            last = text;
            thread::sleep(LOOK);
        }
    });
}

/// A clock that stands still would hold its timers for ever.
const RATES: RangeInclusive<f64> = 0.05..=100.0;

fn read(text: &str) -> Option<(f64, Duration)> {
    let (rate, jumped) = text.trim().split_once(' ')?;
    let rate: f64 = rate.parse().ok()?;
    let jumped = Duration::from_millis(jumped.parse().ok()?);
    RATES.contains(&rate).then_some((rate, jumped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_clock_falls_behind_and_a_jump_brings_it_ahead() {
        let since = Instant::now();
        let skew = Skew { rate: 0.5, jumped: Duration::ZERO, lead: 0, since, shown: Duration::ZERO };
        let second = Duration::from_secs(1);
        assert_eq!(skew.lead_at(since + second), -500_000_000);
        let jumped = Skew { lead: 3_000_000_000, rate: 1.0, ..skew };
        assert_eq!(jumped.lead_at(since + second), 3_000_000_000);
    }

    #[test]
    fn a_file_names_a_rate_and_what_was_jumped() {
        assert_eq!(read("0.5 0\n"), Some((0.5, Duration::ZERO)));
        assert_eq!(read("1 3000"), Some((1.0, Duration::from_secs(3))));
        for bad in ["", "1", "-1 0", "0 0", "NaN 0", "1 -3", "fast 0"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
