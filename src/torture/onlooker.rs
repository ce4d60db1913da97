//! Who looks on: asks members about themselves, past whatever is wrong with the network.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    Error,
    check::history::FinalState,
    client::{Client, ClientBuilder},
    pb::v1::StatusResponse,
    types::{CallOptions, NodeId, Revision},
};

/// A client that asks each member for itself.
#[derive(Clone)]
pub struct Onlooker {
    client: Client,
    members: BTreeMap<NodeId, String>,
}

impl Onlooker {
    /// Of the members at these addresses.
    ///
    /// # Errors
    /// If an address makes no sense.
    pub fn new(members: BTreeMap<NodeId, String>) -> Result<Onlooker, Error> {
        let client = ClientBuilder::new(members.values().cloned()).sessions(false).build()?;
        Ok(Onlooker { client, members })
    }

    /// Of a cluster that runs already: its members say who they are.
    ///
    /// # Errors
    /// If one of them does not answer.
    pub async fn of(endpoints: &[String]) -> Result<Onlooker, Error> {
        let client = ClientBuilder::new(endpoints.to_vec()).sessions(false).build()?;
        let mut members = BTreeMap::new();
        for endpoint in endpoints {
            members.insert(client.status(endpoint, within(5000)).await?.id, endpoint.clone());
        }
        Ok(Onlooker { client, members })
    }

    /// The members' ids.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// The client itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What a member says of itself, within half a second.
    ///
    /// # Errors
    /// That it does not answer.
    pub async fn status(&self, id: NodeId) -> Result<StatusResponse, Error> {
        let unknown = || Error::Invalid(format!("there is no member {id}"));
        self.client.status(self.members.get(&id).ok_or_else(unknown)?, within(500)).await
    }

    /// Who leads, by what the members say of themselves, and the term: of several the one in the highest.
    pub async fn leader(&self) -> Option<(NodeId, u64)> {
        let answers = join_all(self.members.keys().map(|id| self.status(*id))).await;
        let leads = answers.into_iter().flatten().filter(|status| status.leader_id == status.id);
        leads.map(|status| (status.id, status.header.map_or(0, |header| header.term))).max_by_key(|led| led.1)
    }

    /// Waits until all members are ready, and have reached the revision that the furthest of them had: that
    /// revision. Others may go on writing.
    ///
    /// # Errors
    /// What is missing when the time has run out.
    pub async fn converge(&self, patience: Duration) -> Result<Revision, String> {
        let (until, mut wanted) = (Instant::now() + patience, None);
        loop {
            let why = match self.revisions().await {
                Ok(revisions) => {
                    let furthest = revisions.values().copied().max().unwrap_or_default();
                    let wanted = *wanted.get_or_insert(furthest);
                    if revisions.values().all(|revision| *revision >= wanted) {
                        return Ok(wanted);
                    }
                    format!("revision {wanted} is wanted, of {revisions:?}")
                }
                Err(why) => why,
            };
            if Instant::now() >= until {
                return Err(format!("the members have not converged after {patience:?}: {why}"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// What each member has reached, if all are ready.
    async fn revisions(&self) -> Result<BTreeMap<NodeId, Revision>, String> {
        let mut revisions = BTreeMap::new();
        for id in self.members.keys() {
            let status = self.status(*id).await.map_err(|error| format!("member {id}: {error}"))?;
            if !status.ready {
                return Err(format!("member {id} is not ready"));
            }
            revisions.insert(*id, status.header.map_or(0, |header| header.revision));
        }
        Ok(revisions)
    }

    /// What each member holds at a revision.
    ///
    /// # Errors
    /// If one does not tell.
    pub async fn states(&self, revision: Revision) -> Result<Vec<FinalState>, Error> {
        let mut states = Vec::new();
        for (id, addr) in &self.members {
            let hash = self.client.state_hash(addr, revision, within(30_000)).await?.hash;
            states.push(FinalState { node: *id, revision, hash });
        }
        Ok(states)
    }
}

fn within(ms: u64) -> CallOptions {
    CallOptions { timeout: Some(Duration::from_millis(ms)), ..CallOptions::default() }
}
