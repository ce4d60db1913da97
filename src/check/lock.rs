//! T4, locks and elections: who may believe to hold what, and which writes got through.
//!
//! A holder is *sure* from the answer that granted the lock until it begins to give it up, or until the time
//! up to which its lease was last confirmed. Two who are sure at one instant are two holders. Tokens are
//! unique and rise with time, and a guarded write gets through only while its token is that of the holder:
//! so the tokens of those that did never fall (Kleppmann, *How to do distributed locking*, 2016).
//!
//! A grant without `sure_until` and without a token is that of a mutex without leases (Jepsen's): it is held
//! until it is given up. One with a token alone says nothing of time, and only its token is checked.
//! The order of the queue is not checked: when a place in it was taken is not in a history.

use std::collections::{BTreeMap, HashMap};

use super::{
    Findings,
    history::{Action, History, Nanos, Operation},
    promises::{Broken, Promises},
};

/// Checks locks and elections, into tier `t4`.
pub fn check(history: &History, findings: &mut Findings) {
    let mut locks: BTreeMap<&str, Lock> = BTreeMap::new();
    for operation in &history.operations {
        if let Some(name) = lock_of(&operation.action) {
            locks.entry(name).or_default().add(operation);
        }
    }
    let mut promises = Promises { findings, faults: &history.faults, subject: "locks" };
    for (name, lock) in locks {
        let mut holds = lock.holds();
        tokens(name, &holds, &mut promises);
        guarded_in_order(name, &lock, &mut promises);
        guarded_by_holder(name, &lock, &holds, &mut promises);
        holds.retain(|hold| hold.end.is_some());
        exclusive(name, &mut holds, &mut promises);
    }
}

fn lock_of(action: &Action) -> Option<&str> {
    match action {
        Action::Acquire { lock, .. }
        | Action::Renew { lock, .. }
        | Action::Release { lock, .. }
        | Action::Guarded { lock, .. } => Some(lock),
        _ => None,
    }
}

/// What was done with one lock, in order of call.
#[derive(Default)]
struct Lock<'a> {
    acquired: Vec<&'a Operation>,
    renewed: Vec<&'a Operation>,
    /// With any outcome.
    released: Vec<&'a Operation>,
    guarded: Vec<&'a Operation>,
}

/// Somebody held the lock.
struct Hold<'a> {
    acquired: &'a Operation,
    token: Option<u64>,
    /// The first attempt to give it up.
    released: Option<&'a Operation>,
    /// Until when the holder is sure; `None`: nothing is said of it.
    end: Option<Nanos>,
    /// The operation that says so.
    by: &'a Operation,
}

impl<'a> Lock<'a> {
    fn add(&mut self, operation: &'a Operation) {
        match operation.action {
            Action::Acquire { .. } if operation.is_ok() => self.acquired.push(operation),
            Action::Renew { .. } if operation.is_ok() => self.renewed.push(operation),
            Action::Release { .. } => self.released.push(operation),
            Action::Guarded { .. } if operation.is_ok() => self.guarded.push(operation),
            _ => {}
        }
    }

    fn holds(&self) -> Vec<Hold<'a>> {
        let mut renewed: HashMap<u64, &Operation> = HashMap::new();
        for operation in &self.renewed {
            let Action::Renew { token, sure_until: Some(until), .. } = operation.action else { continue };
            let best = renewed.entry(token).or_insert(operation);
            if sure_until(best).is_none_or(|known| known < until) {
                *best = operation;
            }
        }
        self.acquired.iter().map(|acquired| self.hold(acquired, &renewed)).collect()
    }

    fn hold(&self, acquired: &'a Operation, renewed: &HashMap<u64, &'a Operation>) -> Hold<'a> {
        let Action::Acquire { token, sure_until: until, .. } = acquired.action else {
            return Hold { acquired, token: None, released: None, end: None, by: acquired };
        };
        let mine = |release: &&&Operation| match (token, &release.action) {
            (Some(token), Action::Release { token: released, .. }) => *released == token,
            _ => release.process == acquired.process && release.call >= acquired.ret,
        };
        let released = self.released.iter().find(mine).copied();
        let renewal = token.and_then(|token| renewed.get(&token).copied());
        let renewal = renewal.filter(|renewal| sure_until(renewal) > until);
        let by = renewal.unwrap_or(acquired);
        let end = match (token, sure_until(by)) {
            (_, Some(until)) => Some(until),
            (None, None) => Some(Nanos::MAX),
            (Some(_), None) => None,
        };
        let end = end.map(|end| released.map_or(end, |released| end.min(released.call)));
        Hold { acquired, token, released, end, by }
    }
}

/// Whether both are one place: a session that asks again gets the place that it has.
fn is_same(one: &Hold, other: &Hold) -> bool {
    one.token.is_some() && one.token == other.token
}

fn sure_until(operation: &Operation) -> Option<Nanos> {
    match operation.action {
        Action::Acquire { sure_until, .. } | Action::Renew { sure_until, .. } => sure_until,
        _ => None,
    }
}

