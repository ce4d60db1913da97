//! An engine in memory: the reference that sled must agree with, and what tests and simulated members run on.
//!
//! Absent: crash semantics. What was written stays for as long as the value lives; [`super::MemoryHome`]
//! keeps it over the restart of a member within one process.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;

use super::{Batch, Engine, EngineError, Pair};

/// Pairs copied out under one lock by a scan. Small enough not to hold up a writer.
const SCAN_PAIRS: usize = 256;

#[derive(Default)]
struct Map {
    pairs: BTreeMap<Bytes, Bytes>,
    bytes: usize,
}

impl Map {
    fn put(&mut self, key: &Bytes, value: &Bytes) {
        self.delete(key);
        self.bytes += key.len() + value.len();
        self.pairs.insert(key.clone(), value.clone());
    }

    fn delete(&mut self, key: &Bytes) {
        if let Some(old) = self.pairs.remove(key) {
            self.bytes -= key.len() + old.len();
        }
    }
}

/// A map under a lock.
#[derive(Default)]
pub struct MemoryEngine {
    map: RwLock<Map>,
}

impl MemoryEngine {
    /// An empty one.
    pub fn new() -> Self {
        MemoryEngine::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.read().pairs.get(key).cloned())
    }

    fn floor(&self, key: &[u8]) -> Result<Option<Pair>, EngineError> {
        let map = self.read();
        let at_or_below = (Bound::Unbounded, Bound::Included(key));
        let found = map.pairs.range::<[u8], _>(at_or_below).next_back();
        Ok(found.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> Box<dyn Iterator<Item = Result<Pair, EngineError>> + 'a> {
        let from = Bound::Included(Bytes::copy_from_slice(from));
        Box::new(Scan { engine: self, from, to: Bytes::copy_from_slice(to), ready: VecDeque::new() })
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch.ops() {
            match value {
                Some(value) => map.put(key, value),
                None => map.delete(key),
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn size(&self) -> u64 {
        self.read().bytes as u64
    }
}

/// A scan that takes the lock once per [`SCAN_PAIRS`] pairs.
struct Scan<'a> {
    engine: &'a MemoryEngine,
    from: Bound<Bytes>,
    to: Bytes,
    ready: VecDeque<Pair>,
}

impl Scan<'_> {
    fn refill(&mut self) {
        let map = self.engine.read();
        let from = self.from.as_ref().map(|from| &from[..]);
        // An inverted range is an empty one here, but a panic in `BTreeMap::range`.
        if matches!(from, Bound::Included(from) | Bound::Excluded(from) if *from >= *self.to) {
            return;
        }
        let pairs = map.pairs.range::<[u8], _>((from, Bound::Excluded(&self.to[..])));
        self.ready.extend(pairs.take(SCAN_PAIRS).map(|(key, value)| (key.clone(), value.clone())));
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Pair, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            self.refill();
        }
        let pair = self.ready.pop_front()?;
        self.from = Bound::Excluded(pair.0.clone());
        Some(Ok(pair))
    }
}
