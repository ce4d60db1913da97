//! What the timeline draws: operations by row, deliveries of watches, holds of locks.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::{
    column::{Column, Texts},
    rows::{self, Row, ends},
    text, words,
};
use crate::check::{
    Findings, History,
    history::{Action, Delivery, DeliveryKind, Nanos, Operation, Outcome},
};

/// Operations that are drawn one by one. Of a longer history those that findings name are all here, and an
/// even choice of the others.
const OPERATIONS_MAX: usize = 150_000;
/// Deliveries that are drawn, chosen in the same way: the openings and ends of watches are all here.
const DELIVERIES_MAX: usize = 50_000;
/// Holds of locks that are drawn, an even choice.
const HOLDS_MAX: usize = 20_000;
/// Characters of an operation's text; enough to read, and a bound on the file.
const DETAIL_MAX: usize = 300;
/// The same in a long history, for those that no finding names.
const DETAIL_MAX_LONG: usize = 60;
/// Operations from which on a history is long.
const LONG: usize = 20_000;

/// Everything that has a place in time.
#[derive(Debug, Serialize)]
pub struct Timeline {
    /// When the last thing ended, in microseconds.
    pub end: u64,
    /// A row per session; short ones share theirs.
    pub rows: Vec<Row>,
    /// One entry per operation that is drawn, in order of call.
    pub operations: Operations,
    /// How many operations there are.
    pub total: usize,
    /// A row per watch: its prefix.
    pub watches: Vec<(u64, String)>,
    /// One entry per delivery.
    pub deliveries: Deliveries,
    /// How many deliveries there are.
    pub deliveries_total: usize,
    /// Holds of locks.
    pub holds: Vec<Hold>,
    /// Who led: microseconds, member, term.
    pub leaders: Vec<(u64, u64, u64)>,
    /// The stale reads among the operations that are drawn.
    pub stale: Stale,
}

/// The columns of the operations.
#[derive(Debug, Serialize)]
pub struct Operations {
    index: Column,
    process: Column,
    session: Column,
    row: Column,
    lane: Column,
    class: Column,
    /// 0: ok, 1: failed, 2: unknown.
    outcome: Column,
    /// Microseconds.
    call: Column,
    /// Microseconds from call to return.
    took: Column,
    verb: Column,
    verbs: Texts,
    subject: Column,
    subjects: Texts,
    detail: Vec<String>,
    reason: Column,
    reasons: Texts,
    part: Column,
    parts: Texts,
    /// Of a bounded read its `max_age` in microseconds, of a session's its `min_revision`.
    asked: Column,
    node: Column,
    term: Column,
    revision: Column,
    applied: Column,
    role: Column,
    roles: Texts,
    mechanism: Column,
    mechanisms: Texts,
    /// The class of the level that was served, plus 1; 0: not told.
    served: Column,
    /// The bound on staleness in microseconds, plus 1; 0: none was proved.
    bound: Column,
    stored: Column,
}

/// The columns of the deliveries.
#[derive(Debug, Serialize)]
pub struct Deliveries {
    /// The place of its watch.
    watch: Column,
    /// Microseconds.
    at: Column,
    node: Column,
    /// 0: opened, 1: events, 2: progress, 3: cancelled.
    kind: Column,
    detail: Vec<String>,
}

/// A lock in somebody's hands: as long as the holder may believe so.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    lock: String,
    token: u64,
    process: u64,
    /// The acquisition, by index.
    operation: u64,
    /// From its answer, in microseconds.
    from: u64,
    /// To its release's call or the end of its certainty; none: not known.
    to: Option<u64>,
}

/// The columns of the stale reads.
#[derive(Debug, Serialize)]
pub struct Stale {
    /// The read, by index.
    index: Column,
    /// Microseconds.
    stale: Column,
    revisions: Column,
}

