//! Clients' leases: granted and ended through the log, kept alive by a leader that a quorum has confirmed.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{Inner, Node, call::Call, deadlines::Renewal, leadership::Leader};
use crate::{
    error::Error,
    raft::types::Peer,
    recipes::LeaseApi,
    state::{GrantLease, LeaseRecord, MADE_IDS, Operation, Outcome},
    types::{
        CallOptions, Grant, Granted, KeptAlive, LeaseId, LeaseInfo, LeaseList, LeaseSummary, Level, NodeId,
        Revoked, WriteAnswer,
    },
};

/// Leases in one answer of a list.
const LIST_MAX: u64 = 10_000;

/// Keys of one lease that an answer tells.
const KEYS_MAX: usize = 10_000;

/// Between two looks at a lease whose end is being proposed.
const LOOK: Duration = Duration::from_millis(10);

/// What of a lease only the leader knows.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// Renew it: the term, and the time to live from when the call began.
    Renew,
    /// Tell of it: an index that must be applied before the rest is read, and what is left of the time.
    Tell,
}

impl LeaseApi for Node {
    async fn grant(&self, grant: Grant, options: CallOptions) -> Result<WriteAnswer<Granted>, Error> {
        if grant.session && grant.id != 0 {
            return Err(Error::Invalid(format!(
                "id is {}: a session's id is made by the cluster, so that it never was another's",
                grant.id
            )));
        }
        if grant.id >= MADE_IDS {
            return Err(Error::Invalid(format!(
                "id is {}: ids from {MADE_IDS} on are made by the cluster; choose a lower one",
                grant.id
            )));
        }
        let limits = &self.inner.config.limits;
        let grant = GrantLease {
            lease: grant.id,
            ttl_ms: u64::try_from(grant.ttl.as_millis()).unwrap_or(u64::MAX),
            session: grant.session,
            leases_max: limits.leases_max as u64,
            sessions_max: limits.sessions_max as u64,
        };
        self.write(Operation::Grant(grant), options, |outcome| match outcome {
            Outcome::Grant(granted) => Some(granted),
            _ => None,
        })
        .await
    }

    async fn revoke(&self, lease: LeaseId, options: CallOptions) -> Result<WriteAnswer<Revoked>, Error> {
        self.write(Operation::Revoke(lease), options, |outcome| match outcome {
            Outcome::Revoke(revoked) => Some(revoked),
            _ => None,
        })
        .await
    }

    async fn keep_alive(&self, lease: LeaseId, options: CallOptions) -> Result<KeptAlive, Error> {
        let node = &self.inner;
        let call = Call::begin(options, &node.config, &node.env);
        let _place = node.admission.read()?;
        let (term, ttl) = node.ask_of_lease(Ask::Renew, lease, &call).await?;
        let header = node.header(call.request_id, &node.state.position());
        Ok(KeptAlive { header: crate::types::Header { term, ..header }, id: lease, ttl })
    }

    async fn time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
        options: CallOptions,
    ) -> Result<LeaseInfo, Error> {
        let node = &self.inner;
        let call = Call::begin(options, &node.config, &node.env);
        let _place = node.admission.read()?;
        let (index, remaining) = node.ask_of_lease(Ask::Tell, lease, &call).await?;
        node.applied_to(index, &call).await?;
        let record = node.state.lease(lease).ok_or(Error::LeaseNotFound(lease))?;
        let LeaseRecord { ttl_ms, session, .. } = record;
        let (keys, key_count) = node.state.keys_of_lease(lease, if keys { KEYS_MAX } else { 0 });
        let header = node.header(call.request_id, &node.state.position());
        let ttl = Duration::from_millis(ttl_ms);
        Ok(LeaseInfo { header, id: lease, ttl, remaining, session, key_count: key_count as u64, keys })
    }

    async fn leases(&self, after: LeaseId, limit: u64, options: CallOptions) -> Result<LeaseList, Error> {
        let node = &self.inner;
        let call = Call::begin(options, &node.config, &node.env);
        let _place = node.admission.read()?;
        node.permit(Level::Linearizable.into(), &call).await?;
        let limit = if limit == 0 { LIST_MAX } else { limit.min(LIST_MAX) } as usize;
        let (mut records, view) = node.state.leases(after, limit + 1);
        let more = records.len() > limit;
        records.truncate(limit);
        let summary = |record: LeaseRecord| LeaseSummary {
            id: record.lease,
            ttl: Duration::from_millis(record.ttl_ms),
            session: record.session,
            key_count: node.state.count_of_lease(record.lease, usize::MAX) as u64,
        };
        let leases = records.into_iter().map(summary).collect();
        Ok(LeaseList { header: node.header(call.request_id, &view), leases, more })
    }
}

