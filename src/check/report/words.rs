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
        "The same promise, if clock rates differ by less than a bound. The leader answers without asking.",
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
    CLASSES.iter().position(|(known, _)| *known == name)
}

/// Guarantees of reads and writes in the order in which they are shown, and what each says.
const GUARANTEES: [(&str, &str); 9] = [
    ("linearizable", "As if there were one copy: a read sees all that was acknowledged before it began."),
    ("bounded", "A read sees all that was acknowledged at least max_age before it began."),
    ("stated-bound", "A read is not older than its own answer says."),
    ("read-your-writes", "A client sees its own acknowledged writes."),
    ("monotonic-reads", "A client that has seen a state never sees an older one."),
    ("monotonic-writes", "A client's writes take effect in the order in which it made them."),
    ("writes-follow-reads", "A write takes effect after everything that its client had read before."),
    ("monotonic-per-member", "A member never shows a state older than one it has shown."),
    ("consistent-prefix", "What is read is one state that really was, never a mix of two."),
];

/// The guarantee's place among those shown and what it says, if it is known.
pub fn guarantee(name: &str) -> (usize, &'static str) {
    let place = GUARANTEES.iter().position(|(known, _)| *known == name);
    place.map_or((GUARANTEES.len(), ""), |place| (place, GUARANTEES[place].1))
}

/// Promises of watches, leases and locks: the subject stands where else a level does.
const PROMISES: [(&str, &str, &str); 18] = [
    ("watch", "reliable", "Every change is told, none is left out."),
    ("watch", "unique", "No change is told twice."),
    ("watch", "ordered", "Changes are told in order of revision."),
    ("watch", "atomic", "The changes of one revision are told together."),
    ("watch", "filter", "Only what was asked for is told."),
    ("watch", "bookmark", "After it was said that all up to a revision was told, nothing older comes."),
    ("watch", "consistent", "What is told is what the history's writes did."),
    ("watch", "previous", "The value before a change is the one that it replaced."),
    ("watch", "version", "Versions and create revisions follow from the changes."),
    ("watch", "cancel", "Nothing comes after the end, and an end has a true reason."),
    ("lease", "not-early", "A lease lives for its whole time after each answered keep-alive."),
    ("lease", "not-late", "The keys of a lease are gone soon after its time."),
    ("lease", "not-revived", "A lease that has ended stays so."),
    ("lease", "at-once", "All keys of a lease go in one revision."),
    ("lock", "mutual-exclusion", "No two holders are sure of the same lock at the same time."),
    ("lock", "token-order", "A later holder has a greater token."),
    ("lock", "fencing", "A write of somebody who has lost the lock is refused."),
    ("lock", "held-while-sure", "While a holder may be sure of a lock, it has it."),
];

/// The place in which a promise of a subject is shown, and what it says; none: it is a guarantee at a level.
pub fn promise(subject: &str, name: &str) -> Option<(usize, &'static str)> {
    let place = PROMISES.iter().position(|(of, known, _)| (*of, *known) == (subject, name))?;
    Some((place, PROMISES[place].2))
}

/// What an anomaly of that name is.
pub fn anomaly(name: &str) -> &'static str {
    let plain = name.strip_suffix("-realtime").or(name.strip_suffix("-process")).unwrap_or(name);
    let all = KEY_VALUE.iter().chain(&LEVELS).chain(&TRANSACTIONS).chain(&WATCHES).chain(&LEASES_AND_LOCKS);
    let mut all = all.filter(|(known, _)| *known == plain);
    all.next().map_or("", |(_, says)| says)
}

/// Anomalies of reads and writes.
const KEY_VALUE: [(&str, &str); 18] = [
    ("malformed", "The history contradicts itself; it was recorded wrongly."),
    ("phantom-read", "A value was read that nobody wrote."),
    ("aborted-read", "A value was read whose write was refused."),
    ("future-read", "A value was read before its write was asked for."),
    ("stale-read", "A read missed a change that had been acknowledged before it began."),
    ("lost-write", "An acknowledged write is nowhere to be found."),
    ("lost-update", "Two changed the same state, each unaware of the other: one change is lost."),
    ("non-linearizable", "No order of the operations explains their answers and keeps real time."),
    ("write-order", "A write that began after another was acknowledged took effect before it."),
    ("applied-twice", "One write took effect two times."),
    ("duplicate-revision", "Two changes have the same revision."),
    ("unexplained-revision", "The store changed, and nobody had asked for it."),
    ("inconsistent-read", "The answer is not what the store held at the revision that it names."),
    ("wrong-answer", "The answer does not follow from the changes before it."),
    ("wrong-refusal", "A condition was said not to hold, and it held."),
    ("wrong-version", "A version or revision in the answer does not follow from the changes."),
    ("diverged", "Members hold different states at the end."),
    ("dirty-read", "Something was read of a write that was not done."),
];

