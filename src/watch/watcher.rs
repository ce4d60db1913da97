//! One watch, as its reader pulls it.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use tokio::{
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{
    INLINE_READS_MAX, PAIR_BYTES, PART_BYTES,
    hub::{Entrance, Shared},
    ring::Recent,
    seat::{Found, Group, Place, ProgressRequest, Seat, compact_pair},
};
use crate::{
    env::blocking,
    error::Error,
    state::{Event, EventKind, PageQuery, ReadError, StateReader},
    types::{KeyRange, KeyValue, Revision, Watch, WatchEvent},
};

/// What a watch tells: [`crate::types::WatchUpdate`] without the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has begun: what happened up to this revision is not told.
    Created(Revision),
    /// What it is to tell of this revision, in order: all of it, or the next part.
    Events {
        /// Of all of them.
        revision: Revision,
        /// What happened.
        events: Vec<WatchEvent>,
        /// The next that it tells is more of the same revision.
        more: bool,
    },
    /// Everything up to this revision has been told.
    Progress(Revision),
}

/// A watch. It tells only when it is asked, and holds a bounded amount meanwhile. Dropping it ends it.
pub struct Watcher {
    hub: Arc<Shared>,
    seat: Arc<Seat>,
    watch: Watch,
    created: bool,
    /// Found while catching up, and not yet told: before anything in the seat.
    found: VecDeque<Group>,
    /// What is being told, and how many events of it were.
    telling: Option<(Group, usize)>,
    /// Everything up to here has been told.
    told: Revision,
    /// When something was told last.
    spoke: Instant,
    /// Since then it has looked for more.
    looked: bool,
    _entrance: Entrance,
}

/// What is to be done next.
enum Next {
    Tell(Group),
    Progress,
    CatchUp(Revision),
    Wait,
}

impl Watcher {
    pub(super) fn new(entrance: Entrance, watch: Watch) -> Watcher {
        let hub = entrance.hub.clone();
        let present = hub.state.position().revision;
        let next = if watch.start_revision == 0 { present + 1 } else { watch.start_revision };
        let seat = hub.seat(&watch, next);
        Watcher {
            hub,
            seat,
            watch,
            created: false,
            found: VecDeque::new(),
            telling: None,
            told: present.min(next - 1),
            spoke: Instant::now(),
            looked: false,
            _entrance: entrance,
        }
    }

    /// Asks it, from elsewhere, to tell how far it has come.
    pub fn progress_request(&self) -> ProgressRequest {
        ProgressRequest { seat: self.seat.clone() }
    }

    /// What it tells next; first that it has begun. Revisions never go back. The future may be dropped and
    /// asked for again.
    ///
    /// # Errors
    /// `Compacted`: what is to be told next is gone. Why the hub is closed. `Stopped`: the state is broken.
    /// It has nothing more to tell then.
    pub async fn next(&mut self) -> Result<Told, Error> {
        if !self.created {
            return self.create();
        }
        loop {
            self.hub.check_open()?;
            if let Some((group, told)) = &self.telling {
                let (revision, events, from) = (group.revision, group.events.clone(), *told);
                return self.tell(revision, events, from).await;
            }
            match self.what_next() {
                Next::Tell(group) => self.telling = Some((group, 0)),
                Next::Progress => {
                    self.speak();
                    return Ok(Told::Progress(self.told));
                }
                Next::CatchUp(next) => self.catch_up(next).await?,
                Next::Wait => self.wait().await,
            }
        }
    }

    /// The ring may reach back beyond what is compacted; whoever begins there is refused all the same.
    fn create(&mut self) -> Result<Told, Error> {
        self.hub.check_open()?;
        let (requested, compacted) = (self.watch.start_revision, self.hub.state.position().compact_revision);
        if requested != 0 && requested < compacted {
            return Err(Error::Compacted { requested, compacted });
        }
        self.created = true;
        self.speak();
        Ok(Told::Created(self.told))
    }

