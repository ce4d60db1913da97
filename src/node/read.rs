//! The way of a read: obtain the permission that its level demands, wait until it is applied, read.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::{
    Inner,
    call::Call,
    leadership::Leader,
    rounds::{Round, Rounds},
};
use crate::{
    env::Moment,
    error::Error,
    mutant::Mutant,
    stages::Stage,
    state::{Command, Operation, View},
    types::{Consistency, Evidence, Level, Mechanism, MemberRole, Route, Waited},
};

/// What allows a read: an index that must be applied first, and how that was established.
pub struct Permission {
    level_asked: Level,
    level_served: Level,
    mechanism: Mechanism,
    read_index: Option<u64>,
    role: MemberRole,
    waited: Waited,
}

impl Permission {
    fn new(level: Level, mechanism: Mechanism, read_index: Option<u64>) -> Permission {
        Permission {
            level_asked: level,
            level_served: level,
            mechanism,
            read_index,
            role: MemberRole::Follower,
            waited: Waited::default(),
        }
    }
}

impl Inner {
    /// Obtains permission to read here at a level, and waits until what it demands is applied.
    pub async fn permit(&self, consistency: Consistency, call: &Call) -> Result<Permission, Error> {
        self.check_route(consistency.route)?;
        let mut permission = self.establish(consistency.level, call).await?;
        permission.role = self.role();
        if matches!(consistency.level, Level::Eventual | Level::LeaderLocal) {
            // They wait for nothing, and are as quick as reading a clock.
            return Ok(permission);
        }
        let proved = self.env.now();
        permission.waited.quorum = proved.since(call.began);
        if permission.mechanism == Mechanism::ReadIndex {
            self.log.stages().record(Stage::Round, permission.waited.quorum);
        }
        if let Some(index) = permission.read_index {
            permission.waited.apply = self.catch_up(index, proved, call).await?;
            self.log.stages().record(Stage::CatchUp, permission.waited.apply);
        }
        Ok(permission)
    }

    /// Waits until the entry at `index` is applied here: for how long, since `began`.
    async fn catch_up(&self, index: u64, began: Moment, call: &Call) -> Result<Duration, Error> {
        if self.progress.borrow().applied.is_some_and(|at| at.index >= index) {
            return Ok(Duration::ZERO);
        }
        self.applied_to(index, call).await?;
        Ok(self.env.now().since(began))
    }

    fn check_route(&self, route: Route) -> Result<(), Error> {
        let role = self.role();
        let served = match route {
            Route::Any => true,
            Route::Leader => role == MemberRole::Leader,
            Route::Follower => role != MemberRole::Leader,
            Route::Member(id) => id == self.config.id,
        };
        if served {
            return Ok(());
        }
        Err(Error::WrongRoute {
            asked: route.to_string(),
            member: self.config.id,
            role: role.name().to_owned(),
            leader: self.leader_hint(),
        })
    }

    async fn establish(&self, level: Level, call: &Call) -> Result<Permission, Error> {
        match level {
            Level::Linearizable if Mutant::StaleFollower.is_on() && self.role() != MemberRole::Leader => {
                Ok(Permission::new(level, Mechanism::ReadIndex, None))
            }
            Level::Linearizable => {
                let round = self.round(call).await?;
                Ok(Permission::new(level, Mechanism::ReadIndex, Some(round.index)))
            }
            // The larger futures are in boxes of their own: what is copied for each read is as large as the
            // largest of its branches.
            Level::Log => Box::pin(self.by_entry(call)).await,
            Level::Lease => Box::pin(self.by_lease(level, call)).await,
            Level::LeaseOrIndex => match Box::pin(self.by_lease(level, call)).await {
                Err(Error::LeaseExpired) => {
                    let round = self.round(call).await?;
                    let fallen_back = Permission::new(level, Mechanism::ReadIndex, Some(round.index));
                    Ok(Permission { level_served: Level::Linearizable, ..fallen_back })
                }
                permission => permission.map(|found| Permission { level_served: Level::Lease, ..found }),
            },
            Level::LeaderLocal => {
                self.recovered()?;
                match self.leader() {
                    Leader::Me => Ok(Permission::new(level, Mechanism::Local, None)),
                    _ => Err(self.not_leader()),
                }
            }
            Level::Bounded { max_age } => Box::pin(self.by_certificate(max_age, call)).await,
            Level::Session { min_revision } => {
                self.recovered()?;
                self.reached(min_revision, call).await?;
                Ok(Permission::new(level, Mechanism::Local, None))
            }
            Level::Eventual => {
                self.recovered()?;
                Ok(Permission::new(level, Mechanism::Local, None))
            }
        }
    }

