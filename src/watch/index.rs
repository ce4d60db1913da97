//! Which live watches a key concerns: found by the key, not by asking each watch.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use super::seat::Seat;
use crate::types::KeyRange;

/// Watches by id: of a key that many watch, one that leaves must not cost a search.
type Seats = BTreeMap<u64, Arc<Seat>>;

/// The live watches. A lookup costs one hash for the key, one for each *length* of prefix that is watched,
/// and a comparison for each watch of another range, which are few: those are neither a key nor a prefix.
#[derive(Default)]
pub struct Index {
    keys: HashMap<Bytes, Seats>,
    prefixes: BTreeMap<usize, HashMap<Bytes, Seats>>,
    ranges: Seats,
}

/// How a range is found.
enum Kind {
    Key(Bytes),
    Prefix(Bytes),
    Range,
}

impl Kind {
    fn of(keys: &KeyRange) -> Kind {
        if let Some(key) = keys.single() {
            return Kind::Key(key.clone());
        }
        match KeyRange::prefix(keys.start.clone()) == *keys {
            true => Kind::Prefix(keys.start.clone()),
            false => Kind::Range,
        }
    }
}

impl Index {
    /// Adds a watch.
    pub fn insert(&mut self, seat: Arc<Seat>) {
        let seats = match Kind::of(&seat.keys) {
            Kind::Key(key) => self.keys.entry(key).or_default(),
            Kind::Prefix(prefix) => self.prefixes.entry(prefix.len()).or_default().entry(prefix).or_default(),
            Kind::Range => &mut self.ranges,
        };
        seats.insert(seat.id, seat);
    }

    /// Removes a watch, if it is there.
    pub fn remove(&mut self, seat: &Seat) {
        match Kind::of(&seat.keys) {
            Kind::Key(key) => remove_from(&mut self.keys, &key, seat.id),
            Kind::Prefix(prefix) => {
                let Some(of_length) = self.prefixes.get_mut(&prefix.len()) else { return };
                remove_from(of_length, &prefix, seat.id);
                if of_length.is_empty() {
                    self.prefixes.remove(&prefix.len());
                }
            }
            Kind::Range => drop(self.ranges.remove(&seat.id)),
        }
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty() && self.ranges.is_empty()
    }

    /// The watches that `key` concerns.
    pub fn matching<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a Arc<Seat>> {
        let exact = self.keys.get(key).into_iter();
        let prefixes = self.prefixes.range(..=key.len());
        let prefixes = prefixes.filter_map(|(length, of_length)| of_length.get(&key[..*length]));
        let ranges = self.ranges.values().filter(|seat| seat.keys.contains(key));
        exact.chain(prefixes).flat_map(Seats::values).chain(ranges)
    }

    /// All watches, in order of their ids; none are left.
    pub fn drain(&mut self) -> Vec<Arc<Seat>> {
        let Index { keys, prefixes, ranges } = std::mem::take(self);
        let prefixes = prefixes.into_values().flat_map(HashMap::into_values);
        let mut all: Seats = ranges;
        all.extend(keys.into_values().chain(prefixes).flatten());
        all.into_values().collect()
    }
}

fn remove_from(map: &mut HashMap<Bytes, Seats>, key: &Bytes, id: u64) {
    let Some(seats) = map.get_mut(key) else { return };
    seats.remove(&id);
    if seats.is_empty() {
        map.remove(key);
    }
}
