//! `kill -9` in rounds, of one member or of all at once, under a load of unique puts: what was acknowledged
//! stays. Five rounds by default; `make chaos ROUNDS=200` is the long run. `QUORATE_SEED` repeats the
//! choices, not the timing.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use crate::support::{
    SOON,
    cluster::{Cluster, Spec},
    load::{Acknowledged, Load, Workload},
    random, setting,
};

/// After so many rounds all members are compared, and after the last one.
const ROUNDS_BETWEEN_CHECKS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_with_the_wal_log() {
    rounds_of_kills("wal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_with_the_sled_log() {
    rounds_of_kills("sled").await;
}

async fn rounds_of_kills(log_store: &'static str) {
    let rounds = setting("QUORATE_CHAOS_ROUNDS", 5);
    let mut random = random();
    let mut cluster = Cluster::start(Spec { log_store, ..Spec::default() }).await;
    let acknowledged = Acknowledged::default();
    for round in 1..=rounds {
        let load = Load::start(&cluster, Workload::small(&format!("{round:04}/")), acknowledged.clone());
        acknowledged.grows_by(1, SOON).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        let victims = kill_some(&mut cluster, &mut random);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        if victims < cluster.ids().len() {
            acknowledged.grows_by(1, SOON).await;
        }
        cluster.launch_all(&[]);
        cluster.wait_all_ready().await;
        load.finish().await;
        println!("round {round}: {victims} killed, {} writes acknowledged so far", acknowledged.count());
        if round % ROUNDS_BETWEEN_CHECKS == 0 || round == rounds {
            acknowledged.verify(&cluster, "").await;
        }
    }
}

/// Kills a random member; in one round of four, all of them.
fn kill_some(cluster: &mut Cluster, random: &mut StdRng) -> usize {
    let all = cluster.ids();
    let victims = match random.random_bool(0.25) {
        true => all,
        false => all.choose(random).copied().into_iter().collect(),
    };
    for id in &victims {
        cluster.kill(*id);
    }
    victims.len()
}