/// The timeline of a history.
pub fn timeline(history: &History, findings: &Findings) -> Timeline {
    let named = named(findings);
    let all = &history.operations;
    let is_named = |operation: &Operation| named.contains(&operation.index);
    let operations: Vec<&Operation> = thinned(all, OPERATIONS_MAX, is_named);
    let (rows, places) = rows::rows(&operations);
    let deliveries = thinned(&history.deliveries, DELIVERIES_MAX, |delivery: &Delivery| {
        matches!(delivery.kind, DeliveryKind::Opened { .. } | DeliveryKind::Cancelled { .. })
    });
    let watches: BTreeMap<u64, String> =
        history.deliveries.iter().map(|delivery| (delivery.watch, delivery.prefix.to_string())).collect();
    Timeline {
        end: micros(end(history)),
        rows,
        operations: columns(&operations, &places, &named),
        total: all.len(),
        deliveries: deliveries_of(&deliveries, &watches),
        deliveries_total: history.deliveries.len(),
        watches: watches.into_iter().collect(),
        holds: thinned_holds(holds(all)),
        leaders: history.leaders.iter().map(|led| (micros(led.at), led.leader, led.term)).collect(),
        stale: stale(findings, &operations),
    }
}

/// The operations that findings name.
fn named(findings: &Findings) -> HashSet<u64> {
    let worst =
        findings.guarantees.values().flat_map(BTreeMap::values).filter_map(|tally| tally.worst.as_ref());
    let worst = worst.flat_map(|worst| &worst.operations);
    findings.violations.iter().flat_map(|violation| &violation.operations).chain(worst).copied().collect()
}

/// All that must be kept, and an even choice of the others, so that about `max` are left.
fn thinned<T>(all: &[T], max: usize, keep: impl Fn(&T) -> bool) -> Vec<&T> {
    let step = all.len().div_ceil(max).max(1);
    all.iter().enumerate().filter(|(at, one)| at % step == 0 || keep(one)).map(|(_, one)| one).collect()
}

fn end(history: &History) -> Nanos {
    let operations = history.operations.iter().map(ends);
    let deliveries = history.deliveries.iter().map(|delivery| delivery.at);
    let faults = history.faults.iter().map(|fault| fault.to.unwrap_or(fault.from));
    let leaders = history.leaders.iter().map(|led| led.at);
    operations.chain(deliveries).chain(faults).chain(leaders).max().unwrap_or_default()
}

/// Microseconds, rounded down.
pub fn micros(nanos: Nanos) -> u64 {
    nanos / 1_000
}

fn columns(operations: &[&Operation], places: &[(u64, u64)], named: &HashSet<u64>) -> Operations {
    let each =
        |field: &dyn Fn(&Operation) -> u64| operations.iter().map(|one| field(one)).collect::<Column>();
    let seen = |field: &dyn Fn(&crate::check::history::Seen) -> u64| {
        each(&|operation| operation.seen.as_ref().map_or(0, field))
    };
    let long = operations.len() >= LONG;
    let detail = |operation: &&Operation| {
        let short = long && !named.contains(&operation.index);
        text::clip(text::detail(operation), if short { DETAIL_MAX_LONG } else { DETAIL_MAX })
    };
    let (verb, verbs) = interned(operations, |one| text::verb(&one.action).to_owned());
    let (subject, subjects) = interned(operations, |one| text::clip(text::subject(&one.action), DETAIL_MAX));
    let (reason, reasons) = interned(operations, reason);
    let (part, parts) = interned(operations, |one| one.part.as_deref().unwrap_or_default().to_owned());
    let (role, roles) = interned(operations, |one| {
        one.seen.and_then(|seen| seen.role).map_or("", |role| role.name()).to_owned()
    });
    let (mechanism, mechanisms) = interned(operations, |one| {
        one.seen.and_then(|seen| seen.mechanism).map_or("", |mechanism| mechanism.name()).to_owned()
    });
    Operations {
        index: each(&|one| one.index),
        process: each(&|one| one.process),
        row: places.iter().map(|place| place.0).collect(),
        lane: places.iter().map(|place| place.1).collect(),
        class: each(&|one| words::class(one) as u64),
        outcome: each(&|one| match one.outcome {
            Outcome::Ok => 0,
            Outcome::Fail(_) => 1,
            Outcome::Unknown(_) => 2,
        }),
        call: each(&|one| micros(one.call)),
        took: each(&|one| micros(ends(one) - one.call)),
        session: each(&|one| one.session),
        detail: operations.iter().map(detail).collect(),
        asked: each(&asked),
        node: seen(&|seen| seen.node),
        term: seen(&|seen| seen.term),
        revision: seen(&|seen| seen.revision),
        applied: seen(&|seen| seen.applied),
        served: seen(&|seen| {
            seen.served.and_then(|level| words::class_named(level.name())).map_or(0, |class| class as u64 + 1)
        }),
        bound: seen(&|seen| seen.staleness_bound.map_or(0, |bound| micros(bound) + 1)),
        stored: seen(&|seen| u64::from(seen.stored)),
        verb,
        verbs,
        subject,
        subjects,
        reason,
        reasons,
        part,
        parts,
        role,
        roles,
        mechanism,
        mechanisms,
    }
}

