//! Transactions over lists, and who appended which element.

use std::collections::{HashMap, HashSet};

use crate::{
    check::history::{Action, History, Operation, Outcome, Step, Text},
    types::Level,
};

/// A transaction that reads or appends to lists.
pub(super) struct Txn<'a> {
    pub operation: &'a Operation,
    pub steps: &'a [Step],
    pub state: State,
}

impl Txn<'_> {
    /// Whether the order of real time and of its session binds it: all but reads at a weaker level.
    pub fn is_strict(&self) -> bool {
        matches!(self.operation.level, None | Some(Level::Linearizable | Level::Log))
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It took place: it was answered so, or somebody saw it.
    Committed,
    /// It did not, for sure.
    Aborted,
    /// Nobody saw it yet.
    Unknown,
}

/// Who appended an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    /// The transaction, by place.
    pub txn: usize,
    /// Whether it appended nothing to the list after it.
    pub last: bool,
}

/// A read of a list by a transaction that took place.
pub(super) struct Read<'a> {
    pub txn: usize,
    /// All that was found.
    pub elements: &'a [Text],
    /// How many of these, at the end, the transaction had appended itself.
    pub own: usize,
}

impl<'a> Read<'a> {
    /// What others had appended.
    pub fn external(&self) -> &'a [Text] {
        &self.elements[..self.elements.len() - self.own]
    }
}

/// A list.
pub(super) struct Key<'a> {
    pub name: &'a str,
    pub writers: HashMap<&'a str, Writer>,
    pub reads: Vec<Read<'a>>,
    /// Whether an element was appended twice.
    pub repeated: bool,
    /// The longest of `reads`, by place.
    pub longest: Option<usize>,
}

impl<'a> Key<'a> {
    /// The elements in order, as far as anybody saw them.
    pub fn order(&self) -> &'a [Text] {
        self.longest.map_or(&[], |at| self.reads[at].elements)
    }

    /// Whether a read agrees with the longest one.
    pub fn agrees(&self, read: &Read) -> bool {
        self.order().starts_with(read.elements)
    }
}

/// All transactions over lists.
pub(super) struct Lists<'a> {
    pub txns: Vec<Txn<'a>>,
    pub keys: Vec<Key<'a>>,
    ids: HashMap<&'a str, usize>,
    /// Transactions whose reads contradict themselves.
    pub internal: Vec<(usize, &'a str)>,
    /// Whether lists may have had elements before the history began.
    pub has_past: bool,
}

impl<'a> Lists<'a> {
    /// The transactions over lists in a history.
    pub fn of(history: &'a History) -> Lists<'a> {
        let foreign = foreign(history);
        let told = history.operations.iter().map(Operation::revision).filter(|revision| *revision > 0);
        let has_past = !history.about.complete && told.min().is_some_and(|first| first > 1);
        let mut lists = Lists { txns: vec![], keys: vec![], ids: HashMap::new(), internal: vec![], has_past };
        for operation in &history.operations {
            let Action::Txn { steps, applied, .. } = &operation.action else { continue };
            if steps.iter().any(|step| list_of(step).is_some_and(|key| !foreign.contains(key))) {
                let state = match (&operation.outcome, applied) {
                    (Outcome::Fail(_), _) | (Outcome::Ok, Some(false)) => State::Aborted,
                    (Outcome::Ok, _) => State::Committed,
                    (Outcome::Unknown(_), _) => State::Unknown,
                };
                lists.add(Txn { operation, steps, state }, &foreign);
            }
        }
        for key in &mut lists.keys {
            key.longest = (0..key.reads.len()).max_by_key(|at| key.reads[*at].elements.len());
        }
        lists
    }

    fn add(&mut self, txn: Txn<'a>, foreign: &HashSet<&str>) {
        let at = self.txns.len();
        let mut so_far: HashMap<usize, SoFar<'a>> = HashMap::new();
        for step in txn.steps {
            let Some(name) = list_of(step).filter(|key| !foreign.contains(key)) else { continue };
            let id = self.id(name);
            let so_far = so_far.entry(id).or_default();
            let key = &mut self.keys[id];
            match step {
                Step::Append(_, element) => {
                    if let Some(before) = so_far.own.last().and_then(|own| key.writers.get_mut(*own)) {
                        before.last = false;
                    }
                    so_far.own.push(element);
                    so_far.since.push(element);
                    let writer = Writer { txn: at, last: true };
                    key.repeated |= key.writers.insert(element, writer).is_some();
                }
                Step::List(_, Some(found)) if txn.state == State::Committed => {
                    if !so_far.broken && !so_far.expects(found) {
                        so_far.broken = true;
                        self.internal.push((at, name));
                    }
                    if !so_far.broken {
                        key.reads.push(Read { txn: at, elements: found, own: so_far.own.len() });
                    }
                    (so_far.read, so_far.since) = (Some(found.as_slice()), vec![]);
                }
                _ => {}
            }
        }
        self.txns.push(txn);
    }

    fn id(&mut self, name: &'a str) -> usize {
        *self.ids.entry(name).or_insert_with(|| {
            let (writers, reads) = (HashMap::new(), vec![]);
            self.keys.push(Key { name, writers, reads, repeated: false, longest: None });
            self.keys.len() - 1
        })
    }

    /// Takes those transactions for done of which somebody saw an element.
    pub fn observe(&mut self) {
        for key in self.keys.iter().filter(|key| !key.repeated) {
            let others = key.reads.iter().filter(|read| !key.agrees(read)).flat_map(|read| read.elements);
            for element in key.order().iter().chain(others) {
                let Some(writer) = key.writers.get(&**element) else { continue };
                let state = &mut self.txns[writer.txn].state;
                if *state == State::Unknown {
                    *state = State::Committed;
                }
            }
        }
    }
}

/// What a transaction has done with one list so far.
#[derive(Default)]
struct SoFar<'a> {
    read: Option<&'a [Text]>,
    since: Vec<&'a str>,
    own: Vec<&'a str>,
    /// A read contradicted these: nothing follows from the ones after it.
    broken: bool,
}

impl SoFar<'_> {
    /// Whether a read can find this after what the transaction has read and appended before.
    fn expects(&self, found: &[Text]) -> bool {
        let Some(rest) = found.len().checked_sub(self.since.len()) else { return false };
        let (head, tail) = found.split_at(rest);
        let appended = tail.iter().map(|element| &**element).eq(self.since.iter().copied());
        appended && self.read.is_none_or(|read| read == head)
    }
}

/// The list that a step works with.
fn list_of(step: &Step) -> Option<&str> {
    match step {
        Step::List(key, _) | Step::Append(key, _) => Some(key),
        Step::Read(..) | Step::Write(..) => None,
    }
}

/// Keys that something else than an append may have changed.
fn foreign(history: &History) -> HashSet<&str> {
    let mut keys = HashSet::new();
    for operation in &history.operations {
        if matches!(operation.outcome, Outcome::Fail(_)) {
            continue;
        }
        match &operation.action {
            Action::Write { key, .. }
            | Action::Delete { key, .. }
            | Action::Cas { key, .. }
            | Action::Guarded { key, .. }
            | Action::Attach { key, .. } => {
                keys.insert(&**key);
            }
            Action::Txn { steps, .. } => keys.extend(steps.iter().filter_map(|step| match step {
                Step::Write(key, _) => Some(&**key),
                _ => None,
            })),
            _ => {}
        }
    }
    keys
}
