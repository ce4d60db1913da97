//! The sign of life that a write waits for.
//!
//! A frozen process keeps its listener: the kernel accepts connections and takes requests that nobody
//! reads. A write sent there has an unknown outcome for ever. So before a write the member must have
//! answered something on that connection within the last second; if it has not, it is asked for the
//! members, which is cheap, and tells the leader and the cluster besides. A member that does not answer
//! that has not been sent the write.
//!
//! Reads need no sign of life: they are repeated elsewhere.

use tokio::time::{Duration, timeout};
use tonic::transport::Channel;

use super::{Client, cluster};
use crate::{
    error::Error,
    pb::{
        convert::{self, RequestKind},
        v1,
    },
};

impl Client {
    /// Makes sure that somebody answers at `endpoint`, for an attempt that may take `time`.
    ///
    /// # Errors
    /// `Connection` if nobody does; `WrongCluster` if it is a member of another one. Nothing of the write
    /// was sent.
    pub(super) async fn require_life(
        &self,
        endpoint: &str,
        channel: &Channel,
        time: Duration,
    ) -> Result<(), Error> {
        if self.inner.pool.heard_lately(endpoint) {
            return Ok(());
        }
        let limit = self.inner.settings.connect_timeout.min(time / 2);
        let mut service = cluster::service(channel.clone());
        let lifeless = match timeout(limit, service.members(v1::MembersRequest {})).await {
            Ok(Ok(answer)) => {
                self.learn_members(endpoint, answer.get_ref())?;
                None
            }
            // Any other error is an answer, and so a sign of life; the write will be told what is wrong.
            Ok(Err(status)) => match convert::from_status(&status, endpoint, RequestKind::Read) {
                Error::Connection { why, .. } => Some(why),
                _ => None,
            },
            Err(_) => Some(format!("connected, but no answer within {} ms", limit.as_millis())),
        };
        match lifeless {
            None => {
                self.inner.pool.heard(endpoint);
                Ok(())
            }
            Some(why) => {
                self.inner.pool.forget(endpoint);
                Err(Error::Connection { endpoint: endpoint.into(), why, maybe_committed: false })
            }
        }
    }
}
