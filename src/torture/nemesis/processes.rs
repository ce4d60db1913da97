//! Faults of processes: killed, asked to end, frozen.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Planned, Stage, Struck};
use crate::types::NodeId;

/// How long a member that was asked to end may take: more than its configuration allows.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// How long it is waited for that a member is ready. What is not by then is told by the end of the run.
const READY_WITHIN: Duration = Duration::from_secs(20);

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
    pub(super) async fn restart(&self, nodes: &[NodeId]) -> Struck {
        let mut landed = true;
        for id in nodes {
            let process = self.cluster.lock().await.take(*id);
            landed &= match process {
                Some(mut process) => process.stop(STOP_WITHIN).await.unwrap_or(false),
                None => false,
            };
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

    /// Starts members that do not run, and waits until they are ready. Whether all are.
    pub(super) async fn start(&self, nodes: &[NodeId]) -> bool {
        let mut ready = true;
        for id in nodes {
            if let Err(error) = self.cluster.lock().await.launch(*id) {
                self.recorder.trouble(error.to_string());
            }
        }
        for id in nodes {
            ready &= self.until_ready(*id).await;
        }
        ready
    }

    /// Without holding the cluster: others may be struck meanwhile.
    async fn until_ready(&self, id: NodeId) -> bool {
        let onlooker = self.cluster.lock().await.onlooker().clone();
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            if onlooker.status(id).await.is_ok_and(|status| status.ready) {
                return true;
            }
            if !self.cluster.lock().await.is_alive(id) {
                return false;
            }
            sleep(Duration::from_millis(50)).await;
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
