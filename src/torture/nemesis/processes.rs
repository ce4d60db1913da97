//! Faults of processes: killed, asked to end, frozen.

use super::{Planned, Stage, Struck};
use crate::types::NodeId;

impl Stage {
    /// Kills, and after a while starts again.
    pub(super) async fn kill(&self, planned: &Planned, nodes: &[NodeId]) -> Struck {
        let mut landed = true;
        for id in nodes {
            landed &= self.cluster.lock().await.kill(*id).unwrap_or(false);
        }
        self.endure(planned.lasts).await;
        self.start(nodes).await;
        Struck::new(format!("{} killed", names(nodes)), nodes, landed)
    }

    /// Asks each to end, and starts it again at once; the next when it is ready.
    pub(super) async fn restart(&self, _: &Planned, nodes: &[NodeId]) -> Struck {
        let mut landed = true;
        for id in nodes {
            landed &= self.cluster.lock().await.stop(*id).await.unwrap_or(false);
            self.start(&[*id]).await;
        }
        Struck::new(format!("{} restarted", names(nodes)), nodes, landed)
    }

    /// Freezes, and lets go on.
    pub(super) async fn pause(&self, planned: &Planned, nodes: &[NodeId]) -> Struck {
        let mut landed = true;
        for id in nodes {
            landed &= self.cluster.lock().await.pause(*id).await;
        }
        self.endure(planned.lasts).await;
        for id in nodes {
            self.cluster.lock().await.resume(*id);
        }
        Struck::new(format!("{} paused", names(nodes)), nodes, landed)
    }

    /// Starts members, and waits until they are ready, or it is clear that they will not be: the end of the
    /// run will say so.
    pub(super) async fn start(&self, nodes: &[NodeId]) {
        for id in nodes {
            if let Err(error) = self.cluster.lock().await.launch(*id) {
                tracing::warn!(%error, "a member does not start");
            }
        }
        for id in nodes {
            self.until_ready(*id).await;
        }
    }

    /// Without holding the cluster: others may be struck meanwhile.
    async fn until_ready(&self, id: NodeId) -> bool {
        for _ in 0..200 {
            let mut cluster = self.cluster.lock().await;
            if cluster.onlooker().status(id).await.is_ok_and(|status| status.ready) {
                return true;
            }
            if !cluster.is_alive(id) || self.heal.is_cancelled() {
                return false;
            }
            drop(cluster);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }
}

impl Struck {
    pub(super) fn new(what: String, nodes: &[NodeId], landed: bool) -> Struck {
        Struck { what, nodes: nodes.to_vec(), landed, breaks: None }
    }
}

/// `n1 n2`
pub(super) fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(|id| format!("n{id}")).collect::<Vec<_>>().join(" ")
}
