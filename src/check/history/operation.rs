//! One operation of one client.

use super::{Nanos, Text};
use crate::types::{Level, Mechanism, MemberRole, NodeId, Revision};

/// One call and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Names the operation; unique in the history.
    pub index: u64,
    /// Who called. A process does one thing at a time; after an unknown outcome its client goes on as
    /// another process, since the old call may still take effect.
    pub process: u64,
    /// The operations of a session follow one another, and session guarantees hold among them.
    pub session: u64,
    /// The part of the workload it belongs to (`register`, `lock`, …), for people.
    pub part: Option<Text>,
    /// When it was called.
    pub call: Nanos,
    /// When it was answered, or given up. What is unknown may take effect later too.
    pub ret: Nanos,
    /// What was asked and, where it was answered, what was found.
    pub action: Action,
    /// What became of it.
    pub outcome: Outcome,
    /// The level that a read asked for. `None` for writes, and for reads of a history that has no levels:
    /// those promise linearizability.
    pub level: Option<Level>,
    /// The header of the answer.
    pub seen: Option<Seen>,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done and answered.
    Ok,
    /// It was not done, for sure.
    Fail(Text),
    /// Nobody knows: it may have been done, may yet be, or never.
    Unknown(Text),
}

/// What an answer says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Who answered; 0 if that is not known.
    pub node: NodeId,
    /// Its term.
    pub term: u64,
    /// Of a read: the store's revision at the instant of the data. Of a write: after it.
    pub revision: Revision,
    /// Its applied index at that instant.
    pub applied: u64,
    /// As what it served a read.
    pub role: Option<MemberRole>,
    /// How it established the level.
    pub mechanism: Option<Mechanism>,
    /// The level that was served.
    pub served: Option<Level>,
    /// The bound on staleness that it proved.
    pub staleness_bound: Option<Nanos>,
    /// Whether a write's answer is that of an earlier attempt.
    pub stored: bool,
}

/// What was asked. Fields that hold an answer are `None` unless the outcome is `Ok`.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Reads one key.
    Read {
        /// Which.
        key: Text,
        /// What was there; `Some(None)`: nothing.
        found: Option<Option<Found>>,
    },
    /// Sets a key.
    Write {
        /// Which.
        key: Text,
        /// To what.
        value: Text,
    },
    /// Deletes a key.
    Delete {
        /// Which.
        key: Text,
        /// Whether it existed.
        existed: Option<bool>,
    },
    /// Sets a key if it has a value.
    Cas {
        /// Which.
        key: Text,
        /// What it must have; `None`: it must not exist.
        old: Option<Text>,
        /// To what.
        new: Text,
        /// Whether it had it.
        swapped: Option<bool>,
    },
    /// Reads all keys with a prefix.
    Range {
        /// Which.
        prefix: Text,
        /// What was there, in order of key.
        found: Option<Vec<(Text, Found)>>,
    },
    /// If all conditions hold, takes all steps at one instant; otherwise none.
    Txn {
        /// What must hold.
        when: Vec<Condition>,
        /// What is done, each step seeing the ones before.
        steps: Vec<Step>,
        /// Whether the conditions held.
        applied: Option<bool>,
    },
    /// Asks for a lock, or for leadership in an election.
    Acquire {
        /// Its name.
        lock: Text,
        /// The fencing token: rises with every holder.
        token: Option<u64>,
        /// Until then the holder may believe to hold it without asking anybody, if nothing else was said.
        sure_until: Option<Nanos>,
    },
    /// Confirms a lock: its holder has kept its lease alive, and may believe to hold it for longer.
    Renew {
        /// Its name.
        lock: Text,
        /// The holder's token.
        token: u64,
        /// Until when.
        sure_until: Option<Nanos>,
    },
    /// Gives a lock up. The holder stops to believe at the call.
    Release {
        /// Its name.
        lock: Text,
        /// The holder's token.
        token: u64,
    },
    /// A write that is refused unless the lock is held with the token.
    Guarded {
        /// The lock.
        lock: Text,
        /// The writer's token.
        token: u64,
        /// The key that is set.
        key: Text,
        /// To what.
        value: Text,
        /// Whether it was done; `false`: the lock was lost.
        done: Option<bool>,
    },
    /// Asks for a lease.
    Grant {
        /// How long it lives without a keep-alive.
        ttl: Nanos,
        /// Its name.
        lease: Option<u64>,
    },
    /// Prolongs a lease.
    KeepAlive {
        /// Which.
        lease: u64,
        /// How long it lives from now; `Some(0)`: it has ended.
        ttl: Option<Nanos>,
    },
    /// Ends a lease; its keys go.
    Revoke {
        /// Which.
        lease: u64,
    },
    /// Sets a key that goes with its lease.
    Attach {
        /// The lease.
        lease: u64,
        /// The key.
        key: Text,
        /// To what.
        value: Text,
    },
}

/// A key's value, and where it stands in its history. 0 in a number: not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Text,
    /// The revision that last changed it.
    pub mod_revision: Revision,
    /// The revision that created the key.
    pub create_revision: Revision,
    /// How often it was set since.
    pub version: u64,
}

/// What must hold of a key for a transaction to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: Text,
    /// What must hold.
    pub expected: Expected,
}

/// What a condition expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This value; `None`: the key does not exist.
    Value(Option<Text>),
    /// This modification revision; 0: the key does not exist.
    ModRevision(Revision),
}

/// A step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reads a key; `Some(None)`: nothing was there.
    Read(Text, Option<Option<Found>>),
    /// Sets a key.
    Write(Text, Text),
    /// Reads a list; one that does not exist is empty.
    List(Text, Option<Vec<Text>>),
    /// Adds an element, unique in the list, at the list's end. In the store a list is the text of its
    /// elements with a space between them.
    Append(Text, Text),
}

impl Operation {
    /// Whether it was done and answered.
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// Whether nobody knows if it was done.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    /// The store's revision that the answer told; 0 if none did.
    pub fn revision(&self) -> Revision {
        self.seen.map_or(0, |seen| seen.revision)
    }
}
