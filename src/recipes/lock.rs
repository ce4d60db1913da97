//! Locks: a place in a queue of keys, each attached to its session's lease, in the order of their creation.
//!
//! A session has at most one place in a lock's queue. Asking again finds it; who shares a session shares the
//! place, and who gives up or releases does so for all. The create revision of the place is the fencing
//! token: it grows along the queue, and every later place has a larger one.
//!
//! A waiter watches the place that it waits for and its own, from the revision behind the one at which it
//! saw them both: what happens in between is told too, so no wakeup is lost, and the end of one place wakes
//! one waiter. What woke it is no grant: it reads the queue again.
//!
//! Where a waiter stands is told when it queues, and whenever it has read the queue again; not each time that
//! somebody further ahead leaves, since to hear of all of them would be the herd that is avoided here.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, Stream},
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Api, WatchStream,
    queue::{self, Obstacle, Place, Query, Queue},
};
use crate::{
    error::{Error, shown},
    mutant::Mutant,
    types::{
        Acquire, CallOptions, Compare, CompareTarget, Delete, Guard, Header, Held, KeyRange, KeyValue, Level,
        LockKey, LockMode, LockProgress, LockState, Op, Operator, Put, Range, Revision, Txn, Watch,
        WatchUpdate, WriteAnswer,
    },
};

/// How a deadline says that the wait in the queue took too long.
pub const THE_LOCK: &str = "the lock";

/// How long a waiter pauses at first when the cluster cannot answer for now; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// And at most, unless a member says that it wants to be asked later.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A watch tells what its member has applied: one that is cut off from the others tells nothing. So who waits
/// reads the queue by itself too, after this long, times one more than are before it: the more there are, the
/// later, so that all of them together cost no more than one key per waiter and this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Attempts to delete a place that was given up. After them the session's end does it.
const GIVE_UP_ATTEMPTS: u32 = 5;

/// Places in an inspection's answer.
const INSPECT_PLACES_MAX: usize = 10_000;
/// Bytes of values after which an inspection stops reading.
const INSPECT_BYTES_MAX: usize = 2 << 20;

/// Takes a place in the queue, if the session has none, and gives the way from there to the grant. Dropping
/// that before the grant gives the place up.
///
/// A place that the session has already is entered again, with the value of this call; if it holds, the grant
/// comes at once.
///
/// # Errors
/// `Invalid` for an empty name, a session of 0, a number of permits that is 0 or above
/// `limits.lock_permits_max`, or a place that the session has with another mode; `TooLarge` for a name that
/// makes too long a key; `LeaseNotFound` for a session that does not exist; those of a write.
pub async fn acquire<A: Api>(api: &A, acquire: Acquire, options: CallOptions) -> Result<Acquiring<A>, Error> {
    check(&acquire, api.lock_permits_max())?;
    let (mut claim, place) = Claim::stake(api, &acquire, options).await?;
    claim.created = Some(place.create_revision);
    let seat = Seat { claim, acquire, place };
    Ok(Acquiring { seat, waiting: None, told: None, patience: Patience::default() })
}

/// Takes a lock now or not at all: `None` if it cannot be held at once.
///
/// # Errors
/// As [`acquire`].
pub async fn try_acquire<A: Api>(
    api: &A,
    acquire: Acquire,
    options: CallOptions,
) -> Result<(Header, Option<Held>), Error> {
    check(&acquire, api.lock_permits_max())?;
    let queue = match queue::read(api, &Query::of(&acquire.name), options.clone()).await {
        // The place would have the longest key: its length is the one to tell.
        Err(error @ Error::TooLarge { .. }) => {
            return Err(own_place(api, &acquire, options).await.err().unwrap_or(error));
        }
        queue => queue?,
    };
    let places = &queue.places;
    let own = places.iter().position(|place| place.session == acquire.session).unwrap_or(places.len());
    if queue::obstacle(acquire.mode, &places[..own]).is_some() {
        // The wrong use of a place is told all the same.
        places.get(own).map_or(Ok(()), |place| same_mode(place, &acquire))?;
        return Ok((queue.header, None));
    }
    let mut acquiring = self::acquire(api, acquire, options).await?;
    let (header, obstacle, _) = acquiring.seat.look().await?;
    if obstacle.is_none() {
        return Ok((header.clone(), Some(acquiring.seat.granted(header))));
    }
    acquiring.give_up().await;
    Ok((header, None))
}