fn interned(operations: &[&Operation], text: impl Fn(&Operation) -> String) -> (Column, Texts) {
    let mut texts = Texts::default();
    let column = operations.iter().map(|operation| texts.place(&text(operation))).collect();
    (column, texts)
}

fn reason(operation: &Operation) -> String {
    match &operation.outcome {
        Outcome::Ok => String::new(),
        Outcome::Fail(why) | Outcome::Unknown(why) => text::clip(why.to_string(), DETAIL_MAX),
    }
}

fn asked(operation: &Operation) -> u64 {
    use crate::types::Level;
    match operation.level {
        Some(Level::Bounded { max_age }) => u64::try_from(max_age.as_micros()).unwrap_or(u64::MAX),
        Some(Level::Session { min_revision }) => min_revision,
        _ => 0,
    }
}

fn deliveries_of(deliveries: &[&Delivery], watches: &BTreeMap<u64, String>) -> Deliveries {
    let places: HashMap<u64, u64> = watches.keys().copied().zip(0..).collect();
    let max = if deliveries.len() >= LONG { DETAIL_MAX_LONG } else { DETAIL_MAX };
    Deliveries {
        watch: deliveries.iter().map(|delivery| places[&delivery.watch]).collect(),
        at: deliveries.iter().map(|delivery| micros(delivery.at)).collect(),
        node: deliveries.iter().map(|delivery| delivery.node).collect(),
        kind: deliveries
            .iter()
            .map(|delivery| match delivery.kind {
                DeliveryKind::Opened { .. } => 0,
                DeliveryKind::Events(_) => 1,
                DeliveryKind::Progress { .. } => 2,
                DeliveryKind::Cancelled { .. } => 3,
            })
            .collect(),
        detail: deliveries.iter().map(|delivery| text::clip(text::delivery(&delivery.kind), max)).collect(),
    }
}

/// Each hold begins with an answered acquisition, is prolonged by what its holder is sure of, and ends with
/// the call of its release.
fn holds(operations: &[Operation]) -> Vec<Hold> {
    let mut holds: Vec<Hold> = Vec::new();
    let mut places: HashMap<(&str, u64), usize> = HashMap::new();
    for operation in operations {
        match &operation.action {
            Action::Acquire { lock, token: Some(token), sure_until } if operation.is_ok() => {
                places.insert((lock, *token), holds.len());
                holds.push(Hold {
                    lock: lock.to_string(),
                    token: *token,
                    process: operation.process,
                    operation: operation.index,
                    from: micros(operation.ret),
                    to: sure_until.map(micros),
                });
            }
            Action::Renew { lock, token, sure_until } if operation.is_ok() => {
                if let Some(hold) = places.get(&(&**lock, *token)).map(|at| &mut holds[*at]) {
                    hold.to = hold.to.max(sure_until.map(micros));
                }
            }
            Action::Release { lock, token } => {
                if let Some(hold) = places.get(&(&**lock, *token)).map(|at| &mut holds[*at]) {
                    let released = micros(operation.call);
                    hold.to = Some(hold.to.map_or(released, |sure| sure.min(released)).max(hold.from));
                }
            }
            _ => {}
        }
    }
    holds
}

fn thinned_holds(holds: Vec<Hold>) -> Vec<Hold> {
    let step = holds.len().div_ceil(HOLDS_MAX).max(1);
    holds.into_iter().step_by(step).collect()
}

fn stale(findings: &Findings, drawn: &[&Operation]) -> Stale {
    let drawn: HashSet<u64> = drawn.iter().map(|operation| operation.index).collect();
    let is_stale = |stale: &&crate::check::verdict::Staleness| {
        (stale.stale > 0 || stale.revisions > 0) && drawn.contains(&stale.operation)
    };
    let stale = || findings.staleness.iter().filter(is_stale);
    Stale {
        index: stale().map(|stale| stale.operation).collect(),
        stale: stale().map(|stale| micros(stale.stale)).collect(),
        revisions: stale().map(|stale| stale.revisions).collect(),
    }
}
