//! What a check says.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::history::Nanos;

/// The answer in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was promised was kept.
    #[default]
    Ok,
    /// A search ended before it knew, and nothing else was violated.
    Unknown,
    /// A promise was broken; the witness shows how.
    Violated,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Per tier (`t0` … `t4`, `levels`).
    pub tiers: BTreeMap<&'static str, Tier>,
    /// Per level, per guarantee.
    pub guarantees: BTreeMap<&'static str, BTreeMap<&'static str, Tally>>,
    /// Broken promises, the plainest first; at most [`VIOLATIONS_MAX`] of each name.
    pub violations: Vec<Violation>,
    /// Of each answered read whose keys had changed by then: how stale it was.
    pub staleness: Vec<Staleness>,
}

/// Violations that are kept of one name; the others are only counted.
pub const VIOLATIONS_MAX: usize = 20;

/// What one tier did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tier {
    /// Its own verdict.
    pub verdict: Verdict,
    /// How many operations, keys or events it looked at.
    pub checked: u64,
    /// How many promises it found broken.
    pub violations: u64,
    /// Why it did not look, or could not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How long it took.
    #[serde(skip)]
    pub took: Duration,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The tier that found it.
    pub tier: &'static str,
    /// The anomaly's name in the field: `stale-read`, `lost-update`, `G-single`, `watch-gap`, …
    pub anomaly: &'static str,
    /// The level that promised it, if it was a read's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<&'static str>,
    /// The reason in words, for somebody who sees the operations.
    pub why: String,
    /// The smallest set of operations that shows it, by index.
    pub operations: Vec<u64>,
}

/// How often a guarantee was put to the test at a level, and how it went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Whether the level promises it. What it does not promise is counted to be shown, and breaks nothing.
    pub promised: bool,
    /// Operations.
    pub checked: u64,
    /// Of these, how many it did not hold for.
    pub violations: u64,
    /// Of those, how many happened while an assumption of the promise was broken on purpose (a clock beyond
    /// the bound): they do not count against it.
    pub excused: u64,
    /// The assumption, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumption: Option<String>,
    /// The worst of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Worst>,
}

/// The worst case of a guarantee at a level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Worst {
    /// The operations that show it, by index: the read first.
    pub operations: Vec<u64>,
    /// In words.
    pub why: String,
    /// How stale the read was, in milliseconds, rounded.
    pub stale_ms: u64,
    /// The same in revisions that concerned it.
    pub stale_revisions: u64,
}

/// How stale a read was: since when something newer could have been seen by everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// The read, by index.
    pub operation: u64,
    /// From the acknowledgement of the first change that it missed to its call.
    pub stale: Nanos,
    /// Changes of its keys that it missed.
    pub revisions: u64,
}

impl Findings {
    /// The answer in one word: violated if anything was; unknown if a search did not end.
    pub fn verdict(&self) -> Verdict {
        self.tiers.values().map(|tier| tier.verdict).max().unwrap_or_default()
    }

    /// The tier's entry.
    pub fn tier(&mut self, name: &'static str) -> &mut Tier {
        self.tiers.entry(name).or_default()
    }

    /// A promise was broken.
    pub fn violated(&mut self, violation: Violation) {
        let tier = self.tiers.entry(violation.tier).or_default();
        tier.violations += 1;
        tier.verdict = Verdict::Violated;
        let same = |other: &&Violation| other.anomaly == violation.anomaly && other.level == violation.level;
        if self.violations.iter().filter(same).count() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    /// The entry of a guarantee at a level.
    pub fn tally(&mut self, level: &'static str, guarantee: &'static str) -> &mut Tally {
        self.guarantees.entry(level).or_default().entry(guarantee).or_default()
    }

    /// What shows the verdict best: the violation with the fewest operations.
    pub fn witness(&self) -> Option<&Violation> {
        self.violations.iter().min_by_key(|violation| violation.operations.len())
    }
}
