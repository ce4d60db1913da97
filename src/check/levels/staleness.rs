//! What a read missed of its own keys.

use super::Judge;
use crate::check::{
    effect,
    history::{Action, Nanos, Operation},
    index::Key,
};
use crate::types::Revision;

/// Changes that a read did not see, though they had been told.
pub struct Missed {
    /// From when the first of them was told to the read's call.
    pub stale: Nanos,
    /// When the first of them was told.
    pub acked: Nanos,
    /// How many.
    pub revisions: u64,
    /// Who made the last of them, by index, if that is known.
    pub writer: Option<u64>,
    /// That one, for people: what it did, and when that was told.
    pub text: String,
}

/// Changes of the read's keys behind its revision that had been told before `until`.
pub fn missed(judge: &Judge<'_, '_>, read: &Operation, until: Nanos) -> Option<Missed> {
    let from = read.revision();
    let (to, _) = judge.acked.before(until).filter(|(to, _)| *to > from)?;
    let log = &judge.replay.log;
    let start = log.partition_point(|(revision, ..)| *revision <= from);
    let (revisions, first) = match &read.action {
        Action::Read { key, .. } => one(judge, judge.index.key(key), (from, to)),
        Action::Range { prefix, .. } => {
            let keys = judge.index.with_prefix(prefix);
            let within = log[start..].iter().take_while(|(revision, ..)| *revision <= to);
            let mut within = within.filter(|(_, key, _)| keys.contains(key)).map(|(revision, ..)| *revision);
            let first = within.next();
            (u64::from(first.is_some()) + within.count() as u64, first)
        }
        _ => (0, None),
    };
    let first = first?;
    let acked = judge.acked.since(first)?;
    let writer = writer(judge, first);
    let by = writer.map_or_else(|| "a change".to_owned(), described);
    let text = format!("{by} (revision {first}) was acknowledged");
    let stale = read.call.saturating_sub(acked);
    Some(Missed { stale, acked, revisions, writer: writer.map(|writer| writer.index), text })
}

fn one(judge: &Judge<'_, '_>, key: Key, (from, to): (Revision, Revision)) -> (u64, Option<Revision>) {
    let changes = &judge.replay.changes[key as usize];
    let start = changes.partition_point(|revision| *revision <= from);
    let end = changes.partition_point(|revision| *revision <= to);
    ((end - start) as u64, changes[start..end].first().copied())
}

fn writer<'a>(judge: &Judge<'a, '_>, revision: Revision) -> Option<&'a Operation> {
    let log = &judge.replay.log;
    let at = log.partition_point(|(known, ..)| *known < revision);
    let by = log.get(at).filter(|(known, ..)| *known == revision)?.2?;
    Some(&judge.index.history.operations[by as usize])
}

fn described(writer: &Operation) -> String {
    let mut done = Vec::new();
    effect::changes(&writer.action, |key, change| {
        done.push(match change {
            effect::Change::Set(value) => format!("the write of {value:?} to {key:?}"),
            effect::Change::Append(element) => format!("the append of {element:?} to {key:?}"),
            effect::Change::Delete => format!("the delete of {key:?}"),
        });
    });
    done.join(" and ")
}

/// What the read showed, for people.
pub fn shown(read: &Operation) -> String {
    match &read.action {
        Action::Read { found: Some(Some(found)), .. } => format!("{:?}", found.value),
        Action::Read { .. } => "nothing".to_owned(),
        Action::Range { found: Some(found), .. } => format!("with {} keys", found.len()),
        _ => "with several reads".to_owned(),
    }
}
