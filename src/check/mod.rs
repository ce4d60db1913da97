//! Histories, and what they prove: `quorate check`, and the judge of `quorate torture`.
//!
//! A [`History`] is what clients did and saw, with one clock for all of them. [`check`] answers with
//! [`Findings`]: a verdict, the smallest set of operations that shows it, and for each consistency level how
//! often which guarantee was put to the test and failed. Nothing here knows how the store works; only the
//! promises of `docs/consistency.md`.
//!
//! The tiers, from cheap to dear:
//!
//! | tier | what | needs |
//! |---|---|---|
//! | T0 | well-formed; nothing is read that nobody wrote | values |
//! | T1 | an order by revision explains every answer and respects real time: exact, O(n log n) | revisions |
//! | T2 | linearizability of each key by values alone: does not trust our revisions | unique values help |
//! | T3 | cycles of transactions over lists (Elle) | list-append |
//! | T4 | watches, leases, locks and elections | their rows |
//! | levels | what each level gave and promised, and how stale it was | revisions |
//!
//! Two rules are kept everywhere. An operation whose outcome is unknown may have taken effect at any time
//! after its call, or never: it is not a failure, and no verdict rests on either. And a search that reaches
//! its deadline or its memory cap says [`Verdict::Unknown`]: it never guesses.

mod acked;
mod append;
mod effect;
pub mod format;
pub mod history;
mod index;
mod lease;
mod levels;
mod linear;
mod lock;
mod options;
mod promises;
pub mod report;
pub mod verdict;
mod watch;
mod wellformed;
mod witness;

use std::time::Instant;

use self::index::Index;
pub use self::{
    history::History,
    options::{Model, Options},
    verdict::{Findings, Verdict},
};

/// Says whether the history keeps what was promised. Takes about a second for a million operations with
/// revisions, and up to [`Options::deadline`] where a search is needed.
pub fn check(history: &History, options: &Options) -> Findings {
    let mut findings = Findings::default();
    let index = Index::new(history);
    timed(&mut findings, wellformed::TIER, |findings| wellformed::check(&index, findings));
    let replay = timed(&mut findings, witness::TIER, |findings| witness::check(&index, findings));
    if let Some(replay) = replay {
        timed(&mut findings, levels::TIER, |findings| levels::check(&index, &replay, findings));
    }
    if options.model.is_none_or(Model::is_linear) {
        timed(&mut findings, linear::TIER, |findings| linear::check(&index, options, findings));
    }
    timed(&mut findings, append::TIER, |findings| append::check(history, findings));
    timed(&mut findings, promises::TIER, |findings| {
        watch::check(history, findings);
        lease::check(history, findings);
        lock::check(history, findings);
    });
    findings
}

/// Does a tier's work, and notes how long it took if it found anything to look at.
fn timed<T>(findings: &mut Findings, tier: &str, work: impl FnOnce(&mut Findings) -> T) -> T {
    let began = Instant::now();
    let done = work(findings);
    if let Some(tier) = findings.tiers.get_mut(tier) {
        tier.took = began.elapsed();
    }
    done
}
