//! Which row of the timeline an operation stands in, and until when it is drawn.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::words::{self, CLASSES};
use crate::check::history::{Nanos, Operation};

/// How long an operation is drawn that never returned: it is open to the right anyway.
const NEVER_RETURNED: Nanos = 100_000_000;

/// A row: a session, or several of the same class that follow one another without touching.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The first session's number.
    pub session: u64,
    /// How many sessions stand here.
    pub sessions: usize,
    /// The class that most of its operations have.
    pub class: usize,
    /// How many operations overlap in it at most.
    pub lanes: usize,
}

/// When the operation's bar ends.
pub fn ends(operation: &Operation) -> Nanos {
    match operation.ret {
        Nanos::MAX => operation.call.saturating_add(NEVER_RETURNED),
        ret => ret.max(operation.call),
    }
}

/// What is known of a session before it has a row.
struct Session {
    from: Nanos,
    to: Nanos,
    counts: [usize; CLASSES.len()],
}

impl Session {
    /// The class that most operations have; of several the first.
    fn class(&self) -> usize {
        (0..CLASSES.len()).rev().max_by_key(|class| self.counts[*class]).unwrap_or_default()
    }
}

/// The rows, and for each operation its row and lane. An operation takes the first lane that is free when it
/// is called.
pub fn rows(operations: &[&Operation]) -> (Vec<Row>, Vec<(u64, u64)>) {
    let (mut rows, row_of) = packed(&sessions(operations));
    let mut lanes: Vec<Vec<Nanos>> = vec![Vec::new(); rows.len()];
    let mut places = Vec::with_capacity(operations.len());
    for operation in operations {
        let row = row_of[&operation.session];
        let free = lanes[row].iter().position(|busy| *busy <= operation.call);
        let lane = free.unwrap_or(lanes[row].len());
        if free.is_none() {
            lanes[row].push(0);
        }
        lanes[row][lane] = ends(operation);
        places.push((row as u64, lane as u64));
    }
    for (row, lanes) in rows.iter_mut().zip(lanes) {
        row.lanes = lanes.len();
    }
    (rows, places)
}

fn sessions(operations: &[&Operation]) -> BTreeMap<u64, Session> {
    let mut sessions = BTreeMap::new();
    for operation in operations {
        let new = || Session { from: operation.call, to: 0, counts: [0; CLASSES.len()] };
        let session: &mut Session = sessions.entry(operation.session).or_insert_with(new);
        session.to = session.to.max(ends(operation));
        session.counts[words::class(operation)] += 1;
    }
    sessions
}

/// Short sessions share rows, so that a history in which each lost call makes a new client stays readable.
fn packed(sessions: &BTreeMap<u64, Session>) -> (Vec<Row>, HashMap<u64, usize>) {
    let mut in_order: Vec<(&u64, &Session)> = sessions.iter().collect();
    in_order.sort_by_key(|(number, session)| (session.from, **number));
    let mut rows: Vec<(Row, Nanos)> = Vec::new();
    let mut row_of = HashMap::new();
    for (number, session) in in_order {
        let class = session.class();
        let free = rows.iter().position(|(row, busy)| row.class == class && *busy < session.from);
        let at = free.unwrap_or(rows.len());
        if free.is_none() {
            rows.push((Row { session: *number, sessions: 0, class, lanes: 0 }, 0));
        }
        rows[at].0.sessions += 1;
        rows[at].1 = session.to;
        row_of.insert(*number, at);
    }
    (rows.into_iter().map(|(row, _)| row).collect(), row_of)
}
