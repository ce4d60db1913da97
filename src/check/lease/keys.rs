//! Keys that go with a lease and that nothing else can have deleted, and where they were seen.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use crate::{
    check::history::{Action, DeliveryKind, History, Nanos, Operation, Outcome, Step},
    types::{Level, Revision},
};

/// A key was seen to be gone.
#[derive(Clone)]
pub(super) struct Missing<'a> {
    pub key: &'a str,
    /// When it was gone at the latest.
    pub at: Nanos,
    /// The read that missed it, by index; none: a watch told its deletion.
    pub operation: Option<u64>,
    /// The revision that deleted it, if a watch told it.
    pub revision: Revision,
}

impl Missing<'_> {
    /// Whether a watch told it.
    pub fn is_event(&self) -> bool {
        self.operation.is_none()
    }

    /// Who saw it.
    pub fn how(&self) -> String {
        match self.operation {
            Some(index) => format!("operation {index} did not find it"),
            None => format!("a watch told its deletion, at revision {}", self.revision),
        }
    }
}

/// Where the keys of a lease were seen.
#[derive(Clone, Default)]
pub(super) struct Seen<'a> {
    pub missing: Vec<Missing<'a>>,
    /// Linearizable reads that found one.
    pub found: Vec<&'a Operation>,
}

/// Who wrote a key.
#[derive(Default)]
struct Owner<'a> {
    /// The first attachment that was acknowledged.
    attached: Option<&'a Operation>,
    lease: Option<u64>,
    /// Whether something else may have changed it.
    is_shared: bool,
}

/// The keys of all leases.
pub(super) struct Keys<'a> {
    owners: BTreeMap<&'a str, Owner<'a>>,
    by_lease: HashMap<u64, Seen<'a>>,
}

impl<'a> Keys<'a> {
    pub fn of(history: &'a History) -> Keys<'a> {
        let mut keys = Keys { owners: BTreeMap::new(), by_lease: HashMap::new() };
        history.operations.iter().for_each(|operation| keys.writes(operation));
        keys.owners.retain(|_, owner| owner.attached.is_some() && !owner.is_shared);
        history.operations.iter().for_each(|operation| keys.reads(operation));
        for delivery in &history.deliveries {
            let DeliveryKind::Events(events) = &delivery.kind else { continue };
            for event in events.iter().filter(|event| event.value.is_none()) {
                let seen =
                    Missing { key: &event.key, at: delivery.at, operation: None, revision: event.revision };
                keys.missing(seen);
            }
        }
        keys
    }

    /// Where the keys of a lease were seen.
    pub fn seen(&self, lease: u64) -> Seen<'a> {
        self.by_lease.get(&lease).cloned().unwrap_or_default()
    }

    fn writes(&mut self, operation: &'a Operation) {
        if matches!(operation.outcome, Outcome::Fail(_)) {
            return;
        }
        match &operation.action {
            Action::Attach { lease, key, .. } => {
                let owner = self.owners.entry(key).or_default();
                owner.is_shared |= *owner.lease.get_or_insert(*lease) != *lease;
                if operation.is_ok() {
                    owner.attached.get_or_insert(operation);
                }
            }
            Action::Write { key, .. }
            | Action::Delete { key, .. }
            | Action::Cas { key, .. }
            | Action::Guarded { key, .. } => self.owners.entry(key).or_default().is_shared = true,
            Action::Txn { steps, .. } => {
                for step in steps {
                    if let Step::Write(key, _) | Step::Append(key, _) = step {
                        self.owners.entry(key).or_default().is_shared = true;
                    }
                }
            }
            _ => {}
        }
    }

    fn reads(&mut self, operation: &'a Operation) {
        if !operation.is_ok() {
            return;
        }
        match &operation.action {
            Action::Read { key, found: Some(found) } => self.read(operation, key, found.is_some()),
            Action::Range { prefix, found: Some(pairs) } => {
                let from = (Bound::Included(&**prefix), Bound::Unbounded);
                let asked = self.owners.range::<str, _>(from).map(|(key, _)| *key);
                let asked: Vec<&str> = asked.take_while(|key| key.starts_with(&**prefix)).collect();
                for key in asked {
                    let is_there = pairs.binary_search_by(|(other, _)| (**other).cmp(key)).is_ok();
                    self.read(operation, key, is_there);
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, operation: &'a Operation, key: &'a str, is_there: bool) {
        let Some(owner) = self.owners.get(key) else { return };
        let (Some(attached), Some(lease)) = (owner.attached, owner.lease) else { return };
        let is_strict = matches!(operation.level, None | Some(Level::Linearizable | Level::Log));
        if is_there && is_strict {
            self.by_lease.entry(lease).or_default().found.push(operation);
        }
        let (read, written) = (operation.revision(), attached.revision());
        let after = if read > 0 && written > 0 {
            read >= written
        } else {
            is_strict && operation.call > attached.ret
        };
        if !is_there && after {
            let (at, operation, revision) = (operation.ret, Some(operation.index), 0);
            let missing = Missing { key, at, operation, revision };
            self.by_lease.entry(lease).or_default().missing.push(missing);
        }
    }

    fn missing(&mut self, missing: Missing<'a>) {
        let Some(owner) = self.owners.get(missing.key) else { return };
        let attached = owner.attached.map_or(0, Operation::revision);
        if let Some(lease) = owner.lease.filter(|_| attached > 0 && missing.revision > attached) {
            self.by_lease.entry(lease).or_default().missing.push(missing);
        }
    }
}
