//! Dependencies between transactions.

use std::collections::{HashMap, HashSet};

use super::lists::{Key, Lists, State};
use crate::check::history::Text;

/// Kinds of dependencies: one bit each.
pub(super) type Kinds = u8;
/// The target appended behind the source.
pub(super) const WW: Kinds = 1;
/// The target read what the source appended.
pub(super) const WR: Kinds = 2;
/// The source did not see what the target appended.
pub(super) const RW: Kinds = 4;
/// The source came before the target in its session.
pub(super) const SESSION: Kinds = 8;
/// The source had ended before the target began.
pub(super) const REALTIME: Kinds = 16;
/// From the place behind the elements of a list that anybody saw, to a transaction that appended there. No
/// dependency by itself: what leads to the place depends on all that it leads to.
pub(super) const BEHIND: Kinds = 32;

/// A dependency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub from: u32,
    pub to: u32,
    pub kind: Kinds,
    /// The list, by place; of no meaning for [`SESSION`] and [`REALTIME`].
    pub key: u32,
}

/// Dependencies, in order of their sources. The nodes are the transactions, by place, and behind them the
/// ends of lists ([`BEHIND`]).
pub(super) struct Graph {
    edges: Vec<Edge>,
    /// Where the edges of each node begin.
    starts: Vec<usize>,
}

impl Graph {
    /// The dependencies between transactions that took place.
    pub fn of(lists: &Lists) -> Graph {
        let mut build = Build { lists, edges: vec![], nodes: lists.txns.len() };
        for (at, key) in
            lists.keys.iter().enumerate().filter(|(_, key)| !key.repeated && !key.reads.is_empty())
        {
            build.key(at, key);
        }
        build.sessions();
        build.realtime();
        let Build { mut edges, nodes, .. } = build;
        edges.sort_unstable_by_key(|edge| (edge.from, edge.to, edge.kind));
        edges.dedup_by_key(|edge| (edge.from, edge.to, edge.kind));
        let starts =
            (0..=nodes).map(|node| edges.partition_point(|edge| (edge.from as usize) < node)).collect();
        Graph { edges, starts }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// The dependencies on a node.
    pub fn from(&self, node: usize) -> &[Edge] {
        &self.edges[self.starts[node]..self.starts[node + 1]]
    }
}

/// Transactions that appended to one list without being seen, and read it whole before, get a dependency each
/// on so many of their like: two suffice to show a lost update.
const DIRECT_MAX: usize = 16;

struct Build<'a, 'b> {
    lists: &'b Lists<'a>,
    edges: Vec<Edge>,
    nodes: usize,
}

impl Build<'_, '_> {
    fn committed(&self, txn: usize) -> bool {
        self.lists.txns[txn].state == State::Committed
    }

    fn edge(&mut self, (from, to): (usize, usize), kind: Kinds, key: usize) {
        if from != to {
            // Places are below the number of operations of a history that fits into memory.
            let edge = Edge { from: from as u32, to: to as u32, kind, key: key as u32 };
            self.edges.push(edge);
        }
    }

    fn key(&mut self, at: usize, key: &Key) {
        let order = key.order();
        // Who appended what stands at each place; nobody if it is a phantom or was aborted.
        let writer = |element: &Text| {
            key.writers.get(&**element).map(|writer| writer.txn).filter(|txn| self.committed(*txn))
        };
        let writers: Vec<Option<usize>> = order.iter().map(writer).collect();
        let mut seen = HashSet::new();
        if !order.iter().all(|element| seen.insert(&**element)) {
            return;
        }
        let known: Vec<usize> = writers.iter().flatten().copied().collect();
        for pair in known.windows(2) {
            self.edge((pair[0], pair[1]), WW, at);
        }
        let unseen = self.unseen(key, &known);
        let end = self.end(at, &unseen);
        if let (Some(end), Some(last)) = (end, known.last()) {
            self.edge((*last, end), WW, at);
        }
        for read in key.reads.iter().filter(|read| key.agrees(read)) {
            let length = read.external().len();
            if let Some(writer) = writers[..length].iter().rev().find_map(|writer| *writer) {
                self.edge((writer, read.txn), WR, at);
            }
            match writers[length..].iter().find_map(|writer| *writer) {
                Some(next) => self.edge((read.txn, next), RW, at),
                None if unseen.binary_search(&read.txn).is_ok() => {
                    for other in unseen.iter().take(DIRECT_MAX) {
                        self.edge((read.txn, *other), RW, at);
                    }
                }
                None => {
                    if let Some(end) = end {
                        self.edge((read.txn, end), RW, at);
                    }
                }
            }
        }
    }

    /// Transactions that took place and appended to the list, of which no read shows any element of it.
    fn unseen(&self, key: &Key, seen: &[usize]) -> Vec<usize> {
        let mut txns: Vec<usize> = key.writers.values().map(|writer| writer.txn).collect();
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        txns.retain(|txn| self.committed(*txn) && seen.binary_search(txn).is_err());
        txns.sort_unstable();
        txns.dedup();
        // An element in a read that contradicts the longest one has no place: nothing is said of it.
        let odd = key.reads.iter().filter(|read| !key.agrees(read)).flat_map(|read| read.elements);
        let odd: HashSet<usize> = odd.filter_map(|element| Some(key.writers.get(&**element)?.txn)).collect();
        txns.retain(|txn| !odd.contains(txn));
        txns
    }

    /// A node behind all that was seen of the list, if something was appended there.
    fn end(&mut self, key: usize, unseen: &[usize]) -> Option<usize> {
        if unseen.is_empty() {
            return None;
        }
        let end = self.nodes;
        self.nodes += 1;
        for txn in unseen {
            self.edge((end, *txn), BEHIND, key);
        }
        Some(end)
    }

    /// Each transaction of a session, and the one before. What is unknown may take effect later.
    fn sessions(&mut self) {
        let mut last: HashMap<u64, usize> = HashMap::new();
        for (at, txn) in self.lists.txns.iter().enumerate() {
            if txn.state != State::Committed || !txn.is_strict() {
                continue;
            }
            let before = last.get(&txn.operation.session).copied();
            let before = before.filter(|before| self.lists.txns[*before].operation.ret <= txn.operation.call);
            if let Some(before) = before {
                self.edge((before, at), SESSION, 0);
            }
            if txn.operation.is_ok() {
                last.insert(txn.operation.session, at);
            }
        }
    }

    /// From the transactions that had ended when one began, only the latest: those that no other of them
    /// came after.
    fn realtime(&mut self) {
        let lists = self.lists;
        let mut events: Vec<(u64, bool, usize)> = vec![];
        for (at, txn) in lists.txns.iter().enumerate() {
            if txn.state == State::Committed && txn.is_strict() {
                events.push((txn.operation.call, false, at));
                if txn.operation.is_ok() {
                    events.push((txn.operation.ret, true, at));
                }
            }
        }
        events.sort_unstable();
        let mut latest: Vec<usize> = vec![];
        for (_, is_end, txn) in events {
            if is_end {
                let call = lists.txns[txn].operation.call;
                latest.retain(|before| lists.txns[*before].operation.ret >= call);
                latest.push(txn);
            } else {
                for before in &latest {
                    self.edge((*before, txn), REALTIME, 0);
                }
            }
        }
    }
}
