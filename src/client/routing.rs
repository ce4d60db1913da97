//! Whom to ask: what the client knows about the cluster, and the choice of the next endpoint.
//!
//! The model: a list of configured endpoints, each of which turns out to be some member once it has
//! answered, and the leader as the newest answer named it. A choice is a sort: endpoints are ranked by what
//! is known, the best one not yet tried in this round is taken. Nothing here waits or dials, so every
//! decision is a table that can be tested.
//!
//! Deliberately absent: discovery. An address that a member advertises is dialled only to reach that very
//! member when no configured endpoint is known to be it, so that proxies and port mappings in the
//! configuration are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::{Error, LeaderHint},
    types::{Consistency, Level, NodeId, Route},
};

/// How long an endpoint that failed is asked last.
const DOWN_FOR: Duration = Duration::from_secs(1);

/// Advertised addresses kept; more members than that are not remembered (Raft groups have 3 to 7).
const ADVERTISED_MAX: usize = 64;

/// Who should get a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Anybody.
    Any,
    /// The leader first. Others may forward, or refuse with a hint.
    Leader,
    /// A member that does not lead.
    Follower,
    /// This member and no other.
    Member(NodeId),
}

impl Target {
    /// Of a read: its route; where that leaves the choice open, levels that only a leader serves go to it.
    pub fn of_read(consistency: &Consistency) -> Target {
        match (consistency.route, consistency.level) {
            (Route::Leader, _) => Target::Leader,
            (Route::Follower, _) => Target::Follower,
            (Route::Member(id), _) => Target::Member(id),
            (Route::Any, Level::LeaderLocal | Level::Lease | Level::LeaseOrIndex) => Target::Leader,
            (Route::Any, _) => Target::Any,
        }
    }
}

/// One configured endpoint.
#[derive(Debug)]
struct Endpoint {
    address: String,
    /// The member that answered there last.
    member: Option<NodeId>,
    /// It failed, and has not answered since: ask it last until then.
    down_until: Option<Instant>,
}

/// What is known of the cluster.
#[derive(Debug)]
pub(super) struct View {
    endpoints: Vec<Endpoint>,
    /// Where the round robin goes on.
    next: usize,
    /// The cluster that the first answer came from.
    cluster: Option<u64>,
    leader: Option<NodeId>,
    /// The leader comes from a refusal, which names no term: it may lead a newer one than `term`.
    hinted: bool,
    /// The newest term seen: a leader of an older one is forgotten.
    term: u64,
    /// Where members say that clients reach them.
    advertised: BTreeMap<NodeId, String>,
}

impl View {
    /// Knows only `addresses`; the round robin begins at `start`, so that clients do not all begin with the
    /// same.
    pub fn new(addresses: Vec<String>, start: usize) -> View {
        let endpoints = addresses
            .into_iter()
            .map(|address| Endpoint { address, member: None, down_until: None })
            .collect();
        View {
            endpoints,
            next: start,
            cluster: None,
            leader: None,
            hinted: false,
            term: 0,
            advertised: BTreeMap::new(),
        }
    }

