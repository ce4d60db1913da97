//! H9: a member that is killed and restarted never shows a past that it had left, and is not ready before a
//! quorum has confirmed its position.

use quorate::{
    error::Error,
    types::{Level, Revision},
};

use crate::support::{SOON, cluster::Cluster, eventually};

/// Rounds of writes, kill, restart.
const ROUNDS: usize = 3;

/// What a member shows, if it shows anything.
async fn shown(cluster: &Cluster, id: u64) -> Result<Revision, Error> {
    cluster.node(id).get("k", Level::Eventual).await.map(|answer| answer.header.revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn h9_a_member_killed_and_restarted_alone_shows_nothing_older_than_before() {
    let mut cluster = Cluster::three().await;
    let mut refusals = 0;
    for round in 0..ROUNDS {
        let mut last = 0;
        for n in 0..20 {
            last = cluster.node(1).put("k", &format!("{round}/{n}")).await.expect("a write");
        }
        for id in cluster.ids() {
            eventually("all show it", SOON, async || match shown(&cluster, id).await {
                Ok(revision) if revision >= last => Ok(()),
                other => Err(format!("{other:?}")),
            })
            .await;
        }
        cluster.ids().into_iter().for_each(|id| cluster.kill(id));

        for id in cluster.ids() {
            refusals += usize::from(shows_nothing_older(&mut cluster, id, last).await);
            cluster.kill(id);
        }
        cluster.launch_all(&[]);
        cluster.wait_all_ready().await;
        for id in cluster.ids() {
            assert!(shown(&cluster, id).await.expect("ready") >= last);
        }
    }
    println!("{refusals} of {} restarts had to wait for a quorum", 3 * ROUNDS);
}

/// Starts one member alone; whether it refused to show anything.
async fn shows_nothing_older(cluster: &mut Cluster, id: u64, before: Revision) -> bool {
    cluster.launch(id, &[]);
    let status = eventually("it answers", SOON, async || {
        cluster.node(id).status().await.map_err(|error| error.to_string())
    })
    .await;
    assert!(!status.ready, "ready without a quorum: {status:?}");
    match shown(cluster, id).await {
        Ok(revision) => {
            assert!(revision >= before, "member {id} had shown {before}, and shows {revision} now");
            false
        }
        Err(Error::NotReady(_)) => true,
        Err(error) => panic!("member {id}: {error}"),
    }
}
