//! Readers, the load that they hear, and the comparison with the truth.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use quorate::{
    Client, Error,
    recipes::{KvApi, WatchApi, WatchStream},
    types::{CallOptions, KeyRange, NodeId, Op, Put, Revision, Txn, Watch, WatchUpdate},
};
use tokio::task::JoinSet;

use crate::support::{SOON, cluster::Cluster, load::connect, setting};

/// Writers at a time.
const WRITERS: u64 = 64;

/// Of so many writes one is a transaction of several keys.
const TXN_EVERY: u64 = 10;

/// The last key of each reader's prefix, and of all.
const END: &str = "~end";

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Scale {
    pub readers: usize,
    pub puts: u64,
    pub seconds: u64,
    pub kill_every: u64,
}

/// The events of one revision: their keys, in order.
type Heard = Vec<(Revision, Vec<String>)>;

/// Microseconds, from sending a write to hearing of it.
type Latencies = Vec<u64>;

/// What was written, as far as it was acknowledged.
pub struct Written {
    keys: BTreeMap<String, Revision>,
    latencies: Latencies,
    failed: u64,
    took: Duration,
}

/// All readers, at work.
pub struct Readers {
    scale: Scale,
    tasks: JoinSet<(usize, Heard, Latencies)>,
    idle: WatchStream,
    member: Arc<AtomicU64>,
}

/// What the writers have done so far.
#[derive(Default)]
struct Tally {
    keys: BTreeMap<String, Revision>,
    latencies: Latencies,
    failed: u64,
}

impl Scale {
    pub fn from_environment() -> Scale {
        Scale {
            readers: setting("QUORATE_WATCH_READERS", 100),
            puts: setting("QUORATE_WATCH_PUTS", 300),
            seconds: setting("QUORATE_WATCH_SECONDS", 8),
            kill_every: setting("QUORATE_WATCH_KILL_EVERY", 3),
        }
    }

    /// Starts the readers, each on a prefix of its own, and one of everything that does not read. All have
    /// begun.
    pub async fn start(self, cluster: &Cluster) -> Readers {
        let client = connect(cluster);
        let member = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for reader in 0..self.readers {
            let mut stream = begin(&client, &prefix(reader), 0).await;
            let member = member.clone();
            tasks.spawn(async move {
                let (heard, latencies) =
                    hear(&mut stream, &format!("{}{END}", prefix(reader)), &member).await;
                (reader, heard, latencies)
            });
        }
        let idle = begin(&client, "w/", 0).await;
        Readers { scale: self, tasks, idle, member }
    }

    /// Writes at the rate, for so long.
    pub async fn load(self, client: Client, time: Duration) -> Written {
        let written = Arc::new(Mutex::new(Tally::default()));
        let mut writers = JoinSet::new();
        let began = Instant::now();
        for writer in 0..WRITERS {
            writers.spawn(self.write(client.clone(), writer, began + time, written.clone()));
        }
        while let Some(ended) = writers.join_next().await {
            ended.expect("a writer does not panic");
        }
        let took = began.elapsed();
        let Tally { keys, latencies, failed } = std::mem::take(&mut *written.lock().expect("no panic"));
        Written { keys, latencies, failed, took }
    }

    async fn write(self, client: Client, writer: u64, until: Instant, written: Arc<Mutex<Tally>>) {
        let period = Duration::from_secs_f64(WRITERS as f64 / self.puts as f64);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for number in 0u64.. {
            ticks.tick().await;
            if Instant::now() >= until {
                return;
            }
            let reader = (number * WRITERS + writer) as usize * 7919 % self.readers;
            let count = if number % TXN_EVERY == 0 { 3 } else { 1 };
            let key = |n| format!("{}{writer}-{number}-{n}", prefix(reader));
            let keys: Vec<_> = (0..count).map(key).collect();
            let sent = Instant::now();
            let answer = put_all(&client, &keys).await;
            let mut written = written.lock().expect("no panic");
            match answer {
                Ok(revision) => {
                    written.latencies.push(sent.elapsed().as_micros() as u64);
                    written.keys.extend(keys.into_iter().map(|key| (key, revision)));
                }
                Err(_) => written.failed += 1,
            }
        }
    }
}

/// One key by a put, several by a transaction; each value is the time of sending.
async fn put_all(client: &Client, keys: &[String]) -> Result<Revision, Error> {
    let value = now().to_string();
    let put = |key: &String| Put { key: key.clone().into(), value: value.clone().into(), ..Put::default() };
    let options = CallOptions { timeout: Some(Duration::from_secs(10)), ..CallOptions::default() };
    if let [key] = keys {
        return client.put(put(key), options).await.map(|answer| answer.header.revision);
    }
    let then_ops = keys.iter().map(|key| Op::Put(put(key))).collect();
    let txn = Txn { then_ops, ..Txn::default() };
    client.txn(txn, options).await.map(|answer| answer.header.revision)
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a time").as_micros() as u64
}

fn prefix(reader: usize) -> String {
    format!("w/{reader:05}/")
}