    /// The configured addresses, as given.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| endpoint.address.as_str())
    }

    /// Whether the leader is unknown.
    pub fn lacks_leader(&self) -> bool {
        self.leader.is_none()
    }

    /// Whether it is known where to find `member`.
    pub fn knows(&self, member: NodeId) -> bool {
        self.address_of(member).is_some()
    }

    /// The members that have been heard of.
    pub fn members(&self) -> BTreeSet<NodeId> {
        let answered = self.endpoints.iter().filter_map(|endpoint| endpoint.member);
        answered.chain(self.advertised.keys().copied()).collect()
    }

    /// The best address for `target` that is not in `tried`, if there is one.
    pub fn pick(&mut self, target: Target, tried: &BTreeSet<String>, now: Instant) -> Option<String> {
        let count = self.endpoints.len();
        let best = (0..count)
            .filter(|index| !tried.contains(&self.endpoints[*index].address))
            .filter_map(|index| self.rank(target, index, now).map(|rank| (rank, index)))
            .min();
        if let Some(address) = self.advertised_for(target).filter(|address| !tried.contains(address)) {
            return Some(address);
        }
        let (_, index) = best?;
        self.next = (index + 1) % count;
        Some(self.endpoints[index].address.clone())
    }

    /// How many addresses `pick` could still offer besides `tried`.
    pub fn untried(&self, target: Target, tried: &BTreeSet<String>, now: Instant) -> usize {
        let fits = |index: &usize| {
            !tried.contains(&self.endpoints[*index].address) && self.rank(target, *index, now).is_some()
        };
        (0..self.endpoints.len()).filter(fits).count()
    }

    /// The order in which endpoints are asked, lowest first; `None`: not at all. Where only the leader will
    /// do, and so anybody else is a detour, one that failed is no candidate while another has not.
    fn rank(&self, target: Target, index: usize, now: Instant) -> Option<(bool, u8, bool, usize)> {
        let endpoint = &self.endpoints[index];
        let leads = endpoint.member.is_some() && endpoint.member == self.leader;
        let tier = match (target, endpoint.member) {
            (Target::Any, _) => 0,
            (Target::Leader, _) => u8::from(!leads),
            (Target::Follower, None) => 1,
            (Target::Follower, Some(_)) => 2 * u8::from(leads),
            (Target::Member(id), Some(member)) if id == member => 0,
            (Target::Member(id), None) if !self.knows(id) => 1,
            (Target::Member(_), _) => return None,
        };
        let down = endpoint.down_until.is_some_and(|until| now < until);
        let count = self.endpoints.len();
        let distance = (index + count - self.next % count) % count;
        let failed = target == Target::Leader && endpoint.down_until.is_some();
        Some((down, tier, failed, distance))
    }

    /// The address that a wanted member advertises, if no configured endpoint is known to be it.
    fn advertised_for(&self, target: Target) -> Option<String> {
        let member = match target {
            Target::Leader => self.leader?,
            Target::Member(id) => id,
            Target::Any | Target::Follower => return None,
        };
        let configured = self.endpoints.iter().any(|endpoint| endpoint.member == Some(member));
        if configured { None } else { self.advertised.get(&member).cloned() }
    }

    fn address_of(&self, member: NodeId) -> Option<&str> {
        let configured = self.endpoints.iter().find(|endpoint| endpoint.member == Some(member));
        let configured = configured.map(|endpoint| endpoint.address.as_str());
        configured.or_else(|| self.advertised.get(&member).map(String::as_str))
    }

    /// `member` itself answered at `address`, so that the endpoint is up, and is it.
    pub fn learn_member(&mut self, address: &str, member: NodeId) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.member = Some(member);
            endpoint.down_until = None;
        }
    }

    /// `address` answered in the name of `cluster` (0: it did not say). The first answer decides which
    /// cluster this client is for.
    ///
    /// # Errors
    /// `WrongCluster` for any other.
    pub fn learn_cluster(&mut self, address: &str, cluster: u64) -> Result<(), Error> {
        match self.cluster {
            Some(known) if cluster != 0 && cluster != known => {
                let why = format!("{address} belongs to cluster {cluster}, others asked to {known}");
                Err(Error::WrongCluster(why))
            }
            None if cluster != 0 => {
                self.cluster = Some(cluster);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Somebody answered at `address`.
    pub fn learn_up(&mut self, address: &str) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.down_until = None;
        }
    }

    /// An answer of term `term` named the leader (`None`: it knew none).
    pub fn learn_leader(&mut self, term: u64, leader: Option<NodeId>) {
        self.learn_term(term);
        if term == self.term && leader.is_some() {
            self.leader = leader;
            self.hinted = false;
        }
    }

    /// An answer came from `term`: what was known about the leader of an older one is void.
    pub fn learn_term(&mut self, term: u64) {
        if term > self.term {
            self.term = term;
            self.leader = self.leader.filter(|_| self.hinted);
            self.hinted = false;
        }
    }

    /// `member` says that clients reach it at `address`.
    pub fn learn_advertised(&mut self, member: NodeId, address: &str) {
        if address.is_empty() || member == 0 {
            return;
        }
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.member = Some(member);
        }
        if self.advertised.len() < ADVERTISED_MAX || self.advertised.contains_key(&member) {
            self.advertised.insert(member, address.to_owned());
        }
    }

    /// `address` answered with `error`, or did not answer.
    pub fn learn_error(&mut self, address: &str, error: &Error, now: Instant) {
        match error {
            Error::NotLeader { leader } => self.learn_hint(address, leader.as_ref()),
            // It leads in name only: others may have elected another.
            Error::NoQuorum => self.learn_hint(address, None),
            Error::WrongRoute { member, leader, .. } => {
                self.learn_member(address, *member);
                self.learn_hint(address, leader.as_ref());
            }
            Error::Connection { .. }
            | Error::Deadline { .. }
            | Error::NotReady(_)
            | Error::ShuttingDown
            | Error::Stopped(_) => match self.endpoint(address) {
                Some(endpoint) => endpoint.down_until = Some(now + DOWN_FOR),
                None => self.forget_leader_at(address),
            },
            _ => {}
        }
    }

    /// A leader that only advertised its address does not answer there, or leads no more: else it alone
    /// would be asked, for as long as it is cut off from the others.
    fn forget_leader_at(&mut self, address: &str) {
        let advertised = self.leader.and_then(|leader| self.advertised.get(&leader));
        if advertised.is_some_and(|advertised| advertised == address) {
            self.leader = None;
        }
    }

    /// A refusal named the leader, or none: then the refusing member at least is not it.
    fn learn_hint(&mut self, address: &str, hint: Option<&LeaderHint>) {
        match hint {
            Some(hint) => {
                self.leader = Some(hint.id);
                self.hinted = true;
                self.learn_advertised(hint.id, &hint.client_addr);
            }
            None => {
                let refusing = self.endpoint(address).and_then(|endpoint| endpoint.member);
                if refusing.is_some() && refusing == self.leader {
                    self.leader = None;
                }
                self.forget_leader_at(address);
            }
        }
    }

    fn endpoint(&mut self, address: &str) -> Option<&mut Endpoint> {
        self.endpoints.iter_mut().find(|endpoint| endpoint.address == address)
    }
}

#[cfg(test)]
mod tests;
