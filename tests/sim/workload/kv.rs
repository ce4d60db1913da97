//! Keys and values: puts, deletes, transactions, compaction, and reads at every level.

use std::sync::Arc;

use quorate::{
    Client, Error,
    recipes::KvApi,
    types::{
        CallOptions, Compare, CompareTarget, Consistency, Delete, KeyRange, Level, Op as TxnOp, Operator,
        Put, Range, Revision, Route, SortBy, Txn, WriteAnswer,
    },
};
use rand::{RngExt, rngs::SmallRng};

use super::{Call, Clients, Op, Outcome, pause};
use crate::world::{ms, now};

/// Keys that all clients share: few, so that they meet.
const KEYS: u64 = 6;

/// One client.
struct Worker {
    clients: Arc<Clients>,
    client: Client,
    number: u64,
    rng: SmallRng,
    sessions: bool,
    /// The highest revision seen.
    seen: Revision,
    serial: u64,
}

/// One client's requests, one after the other.
pub async fn work(clients: Arc<Clients>, number: u64) {
    let sessions = number % 2 == 0;
    let client = clients.client(sessions);
    let rng = clients.rng(number);
    let mut worker = Worker { clients, client, number, rng, sessions, seen: 0, serial: 0 };
    while worker.clients.goes_on() {
        pause(&mut worker.rng, 60, 600).await;
        worker.request().await;
    }
}

/// The write that shows that a cluster is well. Gives the index of its entry.
pub async fn final_write(client: &Client) -> Result<u64, Error> {
    let put = Put { key: "final".into(), value: "well".into(), ..Put::default() };
    let answer = client.put(put, CallOptions { timeout: Some(ms(1000)), ..CallOptions::default() }).await?;
    client.range(Range::new(KeyRange::key("final")), Consistency::default(), CallOptions::default()).await?;
    Ok(answer.write.log_index)
}

fn key(rng: &mut SmallRng) -> String {
    format!("k/{}", rng.random_range(0..KEYS))
}

impl Worker {
    async fn request(&mut self) {
        match self.rng.random_range(0..100) {
            0..30 => self.put().await,
            30..36 => self.delete().await,
            36..48 => self.txn().await,
            48..49 => self.compact().await,
            _ => self.read().await,
        }
    }

    fn mark(&mut self) -> String {
        self.serial += 1;
        format!("w{}.{}", self.number, self.serial)
    }

    async fn put(&mut self) {
        let (mark, key) = (self.mark(), key(&mut self.rng));
        let put =
            Put { key: key.into(), value: mark.clone().into(), lease: 0, prev_kv: self.rng.random_bool(0.3) };
        let began = now();
        let options = self.options();
        let answer = self.client.put(put, options).await;
        self.wrote("put", mark, began, answer);
    }

    /// A delete has no value to bear a mark: it goes into a transaction with one.
    async fn delete(&mut self) {
        let mark = self.mark();
        let keys = match self.rng.random_bool(0.5) {
            true => KeyRange::key(key(&mut self.rng)),
            false => KeyRange::interval(key(&mut self.rng), Some(key(&mut self.rng).into())),
        };
        let then_ops = vec![self.marked(&mark), TxnOp::Delete(Delete { keys, prev_kv: true })];
        self.submit("delete", mark, Txn { then_ops, ..Txn::default() }).await;
    }

    async fn txn(&mut self) {
        let mark = self.mark();
        let compared = key(&mut self.rng);
        let compare = Compare {
            keys: KeyRange::key(compared.clone()),
            operator: Operator::Greater,
            target: CompareTarget::Version(self.rng.random_range(0..4)),
        };
        let put =
            |key: String| TxnOp::Put(Put { key: key.into(), value: mark.clone().into(), ..Put::default() });
        let (one, other) = (put(key(&mut self.rng)), put(key(&mut self.rng)));
        let range = TxnOp::Range(Range::new(KeyRange::prefix("k/")));
        let delete = TxnOp::Delete(Delete { keys: KeyRange::key(compared), prev_kv: false });
        let marked = self.marked(&mark);
        // Both of the same key would be refused, which is an answer too.
        let txn = Txn {
            compares: vec![compare],
            then_ops: vec![marked.clone(), one, other, range],
            else_ops: vec![marked, delete],
        };
        self.submit("txn", mark, txn).await;
    }

