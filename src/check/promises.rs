//! Counts of T4's promises, and which of them were void at the time.

use super::{
    Findings,
    history::{Fault, Nanos},
    verdict::{Violation, Worst},
};

/// The tier's name.
pub(super) const TIER: &str = "t4";

/// The promises of one subject: `watches`, `leases` or `locks`, which stands in the place of a level.
pub(super) struct Promises<'a> {
    pub findings: &'a mut Findings,
    pub faults: &'a [Fault],
    pub subject: &'static str,
}

/// A promise that was not kept.
pub(super) struct Broken {
    /// The anomaly's name.
    pub anomaly: &'static str,
    /// The reason in words.
    pub why: String,
    /// The operations that show it, by index.
    pub operations: Vec<u64>,
    /// If it rests on a clock: from when to when.
    pub clock: Option<(Nanos, Nanos)>,
}

impl Promises<'_> {
    /// A promise was put to the test so many times.
    pub fn checked(&mut self, guarantee: &'static str, times: u64) {
        if times > 0 {
            let tally = self.findings.tally(self.subject, guarantee);
            tally.promised = true;
            tally.checked += times;
            self.findings.tier(TIER).checked += times;
        }
    }

    /// A promise was not kept. One that rests on a clock is only counted, if a clock was made to run beyond
    /// its bound meanwhile.
    pub fn broken(&mut self, guarantee: &'static str, broken: Broken) {
        let excuse = broken.clock.and_then(|span| excuse(self.faults, span));
        let Broken { anomaly, why, operations, .. } = broken;
        let tally = self.findings.tally(self.subject, guarantee);
        tally.promised = true;
        tally.violations += 1;
        let worst =
            Worst { operations: operations.clone(), why: why.clone(), stale_ms: 0, stale_revisions: 0 };
        tally.worst.get_or_insert(worst);
        match excuse {
            Some(assumption) => {
                tally.excused += 1;
                tally.assumption = Some(assumption.to_owned());
            }
            None => self.findings.violated(Violation { tier: TIER, anomaly, level: None, why, operations }),
        }
    }
}

/// The assumption that a fault broke at some time in between.
fn excuse(faults: &[Fault], (from, to): (Nanos, Nanos)) -> Option<&str> {
    let meanwhile = |fault: &&Fault| fault.from <= to && fault.to.is_none_or(|end| end >= from);
    faults.iter().filter(meanwhile).find_map(|fault| fault.breaks.as_deref())
}
