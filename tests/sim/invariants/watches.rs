//! Watches: every event of the keys that are watched, once, in order, those of one revision together (the
//! laws of etcd's watch: ordered, unique, reliable, atomic, resumable).

use quorate::{
    state::{Event, EventKind},
    types::{KeyRange, KeyValue, Limits, Range, Revision, WatchEvent},
};

use super::replay::Replayed;
use crate::workload::{History, Watched};

/// A change as both sides know it.
struct Change {
    key: Vec<u8>,
    value: Vec<u8>,
    deleted: bool,
    /// The pair before: value and revision.
    prev: Option<(Vec<u8>, Revision)>,
}

impl Change {
    fn told(event: &WatchEvent) -> Change {
        let (key, value) = (event.kv.key.to_vec(), event.kv.value.to_vec());
        Change { key, value, deleted: event.deleted, prev: event.prev_kv.as_ref().map(pair) }
    }

    fn happened(event: &Event, prev: Option<KeyValue>) -> Change {
        let deleted = matches!(event.kind, EventKind::Delete);
        let (key, value) = (event.kv.key.to_vec(), event.kv.value.to_vec());
        Change { key, value, deleted, prev: prev.as_ref().map(pair) }
    }
}

fn pair(kv: &KeyValue) -> (Vec<u8>, Revision) {
    (kv.value.to_vec(), kv.mod_revision)
}

/// Whether what was told of a revision is what happened. The pair before may be missing where it was
/// compacted.
fn agrees(told: &(Revision, Vec<Change>), happened: &(Revision, Vec<Change>), compacted: Revision) -> bool {
    let same = |told: &Change, happened: &Change| {
        let gone = told.prev.is_none() && happened.prev.as_ref().is_some_and(|(_, at)| *at < compacted);
        (&told.key, &told.value, told.deleted) == (&happened.key, &happened.value, happened.deleted)
            && (told.prev == happened.prev || gone)
    };
    told.0 == happened.0
        && told.1.len() == happened.1.len()
        && told.1.iter().zip(&happened.1).all(|(told, happened)| same(told, happened))
}

pub fn check(history: &History, replayed: &Replayed) -> Vec<String> {
    history.watched.iter().filter_map(|watched| differs(watched, replayed)).collect()
}

fn differs(watched: &Watched, replayed: &Replayed) -> Option<String> {
    // It never began.
    if watched.from == 0 {
        return None;
    }
    let told: Vec<(Revision, Vec<Change>)> = watched
        .events
        .iter()
        .map(|(revision, events)| (*revision, events.iter().map(Change::told).collect()))
        .collect();
    let happened = happened(watched, replayed);
    let differs = |(told, happened): (&_, &_)| !agrees(told, happened, replayed.compacted);
    let at = told.iter().zip(&happened).position(differs);
    let at = at.or_else(|| (told.len() != happened.len()).then_some(told.len().min(happened.len())))?;
    let show = |changes: &[(Revision, Vec<Change>)]| match changes.get(at) {
        None => "nothing".to_owned(),
        Some((revision, changes)) => {
            let keys = changes.iter().map(|change| {
                let prev = change.prev.as_ref().map_or(0, |(_, revision)| *revision);
                format!("{} after {prev}", String::from_utf8_lossy(&change.key))
            });
            format!("revision {revision} of {:?}", keys.collect::<Vec<_>>())
        }
    };
    Some(format!(
        "{} (from {} to {}): told {}, where {} happened",
        watched.name,
        watched.from,
        watched.until,
        show(&told),
        show(&happened)
    ))
}

fn happened(watched: &Watched, replayed: &Replayed) -> Vec<(Revision, Vec<Change>)> {
    let mut happened = Vec::new();
    if watched.from > watched.until {
        return happened;
    }
    for (revision, events) in replayed.events.range(watched.from..=watched.until) {
        let changes: Vec<Change> = events
            .iter()
            .filter(|event| watched.watch.keys.contains(&event.kv.key))
            .map(|event| Change::happened(event, before(event, watched, replayed)))
            .collect();
        if !changes.is_empty() {
            happened.push((*revision, changes));
        }
    }
    happened
}

/// The pair that an event replaced or deleted, if the watch is to tell it.
fn before(event: &Event, watched: &Watched, replayed: &Replayed) -> Option<KeyValue> {
    let revision = event.revision.checked_sub(1).filter(|before| watched.watch.prev_kv && *before > 0)?;
    let range = Range { revision, ..Range::new(KeyRange::key(event.kv.key.clone())) };
    let (found, _) = replayed.state.range(&range, &Limits::default()).ok()?;
    found.kvs.into_iter().next()
}
