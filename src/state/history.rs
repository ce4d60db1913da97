//! Reading what happened: the events of past revisions, as watchers who come late need them.

use super::{
    Event, ReadError, View,
    block::{self, Block, RecordId},
    core::Core,
};
use crate::{
    storage::Key,
    types::{KeyRange, Revision},
};

/// Some of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The events, in order; all of each revision below `next`.
    pub events: Vec<Event>,
    /// Where to go on: the first revision that was not read. Above the view's revision at the end.
    pub next: Revision,
    /// Where the state stood.
    pub view: View,
}

/// How much of the past to read in one go, about: a revision is never cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBounds {
    /// Bytes of records to look at.
    pub looked_at: usize,
    /// Bytes of events to give.
    pub given: usize,
}

/// Reads the events of `keys` from revision `from` on, until a bound is reached.
///
/// Compaction moves records between blocks, so that a step of it must not happen in the middle: its lock is
/// held for the one chunk.
pub(super) fn read(
    core: &Core,
    keys: &KeyRange,
    from: Revision,
    bounds: HistoryBounds,
) -> Result<History, ReadError> {
    let _no_compaction = core.progress();
    let view = core.read().view();
    let compacted = view.compact_revision;
    if from < compacted {
        return Err(ReadError::Compacted { requested: from, compacted });
    }
    let mut history = History { events: Vec::new(), next: from.max(1), view };
    let (mut looked_at, mut given, mut current) = (0, 0, from);
    for block in block::scan(&*core.engine, start(core, from)?, &Key::blocks_end()) {
        for record in block?.records()? {
            let main = record.entry.main;
            if main < from {
                continue;
            }
            if main > view.revision {
                break;
            }
            if main > current && (looked_at >= bounds.looked_at || given >= bounds.given) {
                history.next = main;
                return Ok(history);
            }
            current = main;
            let bytes = record.key.len() + record.value.len() + size_of::<Event>();
            looked_at += bytes;
            if keys.contains(&record.key) {
                given += bytes;
                history.events.push(Event::of(record));
            }
        }
    }
    history.next = from.max(view.revision + 1);
    Ok(history)
}

/// The block that holds the first record of a revision, or the place where it would be.
fn start(core: &Core, from: Revision) -> Result<RecordId, ReadError> {
    let id = RecordId { main: from, sub: 0 };
    let Some((key, bytes)) = core.engine.floor(&id.key().encode()).map_err(super::Corruption::from)? else {
        return Ok(id);
    };
    match Key::decode(&key) {
        Some(Key::Block { main, sub }) => Ok(Block::open(RecordId { main, sub }, bytes)?.name()),
        _ => Ok(id),
    }
}
