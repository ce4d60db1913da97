//! How a cluster comes into being, and how a member that lost its data is kept out.
//!
//! The member with the lowest id founds the cluster, once. It asks all members who they are; when all are
//! reachable and none has begun Raft, it draws a cluster id, makes every member write it down (`Found`),
//! writes it down itself, and only then lets Raft begin. A member without an identity takes part in no Raft:
//! a wiped voter would have forgotten votes and entries that others count on. If such a member finds a peer
//! that has begun, it refuses to start.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tracing::{info, warn};

use super::identity::{DataDir, Identity};
use crate::{
    config::Config,
    env::Env,
    error::Error,
    raft::{
        links::{Identification, Links},
        service::FoundingHandler,
        types::Peer,
    },
    types::{ClusterId, NodeId},
};

/// Between two attempts to reach the other founding members.
const PAUSE: Duration = Duration::from_millis(200);
/// For one question to one member.
const PATIENCE: Duration = Duration::from_secs(1);
/// Attempts between two lines in the log about members that are missing.
const ATTEMPTS_PER_REPORT: u32 = 25;

/// A member's identity, from before it has one.
pub struct Founding {
    config: Config,
    dir: Arc<DataDir>,
    identity: Mutex<Option<Identity>>,
    cluster_id: Arc<OnceLock<ClusterId>>,
    founded: Notify,
}

impl Founding {
    /// Reads the identity that the directory has, if any.
    pub fn open(config: &Config, dir: Arc<DataDir>) -> Result<Founding, Error> {
        let identity = dir.identity(config)?;
        let cluster_id = Arc::new(OnceLock::new());
        if let Some(identity) = &identity {
            cluster_id.get_or_init(|| identity.cluster_id);
        }
        Ok(Founding {
            config: config.clone(),
            dir,
            identity: Mutex::new(identity),
            cluster_id,
            founded: Notify::new(),
        })
    }

    /// The cluster's id, as soon as there is one.
    pub fn cluster_id(&self) -> Arc<OnceLock<ClusterId>> {
        self.cluster_id.clone()
    }

    /// The identity.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The founding members, as Raft needs them.
    pub fn members(&self) -> BTreeMap<NodeId, Peer> {
        let peer = |(id, addr): (&NodeId, &crate::config::MemberAddr)| {
            (*id, Peer { peer_addr: addr.peer.clone(), client_addr: addr.client.clone() })
        };
        self.config.members.iter().map(peer).collect()
    }

    /// Whether this member is the one that founds.
    pub fn is_founder(&self) -> bool {
        self.config.members.keys().next() == Some(&self.config.id)
    }

