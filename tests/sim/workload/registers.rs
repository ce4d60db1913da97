//! Registers: written, compared and set, deleted, and read at every level, recorded as `quorate check` reads
//! it. At the end the checker that people run judges what was recorded (`invariants::checker`).

use std::{sync::Arc, time::Duration};

use quorate::{
    Client, Error,
    check::history::{Action, Found, Operation, Outcome, Seen, Text, nanos, text},
    recipes::KvApi,
    types::{
        CallOptions, Compare, CompareTarget, Consistency, Delete, KeyRange, Level, Op as TxnOp, Operator,
        Put, Range, Revision, Route, Txn,
    },
};
use rand::{RngExt, rngs::SmallRng};

use super::{Clients, pause};
use crate::world::{ms, now};

/// Few, so that clients meet.
const KEYS: u64 = 3;

/// Apart from the other parts' workers, in what is drawn.
const WORKERS_FROM: u64 = 100;

/// A process is never used again after an unknown outcome.
const PROCESSES_OF_A_WORKER: u64 = 10_000;

/// One client, which does one thing at a time.
struct Worker {
    clients: Arc<Clients>,
    client: Client,
    rng: SmallRng,
    process: u64,
    /// The highest revision that this process has seen.
    seen: Revision,
    serial: u64,
}

/// What came of a call: the answer's header as the checker wants it.
type Answer<'a> = Result<Seen, &'a Error>;

/// One client's requests, one after the other.
pub async fn work(clients: Arc<Clients>, number: u64) {
    // Retries in sessions, and calls whose outcome stays unknown.
    let client = clients.client(number % 2 == 0);
    let rng = clients.rng(WORKERS_FROM + number);
    let process = number * PROCESSES_OF_A_WORKER;
    let mut worker = Worker { clients, client, rng, process, seen: 0, serial: 0 };
    while worker.clients.goes_on() {
        pause(&mut worker.rng, 60, 500).await;
        worker.request().await;
    }
}

impl Worker {
    async fn request(&mut self) {
        let key = format!("r/{}", self.rng.random_range(0..KEYS));
        match self.rng.random_range(0..100) {
            0..25 => self.write(key).await,
            25..40 => self.compare_and_set(key).await,
            40..45 => self.delete(key).await,
            _ => self.read(key).await,
        }
    }

    fn value(&mut self) -> Text {
        self.serial += 1;
        format!("{}.{}", self.process, self.serial).into()
    }

    fn options(&mut self) -> CallOptions {
        CallOptions { timeout: Some(ms(self.rng.random_range(100..2000))), ..CallOptions::default() }
    }

    async fn write(&mut self, key: String) {
        let (value, options, call) = (self.value(), self.options(), now());
        let put = put(&key, &value);
        let answer = self.client.put(put, options).await;
        let seen = answer.as_ref().map(Seen::from);
        self.note(call, Action::Write { key: key.into(), value }, None, seen);
    }

    async fn delete(&mut self, key: String) {
        let (options, call) = (self.options(), now());
        let delete = Delete { keys: KeyRange::key(key.clone()), prev_kv: false };
        let answer = self.client.delete(delete, options).await;
        let existed = answer.as_ref().ok().map(|answer| answer.result.deleted > 0);
        let seen = answer.as_ref().map(Seen::from);
        self.note(call, Action::Delete { key: key.into(), existed }, None, seen);
    }

    /// Sets the key if it has the value that a read has found.
    async fn compare_and_set(&mut self, key: String) {
        let range = Range::new(KeyRange::key(key.clone()));
        let eventual = Consistency { level: Level::Eventual, route: Route::Any };
        let options = self.options();
        let Ok(found) = self.client.range(range, eventual, options).await else { return };
        let old: Option<Text> = found.result.kvs.first().map(|kv| text(&kv.value));
        let target = match &old {
            Some(old) => CompareTarget::Value(old.as_bytes().to_vec().into()),
            None => CompareTarget::Version(0),
        };
        let compare = Compare { keys: KeyRange::key(key.clone()), operator: Operator::Equal, target };
        let (new, options, call) = (self.value(), self.options(), now());
        let then_ops = vec![TxnOp::Put(put(&key, &new))];
        let txn = Txn { compares: vec![compare], then_ops, else_ops: Vec::new() };
        let answer = self.client.txn(txn, options).await;
        let swapped = answer.as_ref().ok().map(|answer| answer.result.succeeded);
        let seen = answer.as_ref().map(Seen::from);
        self.note(call, Action::Cas { key: key.into(), old, new, swapped }, None, seen);
    }

    /// Where clocks do not keep their bound, what rests on them is left out.
    fn level(&mut self) -> Level {
        match self.rng.random_range(0..12) {
            0..3 => Level::Linearizable,
            3 => Level::Log,
            4 | 5 if self.clients.plan.clocks => Level::Lease,
            6 | 7 if self.clients.plan.clocks => Level::LeaseOrIndex,
            8 if self.clients.plan.clocks => Level::Bounded { max_age: ms(self.rng.random_range(20..1500)) },
            9 => Level::LeaderLocal,
            10 => Level::Session { min_revision: self.seen },
            _ => Level::Eventual,
        }
    }

    async fn read(&mut self, key: String) {
        let (level, options) = (self.level(), self.options());
        let members = self.clients.world.members.len() as u64;
        let route = match (level, self.rng.random_range(0..3)) {
            (Level::LeaderLocal, _) => Route::Leader,
            (_, 0) => Route::Member(self.rng.random_range(1..=members)),
            _ => Route::Any,
        };
        let (range, call) = (Range::new(KeyRange::key(key.clone())), now());
        let answer = self.client.range(range, Consistency { level, route }, options).await;
        let found = answer.as_ref().ok().map(|answer| answer.result.kvs.first().map(Found::from));
        let seen = answer.as_ref().map(Seen::from);
        self.note(call, Action::Read { key: key.into(), found }, Some(level), seen);
    }

    fn note(&mut self, call: Duration, action: Action, level: Option<Level>, answer: Answer<'_>) {
        let outcome = answer.map_or_else(|error| Outcome::of_error(error, level.is_none()), |_| Outcome::Ok);
        let seen = answer.ok();
        let name = match outcome {
            Outcome::Ok => "ok",
            Outcome::Fail(_) => "failed",
            Outcome::Unknown(_) => "unknown",
        };
        let world = &self.clients.world;
        world.trace.event(&format!("r{}", self.process), format!("{action:?}: {outcome:?}"));
        world.cover_call(&format!("register {}", kind(&action)), name);
        let process = self.process;
        if matches!(outcome, Outcome::Unknown(_)) {
            // The old call may still take effect, beside what comes next.
            (self.process, self.seen) = (process + 1, 0);
        } else {
            self.seen = self.seen.max(seen.map_or(0, |seen| seen.revision));
        }
        let mut history = self.clients.history();
        let index = history.registers.len() as u64;
        let (call, ret) = (nanos(call), nanos(now()));
        let (session, part) = (process, None);
        let done = Operation { index, process, session, part, call, ret, action, outcome, level, seen };
        history.registers.push(done);
    }
}

fn kind(action: &Action) -> &'static str {
    match action {
        Action::Read { .. } => "read",
        Action::Write { .. } => "write",
        Action::Cas { .. } => "cas",
        _ => "delete",
    }
}

fn put(key: &str, value: &Text) -> Put {
    Put { key: key.to_owned().into(), value: value.as_bytes().to_vec().into(), ..Put::default() }
}
