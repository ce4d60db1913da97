//! Who carries an operation to a server, and connections that are spread evenly.

mod etcd;
mod pipe;
mod places;
mod plain;
mod unary;

use std::{future::ready, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

pub(super) use self::pipe::{Pipe, Piping, outcome};
use self::{etcd::Etcd, places::Place, plain::Plain};
use super::{
    BenchError,
    keys::{Keys, Random},
    options::{Driver, Options, Workload},
    threads::Threads,
};
use crate::{
    client::{Client, ClientBuilder},
    error::Error,
    recipes::{KvApi, LeaseApi},
    types::{
        CallOptions, Compare, CompareTarget, Consistency, Grant, KeyRange, Level, Op, Operator, Put, Range,
        Route, Txn,
    },
};

/// Why an operation failed: its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed(pub &'static str);

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed(error.reason())
    }
}

/// A key that was put before was not found.
const NOT_FOUND: Failed = Failed("not_found");
/// An operation took longer than it may.
const DEADLINE: Failed = Failed("deadline");

/// Transactions under way at a time when keys are put before a run.
const LOADERS: usize = 8;
/// How long each may take.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection, of which each client has a copy.
#[derive(Clone)]
pub(super) enum Wire {
    Rust(Client, Consistency),
    Plain(Plain, Duration),
    Etcd(Etcd, Duration),
}

impl Wire {
    /// Puts a key.
    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        match self {
            Wire::Rust(client, _) => {
                let put = Put { key, value, ..Put::default() };
                Ok(client.put(put, CallOptions::default()).await.map(drop)?)
            }
            Wire::Plain(plain, limit) => {
                timeout(*limit, plain.put(key, value)).await.unwrap_or(Err(DEADLINE))
            }
            Wire::Etcd(etcd, limit) => timeout(*limit, etcd.put(key, value)).await.unwrap_or(Err(DEADLINE)),
        }
    }

    /// Reads a key, which must be there.
    pub async fn get(&mut self, key: Bytes) -> Result<(), Failed> {
        let found = match self {
            Wire::Rust(client, consistency) => {
                let range = Range::new(KeyRange::key(key));
                let answer = client.range(range, *consistency, CallOptions::default()).await?;
                Ok(!answer.result.kvs.is_empty())
            }
            Wire::Plain(plain, limit) => timeout(*limit, plain.get(key)).await.unwrap_or(Err(DEADLINE)),
            Wire::Etcd(etcd, limit) => timeout(*limit, etcd.get(key)).await.unwrap_or(Err(DEADLINE)),
        };
        if found? { Ok(()) } else { Err(NOT_FOUND) }
    }

    /// Puts keys in one transaction; with `if_there`, if the first of them is there, which it must be.
    pub async fn put_all(&mut self, pairs: Vec<(Bytes, Bytes)>, if_there: bool) -> Result<(), Failed> {
        let succeeded = match self {
            Wire::Rust(client, _) => {
                let answer = client.txn(transaction(pairs, if_there), CallOptions::default()).await?;
                Ok(answer.result.succeeded)
            }
            Wire::Plain(plain, limit) => {
                let txn = plain.txn(transaction(pairs, if_there));
                timeout(*limit, txn).await.unwrap_or(Err(DEADLINE))
            }
            Wire::Etcd(etcd, limit) => {
                timeout(*limit, etcd.put_all(pairs, if_there)).await.unwrap_or(Err(DEADLINE))
            }
        };
        if succeeded? { Ok(()) } else { Err(NOT_FOUND) }
    }

    /// Grants a lease, which nobody keeps alive.
    pub async fn grant(&self, ttl: Duration) -> Result<(), Failed> {
        let grant = Grant { id: 0, ttl, session: false };
        Ok(self.client()?.grant(grant, CallOptions::default()).await.map(drop)?)
    }

    /// What opens a stream for plain messages; `None` for another driver.
    pub fn piping(&self) -> Option<Piping> {
        match self {
            Wire::Plain(plain, limit) => Some(plain.piping(*limit)),
            _ => None,
        }
    }

    /// The Rust client, for what only it can do.
    ///
    /// # Errors
    /// `Invalid` for another driver; the options refuse that before.
    pub fn client(&self) -> Result<&Client, Error> {
        match self {
            Wire::Rust(client, _) => Ok(client),
            _ => Err(Error::Invalid("this workload needs the Rust client".into())),
        }
    }
}

fn transaction(pairs: Vec<(Bytes, Bytes)>, if_there: bool) -> Txn {
    let first = pairs.first().filter(|_| if_there);
    let there = |(key, _): &(Bytes, Bytes)| Compare {
        keys: KeyRange::key(key.clone()),
        operator: Operator::Greater,
        target: CompareTarget::Version(0),
    };
    let compares = first.map(there).into_iter().collect();
    let put = |(key, value)| Op::Put(Put { key, value, ..Put::default() });
    Txn { compares, then_ops: pairs.into_iter().map(put).collect(), else_ops: Vec::new() }
}

