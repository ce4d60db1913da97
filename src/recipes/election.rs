//! Elections: an exclusive lock whose holder leads, and whose key carries the leader's value.

use std::{collections::BTreeMap, pin::Pin};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::{
    Api, WatchStream,
    lock::{self, Acquiring, Patience},
    queue::{self, Place, Query},
};
use crate::{
    error::Error,
    types::{
        Acquire, CallOptions, ElectionLeader, Guard, Header, KeyValue, LeaseId, LockKey, LockMode, Put,
        Revision, Watch, WatchEvent, WatchUpdate, WriteAnswer,
    },
};

/// The leader of an election, and every change. An error is the last item.
pub type LeaderStream = Pin<Box<dyn Stream<Item = Result<ElectionLeader, Error>> + Send>>;

/// A candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The election.
    pub name: Bytes,
    /// The lease that the candidacy lives by.
    pub session: LeaseId,
    /// What is told of it while it leads.
    pub value: Bytes,
}

/// Stands for election: as [`lock::acquire`], and granted means elected.
///
/// # Errors
/// As [`lock::acquire`].
pub async fn campaign<A: Api>(
    api: &A,
    candidate: Candidate,
    options: CallOptions,
) -> Result<Acquiring<A>, Error> {
    let Candidate { name, session, value } = candidate;
    lock::acquire(api, Acquire { name, session, mode: LockMode::Exclusive, value }, options).await
}

/// Changes the leader's value; the key stays attached to its session.
///
/// # Errors
/// `LockLost` if it does not lead any more with that token; `Invalid` for a key that is not one of an
/// election.
pub async fn proclaim<A: Api>(
    api: &A,
    leader: Guard,
    value: Bytes,
    mut options: CallOptions,
) -> Result<WriteAnswer<()>, Error> {
    let lease = lock::session_of(&leader.owner_key)?;
    let key = leader.owner_key.clone();
    options.guards.push(leader);
    let answer = api.put(Put { key, value, lease, prev_kv: false }, options).await?;
    Ok(WriteAnswer { header: answer.header, result: (), write: answer.write })
}

/// Steps down, or withdraws a candidacy. The next in the queue leads.
///
/// # Errors
/// As [`lock::release`].
pub async fn resign<A: Api>(api: &A, leader: Guard, options: CallOptions) -> Result<WriteAnswer<()>, Error> {
    lock::release(api, leader, options).await
}

/// Who leads now.
///
/// # Errors
/// `Invalid` for an empty name; those of a linearizable read.
pub async fn leader<A: Api>(api: &A, name: &Bytes, options: CallOptions) -> Result<ElectionLeader, Error> {
    lock::check_name(name)?;
    let query = Query { values: true, places_max: Some(1), ..Query::of(name) };
    let queue = queue::read(api, &query, options).await?;
    let leader = queue.places.into_iter().next().map(|place| place.kv);
    Ok(ElectionLeader { header: queue.header, leader })
}

/// The leader at present, and then every change of leader or value, in order, none left out: two changes
/// within one revision are one. With `after`, a revision that was told before: only the changes since.
///
/// Keeps the candidates' values in memory. Ends with an error only; a watch that breaks is begun again.
///
/// # Errors
/// `Invalid` for an empty name; `Compacted` and `FutureRevision` for `after`, here or in the stream: begin
/// anew, without.
pub async fn observe<A: Api>(
    api: &A,
    name: &Bytes,
    after: Revision,
    options: CallOptions,
) -> Result<LeaderStream, Error> {
    lock::check_name(name)?;
    let query = Query { values: true, revision: after, ..Query::of(name) };
    let queue = queue::read(api, &query, options).await?;
    let seen = if after == 0 { queue.header.revision } else { after };
    let candidates = queue.places.into_iter().map(|place| (place.kv.key.clone(), place.kv)).collect();
    let (api, name, patience) = (api.clone(), name.clone(), Patience::default());
    let mut observer = Observer { api, name, seen, candidates, told: None, patience };
    observer.told = observer.leader();
    let first = ElectionLeader { header: queue.header, leader: observer.told.clone() };
    let first = stream::iter((after == 0).then_some(Ok(first)));
    Ok(first.chain(observer.changes()).boxed())
}

/// Follows an election's queue.
struct Observer<A: Api> {
    api: A,
    name: Bytes,
    /// Everything up to here is known.
    seen: Revision,
    candidates: BTreeMap<Bytes, KeyValue>,
    told: Option<KeyValue>,
    /// With a watch that breaks.
    patience: Patience,
}

impl<A: Api> Observer<A> {
    fn changes(self) -> impl Stream<Item = Result<ElectionLeader, Error>> + Send {
        stream::unfold(Some((self, None)), |state| async {
            let (mut observer, mut events) = state?;
            match observer.next(&mut events).await {
                Ok(change) => Some((Ok(change), Some((observer, events)))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self, events: &mut Option<WatchStream>) -> Result<ElectionLeader, Error> {
        loop {
            let update = match events {
                Some(events) => events.next().await,
                None => {
                    *events = Some(lock::patiently(&self.api, || self.api.watch(self.watch())).await?);
                    continue;
                }
            };
            if let Some(Ok(_)) = update {
                self.patience = Patience::default();
            }
            match update {
                Some(Ok(WatchUpdate::Events { header, events })) => {
                    if let Some(change) = self.apply(header, events) {
                        return Ok(change);
                    }
                }
                Some(Ok(WatchUpdate::Created(_))) => {}
                Some(Ok(WatchUpdate::Progress(header))) => self.seen = self.seen.max(header.revision),
                Some(Err(error)) => {
                    *events = None;
                    self.patience.after(&self.api, error).await?;
                }
                None => {
                    *events = None;
                    let ended = Error::NotReady("the watch has ended".to_owned());
                    self.patience.after(&self.api, ended).await?;
                }
            }
        }
    }

    fn watch(&self) -> Watch {
        Watch { start_revision: self.seen + 1, ..Watch::new(LockKey::queue(&self.name)) }
    }

    /// All events of one revision; the change that they make, if they make one.
    fn apply(&mut self, header: Header, events: Vec<WatchEvent>) -> Option<ElectionLeader> {
        self.seen = header.revision;
        for event in events {
            if event.deleted {
                self.candidates.remove(&event.kv.key);
            } else if let Some(place) = Place::of(&self.name, event.kv) {
                self.candidates.insert(place.kv.key.clone(), place.kv);
            }
        }
        let leader = self.leader();
        if is_same(leader.as_ref(), self.told.as_ref()) {
            return None;
        }
        self.told = leader.clone();
        Some(ElectionLeader { header, leader })
    }

    fn leader(&self) -> Option<KeyValue> {
        let first = self.candidates.values().min_by_key(|kv| (kv.create_revision, kv.key.clone()));
        first.cloned()
    }
}

/// Whether the same leader is told, with the same value.
fn is_same(one: Option<&KeyValue>, other: Option<&KeyValue>) -> bool {
    let told = |kv: &KeyValue| (kv.key.clone(), kv.create_revision, kv.value.clone());
    one.map(told) == other.map(told)
}
