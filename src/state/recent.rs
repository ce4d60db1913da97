//! Records that were written or read by key lately, decoded: most reads ask for them.
//!
//! A record never changes, so that what is kept here cannot be wrong; what compaction has removed nobody asks
//! for. Bounded in bytes; who came first goes first.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::block::{Record, RecordId};

/// Keys and values that are kept, with [`RECORD_BYTES`] for each.
const BYTES_MAX: usize = 8 << 20;
/// What a record costs besides key and value.
const RECORD_BYTES: usize = 160;
/// A larger one is not kept: it would push many out.
const WEIGHT_MAX: usize = BYTES_MAX / 64;

/// See the module.
#[derive(Default)]
pub(super) struct Recent {
    records: BTreeMap<RecordId, Record>,
    order: VecDeque<RecordId>,
    bytes: usize,
}

impl Recent {
    pub fn get(&self, id: RecordId) -> Option<Record> {
        self.records.get(&id).cloned()
    }

    /// Keeps a copy of a record: its key and value are slices of a block, or of a whole command, which would
    /// be kept with them.
    pub fn add_copy(&mut self, record: &Record) {
        let (id, weight) = (record.entry.id(), weight(record));
        if weight > WEIGHT_MAX || self.records.contains_key(&id) {
            return;
        }
        let Record { entry, key, value } = record;
        let buffer = Bytes::from([&key[..], &value[..]].concat());
        let (key, value) = (buffer.slice(..key.len()), buffer.slice(key.len()..));
        self.bytes += weight;
        self.order.push_back(id);
        self.records.insert(id, Record { entry: *entry, key, value });
        while self.bytes > BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.records.remove(&oldest).as_ref().map_or(0, self::weight);
        }
    }
}

fn weight(record: &Record) -> usize {
    RECORD_BYTES + record.key.len() + record.value.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::block::Entry;

    fn record(main: u64, value: usize) -> Record {
        let entry = Entry { main, sub: 0, create: main, version: 1, lease: 0, tombstone: false };
        Record { entry, key: "key".into(), value: vec![7; value].into() }
    }

    fn id(main: u64) -> RecordId {
        RecordId { main, sub: 0 }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let mut recent = Recent::default();
        (1..=1000).for_each(|main| recent.add_copy(&record(main, 100 << 10)));
        assert!(recent.bytes <= BYTES_MAX && recent.records.len() == recent.order.len());
        assert_eq!((recent.get(id(1)), recent.get(id(1000))), (None, Some(record(1000, 100 << 10))));
    }

    #[test]
    fn a_large_record_pushes_nothing_out_and_a_second_copy_counts_once() {
        let mut recent = Recent::default();
        recent.add_copy(&record(1, 10));
        let bytes = recent.bytes;
        recent.add_copy(&record(1, 10));
        recent.add_copy(&record(2, BYTES_MAX));
        assert_eq!((recent.bytes, recent.order.len()), (bytes, 1));
        recent.add_copy(&record(3, 10));
        assert_eq!(recent.get(id(3)), Some(record(3, 10)));
    }
}
