//! Executing one command on a batch: is it new to its session, do its guards hold, then the operation.
//!
//! The answer's size is bounded here and not by configuration: members must give the same answer, whatever
//! each is configured to. A range inside a transaction is cut and says `more`; deleted or replaced pairs
//! (`prev_kv`) cannot be cut without a lie, so that a command which asks for too many of them is refused.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Applied, Command, Corruption, Outcome, Position, Refusal,
    block::{Entry, Record, RecordId},
    command::{Doomed, Expire, GrantLease, Operation},
    leases::{Change, Recall},
    overlay::{ApplyBatch, Found, Mark},
    range::{self, Room, Selection},
    stored,
};
use crate::{
    mutant::Mutant,
    types::{
        Delete, DeleteResult, Granted, Guard, KeyValue, LeaseId, LockKey, Put, Range, RangeResult, Revision,
        Revoked, SessionSeq,
    },
};

/// Bytes in the answer to one command: keys, values, and [`PAIR_BYTES`] for each pair.
const ANSWER_BYTES_MAX: usize = 3 << 20;

/// Keys that are looked at to say who holds a lock that is lost: some 100 µs. Part of what the answer is, for
/// members must agree.
const QUEUE_KEYS_MAX: usize = 1024;

/// What a pair costs besides key and value.
const PAIR_BYTES: usize = 64;

/// Why a command ended early.
pub(super) enum Stop {
    /// It is refused: what it did so far is undone.
    Refused(Refusal),
    /// The state is broken.
    Broken(Corruption),
}

impl From<Corruption> for Stop {
    fn from(corruption: Corruption) -> Stop {
        Stop::Broken(corruption)
    }
}

/// Applies the command of the entry `at`.
pub(super) fn apply(batch: &mut ApplyBatch, at: Position, command: &Command) -> Result<Applied, Corruption> {
    let Some(request) = &command.session else { return once(batch, at, command) };
    let recalled = batch.leases.recall(request).map_err(|why| Corruption::damaged("a response", why))?;
    match recalled {
        Recall::Stored(applied) => Ok(applied),
        Recall::Refused(refusal) => Ok(answer(batch, at, Outcome::Refused(refusal))),
        Recall::New => {
            let applied = once(batch, at, command)?;
            remember(batch, request, &applied);
            Ok(applied)
        }
    }
}

fn once(batch: &mut ApplyBatch, at: Position, command: &Command) -> Result<Applied, Corruption> {
    let outcome = match lost(batch, &command.guards) {
        Some(refusal) => Outcome::Refused(refusal),
        None => execute(batch, at, &command.op)?,
    };
    Ok(answer(batch, at, outcome))
}

fn answer(batch: &ApplyBatch, at: Position, outcome: Outcome) -> Applied {
    let revision = batch.head.revision;
    Applied { log_index: at.index, log_term: at.term, revision, outcome, deduplicated: false }
}

/// Keeps the response of a session's request, unless it is that there was no room: then nothing has
/// changed, and the request may be repeated until there is. One that ended its own session leaves nothing.
fn remember(batch: &mut ApplyBatch, request: &SessionSeq, applied: &Applied) {
    if matches!(applied.outcome, Outcome::Refused(Refusal::TooMany { .. })) {
        return;
    }
    let SessionSeq { id: session, seq, ack_below } = *request;
    if ack_below > 0 {
        batch.push_lease(Change::Acknowledge { session, below: ack_below.min(seq) });
    }
    batch.push_lease(Change::Respond { session, seq, response: stored::encode(applied) });
}

/// The refusal for the first guard that does not hold.
fn lost(batch: &ApplyBatch, guards: &[Guard]) -> Option<Refusal> {
    for Guard { owner_key, fencing_token } in guards.iter().filter(|_| !Mutant::GuardIgnored.is_on()) {
        let create = batch.find(owner_key).map(|found| found.entry.create);
        if create != Some(*fencing_token) {
            let current_token = holder(batch, owner_key, create);
            let owner_key = owner_key.clone();
            return Some(Refusal::LockLost { owner_key, token: *fencing_token, current_token });
        }
    }
    None
}

/// The token of whoever is first in the queue that `key` was a place of; of another key its own, `create`. 0
/// also where too many keys lie in the queue's range to look for the first: to refuse must not cost more than
/// to do.
fn holder(batch: &ApplyBatch, key: &Bytes, create: Option<Revision>) -> Revision {
    let Some(LockKey { name, .. }) = LockKey::decode(key) else { return create.unwrap_or(0) };
    let found = batch.few(&LockKey::queue(&name), QUEUE_KEYS_MAX).unwrap_or_default();
    let is_place = |found: &Found| LockKey::decode(&found.key).is_some_and(|place| place.name == name);
    found.iter().filter(|found| is_place(found)).map(|found| found.entry.create).min().unwrap_or(0)
}