    fn what_next(&mut self) -> Next {
        if let Some(group) = self.found.pop_front() {
            return Next::Tell(group);
        }
        // Before the inbox is looked at: what was dispatched until now is in there.
        let dispatched = self.hub.dispatched();
        let mut inbox = self.seat.inbox();
        if let Some(group) = self.seat.take(&mut inbox) {
            return Next::Tell(group);
        }
        let reached = match inbox.place {
            Place::Live(_) => dispatched,
            Place::Away(next) => next.saturating_sub(1).min(self.hub.state.position().revision),
        };
        self.told = self.told.max(reached);
        let silent = self.watch.progress_interval.is_some_and(|interval| self.spoke.elapsed() >= interval);
        let due = inbox.progress_wanted || silent;
        match inbox.place {
            // However long it takes to catch up, progress is told; but not twice the same.
            Place::Away(next) if !due || !self.looked => Next::CatchUp(next),
            Place::Live(_) if !due => Next::Wait,
            _ => {
                inbox.progress_wanted = false;
                Next::Progress
            }
        }
    }

    fn speak(&mut self) {
        self.spoke = Instant::now();
        self.looked = false;
    }

    /// Until something has changed, or it is time to tell how far it has come.
    async fn wait(&self) {
        let silence = async {
            match self.watch.progress_interval {
                Some(interval) => sleep_until(self.spoke + interval.min(LONGEST)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.seat.changed.notified() => {}
            () = silence => {}
        }
    }

    /// Joins the live watches, or finds some of what comes from `next` on.
    async fn catch_up(&mut self, next: Revision) -> Result<(), Error> {
        self.looked = true;
        if self.hub.join(&self.seat, next) {
            return Ok(());
        }
        let Found { groups, next } = match self.hub.recent(next) {
            Recent::Nothing => return Ok(()),
            Recent::Commits(commits) => {
                let found = self.seat.find(commits.iter().map(|commit| &**commit), next);
                if found.groups.is_empty() {
                    yield_now().await;
                }
                found
            }
            Recent::Gone(_) => self.hub.history(self.seat.clone(), next).await?,
        };
        self.found = groups;
        self.seat.inbox().place = Place::Away(next);
        Ok(())
    }

    /// Tells the next part of the revision at hand: its events from the one at `from` on.
    async fn tell(&mut self, revision: Revision, all: Arc<[Event]>, from: usize) -> Result<Told, Error> {
        let count = all.len();
        let events = match self.watch.prev_kv {
            true => with_former(&self.hub.state, all, from).await?,
            false => part(&all[from..], |_| Ok(None))?,
        };
        let told = from + events.len();
        let more = told < count;
        if more {
            self.telling = self.telling.take().map(|(group, _)| (group, told));
        } else {
            self.telling = None;
            self.told = revision;
        }
        self.speak();
        Ok(Told::Events { revision, events, more })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.leave(&self.seat);
    }
}

/// No timer runs longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The first of these events, as many as one part holds, with the pair before each.
fn part(
    events: &[Event],
    former: impl Fn(&Event) -> Result<Option<KeyValue>, Error>,
) -> Result<Vec<WatchEvent>, Error> {
    let (mut part, mut bytes) = (Vec::new(), 0);
    for event in events {
        let deleted = event.kind == EventKind::Delete;
        let told = WatchEvent { deleted, kv: event.kv.clone(), prev_kv: former(event)? };
        bytes += wire_bytes(&told);
        part.push(told);
        if bytes >= PART_BYTES {
            break;
        }
    }
    Ok(part)
}

/// What an event takes on the wire, at most.
pub fn wire_bytes(event: &WatchEvent) -> usize {
    let pairs = [Some(&event.kv), event.prev_kv.as_ref()].into_iter().flatten();
    pairs.map(|kv| PAIR_BYTES + kv.key.len() + kv.value.len()).sum()
}

/// A part of these events of one revision, from the one at `from` on, with the pairs before them; none where
/// that is compacted.
async fn with_former(
    state: &StateReader,
    events: Arc<[Event]>,
    from: usize,
) -> Result<Vec<WatchEvent>, Error> {
    let state = state.clone();
    let few = events.len() - from <= INLINE_READS_MAX;
    let read = move || part(&events[from..], |event| former_pair(&state, event));
    if few {
        return read();
    }
    blocking(read).await.map_err(|panic| Error::Stopped(panic.to_string()))?
}

fn former_pair(state: &StateReader, event: &Event) -> Result<Option<KeyValue>, Error> {
    let query = PageQuery {
        keys: &KeyRange::key(event.kv.key.clone()),
        revision: event.revision - 1,
        after: None,
        bytes_max: 1,
        keys_only: false,
    };
    match state.scan_page(&query) {
        Ok(page) => Ok(page.kvs.first().map(compact_pair)),
        Err(ReadError::Compacted { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
