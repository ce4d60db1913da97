//! Where an operation's time goes: a histogram for each stage, always on. Recording costs some additions.
//!
//! Plain counters, no clock: who measures says how long it took. Times are in microseconds; a quantile is the
//! upper end of its bucket, at most an eighth too high.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A part of an operation's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A write, from its admission to its answer, on the member that was asked.
    Write,
    /// The same at the leader, from handing it to Raft until its result is there.
    Propose,
    /// An append, until it is on this member's disk.
    LogSync,
    /// An append, until it is known to be committed and its turn to be applied has come.
    Commit,
    /// A chunk of entries being applied.
    Apply,
    /// A read waiting for a quorum to confirm the leader.
    Round,
    /// A read waiting until this member has applied what it must show.
    CatchUp,
}

impl Stage {
    /// All of them, in the order of an operation's way.
    pub const ALL: [Stage; 7] = [
        Stage::Write,
        Stage::Propose,
        Stage::LogSync,
        Stage::Commit,
        Stage::Apply,
        Stage::Round,
        Stage::CatchUp,
    ];

    /// The name in a member's status.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Write => "write",
            Stage::Propose => "propose",
            Stage::LogSync => "log_sync",
            Stage::Commit => "commit",
            Stage::Apply => "apply",
            Stage::Round => "round",
            Stage::CatchUp => "catch_up",
        }
    }
}

/// What a stage took since the member started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageTimes {
    /// Which.
    pub stage: Stage,
    /// How often it was gone through.
    pub count: u64,
    /// Microseconds on average,
    pub mean_us: u64,
    /// half of the time no more than,
    pub p50_us: u64,
    /// in 99 of 100 cases no more than,
    pub p99_us: u64,
    /// and at most.
    pub max_us: u64,
}

/// The histograms of one member.
#[derive(Debug)]
pub struct Stages([Histogram; Stage::ALL.len()]);

impl Default for Stages {
    fn default() -> Stages {
        Stages(array::from_fn(|_| Histogram::default()))
    }
}

impl Stages {
    /// A stage took so long.
    pub fn record(&self, stage: Stage, took: Duration) {
        self.0[stage as usize].record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// What each took, those left out that nothing went through.
    pub fn times(&self) -> Vec<StageTimes> {
        let times = |stage: Stage| self.0[stage as usize].times(stage);
        Stage::ALL.into_iter().filter_map(times).collect()
    }
}

/// Buckets for each power of two.
const PARTS: usize = 8;
/// Its logarithm.
const PART_BITS: u32 = 3;
/// Up to about half an hour; the last one takes what is longer.
const BUCKETS: usize = 29 * PARTS;

#[derive(Debug)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: array::from_fn(|_| AtomicU64::new(0)), sum: 0.into(), max: 0.into() }
    }
}

/// The bucket of a value: the small ones have one each, then eight for each power of two.
fn bucket(value: u64) -> usize {
    let power = value.max(1).ilog2();
    if power < PART_BITS {
        return value as usize;
    }
    let part = (value >> (power - PART_BITS)) as usize - PARTS;
    ((power - PART_BITS + 1) as usize * PARTS + part).min(BUCKETS - 1)
}

/// The highest value in a bucket.
fn upper(bucket: usize) -> u64 {
    let (power, part) = (bucket / PARTS, bucket % PARTS);
    match power {
        0 => part as u64,
        power => ((PARTS + part + 1) as u64) << (power - 1),
    }
    .saturating_sub(u64::from(power > 0))
}

impl Histogram {
    fn record(&self, value: u64) {
        self.buckets[bucket(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    fn times(&self, stage: Stage) -> Option<StageTimes> {
        let counts: Vec<u64> = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max_us = self.max.load(Ordering::Relaxed);
        let quantile = |share: u64| {
            let rank = (count * share).div_ceil(100);
            let mut passed = 0;
            let found = counts.iter().position(|count| {
                passed += count;
                passed >= rank
            });
            found.map_or(max_us, |found| upper(found).min(max_us))
        };
        let mean_us = self.sum.load(Ordering::Relaxed).checked_div(count)?;
        Some(StageTimes { stage, count, mean_us, p50_us: quantile(50), p99_us: quantile(99), max_us })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_ends_at_most_an_eighth_above_it() {
        let values =
            (0..5000).chain((0..30).flat_map(|power| [1 << power, (1 << power) + 1, (2 << power) - 1]));
        for value in values {
            let upper = upper(bucket(value));
            assert!(upper >= value, "{value} is above its bucket's end, {upper}");
            assert!(upper - value <= value / 8, "{value} counts as {upper}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let stages = Stages::default();
        for micros in 1..=1000 {
            stages.record(Stage::Apply, Duration::from_micros(micros));
        }
        let times = stages.times();
        let [apply] = &times[..] else { panic!("{times:?}") };
        assert_eq!((apply.stage, apply.count, apply.mean_us, apply.max_us), (Stage::Apply, 1000, 500, 1000));
        assert!((500..=562).contains(&apply.p50_us), "{apply:?}");
        assert!((990..=1000).contains(&apply.p99_us), "{apply:?}");
    }

    #[test]
    fn one_value_is_all_quantiles() {
        let stages = Stages::default();
        stages.record(Stage::Round, Duration::from_millis(7));
        let times = stages.times().remove(0);
        assert_eq!((times.p50_us, times.p99_us, times.max_us), (7000, 7000, 7000));
    }
}
