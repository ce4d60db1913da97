//! Real processes: what goes on when members die, are paused or cut off, and what is refused; and that
//! nothing hangs.

use std::time::{Duration, Instant};

use quorate::{
    error::Error,
    pb::v1,
    torture::cluster::proxy::Trouble,
    types::{Level, Mechanism},
};

use crate::support::{
    SOON,
    cluster::{Cluster, Spec},
    eventually,
    load::{Acknowledged, Load, Workload},
    node::NodeClient,
};

/// The deadline of requests that must be refused.
const DEADLINE: Duration = Duration::from_secs(2);
/// How much later than its deadline an answer may come, on a loaded machine.
const GRACE: Duration = Duration::from_secs(2);

/// Makes a request that must fail within its deadline; the error.
async fn refused<T>(what: &str, request: impl Future<Output = Result<T, Error>>) -> Error {
    let start = Instant::now();
    let answer = tokio::time::timeout(DEADLINE + GRACE, request).await;
    let answer = answer.unwrap_or_else(|_| panic!("{what} hangs: no answer after {:?}", start.elapsed()));
    match answer {
        Ok(_) => panic!("{what} succeeded"),
        Err(error) => error,
    }
}

fn bounded(max_age: Duration) -> Level {
    Level::Bounded { max_age }
}