/// Gives a lock back, or a place in its queue: compares before it deletes.
///
/// # Errors
/// `LockLost` if the grant is not held any more: nobody else's is touched. `Invalid` for a key that is not
/// one of a lock.
pub async fn release<A: Api>(
    api: &A,
    guard: Guard,
    mut options: CallOptions,
) -> Result<WriteAnswer<()>, Error> {
    session_of(&guard.owner_key)?;
    let keys = KeyRange::key(guard.owner_key.clone());
    options.guards.extend(Some(guard).filter(|_| !Mutant::UnlockWithoutToken.is_on()));
    let answer = api.delete(Delete { keys, prev_kv: false }, options).await?;
    Ok(WriteAnswer { header: answer.header, result: (), write: answer.write })
}

/// Who holds a lock, and who waits. Of a very long queue, or one with large values, the beginning.
///
/// # Errors
/// `Invalid` for an empty name; those of a linearizable read.
pub async fn inspect<A: Api>(api: &A, name: &Bytes, options: CallOptions) -> Result<LockState, Error> {
    check_name(name)?;
    let (places_max, value_bytes_max) = (Some(INSPECT_PLACES_MAX), Some(INSPECT_BYTES_MAX));
    let query = Query { values: true, places_max, value_bytes_max, ..Query::of(name) };
    let Queue { header, mut places } = queue::read(api, &query, options).await?;
    places.truncate(INSPECT_PLACES_MAX);
    Ok(LockState { header, places: queue::judge(places) })
}

/// The session that a place lives by.
pub(super) fn session_of(owner_key: &Bytes) -> Result<u64, Error> {
    let key = LockKey::decode(owner_key);
    key.map(|key| key.session)
        .ok_or_else(|| Error::Invalid(format!("{} is no key of a lock", shown(owner_key))))
}

pub(super) fn check_name(name: &Bytes) -> Result<(), Error> {
    if name.is_empty() { Err(Error::Invalid("the name is empty".into())) } else { Ok(()) }
}

fn check(acquire: &Acquire, permits_max: u32) -> Result<(), Error> {
    check_name(&acquire.name)?;
    if acquire.session == 0 {
        return Err(Error::Invalid("the session is 0: open one, or grant a lease, first".into()));
    }
    match acquire.mode {
        LockMode::Permits(0) => Err(Error::Invalid("permits is 0: nobody could ever hold the lock".into())),
        LockMode::Permits(permits) if permits > permits_max => Err(Error::TooLarge {
            what: "limits.lock_permits_max".into(),
            limit: permits_max.into(),
            actual: permits.into(),
        }),
        _ => Ok(()),
    }
}

fn same_mode(place: &Place, acquire: &Acquire) -> Result<(), Error> {
    if place.mode == acquire.mode {
        return Ok(());
    }
    let (has, asked) = (place.mode, acquire.mode);
    Err(Error::Invalid(format!(
        "the session has a place in this queue as {has}, not as {asked}: use another session"
    )))
}

/// On the way to a lock. Dropped before the grant, it deletes its place in the background.
pub struct Acquiring<A: Api> {
    seat: Seat<A>,
    waiting: Option<Waiting>,
    /// The position that was told last.
    told: Option<u64>,
    /// With watches that break.
    patience: Patience,
}

