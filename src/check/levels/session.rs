//! The guarantees of sessions: read your writes, monotonic reads, monotonic writes, writes follow reads
//! (Terry et al. 1994); and that a member does not go back.

use std::collections::{BTreeMap, HashMap};

use super::{Breach, Judge, WRITE, level, promise, told};
use crate::check::{
    acked::Known,
    effect::{self, Effect},
    history::Operation,
};
use crate::types::Level;

/// What a session knows so far.
#[derive(Clone, Copy, Default)]
struct Session<'a> {
    written: Option<Known<'a>>,
    read: Option<Known<'a>>,
}

/// Counts what sessions were given.
pub fn check(judge: &mut Judge<'_, '_>) {
    let operations = judge.index.history.operations.iter();
    let mut sessions: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in operations.filter(|operation| operation.is_ok() && operation.revision() > 0) {
        sessions.entry(operation.session).or_default().push(operation);
    }
    for mut operations in sessions.into_values() {
        operations.sort_by_key(|operation| (operation.call, operation.ret, operation.index));
        follow(judge, &operations);
    }
}

fn follow<'a>(judge: &mut Judge<'a, '_>, operations: &[&'a Operation]) {
    let mut session = Session::default();
    for operation in operations {
        // Only what had been answered when it was called is known to it.
        let known = |known: Option<Known<'a>>| known.filter(|(_, by)| by.ret <= operation.call);
        if told(operation) {
            let (written, read) = (known(session.written), known(session.read));
            compare(judge, operation, (written, "read-your-writes", "missed-own-write"));
            compare(judge, operation, (read, "monotonic-reads", "non-monotonic-read"));
            session.read = highest(session.read, operation);
        } else if effect::effect(operation) == Effect::Done {
            rise(judge, operation, (known(session.written), WRITE, "monotonic-writes"));
            let read = known(session.read);
            let level = read.map_or(WRITE, |(_, by)| level(by));
            rise(judge, operation, (read, level, "writes-follow-reads"));
            session.written = highest(session.written, operation);
        }
    }
}

fn highest<'a>(known: Option<Known<'a>>, operation: &'a Operation) -> Option<Known<'a>> {
    known.into_iter().chain([(operation.revision(), operation)]).max_by_key(|(revision, _)| *revision)
}

/// A read must not be behind what its session knew.
fn compare<'a>(
    judge: &mut Judge<'a, '_>,
    read: &'a Operation,
    (known, guarantee, anomaly): (Option<Known<'a>>, &'static str, &'static str),
) {
    let Some((revision, by)) = known else { return };
    let promised = promise::session(read, revision);
    if !promised && matches!(read.level, Some(Level::Session { .. })) {
        // It asked for less than it knew, and no answer to that proves anything.
        return;
    }
    let level = level(read);
    judge.count(level, guarantee, promised);
    if read.revision() < revision {
        let did = if guarantee == "monotonic-reads" { "read" } else { "written" };
        let why = format!(
            "it was answered as of revision {}, though its session had {did} revision {revision} before",
            read.revision()
        );
        let missed = super::staleness::missed(judge, read, read.call);
        let others = vec![by.index];
        judge.breach(Breach { level, guarantee, anomaly, operation: read, why, others, missed }, promised);
    }
}

/// A write comes after what its session knew.
fn rise<'a>(
    judge: &mut Judge<'a, '_>,
    write: &'a Operation,
    (known, level, guarantee): (Option<Known<'a>>, &'static str, &'static str),
) {
    let Some((revision, by)) = known else { return };
    judge.count(level, guarantee, true);
    if write.revision() <= revision {
        let why = format!(
            "it made revision {}, though its session had known revision {revision} before it was called",
            write.revision()
        );
        let anomaly = if level == WRITE { "non-monotonic-write" } else { "write-before-read" };
        let others = vec![by.index];
        judge.breach(Breach { level, guarantee, anomaly, operation: write, why, others, missed: None }, true);
    }
}

/// Counts whether a session that asks one member again is answered as of no earlier revision. That is
/// promised at every level, also across the member's restarts.
pub fn per_member(judge: &mut Judge<'_, '_>) {
    let index = judge.index;
    let mut order: Vec<&Operation> = index.history.operations.iter().filter(|one| told(one)).collect();
    order.sort_by_key(|operation| (operation.call, operation.ret, operation.index));
    let mut last: HashMap<(u64, u64), Known<'_>> = HashMap::new();
    for read in order {
        let Some(node) = read.seen.map(|seen| seen.node).filter(|node| *node > 0) else { continue };
        let known = last.get(&(read.session, node)).copied();
        compare_member(judge, read, known.filter(|(_, by)| by.ret <= read.call));
        let entry = last.entry((read.session, node)).or_insert((read.revision(), read));
        if read.revision() >= entry.0 {
            *entry = (read.revision(), read);
        }
    }
}

fn compare_member<'a>(judge: &mut Judge<'a, '_>, read: &'a Operation, known: Option<Known<'a>>) {
    let Some((revision, by)) = known else { return };
    let (level, guarantee) = (level(read), "monotonic-per-member");
    judge.count(level, guarantee, true);
    if read.revision() < revision {
        let why = format!(
            "it was answered as of revision {} by the member that had answered its session as of revision \
             {revision} before",
            read.revision()
        );
        let others = vec![by.index];
        let missed = None;
        let anomaly = "member-went-back";
        judge.breach(Breach { level, guarantee, anomaly, operation: read, why, others, missed }, true);
    }
}