/// Writes until one is acknowledged, each under a key of its own.
async fn acknowledged_put(node: &NodeClient, prefix: &str) {
    let mut attempt = 0;
    eventually("a write is acknowledged", SOON, async || {
        attempt += 1;
        node.put(&format!("{prefix}/{attempt}"), "x").await.map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_level_is_served_by_every_member_that_may() {
    let cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let revision = cluster.node(1).put("k", "v").await.expect("a write");
    let everywhere = [
        (Level::Linearizable, Mechanism::ReadIndex),
        (Level::Log, Mechanism::LogEntry),
        (bounded(SOON), Mechanism::Certificate),
        (Level::Session { min_revision: revision }, Mechanism::Local),
    ];
    for id in cluster.ids() {
        for (level, mechanism) in everywhere {
            let answer =
                cluster.node(id).get("k", level).await.unwrap_or_else(|e| panic!("{level} at {id}: {e}"));
            assert_eq!(answer.result.kvs.len(), 1, "{level} at {id}: {answer:?}");
            assert_eq!((answer.evidence.level_served, answer.evidence.served_by), (level, id));
            if id != leader || level != bounded(SOON) {
                assert_eq!(answer.evidence.mechanism, mechanism, "{level} at {id}");
            }
        }
        cluster.node(id).get("k", Level::Eventual).await.expect("an eventual read");
    }
    let node = cluster.node(leader);
    for level in [Level::Lease, Level::LeaderLocal] {
        let answer = eventually(&format!("{level} at the leader"), SOON, async || {
            node.get("k", level).await.map_err(|error| error.to_string())
        })
        .await;
        assert_eq!(answer.evidence.level_served, level);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_member_dead_reads_and_writes_go_on() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let acknowledged = Acknowledged::default();
    let load = Load::start(&cluster, Workload::small("one-dead/"), acknowledged.clone());
    acknowledged.grows_by(20, SOON).await;

    cluster.kill(leader);
    acknowledged.grows_by(50, SOON).await;
    for id in cluster.alive() {
        let read = cluster.node(id).get("ready-probe", Level::Linearizable).await;
        read.unwrap_or_else(|error| panic!("a linearizable read at {id}: {error}"));
    }

    cluster.launch(leader, &[]);
    cluster.wait_ready(leader).await;
    load.finish().await;
    acknowledged.verify(&cluster, "one-dead/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_members_dead_the_third_refuses_what_it_cannot_prove() {
    let mut cluster = Cluster::three().await;
    cluster.node(1).put("k", "v").await.expect("a write");
    let survivor = 3;
    let node = cluster.node(survivor).within(DEADLINE);
    eventually("the survivor has the key", SOON, async || {
        let answer = node.get("k", Level::Eventual).await.map_err(|error| error.to_string())?;
        answer.result.kvs.first().map(|_| ()).ok_or_else(|| "not there".to_owned())
    })
    .await;
    cluster.kill(1);
    cluster.kill(2);

    let write = refused("a write", node.put("k2", "v")).await;
    assert!(
        matches!(
            write,
            Error::NoLeader | Error::NoQuorum | Error::Deadline { .. } | Error::UnknownOutcome(_)
        ),
        "{write:?}"
    );
    for level in [Level::Linearizable, Level::Log, Level::Lease, Level::LeaseOrIndex] {
        let error = refused(level.name(), node.get("k", level)).await;
        assert!(!matches!(error, Error::Protocol(_) | Error::Connection { .. }), "{level}: {error:?}");
    }

    let eventual = node.get("k", Level::Eventual).await.expect("eventual needs no quorum");
    assert_eq!(&*eventual.result.kvs[0].value, b"v");
    let age = Duration::from_millis(300);
    let error = eventually("bounded refuses", SOON, async || match node.get("k", bounded(age)).await {
        Ok(answer) => Err(format!("{:?}", answer.evidence)),
        Err(error) => Ok(error),
    })
    .await;
    assert!(matches!(error, Error::TooStale { want, .. } if want == age), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lone_member_promises_about_its_age_holds() {
    let mut cluster = Cluster::three().await;
    cluster.node(1).put("k", "v").await.expect("a write");
    let node = cluster.node(3).within(DEADLINE);
    eventually("a certificate", SOON, async || {
        node.get("k", bounded(SOON)).await.map_err(|error| error.to_string())
    })
    .await;
    cluster.kill(1);
    cluster.kill(2);
    let dead_since = Instant::now();

    // The bound that it states grows with the time since the others died, at the least.
    let first = node.get("k", bounded(SOON)).await.expect("not that old yet").evidence.staleness_bound;
    eventually("time has passed", SOON, async || {
        if dead_since.elapsed() > Duration::from_secs(1) { Ok(()) } else { Err(String::new()) }
    })
    .await;
    let lower = dead_since.elapsed();
    let second = node.get("k", bounded(SOON)).await.expect("not that old yet").evidence.staleness_bound;
    assert!(second > first && second >= Some(lower), "{first:?}, then {second:?} after {lower:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_the_others_serves_nothing_that_it_cannot_prove() {
    let cluster = Cluster::start(Spec { proxied: true, ..Spec::default() }).await;
    let old = cluster.leader().await;
    let cut_off = cluster.node(old).within(DEADLINE);
    cut_off.put("k", "before").await.expect("a write");
    cluster.network().isolate(old);

    let other = cluster.ids().into_iter().find(|id| *id != old).expect("three members");
    let majority = cluster.node(other);
    acknowledged_put(&majority, "other-side").await;
    majority.put("k", "after").await.expect("the majority has a leader");

    for level in [Level::Linearizable, Level::Log, Level::Lease] {
        refused(level.name(), cut_off.get("k", level)).await;
    }
    refused("a write", cut_off.put("k", "never")).await;
    let stale = cut_off.get("k", Level::Eventual).await.expect("eventual needs no quorum");
    assert_eq!(&*stale.result.kvs[0].value, b"before");

    cluster.network().heal();
    eventually("the old leader sees what it has missed", SOON, async || {
        let answer = cut_off.get("k", Level::Linearizable).await.map_err(|error| error.to_string())?;
        match &*answer.result.kvs[0].value {
            b"after" => Ok(()),
            other => panic!("a linearizable read shows {:?}", String::from_utf8_lossy(other)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_the_others_says_so_at_once() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    for other in cluster.ids().into_iter().filter(|id| *id != leader) {
        cluster.kill(other);
    }
    let node = cluster.node(leader).within(DEADLINE);
    let two_leases = 2_000;
    let status = eventually("two leases have passed", SOON, async || {
        let status = node.status().await.map_err(|error| error.to_string())?;
        let age = status.leader_contact_age_ms;
        if age > Some(two_leases) { Ok(status) } else { Err(format!("{age:?}")) }
    })
    .await;
    assert!(!status.ready && status.leader_id == leader, "{status:?}");
    let asked = Instant::now();
    assert_eq!(refused("a round", node.get("k", Level::Linearizable)).await, Error::NoQuorum);
    assert!(asked.elapsed() < Duration::from_millis(500), "it waited {:?}", asked.elapsed());
    node.get("k", Level::Eventual).await.expect("eventual needs no quorum");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_tells_its_own_place_at_whatever_member_it_was_asked() {
    let cluster = Cluster::three().await;
    for id in cluster.ids() {
        let put = v1::PutRequest { key: "k".into(), value: "v".into(), ..v1::PutRequest::default() };
        let answer = cluster.node(id).kv().put(put).await.expect("a write").into_inner();
        let (header, write) = (answer.header.expect("a header"), answer.write.expect("evidence"));
        assert_eq!(header.applied_index, write.log_index, "at member {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hears_nobody_but_is_heard_is_replaced_or_harmless() {
    let cluster = Cluster::start(Spec { proxied: true, ..Spec::default() }).await;
    let deaf = cluster.leader().await;
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != deaf).collect();
    for other in &others {
        cluster.network().impose([(*other, deaf)], Trouble::Cut);
    }
    let node = cluster.node(deaf).within(DEADLINE);
    refused("a write at a leader that hears no acknowledgement", node.put("k", "v")).await;
    for level in [Level::Linearizable, Level::Lease] {
        refused(level.name(), node.get("k", level)).await;
    }
    cluster.network().heal();
    acknowledged_put(&cluster.node(others[0]), "healed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_does_not_answer_by_its_old_lease() {
    let cluster = Cluster::three().await;
    let old = cluster.leader().await;
    cluster.node(old).put("k", "before").await.expect("a write");
    cluster.pause(old);
    let other = cluster.ids().into_iter().find(|id| *id != old).expect("three members");
    acknowledged_put(&cluster.node(other), "while-paused").await;
    cluster.node(other).put("k", "after").await.expect("the others have a leader");
    cluster.resume(old);
    // Whatever it answers at these levels from now on, it must not be the old value.
    let node = cluster.node(old).within(DEADLINE);
    for level in [Level::Lease, Level::LeaseOrIndex, Level::Linearizable] {
        if let Ok(answer) = node.get("k", level).await {
            assert_eq!(&*answer.result.kvs[0].value, b"after", "{level}: {:?}", answer.evidence);
        }
    }
    cluster.wait_ready(old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_asked_to_end_hands_over_and_ends_well() {
    let mut cluster = Cluster::three().await;
    let acknowledged = Acknowledged::default();
    let load = Load::start(&cluster, Workload::small("rolling/"), acknowledged.clone());
    for id in cluster.ids() {
        assert_eq!(cluster.stop(id), Some(0), "the exit code of member {id}");
        acknowledged.grows_by(10, SOON).await;
        cluster.launch(id, &[]);
        cluster.wait_ready(id).await;
    }
    load.finish().await;
    acknowledged.verify(&cluster, "rolling/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_links_slow_writes_down_but_nothing_else() {
    let cluster = Cluster::start(Spec { proxied: true, ..Spec::default() }).await;
    // There and back it must be shorter than a heartbeat interval.
    let delay = Duration::from_millis(15);
    let network = cluster.network();
    network.impose(network.between_members(), Trouble::Delay(delay));
    let node = cluster.node(cluster.leader().await);
    acknowledged_put(&node, "slow").await;
    let waited = async |level| node.get("slow/1", level).await.expect("a read").evidence.waited.quorum;
    let (local, round) = (waited(Level::LeaderLocal).await, waited(Level::Linearizable).await);
    assert!(local < delay, "a local read waits for nobody: {local:?}");
    assert!(round >= delay * 2, "a quorum round goes there and back: {round:?}");
}
