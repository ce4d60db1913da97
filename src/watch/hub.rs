//! The one place where commits come in and watches are served from.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{
    sync::{Notify, Semaphore},
    task::yield_now,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    HISTORY_BYTES, HISTORY_READS_MAX, PROGRESS_INTERVAL_MIN, RETRY_AFTER, RING_COMMITS,
    budget::Budget,
    index::Index,
    ring::{Commit, Recent, Ring},
    seat::{Found, Group, Place, Seat, compact},
    watcher::Watcher,
};
use crate::{
    env::blocking,
    error::Error,
    state::{Corruption, Event, History, HistoryBounds, ReadError, StateReader},
    types::{KeyRange, Revision, Watch},
};

/// The watches of one member. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

/// What commits, dispatcher and watches share.
pub struct Shared {
    pub state: StateReader,
    /// The lock is held for a push or a short copy.
    ring: Mutex<Ring>,
    /// There is something in the ring.
    published: Notify,
    live: Mutex<Live>,
    /// All revisions up to this one were brought to those who were live.
    dispatched: AtomicU64,
    closed: OnceLock<Error>,
    closing: CancellationToken,
    watches: AtomicUsize,
    watches_max: usize,
    ids: AtomicU64,
    /// What the watches hold.
    pub budget: Arc<Budget>,
    /// To read history for a watch.
    turns: Arc<Semaphore>,
}

/// Who is live. Its lock orders joining and dispatching.
struct Live {
    /// The first revision that was not dispatched.
    next: Revision,
    index: Index,
}

impl Hub {
    /// Of the state behind `state`, which must not move until the hub hears of it. At most `watches_max`
    /// watches at a time.
    pub fn new(state: StateReader, watches_max: usize) -> Hub {
        let revision = state.position().revision;
        let shared = Shared {
            state,
            ring: Mutex::new(Ring::new(revision + 1)),
            published: Notify::new(),
            live: Mutex::new(Live { next: revision + 1, index: Index::default() }),
            dispatched: AtomicU64::new(revision),
            closed: OnceLock::new(),
            closing: CancellationToken::new(),
            watches: AtomicUsize::new(0),
            watches_max,
            ids: AtomicU64::new(1),
            budget: Arc::default(),
            turns: Arc::new(Semaphore::new(HISTORY_READS_MAX)),
        };
        Hub { shared: Arc::new(shared) }
    }

    /// A commit, which brought the state to `revision`, made these events. On the apply path: it never waits.
    pub fn publish(&self, events: Vec<Event>, revision: Revision) {
        if self.shared.ring().push(events, revision) {
            self.shared.published.notify_one();
        }
    }

    /// The state was replaced by another, at `revision`: what led there is in its history, as far as that is
    /// not compacted.
    pub fn reset(&self, revision: Revision) {
        *self.shared.ring() = Ring::new(revision + 1);
        self.shared.published.notify_one();
    }

    /// Brings what is published to the live watches, for as long as the hub is open.
    ///
    /// # Errors
    /// The state's history cannot be read: the member must stop.
    pub async fn dispatch(&self) -> Result<(), Error> {
        while self.shared.closed.get().is_none() {
            match self.shared.step().await? {
                true => yield_now().await,
                false => self.shared.published.notified().await,
            }
        }
        Ok(())
    }

    /// Begins a watch. The keys must be valid.
    ///
    /// # Errors
    /// `Invalid` for an interval of progress that is too short, `Overloaded` if there are too many watches,
    /// and why the hub is closed.
    pub fn watch(&self, watch: Watch) -> Result<Watcher, Error> {
        if let Some(interval) = watch.progress_interval.filter(|interval| *interval < PROGRESS_INTERVAL_MIN) {
            return Err(Error::Invalid(format!(
                "the interval of progress is {interval:?}: it must be at least {PROGRESS_INTERVAL_MIN:?}"
            )));
        }
        let place = self.shared.clone().enter()?;
        Ok(Watcher::new(place, watch))
    }

    /// Ends all watches, with this reason. Further ones are refused with it.
    pub fn close(&self, why: Error) {
        if self.shared.closed.set(why).is_err() {
            return;
        }
        let mut live = self.shared.live();
        let next = live.next;
        live.index.drain().iter().for_each(|seat| seat.leave_to_itself(next));
        drop(live);
        self.shared.published.notify_one();
        self.shared.closing.cancel();
    }

    /// Resolves when the hub is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.closing.clone().cancelled_owned()
    }

    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.shared.watches.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn seat_of(&self, watch: &Watch) -> Arc<Seat> {
        self.shared.seat(watch, 1)
    }

    #[cfg(test)]
    pub(super) fn buffered_bytes(&self) -> usize {
        self.shared.budget.held()
    }
}

/// A place among the watches of a member, until it is dropped.
pub struct Entrance {
    pub hub: Arc<Shared>,
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.hub.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn enter(self: Arc<Self>) -> Result<Entrance, Error> {
        self.check_open()?;
        let taken = self.watches.fetch_add(1, Ordering::Relaxed);
        let entrance = Entrance { hub: self };
        let limit = entrance.hub.watches_max;
        if taken >= limit {
            let what = "limits.watches_max".to_owned();
            return Err(Error::Overloaded { what, limit: limit as u64, retry_after: RETRY_AFTER });
        }
        Ok(entrance)
    }