/// No two are sure at one instant.
fn exclusive(name: &str, holds: &mut [Hold], promises: &mut Promises) {
    holds.sort_by_key(|hold| hold.acquired.ret);
    promises.checked("mutual-exclusion", holds.len() as u64);
    let mut latest: Option<&Hold> = None;
    for hold in holds.iter() {
        let (begin, end) = (hold.acquired.ret, hold.end.unwrap_or(0));
        if end <= begin {
            continue;
        }
        if let Some(other) = latest.filter(|other| other.end.unwrap_or(0) > begin && !is_same(other, hold)) {
            let until = other.end.unwrap_or(0).min(end);
            let (one, two) = (other.acquired, hold.acquired);
            let why = format!(
                "operations {} and {} both hold {name} from {begin} ns on{}",
                one.index,
                two.index,
                if until == Nanos::MAX { String::new() } else { format!(", until {until} ns") }
            );
            let mut operations = vec![one.index, other.by.index, two.index, hold.by.index];
            operations.dedup();
            let clock = Some((one.call, until)).filter(|_| sure_until(other.by).is_some());
            let broken = Broken { anomaly: "split-brain-lock", why, operations, clock };
            promises.broken("mutual-exclusion", broken);
        }
        if latest.is_none_or(|latest| latest.end < hold.end) {
            latest = Some(hold);
        }
    }
}

/// Tokens are unique, and one that was asked for after another was given is greater.
fn tokens(name: &str, holds: &[Hold], promises: &mut Promises) {
    let mut tokens: Vec<(&Operation, u64)> =
        holds.iter().filter_map(|hold| Some((hold.acquired, hold.token?))).collect();
    promises.checked("token-order", tokens.len() as u64);
    let mut first: HashMap<u64, &Operation> = HashMap::new();
    for (operation, token) in &tokens {
        let other = *first.entry(*token).or_insert(operation);
        if other.session != operation.session {
            let why = format!("{} and {} got the same token {token} of {name}", other.index, operation.index);
            promises.broken("token-order", plain("token-reuse", why, vec![other.index, operation.index]));
        }
    }
    tokens.sort_by_key(|(operation, _)| operation.ret);
    let mut ended = tokens.clone().into_iter().peekable();
    tokens.sort_by_key(|(operation, _)| operation.call);
    let mut highest: Option<(&Operation, u64)> = None;
    for (operation, token) in tokens {
        while let Some(before) = ended.next_if(|(before, _)| before.ret < operation.call) {
            if highest.is_none_or(|highest| highest.1 < before.1) {
                highest = Some(before);
            }
        }
        if let Some((before, higher)) = highest.filter(|(_, higher)| *higher > token) {
            let why = format!(
                "{} got token {token} of {name} after {} had got {higher}",
                operation.index, before.index
            );
            promises.broken("token-order", plain("token-order", why, vec![before.index, operation.index]));
        }
    }
}

fn plain(anomaly: &'static str, why: String, operations: Vec<u64>) -> Broken {
    Broken { anomaly, why, operations, clock: None }
}

/// In order of revision, the tokens of the writes that got through never fall.
fn guarded_in_order(name: &str, lock: &Lock, promises: &mut Promises) {
    let mut done: Vec<(&Operation, u64)> = vec![];
    for operation in &lock.guarded {
        if let Action::Guarded { token, done: Some(true), .. } = operation.action
            && operation.revision() > 0
        {
            done.push((operation, token));
        }
    }
    done.sort_by_key(|(operation, _)| operation.revision());
    promises.checked("fencing", done.len() as u64);
    let mut highest: Option<(&Operation, u64)> = None;
    for (operation, token) in done {
        match highest {
            Some((before, higher)) if higher > token => {
                let why = format!(
                    "{} wrote with token {token} of {name} at revision {}, after {} with {higher} at {}",
                    operation.index,
                    operation.revision(),
                    before.index,
                    before.revision()
                );
                let operations = vec![before.index, operation.index];
                promises.broken("fencing", plain("stale-token-write", why, operations));
            }
            _ => highest = Some((operation, token)),
        }
    }
}

/// A write gets through while its holder is sure, and not after the lock was given up.
fn guarded_by_holder(name: &str, lock: &Lock, holds: &[Hold], promises: &mut Promises) {
    let by_token: HashMap<u64, &Hold> = holds.iter().filter_map(|hold| Some((hold.token?, hold))).collect();
    for operation in &lock.guarded {
        let Action::Guarded { token, done: Some(done), .. } = operation.action else { continue };
        let Some(hold) = by_token.get(&token) else { continue };
        let (index, acquired) = (operation.index, hold.acquired);
        let released = hold.released.filter(|released| released.is_ok() && comes_after(operation, released));
        if let Some(released) = released.filter(|_| done) {
            let why = format!(
                "{index} wrote with token {token} of {name} after {} had released it",
                released.index
            );
            let operations = vec![acquired.index, released.index, index];
            promises.broken("fencing", plain("guard-after-release", why, operations));
        }
        let Some(end) = hold.end.filter(|end| acquired.ret <= operation.call && operation.ret <= *end) else {
            continue;
        };
        promises.checked("held-while-sure", 1);
        if !done {
            let why =
                format!("{index} was refused though its token {token} of {name} is sure until {end} ns");
            let (operations, clock) =
                (vec![acquired.index, hold.by.index, index], Some((acquired.call, end)));
            promises.broken("held-while-sure", Broken { anomaly: "lock-lost-early", why, operations, clock });
        }
    }
}

/// Whether an operation took effect after another, by revisions or by time.
fn comes_after(operation: &Operation, before: &Operation) -> bool {
    let (later, earlier) = (operation.revision(), before.revision());
    operation.call > before.ret || later > 0 && earlier > 0 && later > earlier
}

#[cfg(test)]
mod tests;
