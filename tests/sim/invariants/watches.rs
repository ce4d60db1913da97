//! Watches: every event of the keys that are watched, once, in order, those of one revision together (the
//! laws of etcd's watch: ordered, unique, reliable, atomic, resumable).

use quorate::{state::EventKind, types::Revision};

use super::replay::Replayed;
use crate::workload::{History, Watched};

/// A change as both sides know it: key, value, and whether it is deleted.
type Change = (Vec<u8>, Vec<u8>, bool);

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
        .map(|(revision, events)| {
            let change =
                events.iter().map(|event| (event.kv.key.to_vec(), event.kv.value.to_vec(), event.deleted));
            (*revision, change.collect())
        })
        .collect();
    let happened = happened(watched, replayed);
    let at = told.iter().zip(&happened).position(|(told, happened)| told != happened);
    let at = at.or_else(|| (told.len() != happened.len()).then_some(told.len().min(happened.len())))?;
    let show = |changes: &[(Revision, Vec<Change>)]| match changes.get(at) {
        None => "nothing".to_owned(),
        Some((revision, changes)) => {
            let keys = changes.iter().map(|(key, ..)| String::from_utf8_lossy(key).into_owned());
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
            .map(|event| {
                (event.kv.key.to_vec(), event.kv.value.to_vec(), matches!(event.kind, EventKind::Delete))
            })
            .collect();
        if !changes.is_empty() {
            happened.push((*revision, changes));
        }
    }
    happened
}
