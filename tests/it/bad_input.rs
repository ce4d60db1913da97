//! What no decent client, peer or operator would do: each is answered with a clear error and the member stays
//! up, or it refuses to start and says why.

mod disk;
mod requests;
mod start;
mod strangers;

use quorate::types::Level;

use crate::support::cluster::{Cluster, Spec};

/// One member is quorum enough for what does not depend on others.
async fn one_member() -> Cluster {
    Cluster::start(Spec { members: 1, ..Spec::default() }).await
}

/// The member is up and takes writes.
async fn is_well(cluster: &Cluster) {
    let node = cluster.node(1);
    node.put("well", "yes").await.expect("a write after the bad input");
    node.get("well", Level::Linearizable).await.expect("a read after the bad input");
}
