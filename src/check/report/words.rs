//! What each level, guarantee, anomaly and fault means: one sentence each, for people who have not read a
//! paper.

use crate::check::history::{Action, FaultKind, Operation};

/// What operations are told apart by, the strongest promise first: the levels of reads, then writes, then
/// locks and leases.
pub const CLASSES: [(&str, &str); 10] = [
    ("linearizable", "Sees every write that was acknowledged before the read began. Trusts no clock."),
    ("log", "The same promise, bought by sending a marker through the log: the price to compare with."),
    (
        "lease",
        "The same promise, if clock rates differ by less than a bound. The leader asks nobody before it answers.",
    ),
    ("lease-or-index", "As lease; asks a quorum when the lease has run out."),
    ("bounded", "Sees every write acknowledged at least max_age before the read began. Refuses otherwise."),
    ("session", "A client sees its own writes, and never goes back. Others' writes may come late."),
    ("leader-local", "Whatever the member that believes to lead has. It may be wrong about leading."),
    ("eventual", "Whatever any member has, however old. Answers without a quorum too."),
    ("write", "Writes, and transactions that write: acknowledged once a majority has them on disk."),
    ("locks, leases", "Locks, elections and leases."),
];

/// The class of writes in [`CLASSES`].
const WRITE: usize = 8;
/// The class of locks and leases.
const COORDINATION: usize = 9;

/// The operation's place in [`CLASSES`]. A read without a level promises linearizability.
pub fn class(operation: &Operation) -> usize {
    if let Some(level) = operation.level {
        return class_named(level.name()).unwrap_or_default();
    }
    match operation.action {
        Action::Read { .. } | Action::Range { .. } => 0,
        Action::Write { .. } | Action::Delete { .. } | Action::Cas { .. } | Action::Txn { .. } => WRITE,
        _ => COORDINATION,
    }
}

/// The place of a name in [`CLASSES`].
pub fn class_named(name: &str) -> Option<usize> {
    let name = match name {
        "writes" => "write",
        "lock" | "locks" | "lease-grants" | "leases" => "locks, leases",
        other => other,
    };
    CLASSES.iter().position(|(known, _)| *known == name)
}

/// Guarantees in the order in which they are shown, and what each says.
const GUARANTEES: [(&str, &str); 13] = [
    ("linearizable", "As if there were one copy: a read sees all that was acknowledged before it began."),
    ("real-time", "A read sees all that was acknowledged before it began."),
    ("recency", "A read sees all that was acknowledged before it began."),
    ("bounded-staleness", "A read sees all that was acknowledged at least max_age before it began."),
    ("read-your-writes", "A client sees its own acknowledged writes."),
    ("monotonic-reads", "A client that has seen a state never sees an older one."),
    ("monotonic-writes", "A client's writes take effect in the order in which it made them."),
    ("writes-follow-reads", "A write takes effect after everything that its client had read before."),
    ("pram", "Each client sees its own order of events kept."),
    ("causal", "Nothing is seen before what caused it."),
    ("sequential", "All see one order, which keeps each client's own."),
    ("consistent-prefix", "What is read is one state that really was, never a mix of two."),
    ("convergence", "After the faults, all members hold the same."),
];

/// The guarantee's place among those shown and what it says, if it is known. Spellings differ a little.
pub fn guarantee(name: &str) -> (usize, &'static str) {
    let name = name.replace(['_', ' '], "-");
    let name = match name.as_str() {
        "linearizability" => "linearizable",
        "reads-your-writes" | "ryw" => "read-your-writes",
        "bounded" | "bounded-delta" | "max-age" => "bounded-staleness",
        "prefix" | "committed-prefix" => "consistent-prefix",
        other => other,
    };
    let place = GUARANTEES.iter().position(|(known, _)| *known == name);
    place.map_or((GUARANTEES.len(), ""), |place| (place, GUARANTEES[place].1))
}

/// What an anomaly of that name is.
pub fn anomaly(name: &str) -> &'static str {
    let name = name.strip_suffix("-realtime").or(name.strip_suffix("-process")).unwrap_or(name);
    KEY_VALUE
        .iter()
        .chain(&TRANSACTIONS)
        .chain(&COORDINATED)
        .find(|(known, _)| *known == name)
        .map_or("", |(_, says)| says)
}