/// What a level promised a read or a session, and did not give.
const LEVELS: [(&str, &str); 6] = [
    ("stale-beyond-bound", "A read was older than its bound allows."),
    ("missed-own-write", "A client did not see its own acknowledged write."),
    ("non-monotonic-read", "A client saw a state, and then an older one."),
    ("non-monotonic-write", "A client's later write took effect before its earlier one."),
    ("write-before-read", "A write took effect before what its client had already read."),
    ("member-went-back", "A member showed a state, and then an older one."),
];

/// Anomalies of transactions: Adya's names.
const TRANSACTIONS: [(&str, &str); 11] = [
    ("G0", "Dirty write: the writes of two transactions are interleaved."),
    ("G1a", "Aborted read: something was read of a transaction that was not done."),
    ("G1b", "Intermediate read: something was read that its transaction went on to change."),
    ("G1c", "Circular information: each of several transactions saw another's writes."),
    ("G-single", "Read skew: a transaction saw a part of another, and missed a part of it."),
    ("G-nonadjacent", "Transactions in a circle each saw one, and missed another."),
    ("G2", "Transactions in a circle each missed another's writes."),
    ("write-skew", "Two transactions each missed the other's writes."),
    ("long-fork", "Two readers saw two writes in opposite orders."),
    ("internal", "A transaction did not see its own earlier steps."),
    ("incompatible-order", "Two reads of a list show its elements in different orders."),
];

/// Anomalies of lists and watches.
const WATCHES: [(&str, &str); 11] = [
    ("duplicate-elements", "An element was appended once and is there twice."),
    ("watch-gap", "A watch was not told of a change, yet of later ones."),
    ("watch-duplicate", "A watch was told of a change twice."),
    ("watch-order", "A watch was told of changes in the wrong order."),
    ("watch-atomic", "The changes of one revision did not arrive together."),
    ("watch-filter", "A watch was told of something that it had not asked for."),
    ("watch-bookmark", "A watch said that all was told up to a revision, and then told something older."),
    ("watch-mismatch", "A watch was told of a change that the writes do not explain."),
    ("watch-previous", "A watch was told of a wrong value before a change."),
    ("watch-version", "A watch was told of a wrong version or create revision."),
    ("watch-cancel", "A watch ended for a reason that is not true."),
];

/// Anomalies of leases, locks and elections.
const LEASES_AND_LOCKS: [(&str, &str); 11] = [
    ("watch-after-cancel", "A watch told something after its end."),
    ("lease-early", "A lease ended before its time."),
    ("lease-late", "A lease's keys were there after its time and the allowance."),
    ("lease-revived", "A lease that had ended was alive again."),
    ("lease-split", "The keys of one lease did not go together."),
    ("split-brain-lock", "Two clients were sure to hold the same lock at the same time."),
    ("token-order", "A later holder of a lock got a smaller token than an earlier one."),
    ("token-reuse", "Two holders of a lock got the same token."),
    ("stale-token-write", "A write of a holder that had lost its lock was let through."),
    ("guard-after-release", "A write was let through after its lock had been given up."),
    ("lock-lost-early", "A holder was refused while it could be sure to hold the lock."),
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

/// What a fault is.
pub fn fault(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Kill => "One process was ended without warning.",
        FaultKind::KillAll => "All processes were ended without warning.",
        FaultKind::Restart => "A process was asked to end, and started again.",
        FaultKind::RollingRestart => "Each process was restarted, one after the other.",
        FaultKind::Pause => "A process was stopped for a while, and did not know.",
        FaultKind::Partition => "Nothing passed between groups of members.",
        FaultKind::OneWay => "Nothing passed in one direction.",
        FaultKind::Slow => "Messages took longer.",
        FaultKind::Drop => "Messages or connections were lost.",
        FaultKind::Reset => "Connections were reset.",
        FaultKind::Client => "Clients did not reach a member.",
        FaultKind::Clock => "A clock ran at another rate, or jumped.",
        FaultKind::DiskFull => "A disk was full.",
        FaultKind::Corrupt => "Files of a member that was down were damaged.",
        FaultKind::Transfer => "The leader was asked to hand over.",
        FaultKind::Compact => "Old revisions were compacted away.",
    }
}
