//! A client at work: it does one thing at a time, and everything that it does is taken down.

use std::{fmt::Display, future::Future, sync::Arc, time::Duration};

use super::Part;
use bytes::Bytes;
use rand::{RngExt, rngs::SmallRng};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    check::history::{Action, Condition, Expected, Found, Operation, Outcome, Seen, Step, Text, text},
    client::Client,
    error::Error,
    recipes::KvApi,
    torture::recorder::Recorder,
    types::{
        CallOptions, Compare, CompareTarget, Consistency, Delete, Guard, KeyRange, KeyValue, LeaseId, Level,
        Op, OpResult, Operator, Put, Range, Revision, Route, Txn, WriteAnswer,
    },
};

/// How long an operation may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How often a last read is tried.
const LAST_ATTEMPTS: usize = 10;

/// Pause after a failure, so that the unavailable are not asked in a loop.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// One client.
pub struct Actor {
    pub client: Client,
    pub recorder: Arc<Recorder>,
    pub rng: SmallRng,
    part: Text,
    root: String,
    process: u64,
    session: u64,
    /// The highest revision that it has been told: what a session guarantee refers to.
    told: Revision,
    values: u64,
    pace: Duration,
    next: Instant,
    stop: CancellationToken,
}

/// What an actor needs of the run.
pub struct Means {
    pub client: Client,
    pub recorder: Arc<Recorder>,
    pub rng: SmallRng,
    /// Between two operations.
    pub pace: Duration,
    pub stop: CancellationToken,
    /// Names the run in every key.
    pub tag: String,
}

impl Actor {
    pub fn new(part: &str, means: Means) -> Actor {
        let Means { client, recorder, mut rng, pace, stop, tag } = means;
        let (process, session) = (recorder.next_process(), recorder.next_process());
        let next = Instant::now() + pace.mul_f64(rng.random_range(0.0..1.0));
        let (root, part) = (format!("{part}/{tag}"), Text::from(part));
        Actor { client, recorder, rng, part, root, process, session, told: 0, values: 0, pace, next, stop }
    }

    /// A key of this part of this run.
    pub fn key(&self, rest: impl Display) -> String {
        format!("{}/{rest}", self.root)
    }

    /// What all keys of another part of this run begin with.
    pub fn key_in(&self, part: Part) -> String {
        let tag = self.root.rsplit('/').next().unwrap_or_default();
        format!("{part}/{tag}/")
    }

    /// A key that lives for so many seconds; then there is another.
    pub fn key_of_life(&self, seconds: u64, rest: impl Display) -> String {
        self.key(format_args!("{}/{rest}", self.recorder.elapsed().as_secs() / seconds))
    }

    /// A value that nobody else writes.
    pub fn value(&mut self) -> Text {
        self.values += 1;
        Text::from(format!("{}.{}", self.session, self.values))
    }

    /// The session's number.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The level that promises this session's own writes and reads.
    pub fn session_level(&self) -> Level {
        Level::Session { min_revision: self.told }
    }

    /// Waits for the next operation's time. `false`: the run is over.
    pub async fn turn(&mut self) -> bool {
        self.next = (self.next + self.pace).max(Instant::now());
        self.rest_until(self.next).await
    }

    /// Does nothing for a while. `false`: the run is over.
    pub async fn rest(&mut self, time: Duration) -> bool {
        self.rest_until(Instant::now() + time).await
    }