/// Executes an operation. A refusal leaves the batch as it was.
fn execute(batch: &mut ApplyBatch, at: Position, op: &Operation) -> Result<Outcome, Corruption> {
    let mark = batch.mark();
    let mut execution = Execution::new(batch);
    match execution.operation(at, op) {
        Ok(outcome) => {
            execution.finish(&mark);
            Ok(outcome)
        }
        Err(Stop::Refused(refusal)) => {
            batch.roll_back(mark);
            Ok(Outcome::Refused(refusal))
        }
        Err(Stop::Broken(corruption)) => Err(corruption),
    }
}

/// One command under way: all its changes get one revision.
pub(super) struct Execution<'a> {
    pub(super) batch: &'a mut ApplyBatch,
    revision: Revision,
    next_sub: u32,
    /// Bytes that the answer may still take.
    room: usize,
}

impl<'a> Execution<'a> {
    fn new(batch: &'a mut ApplyBatch) -> Self {
        let revision = batch.head.revision + 1;
        Execution { batch, revision, next_sub: 0, room: ANSWER_BYTES_MAX }
    }

    /// A command that changed something made a revision.
    fn finish(&mut self, mark: &Mark) {
        if self.batch.changed_since(mark) {
            self.batch.head.revision = self.revision;
        }
    }

    fn operation(&mut self, at: Position, op: &Operation) -> Result<Outcome, Stop> {
        match op {
            Operation::Put(put) => self.put(put).map(Outcome::Put),
            Operation::Delete(delete) => self.delete(delete).map(Outcome::Delete),
            Operation::Txn(txn) => self.txn(txn).map(Outcome::Txn),
            Operation::Compact(revision) => self.compact(*revision),
            Operation::Marker => Ok(Outcome::Marker),
            Operation::Grant(grant) => self.grant(at, grant),
            Operation::Revoke(lease) => self.revoke(*lease),
            Operation::Expire(expire) => Ok(self.expire(at, expire)),
        }
    }

    pub(super) fn put(&mut self, put: &Put) -> Result<Option<KeyValue>, Stop> {
        if put.lease != 0 && self.batch.leases.get(put.lease).is_none() {
            return Err(Stop::Refused(Refusal::LeaseNotFound(put.lease)));
        }
        let previous = self.batch.find(&put.key);
        let answer = match &previous {
            Some(found) if put.prev_kv => Some(self.previous_pair(found)?),
            _ => None,
        };
        let id = self.next_id();
        let (create, version) = match &previous {
            Some(found) => (found.entry.create, found.entry.version + 1),
            None => (id.main, 1),
        };
        let entry = Entry { main: id.main, sub: id.sub, create, version, lease: put.lease, tombstone: false };
        let record = Record { entry, key: put.key.clone(), value: put.value.clone() };
        self.batch.push(record);
        Ok(answer)
    }

    pub(super) fn delete(&mut self, delete: &Delete) -> Result<DeleteResult, Stop> {
        let mut doomed = Vec::new();
        self.batch.for_each(&delete.keys, |found| {
            doomed.push(found);
            Ok::<_, Corruption>(())
        })?;
        let mut result = DeleteResult { deleted: doomed.len() as u64, prev_kvs: Vec::new() };
        for found in doomed {
            if delete.prev_kv {
                result.prev_kvs.push(self.previous_pair(&found)?);
            }
            self.remove(found.key);
        }
        Ok(result)
    }

    fn remove(&mut self, key: Bytes) {
        let entry = Entry::tombstone(self.next_id());
        self.batch.push(Record { entry, key, value: Bytes::new() });
    }

    fn grant(&mut self, at: Position, grant: &GrantLease) -> Result<Outcome, Stop> {
        let lease = match grant.lease {
            0 => self.batch.leases.unused_id(at.index),
            chosen => chosen,
        };
        let GrantLease { ttl_ms, session, .. } = *grant;
        self.batch.leases.check(&GrantLease { lease, ..*grant }).map_err(Stop::Refused)?;
        self.batch.push_lease(Change::Grant { lease, ttl_ms, session, granted_at: at.index });
        Ok(Outcome::Grant(Granted { id: lease, ttl: Duration::from_millis(ttl_ms) }))
    }

