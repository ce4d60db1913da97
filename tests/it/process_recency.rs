//! Real processes: no read sees less than its level promises, while leaders are killed, paused and cut off.
//!
//! One writer puts one key, over and over; what was acknowledged, and when, is kept. Readers ask every member
//! at every level. The key's `mod_revision` only grows, so that an answer is too old exactly if it is lower
//! than that of a write which the level promises. Whatever an unknown write did, it did not lower it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::{
    recipes::KvApi,
    types::{CallOptions, Level, NodeId, Put},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{
    cluster::{Cluster, Spec},
    load::connect,
    node::NodeClient,
    setting,
};

const KEY: &str = "register";
/// A bound that a certificate can meet while a leader is there.
const MAX_AGE: Duration = Duration::from_millis(400);
/// How long a fault lasts: several elections.
const FAULT: Duration = Duration::from_secs(3);

/// What was acknowledged: the time, and the key's revision. Both grow.
#[derive(Default)]
struct History(Mutex<Vec<(Instant, u64)>>);

impl History {
    fn add(&self, revision: u64) {
        self.0.lock().expect("no panic").push((Instant::now(), revision));
    }

    /// The highest revision acknowledged before `moment`.
    fn before(&self, moment: Instant) -> u64 {
        let history = self.0.lock().expect("no panic");
        let older = history.partition_point(|(at, _)| *at < moment);
        older.checked_sub(1).map_or(0, |last| history[last].1)
    }
}

/// What the readers saw.
#[derive(Default)]
struct Seen {
    answered: Mutex<BTreeMap<(&'static str, NodeId), u64>>,
    stale_eventual: AtomicU64,
}

impl Seen {
    fn answered(&self, level: &'static str) -> u64 {
        let answered = self.answered.lock().expect("no panic");
        answered.iter().filter(|((name, _), _)| *name == level).map(|(_, count)| count).sum()
    }
}

async fn write(cluster_client: quorate::Client, history: Arc<History>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let put = Put { key: KEY.into(), value: "x".into(), ..Put::default() };
        let options = CallOptions { timeout: Some(Duration::from_secs(2)), ..CallOptions::default() };
        match cluster_client.put(put, options).await {
            Ok(answer) => history.add(answer.header.revision),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Asks one member.
struct Reader {
    id: NodeId,
    node: NodeClient,
    history: Arc<History>,
    seen: Arc<Seen>,
}

impl Reader {
    /// Reads at all levels in turn.
    async fn read(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            for level in levels(self.history.before(Instant::now())) {
                let began = Instant::now();
                let Ok(answer) = self.node.get(KEY, level).await else { continue };
                let found = answer.result.kvs.first().map_or(0, |kv| kv.mod_revision);
                self.judge(level, began, found);
            }
        }
    }

    /// Compares an answer with what its level promised when the read began.
    fn judge(&self, level: Level, began: Instant, found: u64) {
        let acknowledged = self.history.before(began);
        let promised = match level {
            Level::Bounded { max_age } => self.history.before(began - max_age),
            Level::Session { min_revision } => min_revision,
            Level::Eventual | Level::LeaderLocal => 0,
            Level::Linearizable | Level::Lease | Level::LeaseOrIndex | Level::Log => acknowledged,
        };
        let id = self.id;
        assert!(found >= promised, "{level} from member {id} saw revision {found}, {promised} was promised");
        if level == Level::Eventual && found < acknowledged {
            self.seen.stale_eventual.fetch_add(1, Ordering::Relaxed);
        }
        *self.seen.answered.lock().expect("no panic").entry((level.name(), id)).or_default() += 1;
    }
}

fn levels(acknowledged: u64) -> [Level; 7] {
    [
        Level::Linearizable,
        Level::Lease,
        Level::LeaseOrIndex,
        Level::Log,
        Level::Bounded { max_age: MAX_AGE },
        Level::Session { min_revision: acknowledged },
        Level::Eventual,
    ]
}

/// What happens to the leader.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Pause,
    Isolate,
}

async fn happen(cluster: &mut Cluster, fault: Fault) {
    let leader = cluster.leader().await;
    match fault {
        Fault::Kill => cluster.kill(leader),
        Fault::Pause => cluster.pause(leader),
        Fault::Isolate => {
            cluster.network().isolate(leader);
        }
    }
    tokio::time::sleep(FAULT).await;
    match fault {
        Fault::Kill => cluster.launch(leader, &[]),
        Fault::Pause => cluster.resume(leader),
        Fault::Isolate => cluster.network().heal(),
    }
    cluster.wait_all_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_its_level_promises_while_leaders_fail() {
    let mut cluster = Cluster::start(Spec { proxied: true, ..Spec::default() }).await;
    let (history, seen, stop) = (Arc::<History>::default(), Arc::<Seen>::default(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(write(connect(&cluster), history.clone(), stop.clone()));
    for id in cluster.ids() {
        for _ in 0..2 {
            let node = cluster.node(id).within(Duration::from_secs(1));
            let reader = Reader { id, node, history: history.clone(), seen: seen.clone() };
            tasks.spawn(reader.read(stop.clone()));
        }
    }
    for _ in 0..setting("QUORATE_RECENCY_ROUNDS", 1) {
        for fault in [Fault::Pause, Fault::Isolate, Fault::Kill] {
            happen(&mut cluster, fault).await;
            let before = history.before(Instant::now());
            println!("{fault:?}: revision {before}");
        }
    }
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no read was older than promised");
    }
    println!(
        "{} stale reads at level eventual, which promises nothing else",
        seen.stale_eventual.load(Ordering::Relaxed)
    );
    for level in levels(0) {
        let answered = seen.answered(level.name());
        println!("{level}: {answered} reads");
        assert!(answered > 100, "too few reads at level {level} to say anything: {answered}");
    }
}