impl Inner {
    /// Has the leader renew a lease, or tell of it, wherever it is.
    async fn ask_of_lease(&self, ask: Ask, lease: LeaseId, call: &Call) -> Result<(u64, Duration), Error> {
        let (patience, mut changes) = (self.leader_patience(call), self.leadership_changes());
        loop {
            let attempt = match self.leader() {
                Leader::Me => self.ask_here(ask, lease, call).await,
                Leader::Other(id, peer) => {
                    debug!(request_id = %call.request_id, leader = id, lease, ?ask, "asking the leader");
                    let asked = self.ask_there((id, &peer), (ask, lease), call);
                    let mut changes = self.leadership_changes();
                    tokio::select! {
                        answer = asked => answer,
                        () = changes.not_led_by(id) => Err(Error::NoLeader),
                    }
                }
                Leader::Unknown => Err(Error::NoLeader),
            };
            match attempt {
                Err(error) if is_of_leadership(&error) && Instant::now() < patience => {
                    changes.next(patience).await;
                }
                answer => return answer,
            }
        }
    }

    /// As the leader, or not at all.
    pub async fn ask_here(&self, ask: Ask, lease: LeaseId, call: &Call) -> Result<(u64, Duration), Error> {
        match ask {
            Ask::Renew => self.keep_alive_here(lease, call).await,
            Ask::Tell => self.lease_time_here(lease, call).await,
        }
    }

    async fn ask_there(
        &self,
        (id, peer): (NodeId, &Peer),
        (ask, lease): (Ask, LeaseId),
        call: &Call,
    ) -> Result<(u64, Duration), Error> {
        let mut link = self.links.to(id, &peer.peer_addr).map_err(Error::Protocol)?;
        let asked = async {
            match ask {
                Ask::Renew => link.keep_alive(lease, &call.request_id, call.left()).await,
                Ask::Tell => link.lease_time(lease, &call.request_id, call.left()).await,
            }
        };
        call.within("the leader's answer about the lease", asked).await?
    }

    /// As the leader, or not at all. The round begins after the call did: whoever leads later has been
    /// elected since, and gives the lease its full time.
    async fn keep_alive_here(&self, lease: LeaseId, call: &Call) -> Result<(u64, Duration), Error> {
        let round = self.rounds.join(&call.request_id);
        let round = call.within("a quorum to confirm the leader", round).await??;
        self.applied_to(round.index, call).await?;
        loop {
            match self.deadlines.renew(lease, round.term, call.began) {
                Renewal::Renewed(ttl) => return Ok((round.term, ttl)),
                Renewal::Unknown => return Err(Error::LeaseNotFound(lease)),
                Renewal::NotCounting => return Err(Error::NoLeader),
                Renewal::Ending => call.within("the lease to end", sleep(LOOK)).await?,
            }
        }
    }

    /// Only the leader that counts knows what is left.
    async fn lease_time_here(&self, lease: LeaseId, call: &Call) -> Result<(u64, Duration), Error> {
        let round = self.rounds.join(&call.request_id);
        let round = call.within("a quorum to confirm the leader", round).await??;
        self.applied_to(round.index, call).await?;
        if self.deadlines.term() != Some(round.term) {
            return Err(Error::NoLeader);
        }
        let remaining = self.deadlines.remaining(lease, round.term, self.env.now());
        Ok((round.index, remaining.ok_or(Error::LeaseNotFound(lease))?))
    }

    /// Starts the countdown.
    pub fn spawn_countdown(self: &Arc<Self>) {
        self.spawn(super::expirer::count_down(self.clone()));
    }
}

/// Whether another leader may do what this one could not: nothing was done.
fn is_of_leadership(error: &Error) -> bool {
    matches!(error, Error::NotLeader { .. } | Error::NoLeader | Error::Connection { .. } | Error::NotReady(_))
}