    async fn rest_until(&self, until: Instant) -> bool {
        self.stop.run_until_cancelled(sleep_until(until)).await.is_some()
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Makes a call and takes it down. `answered` completes what was asked by what the answer says.
    pub async fn record<T>(
        &mut self,
        (action, level): (Action, Option<Level>),
        call: impl Future<Output = Result<T, Error>>,
        answered: impl FnOnce(&T, &mut Action) -> Seen,
    ) -> Option<T> {
        let (index, acknowledged) = (self.recorder.next_index(), self.recorder.acknowledged());
        let began = self.recorder.now();
        let result = call.await;
        let mut operation = Operation {
            index,
            process: self.process,
            session: self.session,
            part: Some(self.part.clone()),
            call: began,
            ret: self.recorder.now(),
            action,
            outcome: Outcome::Ok,
            level,
            seen: None,
        };
        match &result {
            Ok(answer) => operation.seen = Some(answered(answer, &mut operation.action)),
            Err(error) => operation.outcome = Outcome::of_error(error, level.is_none()),
        }
        self.told = self.told.max(operation.revision());
        if operation.is_unknown() {
            self.process = self.recorder.next_process();
        }
        self.recorder.operation(operation, acknowledged);
        if result.is_err() {
            self.next += AFTER_FAILURE;
        }
        result.ok()
    }

    /// Sets a key.
    pub async fn write(&mut self, key: &str, value: Text) -> Option<Revision> {
        let put = Put { key: bytes(key), value: bytes(&value), ..Put::default() };
        let (client, asked) = (self.client.clone(), Action::Write { key: key.into(), value });
        let answer = self.record((asked, None), client.put(put, options()), |put, _| put.into()).await?;
        Some(answer.header.revision)
    }

    /// Sets a key that goes with a lease.
    pub async fn attach(&mut self, lease: LeaseId, key: &str) -> Option<Revision> {
        let value = self.value();
        let put = Put { key: bytes(key), value: bytes(&value), lease, ..Put::default() };
        let (client, asked) = (self.client.clone(), Action::Attach { lease, key: key.into(), value });
        let answer = self.record((asked, None), client.put(put, options()), |put, _| put.into()).await?;
        Some(answer.header.revision)
    }

    /// Sets a key, unless a lock was lost. `Some(false)`: it was.
    pub async fn write_guarded(
        &mut self,
        lock: &str,
        guard: &Guard,
        (key, value): (&str, Text),
    ) -> Option<bool> {
        let put = Put { key: bytes(key), value: bytes(&value), ..Put::default() };
        let with_guard = CallOptions { guards: vec![guard.clone()], ..options() };
        let (key, token) = (key.into(), guard.fencing_token);
        let asked = Action::Guarded { lock: lock.into(), token, key, value, done: None };
        let client = self.client.clone();
        let call = async move {
            match client.put(put, with_guard).await {
                Ok(answer) => Ok(Some(answer)),
                Err(Error::LockLost { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let answered = |put: &Option<WriteAnswer<_>>, action: &mut Action| {
            if let Action::Guarded { done, .. } = action {
                *done = Some(put.is_some());
            }
            put.as_ref().map(Seen::from).unwrap_or_default()
        };
        self.record((asked, None), call, answered).await.map(|put| put.is_some())
    }

    /// Deletes a key.
    pub async fn delete(&mut self, key: &str) -> Option<bool> {
        let delete = Delete { keys: KeyRange::key(bytes(key)), prev_kv: false };
        let client = self.client.clone();
        let asked = Action::Delete { key: key.into(), existed: None };
        let answer = self.record((asked, None), client.delete(delete, options()), |answer, action| {
            if let Action::Delete { existed, .. } = action {
                *existed = Some(answer.result.deleted > 0);
            }
            answer.into()
        });
        answer.await.map(|answer| answer.result.deleted > 0)
    }

    /// Reads a key. The outer `None`: no answer.
    pub async fn read(&mut self, consistency: Consistency, key: &str) -> Option<Option<Found>> {
        let range = Range::new(KeyRange::key(bytes(key)));
        let asked = (Action::Read { key: key.into(), found: None }, Some(consistency.level));
        let client = self.client.clone();
        let answer = self.record(asked, client.range(range, consistency, options()), |answer, action| {
            if let Action::Read { found, .. } = action {
                *found = Some(answer.result.kvs.first().map(Found::from));
            }
            answer.into()
        });
        answer.await.map(|answer| answer.result.kvs.first().map(Found::from))
    }

    /// Reads all keys with a prefix.
    pub async fn range(&mut self, consistency: Consistency, prefix: &str) -> Option<Vec<(Text, Found)>> {
        let range = Range::new(KeyRange::prefix(bytes(prefix)));
        let asked = (Action::Range { prefix: prefix.into(), found: None }, Some(consistency.level));
        let client = self.client.clone();
        let answer = self.record(asked, client.range(range, consistency, options()), |answer, action| {
            if let Action::Range { found, .. } = action {
                *found = Some(pairs_of(&answer.result.kvs));
            }
            answer.into()
        });
        answer.await.map(|answer| pairs_of(&answer.result.kvs))
    }

    /// Reads all keys with a prefix, and asks again if it must.
    ///
    /// # Errors
    /// If there is no answer after a while.
    pub async fn range_surely(&mut self, prefix: &str) -> Result<(), Error> {
        for _ in 0..LAST_ATTEMPTS {
            if self.range(Level::Linearizable.into(), prefix).await.is_some() {
                return Ok(());
            }
            tokio::time::sleep(AFTER_FAILURE * 4).await;
        }
        Err(Error::Deadline { waiting_for: format!("the keys below {prefix}"), maybe_committed: false })
    }

    /// Sets a key if it has the value `old` (`None`: if it does not exist).
    pub async fn cas(&mut self, key: &str, old: Option<Text>, new: Text) -> Option<bool> {
        let condition = Condition { key: key.into(), expected: Expected::Value(old.clone()) };
        let put = Put { key: bytes(key), value: bytes(&new), ..Put::default() };
        let txn =
            Txn { compares: vec![compare_of(&condition)], then_ops: vec![Op::Put(put)], ..Txn::default() };
        let client = self.client.clone();
        let asked = Action::Cas { key: key.into(), old, new, swapped: None };
        let answer = self.record((asked, None), client.txn(txn, options()), |answer, action| {
            if let Action::Cas { swapped, .. } = action {
                *swapped = Some(answer.result.succeeded);
            }
            answer.into()
        });
        answer.await.map(|answer| answer.result.succeeded)
    }

    /// If all conditions hold, takes all steps. `Some(None)`: they do not.
    pub async fn txn(&mut self, when: Vec<Condition>, steps: Vec<(Step, Op)>) -> Option<Option<Vec<Step>>> {
        let compares = when.iter().map(compare_of).collect();
        let (steps, then_ops): (Vec<Step>, Vec<Op>) = steps.into_iter().unzip();
        let txn = Txn { compares, then_ops, ..Txn::default() };
        let client = self.client.clone();
        let asked = Action::Txn { when, steps: steps.clone(), applied: None };
        let filled = |answer: &crate::types::TxnResult| {
            let results = answer.results.iter();
            let steps = steps.iter().zip(results).map(|(step, result)| answer_of(step, result));
            steps.collect::<Vec<Step>>()
        };
        let answer = self.record((asked, None), client.txn(txn, options()), |answer, action| {
            if let Action::Txn { steps, applied, .. } = action {
                *applied = Some(answer.result.succeeded);
                if answer.result.succeeded {
                    *steps = filled(&answer.result);
                }
            }
            answer.into()
        });
        let answer = answer.await?;
        Some(answer.result.succeeded.then(|| filled(&answer.result)))
    }
}

/// What a step of a transaction found.
fn answer_of(step: &Step, result: &OpResult) -> Step {
    match (step, result) {
        (Step::Read(key, _), OpResult::Range(range)) => {
            Step::Read(key.clone(), Some(range.kvs.first().map(Found::from)))
        }
        (Step::List(key, _), OpResult::Range(range)) => {
            Step::List(key.clone(), Some(range.kvs.first().map(elements_of).unwrap_or_default()))
        }
        (step, _) => step.clone(),
    }
}

/// The elements of a list.
pub fn elements_of(kv: &KeyValue) -> Vec<Text> {
    String::from_utf8_lossy(&kv.value).split(' ').map(Text::from).collect()
}

/// The condition, as the store is asked.
pub fn compare_of(condition: &Condition) -> Compare {
    let target = match &condition.expected {
        Expected::Value(Some(value)) => CompareTarget::Value(bytes(value)),
        Expected::Value(None) => CompareTarget::Version(0),
        Expected::ModRevision(revision) => CompareTarget::ModRevision(*revision),
    };
    Compare { keys: KeyRange::key(bytes(&condition.key)), operator: Operator::Equal, target }
}

/// The level, from one member.
pub fn at(level: Level, member: u64) -> Consistency {
    Consistency { level, route: Route::Member(member) }
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The options of every call.
pub fn options() -> CallOptions {
    CallOptions { timeout: Some(TIMEOUT), ..CallOptions::default() }
}

fn pairs_of(kvs: &[KeyValue]) -> Vec<(Text, Found)> {
    kvs.iter().map(|kv| (text(&kv.key), kv.into())).collect()
}