impl<A: Api> Acquiring<A> {
    /// What comes next: where in the queue it stands, when that is first known and when it has changed; at
    /// last the grant, after which there is nothing more to ask for. The future may be dropped and asked for
    /// again.
    ///
    /// A cluster that cannot answer for now is waited for.
    ///
    /// # Errors
    /// `LeaseNotFound`, at once, when the session ends; `LockLost` when the place was deleted while the
    /// session
    /// lives.
    pub async fn next(&mut self) -> Result<LockProgress, Error> {
        let next = self.progress().await;
        if let Err(Error::LeaseNotFound(_) | Error::LockLost { .. }) = &next {
            self.seat.claim.armed = false;
        }
        next
    }

    async fn progress(&mut self) -> Result<LockProgress, Error> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let woken = waiting.over().await;
                self.waiting = None;
                match woken {
                    Woken::Ahead => self.patience = Patience::default(),
                    Woken::Gone => return Err(self.seat.why_gone().await),
                    Woken::Broken(error) => self.patience.after(&self.seat.claim.api, error).await?,
                }
            }
            let (header, obstacle, position) = self.seat.look().await?;
            let Some(obstacle) = obstacle else {
                return Ok(LockProgress::Granted(self.seat.granted(header)));
            };
            self.seat.claim.armed = true;
            self.waiting = Some(self.seat.wait_for(obstacle, header.revision, position).await?);
            if self.told.replace(position) != Some(position) {
                return Ok(LockProgress::Queued { owner_key: self.seat.place.key.clone(), position });
            }
        }
    }

    /// The progress as a stream, which ends with the grant or the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<LockProgress, Error>> + Send {
        stream::unfold(Some(self), |acquiring| async {
            let mut acquiring = acquiring?;
            match acquiring.next().await {
                Ok(progress @ LockProgress::Queued { .. }) => Some((Ok(progress), Some(acquiring))),
                end => Some((end, None)),
            }
        })
    }

    /// Gives the place up, and returns when that is done, or is left to the session's end.
    pub async fn give_up(mut self) {
        if std::mem::take(&mut self.seat.claim.armed) {
            self.seat.claim.withdrawal().await;
        }
    }
}

/// A place in the queue, as who waits in it sees it.
struct Seat<A: Api> {
    claim: Claim<A>,
    acquire: Acquire,
    place: KeyValue,
}

impl<A: Api> Seat<A> {
    /// Nothing is given up any more.
    fn granted(&mut self, header: Header) -> Held {
        self.claim.armed = false;
        Held { owner_key: self.place.key.clone(), fencing_token: self.place.create_revision, header }
    }

    /// Reads the queue up to the own place: what it waits for, and how many are before it.
    async fn look(&self) -> Result<(Header, Option<Obstacle>, u64), Error> {
        let created_until = self.place.create_revision;
        let query = Query { created_until, ..Query::of(&self.acquire.name) };
        let read = || queue::read(&self.claim.api, &query, CallOptions::default());
        let Queue { header, places } = patiently(&self.claim.api, read).await?;
        let is_own = |place: &Place| {
            place.kv.key == self.place.key && place.kv.create_revision == self.place.create_revision
        };
        let dead = || Mutant::LockToDeadSession.is_on().then_some(places.len());
        match places.iter().position(is_own).or_else(dead) {
            Some(rank) => Ok((header, queue::obstacle(self.acquire.mode, &places[..rank]), rank as u64)),
            None => Err(self.why_gone().await),
        }
    }

    /// Watches what is waited for, and the own place with so many before it, from what was `seen` on.
    async fn wait_for(&self, obstacle: Obstacle, seen: Revision, position: u64) -> Result<Waiting, Error> {
        let (keys, left) = match obstacle {
            Obstacle::Place(key) => (KeyRange::key(key), 1),
            Obstacle::Places(count) => (LockKey::queue(&self.acquire.name), count),
        };
        let own = self.place.key.clone();
        let own_events = self.deletions(KeyRange::key(own.clone()), seen).await?;
        let events = self.deletions(keys, seen).await?;
        let looks = u32::try_from(position).map_or(u32::MAX, |before| before.saturating_add(1));
        let until = Instant::now() + LOOK_AGAIN * looks;
        let name = self.acquire.name.clone();
        Ok(Waiting { own, own_events, name, left, events, until })
    }

