//! Names of cycles, and the reason in words.

use std::collections::HashSet;

use super::{
    TIER,
    cycle::{components, shortest},
    graph::{BEHIND, Edge, Graph, Kinds, REALTIME, RW, SESSION, WR, WW},
    lists::Lists,
};
use crate::check::{Findings, verdict::Violation};

/// Looks for cycles: first of data alone, then with the order of sessions, then with that of real time. A
/// component is told once, by the plainest cycle in it.
pub(super) fn check(lists: &Lists, graph: &Graph, findings: &mut Findings) {
    let mut told = HashSet::new();
    for (order, extra) in [0, SESSION, SESSION | REALTIME].into_iter().enumerate() {
        for component in components(graph, WW | WR | RW | extra, None) {
            if component.iter().any(|node| told.contains(node)) {
                continue;
            }
            let within: HashSet<usize> = component.iter().copied().collect();
            if let Some((class, cycle)) = plainest(graph, extra, &within) {
                findings.violated(violation(lists, NAMES[class as usize][order], &cycle));
            }
            told.extend(component);
        }
    }
}

/// Classes of cycles.
#[derive(Clone, Copy)]
enum Class {
    G0,
    G1c,
    GSingle,
    WriteSkew,
    LongFork,
    GNonadjacent,
    G2,
}

/// The names of each class: by data alone, with sessions, with real time.
const NAMES: [[&str; 3]; 7] = [
    ["G0", "G0-process", "G0-realtime"],
    ["G1c", "G1c-process", "G1c-realtime"],
    ["G-single", "G-single-process", "G-single-realtime"],
    ["write-skew", "write-skew-process", "write-skew-realtime"],
    ["long-fork", "long-fork-process", "long-fork-realtime"],
    ["G-nonadjacent", "G-nonadjacent-process", "G-nonadjacent-realtime"],
    ["G2", "G2-process", "G2-realtime"],
];

/// The plainest cycle in a component: without reads if there is one, then with as few edges as can be that
/// say "did not see".
fn plainest(graph: &Graph, extra: Kinds, within: &HashSet<usize>) -> Option<(Class, Vec<Edge>)> {
    for (class, kinds) in [(Class::G0, WW | extra), (Class::G1c, WW | WR | extra)] {
        for component in components(graph, kinds, Some(within)) {
            let within = component.into_iter().collect();
            if let Some(cycle) = shortest(graph, |edge| edge.kind & kinds != 0, kinds, &within) {
                return Some((class, cycle));
            }
        }
    }
    let is_rw = |edge: &Edge| edge.kind == RW;
    if let Some(cycle) = shortest(graph, is_rw, WW | WR | extra, within) {
        return Some((Class::GSingle, cycle));
    }
    let cycle = shortest(graph, is_rw, WW | WR | RW | extra, within)?;
    Some((with_many_rw(&kinds_of(&cycle)), cycle))
}

/// The kinds of a cycle's dependencies, without ends of lists.
fn kinds_of(cycle: &[Edge]) -> Vec<Kinds> {
    cycle.iter().map(|edge| edge.kind).filter(|kind| *kind != BEHIND).collect()
}

fn with_many_rw(kinds: &[Kinds]) -> Class {
    let next = kinds.iter().cycle().skip(1);
    let adjacent = kinds.iter().zip(next).any(|pair| pair == (&RW, &RW));
    match kinds {
        [RW, RW] => Class::WriteSkew,
        [RW, WR, RW, WR] => Class::LongFork,
        _ if adjacent => Class::G2,
        _ => Class::GNonadjacent,
    }
}

fn violation(lists: &Lists, anomaly: &'static str, cycle: &[Edge]) -> Violation {
    let is_txn = |node: u32| (node as usize) < lists.txns.len();
    let index = |node: u32| lists.txns[node as usize].operation.index;
    // A way over a list's end is one dependency: from what leads there to what it leads to.
    let mut told: Vec<(u64, u64, Edge)> = vec![];
    for (edge, next) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
        if is_txn(edge.from) {
            let to = if is_txn(edge.to) { edge.to } else { next.to };
            told.push((index(edge.from), index(to), *edge));
        }
    }
    let why: Vec<String> = told.iter().map(|(from, to, edge)| reason(lists, (*from, *to), edge)).collect();
    let why = format!("no order of these transactions explains them: {}", why.join("; "));
    let operations = told.iter().map(|(from, _, _)| *from).collect();
    Violation { tier: TIER, anomaly, level: None, why, operations }
}

fn reason(lists: &Lists, (from, to): (u64, u64), edge: &Edge) -> String {
    let key = lists.keys.get(edge.key as usize).map_or("", |key| key.name);
    match edge.kind {
        WW => format!("{from} appended to {key} before {to} did"),
        WR => format!("{to} saw in {key} what {from} appended"),
        RW => format!("{from} did not see in {key} what {to} appended"),
        SESSION => format!("{from} came before {to} in its session"),
        _ => format!("{from} had ended when {to} began"),
    }
}