    /// Notes durably that Raft has begun here.
    pub fn initialized(&self) -> Result<(), Error> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        match identity.as_mut() {
            Some(known) if !known.initialized => {
                known.initialized = true;
                self.dir.save_identity(known)
            }
            _ => Ok(()),
        }
    }

    /// Notes durably what this member is about to promise its leaders. Returns the longest promise that may
    /// bind it: of this run, or of one before.
    pub fn promise(&self) -> Result<Duration, Error> {
        let own = self.config.promise().as_millis() as u64;
        self.note_promise(|former| former.max(own)).map(Duration::from_millis)
    }

    /// Notes durably that what former runs promised has run out.
    pub fn former_promises_end(&self) -> Result<(), Error> {
        let own = self.config.promise().as_millis() as u64;
        self.note_promise(|_| own).map(|_| ())
    }

    fn note_promise(&self, change: impl Fn(u64) -> u64) -> Result<u64, Error> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let own = identity.as_mut().ok_or_else(|| Error::NotReady("it has no identity".to_owned()))?;
        let promise_ms = change(own.promise_ms);
        if own.promise_ms != promise_ms {
            own.promise_ms = promise_ms;
            self.dir.save_identity(own)?;
        }
        Ok(promise_ms)
    }

    /// Waits until this member has an identity, and founds the cluster if that is its part. Returns the
    /// cluster's id.
    ///
    /// # Errors
    /// If the cluster exists already and knows this member: its data was lost.
    pub async fn settle(&self, env: &Env) -> Result<ClusterId, Error> {
        if self.identity().is_some_and(|identity| identity.initialized || !self.is_founder()) {
            return self.known();
        }
        let links = Links::new(self.config.id, 0, env.net(), self.config.peer_dial.clone());
        for attempt in 0.. {
            let missing = match self.is_founder() {
                true => self.try_to_found(&links, env).await?,
                false => self.look_around(&links).await?,
            };
            if (missing.is_empty() || !self.is_founder())
                && let Ok(cluster_id) = self.known()
            {
                return Ok(cluster_id);
            }
            if attempt % ATTEMPTS_PER_REPORT == 0 {
                info!(?missing, "waiting for the founding members");
            }
            let _ = tokio::time::timeout(PAUSE, self.founded.notified()).await;
        }
        self.known()
    }

    fn known(&self) -> Result<ClusterId, Error> {
        self.cluster_id.get().copied().ok_or_else(|| Error::NotReady("it has no cluster yet".to_owned()))
    }

    /// Asks the other founding members who they are. Returns those that did not answer, and those that did.
    async fn ask_all(&self, links: &Links) -> (Vec<NodeId>, Vec<Identification>) {
        let others = self.config.members.iter().filter(|(id, _)| **id != self.config.id);
        let answers = others.map(|(id, addr)| async move { (*id, identify(links, *id, &addr.peer).await) });
        let (mut missing, mut present) = (Vec::new(), Vec::new());
        for (id, answer) in futures::future::join_all(answers).await {
            match answer {
                Ok(who) => present.push(who),
                Err(_) => missing.push(id),
            }
        }
        (missing, present)
    }

    /// Whether the founder itself had let Raft begin, and stopped before it could write that down: its peers
    /// can have begun by its doing only. Its log, which was durable before the first vote was asked for, must
    /// be there then.
    fn begun_before(&self, present: &[Identification]) -> bool {
        let own = self.identity().map(|own| own.cluster_id);
        present.iter().any(|who| who.initialized && Some(who.cluster_id) == own)
    }

    /// Refuses if a peer has begun without this member.
    fn refuse_if_begun(&self, present: &[Identification]) -> Result<(), Error> {
        match present.iter().find(|who| who.initialized) {
            None => Ok(()),
            Some(who) => Err(Error::Invalid(format!(
                "data directory {} is empty, but member {} says that cluster {} exists already: member {} \
                 has lost its data and must not come back under its old id (docs/runbook.md, \
                 \"Wiped voter\"), or these addresses belong to another cluster",
                self.dir.path().display(),
                who.member_id,
                who.cluster_id,
                self.config.id
            ))),
        }
    }

    async fn look_around(&self, links: &Links) -> Result<Vec<NodeId>, Error> {
        let (missing, present) = self.ask_all(links).await;
        // A peer may have begun since this member was founded: it has an identity then.
        if self.known().is_err() {
            self.refuse_if_begun(&present)?;
        }
        Ok(missing)
    }

    /// One attempt to found the cluster: only if all members are there and none has begun.
    async fn try_to_found(&self, links: &Links, env: &Env) -> Result<Vec<NodeId>, Error> {
        let (missing, present) = self.ask_all(links).await;
        if self.begun_before(&present) {
            self.initialized()?;
            return Ok(Vec::new());
        }
        self.refuse_if_begun(&present)?;
        if !missing.is_empty() {
            return Ok(missing);
        }
        let mut ids: Vec<ClusterId> =
            present.iter().map(|who| who.cluster_id).filter(|id| *id != 0).collect();
        ids.extend(self.identity().map(|own| own.cluster_id));
        ids.dedup();
        let cluster_id = match ids[..] {
            [] => env.random().max(1),
            // An earlier attempt was interrupted.
            [one] => one,
            _ => return Err(Error::WrongCluster(format!("the founding members belong to clusters {ids:?}"))),
        };
        let members = self.members();
        for (id, peer) in members.iter().filter(|(id, _)| **id != self.config.id) {
            let mut link = links.to(*id, &peer.peer_addr).map_err(Error::Invalid)?;
            if let Err(error) = link.found(cluster_id, &members, PATIENCE).await {
                warn!(member = id, %error, "cannot make it a founding member");
                return Ok(vec![*id]);
            }
        }
        self.adopt(cluster_id)?;
        info!(cluster_id, members = ?members.keys().collect::<Vec<_>>(), "founded the cluster");
        Ok(Vec::new())
    }

    /// Becomes a member of `cluster_id`, durably.
    fn adopt(&self, cluster_id: ClusterId) -> Result<(), Error> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        match identity.as_ref() {
            Some(own) if own.cluster_id == cluster_id => {}
            Some(own) => {
                return Err(Error::WrongCluster(format!(
                    "member {} belongs to cluster {}, not to {cluster_id}",
                    self.config.id, own.cluster_id
                )));
            }
            None => {
                let own = Identity::founding(&self.config, cluster_id);
                self.dir.save_identity(&own)?;
                *identity = Some(own);
            }
        }
        self.cluster_id.get_or_init(|| cluster_id);
        self.founded.notify_one();
        Ok(())
    }
}

async fn identify(links: &Links, id: NodeId, addr: &str) -> Result<Identification, Error> {
    let mut link = links.to(id, addr).map_err(Error::Invalid)?;
    let asked = tokio::time::timeout(PATIENCE, link.identify(PATIENCE)).await;
    asked.unwrap_or_else(|_| Err(Error::NotReady(format!("member {id} does not answer"))))
}

impl FoundingHandler for Founding {
    fn identify(&self) -> Identification {
        let identity = self.identity();
        Identification {
            member_id: self.config.id,
            cluster_id: identity.as_ref().map_or(0, |own| own.cluster_id),
            initialized: identity.is_some_and(|own| own.initialized),
        }
    }

    fn found(&self, cluster_id: ClusterId, members: BTreeMap<NodeId, Peer>) -> Result<(), Error> {
        if cluster_id == 0 {
            return Err(Error::Invalid("cluster id 0 is no cluster".to_owned()));
        }
        if members != self.members() {
            return Err(Error::WrongCluster(format!(
                "member {} was configured with the members {:?}, the founder with {:?}",
                self.config.id,
                self.members(),
                members
            )));
        }
        self.adopt(cluster_id)
    }
}
