//! The leader's countdown: proposes the end of leases whose time has run out.
//!
//! Only a member that leads, and has applied the first entry of its term, counts. The proposal bears
//! that term and is never forwarded; apply ignores it if another has led since.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use super::{Inner, leadership::Leader};
use crate::{
    error::Error,
    raft::types::{Proposal, Response},
    state::{Command, Expire, Operation, Outcome},
    types::LeaseId,
};

/// Between two looks for leases that are due, and at who leads.
const LOOK: Duration = Duration::from_millis(50);

/// Between two proposals while many are due: other writes get their turn.
const PAUSE: Duration = Duration::from_millis(5);

/// Leases that one proposal ends. Many at once are ended in several steps, so that no single entry holds up
/// the writes behind it.
const LEASES_MAX: usize = 256;

/// Keys that one proposal deletes, unless a single lease has more: those go in one revision.
const KEYS_MAX: usize = 512;

/// How long the end of leases may take to be committed before it is proposed again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts down for as long as the node runs.
pub async fn count_down(node: Arc<Inner>) {
    loop {
        match node.leads_in() {
            Some(term) if node.deadlines.term() == Some(term) => {
                let due = node.due();
                if !due.is_empty() {
                    node.end_leases(due, term).await;
                    sleep(PAUSE).await;
                    continue;
                }
            }
            Some(term) => node.begin_counting(term).await,
            None => node.deadlines.stop(),
        }
        sleep(LOOK).await;
    }
}

impl Inner {
    fn leads_in(&self) -> Option<u64> {
        matches!(self.leader(), Leader::Me).then(|| self.term())
    }

    /// Counts from the moment at which this member has applied all that was committed before its term, as a
    /// quorum confirms. Whatever another leader promised, it promised before.
    async fn begin_counting(&self, term: u64) {
        self.deadlines.stop();
        let Ok((confirmed, index)) = self.own_read_index(false).await else { return };
        let mut progress = self.progress.clone();
        let applied = progress.wait_for(|view| view.applied.is_some_and(|at| at.index >= index));
        let applied = timeout_at(Instant::now() + PATIENCE, applied).await;
        if confirmed == term && matches!(applied, Ok(Ok(_))) {
            let all = || self.state.leases(0, usize::MAX).0;
            self.deadlines.begin(term, self.env.now(), all);
            info!(term, "counting down leases");
        }
    }

    fn due(&self) -> Vec<LeaseId> {
        let (mut leases, mut keys) = (0, 0);
        self.deadlines.take_due(self.env.now(), |lease| {
            keys += self.state.count_of_lease(lease, KEYS_MAX);
            leases += 1;
            leases == 1 || (leases <= LEASES_MAX && keys <= KEYS_MAX)
        })
    }

    async fn end_leases(&self, leases: Vec<LeaseId>, term: u64) {
        match self.propose_end(leases.clone(), term).await {
            Ok(ended) => debug!(ended, term, "leases have ended"),
            Err(error) => {
                debug!(%error, term, "the end of leases was not committed");
                self.deadlines.put_back(&leases);
                sleep(LOOK).await;
            }
        }
    }

    /// Gives how many ended.
    async fn propose_end(&self, leases: Vec<LeaseId>, term: u64) -> Result<u64, Error> {
        let command = Command::from(Operation::Expire(Expire { leases, term }));
        let command = Command { request_id: self.env.request_id(), ..command };
        let proposal = Proposal::new(command).map_err(|error| Error::Invalid(error.to_string()))?;
        let written = timeout_at(Instant::now() + PATIENCE, self.raft.client_write(proposal)).await;
        let late = |_| Error::UnknownOutcome("the end of leases was not committed in time".to_owned());
        match written.map_err(late)?.map_err(|error| Error::UnknownOutcome(error.to_string()))?.data {
            Response::Applied(applied) => match applied.outcome {
                Outcome::Expire { leases, .. } => Ok(leases),
                other => Err(Error::Protocol(format!("the end of leases gave {other:?}"))),
            },
            Response::Internal => Err(Error::Protocol("a command gave no result".to_owned())),
        }
    }
}
