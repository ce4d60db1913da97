//! Cycles: strongly connected components (Tarjan 1972, without recursion), and short ways inside of them.

use std::collections::{HashMap, HashSet, VecDeque};

use super::graph::{BEHIND, Edge, Graph, Kinds};

/// The strongly connected components of more than one node, over edges of some kinds. With `within`, only
/// over these nodes.
pub(super) fn components(graph: &Graph, kinds: Kinds, within: Option<&HashSet<usize>>) -> Vec<Vec<usize>> {
    let all: Vec<usize> = match within {
        Some(nodes) => sorted(nodes),
        None => (0..graph.nodes()).collect(),
    };
    let places: HashMap<usize, usize> = match within {
        Some(_) => all.iter().enumerate().map(|(place, node)| (*node, place)).collect(),
        None => HashMap::new(),
    };
    let mut search = Search {
        graph,
        kinds: kinds | BEHIND,
        places: within.map(|_| places),
        seen: vec![0; all.len()],
        low: vec![0; all.len()],
        on_stack: vec![false; all.len()],
        stack: vec![],
        count: 0,
        found: vec![],
    };
    for node in all {
        search.visit(node);
    }
    search.found
}

struct Search<'a> {
    graph: &'a Graph,
    kinds: Kinds,
    places: Option<HashMap<usize, usize>>,
    /// When each node was found, from 1.
    seen: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    count: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn place(&self, node: usize) -> Option<usize> {
        self.places.as_ref().map_or(Some(node), |places| places.get(&node).copied())
    }

    fn enter(&mut self, node: usize, place: usize) {
        self.count += 1;
        (self.seen[place], self.low[place]) = (self.count, self.count);
        self.on_stack[place] = true;
        self.stack.push(node);
    }

    fn visit(&mut self, root: usize) {
        let Some(place) = self.place(root).filter(|place| self.seen[*place] == 0) else { return };
        self.enter(root, place);
        // The node, its place, and how many of its edges were followed.
        let mut path = vec![(root, place, 0)];
        while let Some((node, place, followed)) = path.last_mut() {
            let (node, place) = (*node, *place);
            let Some(edge) = self.graph.from(node).get(*followed).copied() else {
                path.pop();
                if let Some((_, above, _)) = path.last() {
                    self.low[*above] = self.low[*above].min(self.low[place]);
                }
                self.leave(node, place);
                continue;
            };
            *followed += 1;
            let target = self.place(edge.to as usize).filter(|_| edge.kind & self.kinds != 0);
            let Some(target) = target else { continue };
            if self.seen[target] == 0 {
                self.enter(edge.to as usize, target);
                path.push((edge.to as usize, target, 0));
            } else if self.on_stack[target] {
                self.low[place] = self.low[place].min(self.seen[target]);
            }
        }
    }

    fn leave(&mut self, node: usize, place: usize) {
        if self.low[place] != self.seen[place] {
            return;
        }
        let at = self.stack.iter().rposition(|other| *other == node).unwrap_or(0);
        let component = self.stack.split_off(at);
        for member in &component {
            if let Some(place) = self.place(*member) {
                self.on_stack[place] = false;
            }
        }
        if component.len() > 1 {
            self.found.push(component);
        }
    }
}

/// The shortest way from one node to another inside of some nodes, over edges of some kinds; none from a node
/// to itself.
pub(super) fn way(
    graph: &Graph,
    (from, to): (usize, usize),
    kinds: Kinds,
    within: &HashSet<usize>,
) -> Option<Vec<Edge>> {
    let mut by: HashMap<usize, Edge> = HashMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        for edge in graph.from(node).iter().filter(|edge| edge.kind & (kinds | BEHIND) != 0) {
            let next = edge.to as usize;
            if next == from || !within.contains(&next) || by.contains_key(&next) {
                continue;
            }
            by.insert(next, *edge);
            if next == to {
                return Some(back(&by, from, to));
            }
            queue.push_back(next);
        }
    }
    None
}

fn back(by: &HashMap<usize, Edge>, from: usize, to: usize) -> Vec<Edge> {
    let mut way = vec![];
    let mut node = to;
    while node != from {
        let Some(edge) = by.get(&node) else { break };
        way.push(*edge);
        node = edge.from as usize;
    }
    way.reverse();
    way
}

/// The shortest cycle that begins with an edge for which `first` holds and goes on over edges of some kinds.
/// Tries so many edges at most: the cycle may then be longer than it must be.
pub(super) fn shortest(
    graph: &Graph,
    first: impl Fn(&Edge) -> bool,
    kinds: Kinds,
    within: &HashSet<usize>,
) -> Option<Vec<Edge>> {
    let nodes = sorted(within);
    let tries_max = (STEPS_MAX / within.len().max(1)).max(TRIES);
    let edges = nodes.iter().flat_map(|node| graph.from(*node));
    let edges = edges.filter(|edge| first(edge) && within.contains(&(edge.to as usize)));
    let mut best: Option<Vec<Edge>> = None;
    for (tried, edge) in edges.enumerate() {
        // Rather a longer cycle soon than the shortest late, but not none: that would change its name.
        if tried >= TRIES && best.is_some() || tried >= tries_max {
            break;
        }
        let Some(mut rest) = way(graph, (edge.to as usize, edge.from as usize), kinds, within) else {
            continue;
        };
        if best.as_ref().is_none_or(|best| rest.len() + 1 < best.len()) {
            rest.insert(0, *edge);
            best = Some(rest);
        }
    }
    best
}

/// Edges from which a shorter cycle is looked for.
const TRIES: usize = 200;
/// Nodes that all tries together may look at, beyond the first tries.
const STEPS_MAX: usize = 20_000_000;

/// In one order always, so that a history gives one answer.
fn sorted(nodes: &HashSet<usize>) -> Vec<usize> {
    let mut nodes: Vec<usize> = nodes.iter().copied().collect();
    nodes.sort_unstable();
    nodes
}