    async fn deletions(&self, keys: KeyRange, seen: Revision) -> Result<WatchStream, Error> {
        let watch = Watch { start_revision: seen + 1, no_put: true, ..Watch::new(keys) };
        patiently(&self.claim.api, || self.claim.api.watch(watch.clone())).await
    }

    /// Why the own place is not there any more.
    async fn why_gone(&self) -> Error {
        let session = self.acquire.session;
        let ask = || self.claim.api.time_to_live(session, false, CallOptions::default());
        let (owner_key, token) = (self.place.key.clone(), self.place.create_revision);
        match patiently(&self.claim.api, ask).await {
            Ok(_) => Error::LockLost { owner_key, token, current_token: 0 },
            Err(error) => error,
        }
    }
}

/// What ended a wait.
enum Woken {
    /// What was waited for.
    Ahead,
    /// The own place is gone.
    Gone,
    /// The watch.
    Broken(Error),
}

/// A wait for deletions.
struct Waiting {
    own: Bytes,
    own_events: WatchStream,
    /// The lock.
    name: Bytes,
    /// Over when so many more of its places have gone: those that are waited for, but maybe also some behind
    /// the own one, which then makes it look too early. To know which were before it, every waiter would have
    /// to keep a list of all of them.
    left: usize,
    events: WatchStream,
    /// When to look even if nothing was told.
    until: Instant,
}

impl Waiting {
    /// Waits. Dropped and called again, it goes on where it was.
    async fn over(&mut self) -> Woken {
        loop {
            tokio::select! {
                biased;
                update = self.own_events.next() => match deleted(update) {
                    Ok(keys) if keys.contains(&self.own) && !Mutant::LockToDeadSession.is_on() => {
                        return Woken::Gone;
                    }
                    Ok(_) => {}
                    Err(woken) => return woken,
                },
                update = self.events.next() => match deleted(update) {
                    Ok(keys) => self.left = self.left.saturating_sub(self.places(&keys)),
                    Err(woken) => return woken,
                },
                () = sleep_until(self.until) => return Woken::Ahead,
            }
            if self.left == 0 {
                return Woken::Ahead;
            }
        }
    }

    /// How many of these keys are places of the lock.
    fn places(&self, keys: &[Bytes]) -> usize {
        keys.iter().filter(|key| LockKey::decode(key).is_some_and(|place| place.name == self.name)).count()
    }
}

/// The keys that an update tells were deleted. A watch that has ended, or fallen behind what is compacted,
/// ends the wait: the queue is read again.
fn deleted(update: Option<Result<WatchUpdate, Error>>) -> Result<Vec<Bytes>, Woken> {
    match update {
        Some(Ok(WatchUpdate::Events { events, .. })) => {
            Ok(events.into_iter().filter(|event| event.deleted).map(|event| event.kv.key).collect())
        }
        Some(Ok(_)) => Ok(Vec::new()),
        None | Some(Err(Error::Compacted { .. })) => Err(Woken::Ahead),
        Some(Err(error)) => Err(Woken::Broken(error)),
    }
}

/// A place that was asked for: deleted when it is not wanted any more.
struct Claim<A: Api> {
    api: A,
    key: Bytes,
    /// The newest revision before it was asked for: a place created since is of this claim.
    since: Revision,
    /// Its create revision, once that is known.
    created: Option<Revision>,
    /// Whether it is to be given up when this is dropped.
    armed: bool,
    runtime: Handle,
}

