//! T2: linearizability of each key, by values alone.
//!
//! This tier does not trust the revisions that the store tells. For each key it looks for an order of the
//! operations on it that respects real time and explains every answer. The problem is NP-complete (Gibbons &
//! Korach 1997), so it may end without an answer: at its deadline, or when it remembers too much.

mod project;
mod row;
mod search;
mod seen;
mod set;
mod shrink;
mod tighten;
mod words;

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use self::{
    project::Projection,
    row::{ABSENT, Val},
    search::{Answer, Limits, search},
    set::Elements,
    shrink::Stuck,
};
use super::{
    index::{Index, Key},
    options::{Model, Options},
    verdict::{Findings, Verdict, Violation},
};

/// This tier's name.
pub const TIER: &str = "t2";

/// Values that a key is thought to have had at first.
const INITIAL_MAX: usize = 8;

/// Once a key is known to be bad, how long the others may still take.
const AFTER_VIOLATION: Duration = Duration::from_secs(5);

/// Checks each key that the history knows all writes of. On all cores, until the deadline.
pub fn check(index: &Index<'_>, options: &Options, findings: &mut Findings) {
    let elements = Elements::new(index);
    elements.check(findings);
    let is_searched = options.model != Some(Model::Set);
    let wanted: Vec<bool> =
        (0..index.len() as Key).map(|key| is_searched && index.is_known(key) && !elements.has(key)).collect();
    let mut projections = project::project(index, &wanted);
    // The long ones first, so that no core is left with one at the end.
    projections.sort_by_key(|projection| std::cmp::Reverse(projection.rows.len()));
    let searched = projections.len();
    let answers = Pool::new(index, options, projections).run();
    let mut unknown = Vec::new();
    for (key, answer) in answers {
        match answer {
            Judgement::Linear => {}
            Judgement::Violated(violation) => findings.violated(violation),
            Judgement::Unknown(why) => unknown.push(format!("{:?}: {why}", index.name(key))),
        }
    }
    let tier = findings.tier(TIER);
    tier.checked = (searched + elements.len()) as u64;
    tier.note = note(&unknown, elements.never_read());
    if !unknown.is_empty() {
        tier.verdict = tier.verdict.max(Verdict::Unknown);
    }
}

fn note(unknown: &[String], never_read: usize) -> Option<String> {
    let first =
        unknown.first().map(|first| format!("{} keys are unknown; the first, {first}", unknown.len()));
    let unread = (never_read > 0).then(|| format!("{never_read} keys were written after the last read"));
    let notes: Vec<String> = first.into_iter().chain(unread).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

enum Judgement {
    Linear,
    Violated(Violation),
    Unknown(&'static str),
}

/// Threads that take one key after the other.
struct Pool<'a, 'b> {
    index: &'b Index<'a>,
    limits: Limits,
    threads: usize,
    keys: Vec<Mutex<Option<Projection<'a>>>>,
    next: AtomicUsize,
    /// Until when, shortened once something is violated.
    deadline: Mutex<Instant>,
}

impl<'a, 'b> Pool<'a, 'b> {
    fn new(index: &'b Index<'a>, options: &Options, projections: Vec<Projection<'a>>) -> Self {
        let threads = options.threads.clamp(1, projections.len().max(1));
        let deadline = Instant::now() + options.deadline;
        let bytes_max = options.memory_bytes_max / threads as u64;
        let keys = projections.into_iter().map(|projection| Mutex::new(Some(projection))).collect();
        let limits = Limits { deadline, bytes_max };
        Pool { index, limits, threads, keys, next: AtomicUsize::new(0), deadline: Mutex::new(deadline) }
    }

    fn run(self) -> Vec<(Key, Judgement)> {
        let answers = Mutex::new(Vec::new());
        let work = || {
            while let Some(projection) = self.take() {
                let key = projection.key;
                let judgement = self.judge(projection);
                lock(&answers).push((key, judgement));
            }
        };
        thread::scope(|scope| {
            (1..self.threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let mut answers = answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        answers.sort_by_key(|(key, _)| *key);
        answers
    }

    fn take(&self) -> Option<Projection<'a>> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        lock(self.keys.get(at)?).take()
    }

    fn judge(&self, projection: Projection<'a>) -> Judgement {
        let Projection { key, mut rows, mut values } = projection;
        let limits = Limits { deadline: *lock(&self.deadline), ..self.limits };
        let initial = self.initial(&rows, &mut values);
        tighten::tighten(&mut rows, &values, &initial);
        let mut last: Option<usize> = None;
        for initial in &initial {
            match search(&rows, &mut values, *initial, limits) {
                Answer::Linear => return Judgement::Linear,
                Answer::Unknown(why) => return Judgement::Unknown(why),
                Answer::Stuck(row) => last = last.into_iter().chain([row]).max_by_key(|row| rows[*row].ret),
            }
        }
        let soon = Instant::now() + AFTER_VIOLATION;
        let mut deadline = lock(&self.deadline);
        *deadline = soon.min(*deadline);
        drop(deadline);
        let mut stuck = Stuck { rows, values: &mut values, initial: &initial, limits };
        stuck.shrink(last.unwrap_or(0));
        let rows = stuck.rows;
        let (anomaly, why) = words::words(self.index, self.index.name(key), (&rows, &values));
        let places = rows.iter().flat_map(|row| [Some(row.at), row.by]).flatten();
        let mut operations: Vec<u64> =
            places.map(|at| self.index.history.operations[at as usize].index).collect();
        operations.sort_unstable();
        operations.dedup();
        Judgement::Violated(Violation { tier: TIER, anomaly, level: None, why, operations })
    }

    /// What the key may have held when the history began.
    fn initial(&self, rows: &[row::Row<'a>], values: &mut row::Values<'a>) -> Vec<Val> {
        let mut initial = vec![ABSENT];
        if !self.index.has_past() {
            return initial;
        }
        // What was there at first can be seen until it is replaced; of a list, below what was added.
        let replaces = rows.iter().filter(|row| matches!(row.make, row::Make::Set(_)));
        let until = replaces.map(|row| row.ret).min().unwrap_or(row::NEVER);
        let added: HashSet<&str> = rows.iter().flat_map(row::Row::added).copied().collect();
        for row in rows.iter().filter(|row| row.call <= until) {
            row.need.values(&mut |value| {
                for value in [value, values.without_end(value, &added)] {
                    if initial.len() < INITIAL_MAX && !initial.contains(&value) {
                        initial.push(value);
                    }
                }
            });
        }
        // Something that nobody looked at.
        initial.push(values.push(ABSENT, "\0"));
        initial
    }
}

/// A thread that panicked ends the check anyway, at the end of the scope.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