/// The connections of a run.
///
/// # Errors
/// Endpoints that make no sense; where the leader must be found first, that it was not.
pub(super) async fn connect(options: &Options) -> Result<Vec<Wire>, BenchError> {
    let count = 0..options.connections() as usize;
    let limit = options.load.timeout;
    match options.driver {
        Driver::Rust | Driver::Retrying => count.map(|number| rust(options, number)).collect(),
        Driver::Plain => {
            let places = places::quorate(&scout(options)?, limit).await?;
            let chosen = Place::choose(&places, options)?;
            let plain = |at: &str| Ok(Wire::Plain(Plain::new(at, options.consistency)?, limit));
            count.map(|number| plain(&chosen[number % chosen.len()])).collect()
        }
        Driver::Etcd => {
            let places = places::etcd(&options.endpoints, limit).await?;
            let chosen = Place::choose(&places, options)?;
            let serializable = options.consistency.level == Level::Eventual;
            let etcd = |at: &str| Ok(Wire::Etcd(Etcd::new(at, serializable)?, limit));
            count.map(|number| etcd(&chosen[number % chosen.len()])).collect()
        }
    }
}

/// A Rust client that has one connection: reads that anybody may serve go to one member each, so that the
/// connections of a run are spread evenly over the members. Everything else goes to the leader, or to whom
/// the client finds.
fn rust(options: &Options, number: usize) -> Result<Wire, BenchError> {
    let only_reads = matches!(options.workload, Workload::Get | Workload::Scan);
    let retrying = options.driver == Driver::Retrying;
    let endpoints = match options.consistency.route {
        Route::Any
            if only_reads && !options.is_served_by_leader() && !retrying && !options.endpoints.is_empty() =>
        {
            vec![options.endpoints[number % options.endpoints.len()].clone()]
        }
        _ => options.endpoints.clone(),
    };
    let builder = ClientBuilder::new(endpoints).timeout(options.load.timeout).sessions(retrying);
    let builder = if retrying { builder } else { builder.retry_budget(0).pipeline_above(usize::MAX) };
    let builder = if options.is_piped() { builder.pipeline_above(0) } else { builder };
    Ok(Wire::Rust(builder.build()?, options.consistency))
}

/// A Rust client that does not give up soon: it prepares a run.
fn scout(options: &Options) -> Result<Client, BenchError> {
    Ok(ClientBuilder::new(options.endpoints.clone()).timeout(LOAD_TIMEOUT).build()?)
}

/// Lets each client find the leader, and where it matters who is who; who does not will say so with its
/// operations.
pub(super) async fn greet(options: &Options, wires: &[Wire], threads: &Threads) {
    let all = options.consistency.route == Route::Follower;
    let greeting = |(number, client): (usize, Client)| {
        let options = CallOptions { timeout: Some(options.load.timeout), ..CallOptions::default() };
        threads.on(number, async move {
            let _ = client.members(options.clone()).await;
            for endpoint in client.endpoints().iter().filter(|_| all) {
                let _ = client.status(endpoint, options.clone()).await;
            }
        })
    };
    let clients =
        wires.iter().enumerate().filter_map(|(number, wire)| Some((number, wire.client().ok()?.clone())));
    stream::iter(clients).map(greeting).buffer_unordered(LOADERS).for_each(|_| ready(())).await;
}

/// Puts all keys; etcd's through its first connection.
///
/// # Errors
/// One of them could not be put.
pub(super) async fn load(options: Options, first: Option<Wire>) -> Result<(), BenchError> {
    let wire = match first {
        Some(wire @ Wire::Etcd(..)) => wire,
        _ => Wire::Rust(scout(&options)?, Consistency::default()),
    };
    if let Ok(client) = wire.client() {
        let options = CallOptions { timeout: Some(options.load.timeout), ..CallOptions::default() };
        client.members(options).await?;
    }
    let keys = Arc::new(Keys::new(&options.data));
    let batch = options.data.batch();
    let firsts = (0..options.data.keys).step_by(batch as usize);
    let puts = firsts.map(|first| {
        let (mut wire, keys, count) = (wire.clone(), keys.clone(), batch.min(options.data.keys - first));
        async move { wire.put_all(keys.run(first, count, &mut Random::new(first)), false).await }
    });
    let loaded = stream::iter(puts).buffer_unordered(LOADERS).try_collect::<()>().await;
    loaded.map_err(|Failed(kind)| BenchError::Load(kind))
}
