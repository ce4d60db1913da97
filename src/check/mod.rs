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

pub mod append;
mod effect;
pub mod format;
pub mod history;
mod index;
pub mod lease;
mod levels;
mod linear;
pub mod lock;
mod options;
mod promises;
pub mod report;
pub mod verdict;
pub mod watch;
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
    wellformed::check(&index, &mut findings);
    if let Some(replay) = witness::check(&index, &mut findings) {
        levels::check(&index, &replay, &mut findings);
    }
    if options.model.is_none_or(Model::is_linear) {
        linear::check(&index, options, &mut findings);
    }
    append::check(history, &mut findings);
    let began = Instant::now();
    watch::check(history, &mut findings);
    lease::check(history, &mut findings);
    lock::check(history, &mut findings);
    if let Some(tier) = findings.tiers.get_mut(promises::TIER) {
        tier.took = began.elapsed();
    }
    findings
}
