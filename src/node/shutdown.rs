//! A graceful end: send watches elsewhere, hand leadership over, let what is under way finish, sync, stop.

use std::time::Duration;

use openraft::async_runtime::{Instant as _, WatchReceiver};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::{Inner, leadership::Leader};
use crate::{env::blocking, error::Error, types::NodeId};

/// Of the time that a shutdown may take, what is kept for its end: stopping Raft and syncing.
const END_SHARE: u32 = 4;
/// For so long at least it is waited for a successor.
const HAND_OVER_MIN: Duration = Duration::from_secs(1);
/// Between two looks at whether requests are still under way.
const POLL: Duration = Duration::from_millis(5);

impl Inner {
    /// See [`super::Node::shutdown`].
    pub async fn stop_gracefully(&self) -> Result<(), Error> {
        let deadline = Instant::now() + self.config.shutdown_timeout;
        let drained_by = deadline - self.config.shutdown_timeout / END_SHARE;
        self.ready.send_replace(false);
        self.watches.close(Error::ShuttingDown);
        if let Err(error) = self.hand_over(drained_by).await {
            info!(%error, "leadership is not handed over");
        }
        self.admission.close();
        while !self.admission.is_idle() && Instant::now() < drained_by {
            sleep(POLL).await;
        }
        if !self.admission.is_idle() {
            warn!("requests are still under way: their outcome is unknown to their callers");
        }
        self.stop.cancel();
        self.end_raft(deadline).await?;
        self.tasks.close();
        let _ = timeout_at(deadline, self.tasks.wait()).await;
        self.sync().await?;
        info!("member has stopped");
        Ok(())
    }

    /// Ends Raft, or goes on without its end. In a task of its own: openraft panics in every call that is
    /// under way when the wait for its end is given up halfway.
    async fn end_raft(&self, deadline: Instant) -> Result<(), Error> {
        let raft = self.raft.clone();
        let ending = tokio::spawn(async move { raft.shutdown().await.map_err(|error| error.to_string()) });
        match timeout_at(deadline, ending).await {
            Ok(ended) => ended.map_err(|panic| panic.to_string()).flatten().map_err(Error::Stopped),
            Err(_) => {
                warn!("raft did not end in time: going on without it");
                Ok(())
            }
        }
    }

    /// See [`super::Node::transfer_leadership`].
    pub async fn transfer_leadership(&self) -> Result<NodeId, Error> {
        if !matches!(self.leader(), Leader::Me) {
            return Err(self.not_leader());
        }
        self.hand_over(Instant::now() + self.hand_over_time()).await?;
        match self.leader() {
            Leader::Other(id, _) => Ok(id),
            Leader::Me | Leader::Unknown => Err(Error::NoLeader),
        }
    }

    /// An election timeout, but no less than a few syncs may take.
    fn hand_over_time(&self) -> Duration {
        self.config.election_timeout_max.max(HAND_OVER_MIN)
    }

    /// Hands leadership to the voter that is furthest, and waits until somebody else leads. openraft refuses
    /// requests meanwhile and does not take it back by itself (hazard H7): hence the deadline.
    async fn hand_over(&self, deadline: Instant) -> Result<(), Error> {
        let successor = self.successor()?;
        info!(successor, "handing leadership over");
        let handed = self.raft.trigger().transfer_leader(successor).await;
        handed.map_err(|error| Error::Stopped(error.to_string()))?;
        let until = deadline.min(Instant::now() + self.hand_over_time());
        let mut changes = self.leadership_changes();
        while Instant::now() < until && !matches!(self.leader(), Leader::Other(..)) {
            changes.next(until).await;
        }
        if !matches!(self.leader(), Leader::Other(..)) {
            warn!(successor, "leadership was not taken over in time");
        }
        Ok(())
    }

    /// If this member leads: of the voters that it has heard from lately, the one whose log reaches furthest.
    fn successor(&self) -> Result<NodeId, Error> {
        if !matches!(self.leader(), Leader::Me) {
            return Err(self.not_leader());
        }
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let is_there = |id: &NodeId| {
            let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(id).copied().flatten());
            heard.is_some_and(|heard| heard.elapsed() < self.config.election_timeout_max)
        };
        let others = metrics.replication.iter().flatten();
        let others = others.filter(|(id, _)| **id != metrics.id && voters.contains(id) && is_there(id));
        let furthest = others.max_by_key(|(_, matched)| matched.as_ref().map(|at| at.index()));
        match furthest {
            Some((id, _)) => Ok(*id),
            None if voters.len() < 2 => Err(Error::Invalid("there is no other voter to lead".to_owned())),
            None => Err(Error::NoQuorum),
        }
    }

    /// Log and state to disk. The log decides; a state that cannot be flushed is rebuilt.
    async fn sync(&self) -> Result<(), Error> {
        let (log, state) = (self.log.clone(), self.state.clone());
        let synced = blocking(move || {
            if let Err(error) = state.flush() {
                warn!(%error, "cannot flush the state");
            }
            log.close()
        });
        let synced = synced.await.map_err(|panic| Error::Stopped(panic.to_string()))?;
        synced.map_err(|error| Error::Stopped(format!("cannot close the log: {error}")))
    }
}