    /// By an entry of the log, once it is committed.
    async fn by_entry(&self, call: &Call) -> Result<Permission, Error> {
        let request_id = call.request_id.clone();
        let marker = Command { request_id, ..Command::from(Operation::Marker) };
        let marker = self.propose(marker, call).await?;
        Ok(Permission::new(Level::Log, Mechanism::LogEntry, Some(marker.log_index)))
    }

    /// A quorum round that begins after now.
    async fn round(&self, call: &Call) -> Result<Round, Error> {
        let round = self.led(&self.rounds, "a quorum to confirm the leader", call).await?;
        self.certificates.add(self.proof_of(&round), round.index);
        Ok(round)
    }

    /// The outcome of one of `rounds` that begins after now; a new leader is waited for.
    async fn led(&self, rounds: &Rounds, what: &str, call: &Call) -> Result<Round, Error> {
        let (patience, mut changes) = (self.leader_patience(call), self.leadership_changes());
        loop {
            match call.within(what, rounds.join(&call.request_id)).await? {
                Err(error @ (Error::NotLeader { .. } | Error::NoLeader)) if Instant::now() < patience => {
                    debug!(request_id = %call.request_id, %error, "waiting for a leader");
                    changes.next(patience).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// From when on what a round confirmed is known to be new enough.
    pub fn proof_of(&self, round: &Round) -> Moment {
        if Mutant::CertificateFromReceipt.is_on() { self.env.now() } else { round.began }
    }

    async fn by_lease(&self, level: Level, call: &Call) -> Result<Permission, Error> {
        let looked = self.led(&self.lease_rounds, "the leader's lease", call).await?;
        Ok(Permission::new(level, Mechanism::LeaderLease, Some(looked.index)))
    }

    /// By the certificate at hand, or by one that is asked for now. The answer is served here in any case.
    async fn by_certificate(&self, max_age: Duration, call: &Call) -> Result<Permission, Error> {
        let granted = || Permission::new(Level::Bounded { max_age }, Mechanism::Certificate, None);
        if self.staleness().is_some_and(|age| age <= max_age) {
            return Ok(granted());
        }
        let until = call.deadline.min(Instant::now() + self.config.certificate_interval.max(max_age));
        let fresh = tokio::time::timeout_at(until, async {
            let round = self.round(call).await?;
            self.applied_to(round.index, call).await
        });
        let _ = fresh.await;
        match self.staleness() {
            Some(age) if age <= max_age => Ok(granted()),
            have => Err(Error::TooStale { have, want: max_age }),
        }
    }

    /// How old this member's state may be at most, if that can be proved.
    pub fn staleness(&self) -> Option<Duration> {
        let applied = self.state.position().applied?;
        self.certificates.staleness(self.env.now(), applied.index)
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn applied_to(&self, index: u64, call: &Call) -> Result<(), Error> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|view| view.applied.is_some_and(|at| at.index >= index));
        call.within("this member to apply the log", reached).await?.map_err(|_| Error::ShuttingDown)?;
        Ok(())
    }

    /// Waits until `revision` is reached here.
    async fn reached(&self, revision: u64, call: &Call) -> Result<(), Error> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|view| view.revision >= revision);
        match tokio::time::timeout_at(call.deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::ShuttingDown),
            Err(_) => Err(Error::WaitTimeout { have: self.state.position().revision, want: revision }),
        }
    }

    /// Until the log is applied again after a restart, or a quorum has confirmed a position, this member
    /// might show a past that it had already left (hazard H9): the committed position that the log remembers
    /// is a hint, and may be older than what was shown.
    fn recovered(&self) -> Result<(), Error> {
        match self.is_recovered() {
            true => Ok(()),
            false => Err(Error::NotReady("it is applying its log after a restart".to_owned())),
        }
    }

    /// What proves an answer that was read at `view`. With `at_revision`, the data is that revision's,
    /// whatever this member's age: then no bound is claimed.
    pub fn evidence(&self, permission: &Permission, view: &View, at_revision: bool, call: &Call) -> Evidence {
        let now = self.env.now();
        let staleness_bound = match (at_revision, permission.read_index, view.applied) {
            (true, ..) => None,
            (false, Some(_), _) => Some(now.since(call.began)),
            (false, None, Some(applied)) => self.certificates.staleness(now, applied.index),
            (false, None, None) => None,
        };
        Evidence {
            level_asked: permission.level_asked,
            level_served: permission.level_served,
            mechanism: permission.mechanism,
            served_by: self.config.id,
            role: permission.role,
            leader_id: self.leader_id(),
            read_index: permission.read_index,
            staleness_bound,
            leader_contact_age: self.leader_contact_age(),
            waited: permission.waited,
        }
    }
}
