//! Keys that are written once and then only read: a set's elements.
//!
//! Such a key needs no search. It was certainly there once its write was acknowledged or somebody had seen
//! it: a read that began later must see it. It was certainly not there before the write was called.
//! O(n log n), with any number of keys in one read.

use std::collections::HashMap;

use super::TIER;
use crate::check::{
    effect::{self, Effect},
    history::{Action, Found, Nanos, Operation, Outcome, Text},
    index::{Index, Key},
    verdict::{Findings, Violation},
};

/// A key that is written once.
#[derive(Clone, Copy)]
struct Element<'a> {
    writer: &'a Operation,
    value: &'a str,
    /// From when on it was certainly there; `Nanos::MAX`: never.
    since: Nanos,
    /// Who showed that.
    shown: &'a Operation,
    /// The call of the last read that saw it.
    last_seen: Nanos,
}

/// The keys that are handled here.
pub struct Elements<'a, 'b> {
    index: &'b Index<'a>,
    of: HashMap<Key, Element<'a>>,
}

impl<'a, 'b> Elements<'a, 'b> {
    /// Finds them.
    pub fn new(index: &'b Index<'a>) -> Self {
        let mut of: HashMap<Key, Option<Element<'a>>> = HashMap::new();
        for operation in
            index.history.operations.iter().filter(|one| !matches!(one.outcome, Outcome::Fail(_)))
        {
            match &operation.action {
                Action::Write { key, value } => {
                    let since = if operation.is_ok() { operation.ret } else { Nanos::MAX };
                    let this = Element { writer: operation, value, since, shown: operation, last_seen: 0 };
                    of.entry(index.key(key)).and_modify(|element| *element = None).or_insert(Some(this));
                }
                Action::Read { .. } | Action::Range { .. } => {}
                other => effect::keys(other, |key| {
                    of.insert(index.key(key), None);
                }),
            }
        }
        let of = of.into_iter().filter_map(|(key, element)| Some((key, element?))).collect();
        let mut elements = Elements { index, of };
        elements.keep_plain();
        elements
    }

    /// Whether the key is one of them.
    pub fn has(&self, key: Key) -> bool {
        self.of.contains_key(&key)
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    fn reads(&self) -> impl Iterator<Item = &'a Operation> + use<'a, 'b> {
        let index = self.index;
        let reads = index.history.operations.iter();
        reads.filter(move |operation| effect::is_read(operation) && index.is_real_time(operation))
    }

    /// Learns from what was seen; keys with foreign values are not handled here.
    fn keep_plain(&mut self) {
        for read in self.reads() {
            found(&read.action, |key, found| {
                let key = self.index.key(key);
                let Some(element) = self.of.get_mut(&key) else { return };
                let is_early = read.ret < element.writer.call && self.index.has_past();
                if *element.value != *found.value || is_early {
                    self.of.remove(&key);
                    return;
                }
                element.last_seen = element.last_seen.max(read.call);
                if read.ret < element.since {
                    (element.since, element.shown) = (read.ret, read);
                }
            });
        }
    }

    /// Reports elements that were seen too early, and reads that missed some.
    pub fn check(&self, findings: &mut Findings) {
        let mut prefixes: HashMap<&str, Vec<Nanos>> = HashMap::new();
        for read in self.reads() {
            let mut present = 0;
            found(&read.action, |key, _| {
                if let Some(element) = self.of.get(&self.index.key(key)) {
                    present += usize::from(element.since < read.call);
                    if read.ret < element.writer.call {
                        findings.violated(early(key, element, read));
                    }
                }
            });
            match &read.action {
                Action::Read { key, found: Some(None) } => self.miss(self.index.key(key), read, findings),
                Action::Range { prefix, found: Some(found) } => {
                    let since = prefixes.entry(prefix).or_insert_with(|| self.since(prefix));
                    if since.partition_point(|since| *since < read.call) > present {
                        self.missing(prefix, (found, read), findings);
                    }
                }
                _ => {}
            }
        }
    }

    /// From when on each key with the prefix was there, rising.
    fn since(&self, prefix: &str) -> Vec<Nanos> {
        let keys = self.index.with_prefix(prefix);
        let mut since: Vec<Nanos> = keys.filter_map(|key| Some(self.of.get(&key)?.since)).collect();
        since.sort_unstable();
        since
    }

    fn missing(&self, prefix: &str, (found, read): (&[(Text, Found)], &Operation), findings: &mut Findings) {
        let mut rest = found.iter().peekable();
        for key in self.index.with_prefix(prefix) {
            if rest.next_if(|(name, _)| &**name == self.index.name(key)).is_none() {
                self.miss(key, read, findings);
            }
        }
    }

    /// A read did not see the key.
    fn miss(&self, key: Key, read: &Operation, findings: &mut Findings) {
        let Some(element) = self.of.get(&key).filter(|element| element.since < read.call) else { return };
        let ms = (read.call - element.since) as f64 / 1e6;
        let name = self.index.name(key);
        let how = if element.shown.index == element.writer.index {
            "its write was acknowledged"
        } else {
            "it was seen"
        };
        let (anomaly, later) = match element.last_seen > read.call {
            true => ("stale-read", "was seen again later"),
            false => ("lost-write", "was not seen again"),
        };
        let why = format!("{name:?} was not found {ms:.3} ms after {how}; it {later}");
        let mut operations = vec![read.index, element.writer.index, element.shown.index];
        operations.dedup();
        let level = read.level.map(|level| level.name());
        findings.violated(Violation { tier: TIER, anomaly, level, why, operations });
    }

    /// Acknowledged elements that nobody looked for afterwards: they prove nothing.
    pub fn never_read(&self) -> usize {
        let last = self.reads().map(|read| read.call).max().unwrap_or(0);
        let acknowledged = |element: &&Element<'_>| effect::effect(element.writer) == Effect::Done;
        self.of.values().filter(acknowledged).filter(|element| element.writer.ret >= last).count()
    }
}

fn found<'a>(action: &'a Action, mut tell: impl FnMut(&'a Text, &'a Found)) {
    match action {
        Action::Read { key, found: Some(Some(found)) } => tell(key, found),
        Action::Range { found: Some(found), .. } => found.iter().for_each(|(key, found)| tell(key, found)),
        _ => {}
    }
}

fn early(key: &Text, element: &Element<'_>, read: &Operation) -> Violation {
    let ms = (element.writer.call - read.ret) as f64 / 1e6;
    let why = format!("{key:?} was seen {ms:.3} ms before its write was called");
    let operations = vec![read.index, element.writer.index];
    let level = read.level.map(|level| level.name());
    Violation { tier: TIER, anomaly: "future-read", level, why, operations }
}