    async fn submit(&mut self, kind: &str, mark: String, txn: Txn) {
        let began = now();
        let options = self.options();
        let answer = self.client.txn(txn, options).await;
        self.wrote(kind, mark, began, answer);
    }

    /// Each client marks its transactions under a key of its own.
    fn marked(&self, mark: &str) -> TxnOp {
        let key = format!("mark/{}", self.number);
        TxnOp::Put(Put { key: key.into(), value: mark.to_owned().into(), ..Put::default() })
    }

    async fn compact(&mut self) {
        let upto = self.seen.saturating_sub(20);
        if upto > 0 {
            let options = self.options();
            let compacted = self.client.compact(upto, options).await;
            let outcome = compacted.err().map_or("ok", |error| Outcome::of(error).name());
            self.clients.world.cover_call("compact", outcome);
        }
    }

    fn options(&mut self) -> CallOptions {
        let timeout = self.rng.random_bool(0.2).then(|| ms(self.rng.random_range(50..1500)));
        CallOptions { timeout, ..CallOptions::default() }
    }

    fn wrote<T>(
        &mut self,
        kind: &str,
        mark: String,
        began: std::time::Duration,
        answer: Result<WriteAnswer<T>, Error>,
    ) {
        let outcome = Outcome::written(answer);
        self.note(kind, began, Call::Write { mark, session: self.sessions }, outcome);
    }

    fn note(&mut self, kind: &str, began: std::time::Duration, call: Call, outcome: Outcome) {
        self.seen = self.seen.max(outcome.revision().unwrap_or(0));
        self.clients.world.trace.event(&format!("c{}", self.number), format!("{call}: {outcome}"));
        self.clients.world.cover_call(kind, outcome.name());
        if matches!(outcome, Outcome::Failed(Error::NoSpace { .. })) {
            self.clients.world.cover("write refused for space");
        }
        let op = Op { client: self.number, began, ended: now(), call, outcome };
        self.clients.history().ops.push(op);
    }

    fn level(&mut self) -> Level {
        match self.rng.random_range(0..14) {
            0..3 => Level::Linearizable,
            3 => Level::Log,
            4..6 => Level::Lease,
            6..8 => Level::LeaseOrIndex,
            8 => Level::LeaderLocal,
            9..11 => Level::Bounded { max_age: ms(self.rng.random_range(20..1500)) },
            11 => Level::Session { min_revision: self.seen },
            _ => Level::Eventual,
        }
    }

    async fn read(&mut self) {
        let level = self.level();
        let keys = match self.rng.random_range(0..3) {
            0 => KeyRange::prefix("k/"),
            _ => KeyRange::key(key(&mut self.rng)),
        };
        let mut range = Range::new(keys);
        if self.rng.random_bool(0.2) {
            range.limit = self.rng.random_range(1..4);
            range.sort_by = if self.rng.random_bool(0.5) { SortBy::ModRevision } else { SortBy::Key };
            range.descending = self.rng.random_bool(0.5);
        }
        let route = match (level, self.rng.random_range(0..4)) {
            (Level::LeaderLocal, _) => Route::Leader,
            (_, 0) => Route::Member(self.rng.random_range(1..=self.clients.world.members.len() as u64)),
            (_, 1) => Route::Follower,
            _ => Route::Any,
        };
        let options =
            CallOptions { timeout: Some(ms(self.rng.random_range(200..2000))), ..CallOptions::default() };
        let began = now();
        let answer = self.client.range(range.clone(), Consistency { level, route }, options).await;
        let outcome = Outcome::read(answer);
        self.note(&format!("read {level}"), began, Call::Read { range, level }, outcome);
    }
}
