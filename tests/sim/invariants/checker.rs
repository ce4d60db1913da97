//! What `quorate check` says of the registers: the same code that judges real clusters, tiers T0 to T2 and
//! the promises of each level. T2 looks at values alone, and so does not trust the revisions that the other
//! invariants rest on (Herlihy and Wing, "Linearizability", 1990; Lowe, "Testing for Linearizability", 2017).

use std::time::Duration;

use quorate::check::{
    self, Options, Verdict,
    history::{About, History},
};

use super::reads::DRIFT;
use crate::workload;

/// Each key has some hundred operations: the search takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

/// Violations in words. Where clocks do not keep their bound, nothing is made of what an answer says of its
/// age.
pub fn check(history: &workload::History, clocks: bool) -> Vec<String> {
    let mut operations = history.registers.clone();
    for seen in operations.iter_mut().filter_map(|operation| operation.seen.as_mut()).filter(|_| !clocks) {
        seen.staleness_bound = None;
    }
    operations.sort_by_key(|operation| operation.call);
    let about = About { quorate_history: 1, clock_bound: Some(DRIFT), ..About::default() };
    let recorded = History { about, operations, ..History::default() };
    let options = Options { deadline: DEADLINE, threads: 1, ..Options::default() };
    let findings = check::check(&recorded, &options);
    let told = |violation: &check::verdict::Violation| {
        let operation = |index: &u64| recorded.operations.iter().find(|operation| operation.index == *index);
        let shown: Vec<String> =
            violation.operations.iter().filter_map(operation).map(|found| format!("{found:?}")).collect();
        format!(
            "checker: {} ({}): {}: {}",
            violation.anomaly,
            violation.tier,
            violation.why,
            shown.join("; ")
        )
    };
    let mut violations: Vec<String> = findings.violations.iter().map(told).collect();
    for (tier, found) in &findings.tiers {
        if found.verdict == Verdict::Unknown {
            violations.push(format!("undecided: {tier} does not know: {:?}", found.note));
        }
    }
    violations
}
