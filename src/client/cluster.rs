//! Members and what they say of themselves. These answers are for people and tools, and stay in the form of
//! the API.

use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::Channel;

use super::{ANSWER_BYTES_MAX, Client, call::Plan, pipeline::Way, retry::Kind, routing::Target};
use crate::{
    error::Error,
    pb::v1::{self, cluster_client::ClusterClient, maintenance_client::MaintenanceClient},
    types::{CallOptions, Revision},
};

/// The members are not asked for more often than this to find the leader.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How long such a question may delay a call.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn service(channel: Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

impl Client {
    /// The members of the cluster, as one of them knows it.
    ///
    /// # Errors
    /// If none can be reached within the deadline.
    pub async fn members(&self, options: CallOptions) -> Result<v1::MembersResponse, Error> {
        let plan = self.plan(Kind::Read, Target::Any, options)?;
        let send = |way: Way, request| async move { service(way.channel).members(request).await };
        let answered = Box::pin(self.call(&plan, v1::MembersRequest {}, send)).await?;
        self.learn_members(&answered.endpoint, &answered.message)?;
        Ok(answered.message)
    }

    /// How the member at `endpoint` is now. Asked once: an answer from another member would be another
    /// answer.
    ///
    /// # Errors
    /// `Connection` or `Deadline` if it does not answer; `WrongCluster`.
    pub async fn status(&self, endpoint: &str, options: CallOptions) -> Result<v1::StatusResponse, Error> {
        let plan = self.plan(Kind::Read, Target::Any, options)?;
        let send = |way: Way, request| async move { service(way.channel).status(request).await };
        let status = self.call_endpoint(&plan, endpoint, (v1::StatusRequest {}, send)).await?;
        let header = status.header.clone().unwrap_or_default();
        let mut view = self.view();
        view.learn_cluster(endpoint, header.cluster_id)?;
        view.learn_member(endpoint, status.id);
        view.learn_leader(header.term, (status.leader_id != 0).then_some(status.leader_id));
        drop(view);
        Ok(status)
    }

    /// The hash of everything visible at `revision` (0: what it has applied) on the member at `endpoint`.
    /// Asked once.
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision`, `WrongCluster`, or that it does not answer.
    pub async fn state_hash(
        &self,
        endpoint: &str,
        revision: Revision,
        options: CallOptions,
    ) -> Result<v1::StateHashResponse, Error> {
        let plan = self.plan(Kind::Read, Target::Any, options)?;
        let send =
            |way: Way, request| async move { MaintenanceClient::new(way.channel).state_hash(request).await };
        let answer = self.call_endpoint(&plan, endpoint, (v1::StateHashRequest { revision }, send)).await?;
        let cluster = answer.header.as_ref().map_or(0, |header| header.cluster_id);
        self.view().learn_cluster(endpoint, cluster)?;
        Ok(answer)
    }

    /// Asks for the members if the call needs to know more of them than is known: a member's address, or,
    /// now and then, the leader. Failing to learn is no error: the call itself will say what is wrong.
    pub(super) async fn refresh_if_needed(&self, plan: &Plan) {
        let needed = match plan.target {
            Target::Member(id) => !self.view().knows(id),
            Target::Leader => self.view().lacks_leader() && self.refresh_due(),
            Target::Any | Target::Follower => false,
        };
        if needed {
            let timeout = Some(REFRESH_TIMEOUT.min(plan.remaining() / 4));
            let options = CallOptions { timeout, ..CallOptions::default() };
            if let Err(error) = self.members(options).await {
                tracing::debug!(%error, "cannot learn the members");
            }
        }
    }

    /// Whether the last question is long enough ago; if so, it is taken as asked now. A new client does not
    /// ask at once: its first write finds the leader by itself, forwarded by whoever gets it.
    fn refresh_due(&self) -> bool {
        let mut refreshed = self.inner.refreshed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = refreshed.elapsed() >= REFRESH_INTERVAL;
        if due {
            *refreshed = Instant::now();
        }
        due
    }

    /// What `endpoint` says about the members.
    ///
    /// # Errors
    /// `WrongCluster`.
    pub(super) fn learn_members(&self, endpoint: &str, answer: &v1::MembersResponse) -> Result<(), Error> {
        let header = answer.header.clone().unwrap_or_default();
        let mut view = self.view();
        view.learn_cluster(endpoint, header.cluster_id)?;
        for member in &answer.members {
            view.learn_advertised(member.id, &member.client_addr);
        }
        view.learn_member(endpoint, header.member_id);
        let leader = answer.members.iter().find(|member| member.is_leader);
        view.learn_leader(header.term, leader.map(|member| member.id));
        Ok(())
    }
}