    fn revoke(&mut self, lease: LeaseId) -> Result<Outcome, Stop> {
        match self.end(lease) {
            Some(deleted) => Ok(Outcome::Revoke(Revoked { deleted })),
            None => Err(Stop::Refused(Refusal::LeaseNotFound(lease))),
        }
    }

    /// The leader that counted them down must still have led when it appended the entry: every later leader
    /// has given the leases their time again.
    fn expire(&mut self, at: Position, expire: &Expire) -> Outcome {
        let counted = expire.term == at.term || Mutant::ExpiredByOldLeader.is_on();
        let doomed = expire.leases.iter().filter(|_| counted);
        let ended: Vec<u64> = doomed.filter_map(|doomed| self.end_exactly(doomed)).collect();
        Outcome::Expire { leases: ended.len() as u64, deleted: ended.iter().sum() }
    }

    fn end_exactly(&mut self, doomed: &Doomed) -> Option<u64> {
        let granted_at = self.batch.leases.get(doomed.lease)?.granted_at;
        // 0 on either side: from before it was kept, and members may differ in which side that is.
        let meant = doomed.granted_at == 0 || granted_at == 0 || doomed.granted_at == granted_at;
        if meant { self.end(doomed.lease) } else { None }
    }

    /// Ends a lease, if it exists; gives how many keys went with it.
    fn end(&mut self, lease: LeaseId) -> Option<u64> {
        self.batch.leases.get(lease)?;
        let keys = self.batch.keys_of(lease);
        let deleted = keys.len() as u64;
        keys.into_iter().for_each(|found| self.remove(found.key));
        self.batch.push_lease(Change::End { lease });
        Some(deleted)
    }

    pub(super) fn range(&mut self, range: &Range) -> Result<RangeResult, Stop> {
        let batch = &*self.batch;
        let mut records = batch.records();
        let room = Room { pairs: self.room / PAIR_BYTES, bytes: self.room };
        let mut selection = Selection::new(range, room);
        batch.for_each(&range.keys, |found| {
            let value = match selection.by_value() && range::matches(range, &found.entry) {
                true => Some(batch.record(&mut records, &found)?.value),
                false => None,
            };
            selection.offer(found, value.as_ref());
            Ok::<_, Corruption>(())
        })?;
        let mut result = selection.finish(|found| batch.record(&mut records, found))?;
        self.cut(&mut result);
        Ok(result)
    }

    /// Takes the answer's pairs out of what the command may still answer. A first pair that does not fit is
    /// left out too: an earlier operation of the transaction has filled the answer.
    fn cut(&mut self, result: &mut RangeResult) {
        let fits = result.kvs.iter().take_while(|pair| self.take_room(pair)).count();
        if fits < result.kvs.len() {
            result.kvs.truncate(fits);
            result.more = true;
        }
    }

    /// The pair that a change replaces, for the answer.
    fn previous_pair(&mut self, found: &Found) -> Result<KeyValue, Stop> {
        let pair = self.batch.record(&mut self.batch.records(), found)?.into_pair();
        if self.take_room(&pair) {
            return Ok(pair);
        }
        let actual = ANSWER_BYTES_MAX - self.room + answer_bytes(&pair);
        Err(Stop::Refused(Refusal::AnswerTooLarge { limit: ANSWER_BYTES_MAX as u64, actual: actual as u64 }))
    }

    /// Takes a pair's room in the answer, if there is enough.
    fn take_room(&mut self, pair: &KeyValue) -> bool {
        let left = self.room.checked_sub(answer_bytes(pair));
        self.room = left.unwrap_or(self.room);
        left.is_some()
    }

    /// Superseded records go later, off the apply path. Compacting to the compact revision again is no error.
    fn compact(&mut self, requested: Revision) -> Result<Outcome, Stop> {
        let head = &mut self.batch.head;
        let (current, compacted) = (head.revision, head.compact_revision);
        if requested > current {
            return Err(Stop::Refused(Refusal::FutureRevision { requested, current }));
        }
        if requested < compacted {
            return Err(Stop::Refused(Refusal::Compacted { requested, compacted }));
        }
        head.compact_revision = requested;
        Ok(Outcome::Compact)
    }

    fn next_id(&mut self) -> RecordId {
        let id = RecordId { main: self.revision, sub: self.next_sub };
        self.next_sub += 1;
        id
    }
}

fn answer_bytes(pair: &KeyValue) -> usize {
    PAIR_BYTES + range::size(pair)
}