    /// # Errors
    /// Why the hub is closed.
    pub fn check_open(&self) -> Result<(), Error> {
        self.closed.get().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// A seat for a watch that begins at `next`.
    pub fn seat(&self, watch: &Watch, next: Revision) -> Arc<Seat> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Arc::new(Seat::new(id, watch, next, self.budget.clone()))
    }

    /// Lets a watch join that has been given everything before `next`, unless that was dispatched already.
    /// Whether it is live now.
    pub fn join(&self, seat: &Arc<Seat>, next: Revision) -> bool {
        let mut live = self.live();
        let joins = live.next <= next;
        if joins {
            seat.inbox().place = Place::Live(next);
            live.index.insert(seat.clone());
        }
        joins
    }

    /// Lets a watch go.
    pub fn leave(&self, seat: &Seat) {
        self.live().index.remove(seat);
    }

    /// Everything up to here was brought to those who were live; and it is in their inboxes, for whoever
    /// looks there after asking this.
    pub fn dispatched(&self) -> Revision {
        self.dispatched.load(Ordering::Acquire)
    }

    /// What the ring has from `from` on.
    pub fn recent(&self, from: Revision) -> Recent {
        self.ring().since(from, RING_COMMITS)
    }

    /// Finds in the history some of what a watch is to tell, when it is its turn. It waits and reads in a
    /// task of its own, since a watch is polled only while its reader takes what it tells: a turn that is
    /// handed to one that is not read would never end.
    pub async fn history(&self, seat: Arc<Seat>, from: Revision) -> Result<Found, ReadError> {
        let (state, turns, budget) = (self.state.clone(), self.turns.clone(), self.budget.clone());
        let reading = AbortOnDropHandle::new(tokio::spawn(async move {
            // Never closed; without a turn it would only be less orderly.
            let turn = turns.acquire_owned().await;
            let reading = blocking(move || {
                let _turn = turn;
                let bounds = HistoryBounds { looked_at: HISTORY_BYTES, given: budget.portion() };
                let History { events, next, .. } = state.history(&seat.keys, from, bounds)?;
                Ok(seat.find([&Commit::new(next, events)], from))
            });
            reading.await.unwrap_or_else(unfinished)
        }));
        reading.await.unwrap_or_else(unfinished)
    }

    /// Reads some history of all keys for the dispatcher. There is one, so that it needs no turn, and waits
    /// for no watch.
    async fn history_of_all(&self, from: Revision) -> Result<History, ReadError> {
        let state = self.state.clone();
        let bounds = HistoryBounds { looked_at: HISTORY_BYTES, given: HISTORY_BYTES };
        let reading = blocking(move || state.history(&KeyRange::all(), from, bounds));
        reading.await.unwrap_or_else(unfinished)
    }

    /// Dispatches some of what is published. Whether there was anything.
    async fn step(&self) -> Result<bool, Error> {
        let next = self.live().next;
        match self.recent(next) {
            Recent::Nothing => return Ok(false),
            Recent::Commits(commits) => commits.iter().for_each(|commit| self.bring(commit)),
            Recent::Gone(_) if self.live().index.is_empty() => self.pass_by(),
            Recent::Gone(_) => match self.history_of_all(next).await {
                Ok(history) => self.bring(&Commit::new(history.next, history.events)),
                Err(ReadError::Compacted { .. }) => self.pass_by(),
                Err(error) => return Err(error.into()),
            },
        }
        Ok(true)
    }

    /// Goes on with what the ring has. Whoever is live looks itself for what was passed by, and is told if it
    /// cannot be had any more.
    fn pass_by(&self) {
        let mut live = self.live();
        let Recent::Gone(from) = self.recent(live.next) else { return };
        let next = live.next;
        live.index.drain().iter().for_each(|seat| seat.leave_to_itself(next));
        live.next = from;
        self.dispatched.store(from - 1, Ordering::Release);
    }

    /// Brings a commit to the live watches.
    fn bring(&self, commit: &Commit) {
        let mut live = self.live();
        let next = live.next;
        if !live.index.is_empty() {
            commit.groups(next).for_each(|events| live.bring(events));
        }
        live.next = next.max(commit.end);
        self.dispatched.store(live.next - 1, Ordering::Release);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before any inbox's lock and the ring's, never behind them.
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read that has no result: it panicked, or the runtime ends.
fn unfinished<T>(why: impl fmt::Display) -> Result<T, ReadError> {
    Err(ReadError::Broken(Corruption::Damaged(format!("reading history: {why}"))))
}

impl Live {
    /// Brings the events of one revision to those whom they concern.
    fn bring(&mut self, events: &[Event]) {
        // In order of their ids, so that a simulation can repeat it.
        let mut concerned: BTreeMap<u64, (Arc<Seat>, Vec<usize>)> = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            for seat in self.index.matching(&event.kv.key).filter(|seat| seat.wants(event)) {
                concerned.entry(seat.id).or_insert_with(|| (seat.clone(), Vec::new())).1.push(at);
            }
        }
        if concerned.is_empty() {
            return;
        }
        let all: Arc<[Event]> = events.iter().map(compact).collect();
        for (seat, places) in concerned.into_values() {
            let its_own = match places.len() == all.len() {
                true => all.clone(),
                false => places.iter().map(|at| all[*at].clone()).collect(),
            };
            if Group::new(its_own).is_some_and(|group| !seat.offer(group)) {
                self.index.remove(&seat);
            }
        }
    }
}