impl<A: Api> Claim<A> {
    /// Finds the session's place, or takes one. A place that was found is not given up until it was seen to
    /// wait: it may be a grant that another task of the session holds.
    async fn stake(api: &A, acquire: &Acquire, options: CallOptions) -> Result<(Claim<A>, KeyValue), Error> {
        let Acquire { name, session, mode, .. } = acquire;
        let key = LockKey { name: name.clone(), session: *session, mode: *mode }.encode();
        let (since, found) = own_place(api, acquire, options.clone()).await?;
        let runtime = Handle::current();
        let mut claim = Claim { api: api.clone(), key, since, created: None, armed: false, runtime };
        if let Some(place) = found {
            return Ok((claim, refreshed(api, place.kv, acquire, options).await?));
        }
        // From here on a place may exist, whatever becomes of this future.
        claim.armed = true;
        match claim.take(acquire, options.clone()).await {
            Ok(Some(place)) => Ok((claim, place)),
            Ok(None) => {
                claim.armed = false;
                let (_, found) = own_place(api, acquire, options.clone()).await?;
                let found = found.ok_or_else(|| Error::Invalid(in_the_way(acquire)))?;
                Ok((claim, refreshed(api, found.kv, acquire, options).await?))
            }
            Err(error) => {
                claim.armed = error.maybe_committed();
                Err(error)
            }
        }
    }

    /// Takes a place if the session has none.
    async fn take(&self, acquire: &Acquire, options: CallOptions) -> Result<Option<KeyValue>, Error> {
        let put = Put {
            key: self.key.clone(),
            value: acquire.value.clone(),
            lease: acquire.session,
            prev_kv: false,
        };
        let compares = own_keys(acquire).map(|keys| created(keys, Operator::Equal, 0)).into();
        let txn = Txn { compares, then_ops: vec![Op::Put(put.clone())], else_ops: Vec::new() };
        let answer = self.api.txn(txn, options).await?;
        let revision = answer.header.revision;
        let Put { key, value, lease, .. } = put;
        let place =
            KeyValue { key, value, create_revision: revision, mod_revision: revision, version: 1, lease };
        Ok(answer.result.succeeded.then_some(place))
    }

    /// Deletes the place, if it is this claim's.
    fn withdrawal(&self) -> impl Future<Output = ()> + Send + 'static {
        let key = KeyRange::key(self.key.clone());
        let is_ours = match self.created {
            Some(revision) => created(key.clone(), Operator::Equal, revision),
            None => created(key.clone(), Operator::Greater, self.since),
        };
        let delete = Op::Delete(Delete { keys: key, prev_kv: false });
        let txn = Txn { compares: vec![is_ours], then_ops: vec![delete], else_ops: Vec::new() };
        let api = self.api.clone();
        async move {
            for attempt in 0..GIVE_UP_ATTEMPTS {
                match api.txn(txn.clone(), CallOptions::default()).await {
                    Ok(_) => return,
                    Err(error) => tracing::debug!(%error, "a place in a lock's queue is not given up yet"),
                }
                sleep(PAUSE_MIN * 2_u32.pow(attempt)).await;
            }
        }
    }
}

impl<A: Api> Drop for Claim<A> {
    fn drop(&mut self) {
        if self.armed {
            self.runtime.spawn(self.withdrawal());
        }
    }
}

/// The newest revision, and the place that the session has.
async fn own_place<A: Api>(
    api: &A,
    acquire: &Acquire,
    options: CallOptions,
) -> Result<(Revision, Option<Place>), Error> {
    let range = Range::new(LockKey::own(&acquire.name, acquire.session));
    let answer = api.range(range, Level::Linearizable.into(), options).await?;
    let found = answer.result.kvs.into_iter().find_map(|kv| Place::of(&acquire.name, kv));
    found.as_ref().map_or(Ok(()), |place| same_mode(place, acquire))?;
    Ok((answer.header.revision, found))
}