/// Anomalies of reads and writes.
const KEY_VALUE: [(&str, &str); 16] = [
    ("stale-read", "A read missed a change that had been acknowledged before it began."),
    ("phantom", "A value was read that nobody wrote."),
    ("phantom-value", "A value was read that nobody wrote."),
    ("future-read", "A value was read before its write was asked for."),
    ("lost-write", "An acknowledged write is nowhere to be found."),
    ("lost-update", "Two changed the same state, each unaware of the other: one change is lost."),
    ("non-linearizable", "No order of the operations explains their answers and keeps real time."),
    ("not-linearizable", "No order of the operations explains their answers and keeps real time."),
    ("wrong-answer", "The answer is not what the store held at the revision that it names."),
    ("real-time", "An operation that began after another ended stands before it."),
    ("duplicate-revision", "Two changes have the same revision."),
    ("read-your-writes", "A client did not see its own acknowledged write."),
    ("monotonic-reads", "A client saw a state, and then an older one."),
    ("too-stale", "A read was older than its bound allows."),
    ("divergence", "Members hold different states at the end."),
    ("malformed", "The history contradicts itself; it was recorded wrongly."),
];

/// Anomalies of transactions: Adya's names.
const TRANSACTIONS: [(&str, &str); 12] = [
    ("G0", "Dirty write: two transactions' writes are interleaved."),
    ("G1a", "Aborted read: something was read of a transaction that was not done."),
    ("G1b", "Intermediate read: something was read that its transaction had changed again."),
    ("G1c", "Circular information: each of several transactions saw another's writes."),
    ("G-single", "Read skew: a transaction saw a part of another, and missed a part of it."),
    ("G2", "Write skew: transactions each missed the other's writes."),
    ("write-skew", "Transactions each missed the other's writes."),
    ("long-fork", "Two readers saw two writes in opposite orders."),
    ("internal", "A transaction did not see its own earlier steps."),
    ("incompatible-order", "Two reads of a list show its elements in different orders."),
    ("duplicate-element", "An element was appended once and is there twice."),
    ("dirty-read", "Something was read of a write that was not done."),
];

/// Anomalies of watches, leases, locks and elections.
const COORDINATED: [(&str, &str); 13] = [
    ("watch-gap", "A watch was not told of a change, yet of later ones."),
    ("watch-duplicate", "A watch was told of a change twice."),
    ("watch-order", "A watch was told of changes in the wrong order."),
    ("watch-phantom", "A watch was told of a change that never was."),
    ("watch-split", "The changes of one revision did not arrive together."),
    ("lock-overlap", "Two clients were sure to hold the same lock at the same time."),
    ("split-brain-lock", "Two clients were sure to hold the same lock at the same time."),
    ("mutual-exclusion", "Two clients were sure to hold the same lock at the same time."),
    ("token-order", "A later holder of a lock got a smaller token than an earlier one."),
    ("fencing", "A write of a holder that had lost its lock was let through."),
    ("lease-early", "A lease ended before its time."),
    ("lease-late", "A lease's keys were there after its time and the allowance."),
    ("lease-resurrected", "A lease that had ended was alive again."),
];

/// The tier's question.
pub fn tier(name: &str) -> &'static str {
    match name {
        "t0" => "Is the history well-formed, and was every value that was read written by somebody?",
        "t1" => "Does one order, that of the revisions, explain every answer and keep real time?",
        "t2" => "Do the values alone, key by key, allow such an order? Does not trust our own revisions.",
        "t3" => "Do transactions over lists contradict each other in a circle?",
        "t4" => "Did watches, leases, locks and elections keep their word?",
        "levels" => "Did each read get what its level promises, and how old was it?",
        _ => "",
    }
}

/// The fault's name as in the history, and what it is.
pub fn fault(kind: FaultKind) -> (&'static str, &'static str) {
    match kind {
        FaultKind::Kill => ("kill", "One process was ended without warning."),
        FaultKind::KillAll => ("kill-all", "All processes were ended without warning."),
        FaultKind::Restart => ("restart", "A process was asked to end, and started again."),
        FaultKind::RollingRestart => ("rolling-restart", "Each process was restarted, one after the other."),
        FaultKind::Pause => ("pause", "A process was stopped for a while, and did not know."),
        FaultKind::Partition => ("partition", "Nothing passed between groups of members."),
        FaultKind::OneWay => ("one-way", "Nothing passed in one direction."),
        FaultKind::Slow => ("slow", "Messages took longer."),
        FaultKind::Drop => ("drop", "Messages or connections were lost."),
        FaultKind::Reset => ("reset", "Connections were reset."),
        FaultKind::Client => ("client", "Clients did not reach a member."),
        FaultKind::Clock => ("clock", "A clock ran at another rate, or jumped."),
        FaultKind::DiskFull => ("disk-full", "A disk was full."),
        FaultKind::Corrupt => ("corrupt", "Files of a member that was down were damaged."),
        FaultKind::Transfer => ("transfer", "The leader was asked to hand over."),
        FaultKind::Compact => ("compact", "Old revisions were compacted away."),
    }
}
