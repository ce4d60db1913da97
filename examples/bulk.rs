//! Loads many keys, 100 to a transaction, and says how fast: `bulk ENDPOINTS COUNT [VALUE_BYTES]`.
//!
//! Keys are `bulk/00000000` and on; a key that is there already is put again, so that an interrupted load can
//! be repeated. Used by `scripts/million.sh`.

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::{
    client::{Client, ClientBuilder},
    recipes::KvApi,
    types::{CallOptions, Op, Put, Txn},
};
use tokio::task::JoinSet;

/// Puts in one transaction.
const PUTS_PER_TXN: u64 = 100;
/// Transactions under way at a time.
const WRITERS: u64 = 32;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [endpoints, count, rest @ ..] = arguments.as_slice() else {
        return Err("usage: bulk ENDPOINTS COUNT [VALUE_BYTES]".into());
    };
    let count: u64 = count.parse()?;
    let value_bytes = rest.first().map_or(Ok(256), |text| text.parse())?;
    let client = ClientBuilder::new(endpoints.split(',')).sessions(false).build()?;
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write(client.clone(), next.clone(), count, value_bytes));
    }
    tokio::spawn(report(next.clone(), count));
    while let Some(done) = writers.join_next().await {
        done?.map_err(|error| format!("the load stopped: {error}"))?;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{count} keys of {value_bytes} bytes in {seconds:.1} s, {:.0} keys/s", count as f64 / seconds);
    Ok(())
}

/// Takes the next hundred keys until there are none.
async fn write(
    client: Client,
    next: Arc<AtomicU64>,
    count: u64,
    value_bytes: usize,
) -> Result<(), quorate::Error> {
    loop {
        let first = next.fetch_add(PUTS_PER_TXN, Ordering::Relaxed);
        if first >= count {
            return Ok(());
        }
        let puts = (first..count.min(first + PUTS_PER_TXN)).map(|number| {
            let value = format!("{number:0value_bytes$}");
            Op::Put(Put { key: format!("bulk/{number:08}").into(), value: value.into(), ..Put::default() })
        });
        let txn = Txn { then_ops: puts.collect(), ..Txn::default() };
        let options = CallOptions { timeout: Some(Duration::from_secs(30)), ..CallOptions::default() };
        client.txn(txn, options).await?;
    }
}

/// Says every few seconds how far it is.
async fn report(next: Arc<AtomicU64>, count: u64) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        eprintln!("{} of {count} keys", next.load(Ordering::Relaxed).min(count));
    }
}