/// A place that was found, with the value of this call.
async fn refreshed<A: Api>(
    api: &A,
    place: KeyValue,
    acquire: &Acquire,
    mut options: CallOptions,
) -> Result<KeyValue, Error> {
    if place.value == acquire.value {
        return Ok(place);
    }
    let guard = Guard { owner_key: place.key.clone(), fencing_token: place.create_revision };
    options.guards.push(guard);
    let (key, value) = (place.key.clone(), acquire.value.clone());
    api.put(Put { key, value, lease: place.lease, prev_kv: false }, options).await?;
    Ok(place)
}

/// The keys that a session's places of a lock have, and hardly any other.
fn own_keys(acquire: &Acquire) -> [KeyRange; 3] {
    let key = |mode| LockKey { name: acquire.name.clone(), session: acquire.session, mode }.encode();
    let own = LockKey::own(&acquire.name, acquire.session).start;
    let permits = KeyRange::prefix([&own[..], b"p"].concat());
    [KeyRange::key(key(LockMode::Exclusive)), KeyRange::key(key(LockMode::Shared)), permits]
}

fn in_the_way(acquire: &Acquire) -> String {
    let own = LockKey::own(&acquire.name, acquire.session).start;
    format!("keys that are not of this lock begin with {}", shown(&own))
}

fn created(keys: KeyRange, operator: Operator, revision: Revision) -> Compare {
    Compare { keys, operator, target: CompareTarget::CreateRevision(revision) }
}

/// Asks until there is an answer or a definite error. Bounded by whoever waits: it may drop this.
pub(super) async fn patiently<A: Api, T, F>(api: &A, ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut patience = Patience::default();
    loop {
        match ask().await {
            Err(error) => patience.after(api, error).await?,
            answer => return answer,
        }
    }
}

/// How long to pause before the next attempt: longer each time, until there is an answer.
#[derive(Default)]
pub(super) struct Patience {
    failures: u32,
}

impl Patience {
    /// Pauses, if what failed so may succeed later.
    ///
    /// # Errors
    /// The error, if it may not.
    pub async fn after<A: Api>(&mut self, api: &A, error: Error) -> Result<(), Error> {
        if !is_passing(&error, api.outlives_members()) {
            return Err(error);
        }
        tracing::debug!(%error, "waiting for the cluster");
        sleep(self.pause(&error)).await;
        Ok(())
    }

    fn pause(&mut self, error: &Error) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        match error {
            Error::Overloaded { retry_after, .. } => pause.max(*retry_after),
            _ => pause,
        }
    }
}

/// Whether a read or a watch that failed so may succeed later: on the same member, or on another, if there
/// is a way to one.
fn is_passing(error: &Error, outlives_members: bool) -> bool {
    match error {
        Error::NoLeader
        | Error::NoQuorum
        | Error::NotReady(_)
        | Error::NotLeader { .. }
        | Error::Overloaded { .. }
        | Error::Deadline { .. }
        | Error::Connection { .. } => true,
        Error::ShuttingDown | Error::Stopped(_) => outlives_members,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_are_as_long_as_a_full_member_says() {
        let mut patience = Patience::default();
        let pauses: Vec<_> = (0..8).map(|_| patience.pause(&Error::NoLeader).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        let retry_after = Duration::from_secs(5);
        let full = Error::Overloaded { what: "limits.watches_max".into(), limit: 1, retry_after };
        assert_eq!(patience.pause(&full), retry_after);
        assert_eq!(Patience::default().pause(&full), retry_after);
    }

    #[test]
    fn the_end_of_a_member_is_the_end_for_a_node_and_passes_for_a_client() {
        for error in [Error::ShuttingDown, Error::Stopped("its disk".into())] {
            assert!(!is_passing(&error, false), "{error:?}");
            assert!(is_passing(&error, true), "{error:?}");
        }
        assert!(!is_passing(&Error::LeaseNotFound(7), true));
    }
}