/// A watch that has begun.
async fn begin(client: &Client, prefix: &str, start_revision: Revision) -> WatchStream {
    let watch = Watch { start_revision, ..Watch::new(KeyRange::prefix(prefix.to_owned())) };
    let mut stream = client.watch(watch).await.expect("a stream");
    let first = tokio::time::timeout(SOON, stream.next()).await.expect("soon").expect("an update");
    assert!(matches!(first, Ok(WatchUpdate::Created(_))), "{first:?}");
    stream
}

/// Hears until `end` is set. Revisions must rise.
async fn hear(stream: &mut WatchStream, end: &str, member: &AtomicU64) -> (Heard, Latencies) {
    let (mut heard, mut latencies) = (Heard::new(), Latencies::new());
    while let Some(update) = stream.next().await {
        let WatchUpdate::Events { header, events } = update.expect("a watch goes on") else { continue };
        member.store(header.member_id, Ordering::Relaxed);
        let last = heard.last().map_or(0, |(revision, _)| *revision);
        assert!(header.revision > last, "{} behind {last}", header.revision);
        let now = now();
        let sent = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        latencies.extend(events.iter().filter_map(|event| Some(now.saturating_sub(sent(&event.kv.value)?))));
        assert!(events.iter().all(|event| event.kv.mod_revision == header.revision), "of one revision");
        let keys = events.iter().map(|event| String::from_utf8_lossy(&event.kv.key).into_owned());
        let keys: Vec<_> = keys.collect();
        let ends = keys.iter().any(|key| key == end);
        heard.push((header.revision, keys));
        if ends {
            return (heard, latencies);
        }
    }
    panic!("a watch ended before {end}");
}

/// The revision of the events that were told.
pub fn revision_of(update: Option<Result<WatchUpdate, Error>>) -> Revision {
    match update {
        Some(Ok(WatchUpdate::Events { header, .. })) => header.revision,
        other => panic!("no events: {other:?}"),
    }
}

/// The history.
pub struct Truth(Heard);

impl Truth {
    /// Of the keys with a prefix, from a revision on, until `end` was set.
    pub async fn read(cluster: &Cluster, prefix: &str, from: Revision, end: &str) -> Truth {
        let mut stream = begin(&connect(cluster), prefix, from).await;
        let nobody = AtomicU64::new(0);
        let hearing = hear(&mut stream, end, &nobody);
        let heard = tokio::time::timeout(Duration::from_secs(300), hearing).await.expect("the history");
        Truth(heard.0)
    }

    /// Of one reader.
    fn of(&self, prefix: &str) -> Heard {
        let of_prefix = |(revision, keys): &(Revision, Vec<String>)| {
            let keys: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
            (!keys.is_empty()).then_some((*revision, keys))
        };
        self.0.iter().filter_map(of_prefix).collect()
    }
}

impl Readers {
    /// The member that told something last.
    pub fn connected_to(&self) -> NodeId {
        match self.member.load(Ordering::Relaxed) {
            0 => 1,
            id => id,
        }
    }

    /// Lets all readers come to the end, lets the idle one read, and compares.
    pub async fn finish(mut self, cluster: &Cluster, written: Written) {
        let client = connect(cluster);
        let last = format!("w/{END}");
        for reader in 0..self.scale.readers {
            put_all(&client, &[format!("{}{END}", prefix(reader))]).await.expect("a put");
        }
        put_all(&client, std::slice::from_ref(&last)).await.expect("a put");
        let truth = Truth::read(cluster, "w/", 1, &last).await;
        let stored: BTreeMap<&String, Revision> =
            truth.0.iter().flat_map(|(revision, keys)| keys.iter().map(|key| (key, *revision))).collect();
        for (key, revision) in &written.keys {
            assert_eq!(stored.get(key), Some(revision), "{key} was acknowledged");
        }
        let mut latencies = Latencies::new();
        let mut events = 0;
        while let Some(ended) = self.tasks.join_next().await {
            let (reader, heard, mut its) = ended.expect("a reader does not panic");
            assert!(heard == truth.of(&prefix(reader)), "reader {reader} heard something else");
            events += its.len();
            latencies.append(&mut its);
        }
        let hearing = hear(&mut self.idle, &last, &self.member);
        let (heard, _) = tokio::time::timeout(Duration::from_secs(300), hearing).await.expect("it reads now");
        assert!(heard == truth.0, "the reader that did not read heard something else");
        let Written { keys, latencies: mut puts, failed, took } = written;
        let rate = puts.len() as f64 / took.as_secs_f64();
        println!(
            "{} readers, {} writes ({rate:.0}/s) of {} keys, {failed} failed",
            self.scale.readers,
            puts.len(),
            keys.len()
        );
        println!(
            "{events} events heard; each as often, in order, as in the history of {} revisions",
            truth.0.len()
        );
        println!("write p50 {} µs, p99 {} µs", percentile(&mut puts, 50), percentile(&mut puts, 99));
        println!(
            "event p50 {} µs, p99 {} µs",
            percentile(&mut latencies, 50),
            percentile(&mut latencies, 99)
        );
        for id in cluster.ids() {
            println!("member {id}: {} MiB resident at most", cluster.peak_mib(id));
        }
    }
}

fn percentile(times: &mut [u64], percent: usize) -> u64 {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0)
}
