//! Anomalies that one read, or two, show without a cycle.

use std::collections::{HashMap, HashSet};

use super::{
    TIER,
    lists::{Key, Lists, Read, State},
};
use crate::check::{
    Findings,
    history::{Step, Text},
    verdict::Violation,
};

/// Looks for them.
pub(super) fn check(lists: &Lists, findings: &mut Findings) {
    let mut found = Direct { lists, findings };
    for (txn, key) in &lists.internal {
        let why =
            format!("{} reads of {key} something else than it read and appended before", found.name(*txn));
        found.violated("internal", why, &[*txn]);
    }
    for key in lists.keys.iter().filter(|key| !key.repeated) {
        found.elements(key);
        found.middles(key);
        found.orders(key);
        found.lost_updates(key);
    }
}

struct Direct<'a, 'b> {
    lists: &'b Lists<'a>,
    findings: &'b mut Findings,
}

impl Direct<'_, '_> {
    fn name(&self, txn: usize) -> String {
        format!("operation {}", self.lists.txns[txn].operation.index)
    }

    fn violated(&mut self, anomaly: &'static str, why: String, txns: &[usize]) {
        let operations = txns.iter().map(|txn| self.lists.txns[*txn].operation.index).collect();
        self.findings.violated(Violation { tier: TIER, anomaly, level: None, why, operations });
    }

    /// Elements that are there twice, that nobody appended, or whose transaction was aborted. What agrees
    /// with the longest read needs no look of its own.
    fn elements(&mut self, key: &Key) {
        let others = key.reads.iter().filter(|read| !key.agrees(read));
        for read in key.longest.iter().map(|at| &key.reads[*at]).chain(others) {
            let reader = self.name(read.txn);
            let mut seen: HashSet<&str> = HashSet::new();
            // What stands before all that the history appended may be older than it.
            let mut older = self.lists.has_past;
            for element in read.elements {
                if !seen.insert(element) {
                    let why = format!("{reader} finds {element} twice in {}", key.name);
                    self.violated("duplicate-elements", why, &[read.txn]);
                    break;
                }
                older &= !key.writers.contains_key(&**element);
                if !older {
                    self.origin(key, read, element);
                }
            }
        }
    }

    fn origin(&mut self, key: &Key, read: &Read, element: &Text) {
        let reader = self.name(read.txn);
        match key.writers.get(&**element) {
            None => {
                let why = format!("{reader} finds {element} in {}, which nobody appended", key.name);
                self.violated("phantom", why, &[read.txn]);
            }
            Some(writer) if self.lists.txns[writer.txn].state == State::Aborted => {
                let aborted = self.name(writer.txn);
                let why =
                    format!("{reader} finds {element} in {}, of {aborted}, which was not done", key.name);
                self.violated("G1a", why, &[writer.txn, read.txn]);
            }
            Some(_) => {}
        }
    }

    /// Reads that end in the middle of another transaction.
    fn middles(&mut self, key: &Key) {
        for read in &key.reads {
            let Some(last) = read.external().last() else { continue };
            let Some(writer) = key.writers.get(&**last).filter(|writer| !writer.last) else { continue };
            if writer.txn != read.txn {
                let (reader, writer_name) = (self.name(read.txn), self.name(writer.txn));
                let why = format!(
                    "{reader} finds {last} at the end of {}, but {writer_name} appended more to it at once",
                    key.name
                );
                self.violated("G1b", why, &[writer.txn, read.txn]);
            }
        }
    }

    fn orders(&mut self, key: &Key) {
        let Some(longest) = key.longest.map(|at| &key.reads[at]) else { return };
        for read in key.reads.iter().filter(|read| !key.agrees(read)) {
            let (one, other) = (self.name(read.txn), self.name(longest.txn));
            let why = format!("{one} and {other} find the elements of {} in different orders", key.name);
            self.violated("incompatible-order", why, &[read.txn, longest.txn]);
        }
    }

    /// Transactions that appended after they had read the same: one of them did not see the other.
    fn lost_updates(&mut self, key: &Key) {
        let mut first: HashMap<usize, usize> = HashMap::new();
        for read in key.reads.iter().filter(|read| read.own == 0 && key.agrees(read)) {
            let append = |step: &Step| matches!(step, Step::Append(name, _) if **name == *key.name);
            if !self.lists.txns[read.txn].steps.iter().any(append) {
                continue;
            }
            let other = *first.entry(read.elements.len()).or_insert(read.txn);
            if other != read.txn {
                let (one, two) = (self.name(other), self.name(read.txn));
                let seen =
                    read.elements.last().map_or("empty".to_owned(), |last| format!("ending in {last}"));
                let why = format!("{one} and {two} both found {} {seen}, and both appended to it", key.name);
                self.violated("lost-update", why, &[other, read.txn]);
            }
        }
    }
}
