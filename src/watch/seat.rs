//! What the dispatcher and one watch share: the watch's filter, and its bounded buffer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::{
    SEAT_BYTES_MAX, SEAT_GROUPS_MAX,
    budget::{Budget, Charge},
    ring::{Commit, size},
};
use crate::{
    state::{Event, EventKind},
    types::{KeyRange, KeyValue, Revision, Watch},
};

/// What one watch is to tell of one revision.
pub struct Group {
    pub revision: Revision,
    /// Shared by all watches that are to tell the same.
    pub events: Arc<[Event]>,
    pub bytes: usize,
    /// Counts it from when a watch has it until it is told.
    _charge: Option<Charge>,
}

impl Group {
    /// Of events of one revision, at least one.
    pub fn new(events: Arc<[Event]>) -> Option<Group> {
        let revision = events.first()?.revision;
        let bytes = events.iter().map(size).sum();
        Some(Group { revision, events, bytes, _charge: None })
    }

    fn charged(self, budget: &Arc<Budget>) -> Group {
        Group { _charge: Some(budget.charge(self.bytes)), ..self }
    }
}

/// Some of what a watch is to tell, and the revision to go on at.
pub struct Found {
    pub groups: VecDeque<Group>,
    pub next: Revision,
}

/// A copy that keeps nothing else in memory: the original may be a slice of a whole message or block.
pub fn compact(event: &Event) -> Event {
    Event { kv: compact_pair(&event.kv), ..*event }
}

/// The same of a pair.
pub fn compact_pair(kv: &KeyValue) -> KeyValue {
    let KeyValue { key, value, .. } = kv;
    let mut both = BytesMut::with_capacity(key.len() + value.len());
    both.extend_from_slice(key);
    both.extend_from_slice(value);
    let mut value = both.freeze();
    let key: Bytes = value.split_to(key.len());
    KeyValue { key, value, ..*kv }
}

/// Whether the dispatcher brings a watch what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Yes: all revisions from this one on, which may lie ahead.
    Live(Revision),
    /// No: it has to look for this revision, and what comes after, itself.
    Away(Revision),
}

/// What was brought and not yet told.
pub struct Inbox {
    pub groups: VecDeque<Group>,
    pub place: Place,
    /// Somebody wants to know how far the watch has come.
    pub progress_wanted: bool,
    bytes: usize,
}

/// One watch, as the dispatcher sees it.
pub struct Seat {
    pub id: u64,
    pub keys: KeyRange,
    no_put: bool,
    no_delete: bool,
    inbox: Mutex<Inbox>,
    /// There is something in the inbox, or its place has changed.
    pub changed: Notify,
    budget: Arc<Budget>,
}

impl Seat {
    /// The seat of a watch that looks for revision `next` itself.
    pub fn new(id: u64, watch: &Watch, next: Revision, budget: Arc<Budget>) -> Seat {
        let inbox =
            Inbox { groups: VecDeque::new(), place: Place::Away(next), progress_wanted: false, bytes: 0 };
        Seat {
            id,
            keys: watch.keys.clone(),
            no_put: watch.no_put,
            no_delete: watch.no_delete,
            inbox: Mutex::new(inbox),
            changed: Notify::new(),
            budget,
        }
    }

    /// Whether the watch is to tell an event of a key that it watches.
    pub fn wants(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    /// Picks what the watch is to tell out of commits, from revision `next` on, as much as it may hold.
    pub fn find<'a>(&self, commits: impl IntoIterator<Item = &'a Commit>, next: Revision) -> Found {
        let mut found = Found { groups: VecDeque::new(), next };
        let (most, mut bytes) = (self.budget.portion(), 0);
        for commit in commits {
            for events in commit.groups(next) {
                if bytes >= most {
                    found.next = events.first().map_or(found.next, |event| event.revision);
                    return found;
                }
                if let Some(group) = self.pick(events) {
                    bytes += group.bytes;
                    found.groups.push_back(group.charged(&self.budget));
                }
            }
            found.next = commit.end;
        }
        found
    }

    /// What the watch is to tell of each revision.
    fn pick(&self, events: &[Event]) -> Option<Group> {
        let wanted = events.iter().filter(|event| self.keys.contains(&event.kv.key) && self.wants(event));
        Group::new(wanted.map(compact).collect())
    }

    /// Brings what the watch is to tell of a revision. False if it has no room: it has to look for that
    /// itself from now on.
    pub fn offer(&self, group: Group) -> bool {
        let mut inbox = self.inbox();
        match inbox.place {
            Place::Live(from) if group.revision >= from => {}
            Place::Live(_) => return true,
            Place::Away(_) => return false,
        }
        let full = inbox.groups.len() >= SEAT_GROUPS_MAX
            || inbox.bytes + group.bytes > SEAT_BYTES_MAX
            || !self.budget.has_room(group.bytes);
        let room = inbox.groups.is_empty() || !full;
        if room {
            inbox.bytes += group.bytes;
            inbox.groups.push_back(group.charged(&self.budget));
        } else {
            inbox.place = Place::Away(group.revision);
        }
        self.changed.notify_one();
        room
    }

    /// The dispatcher does not bring anything at or behind `next` any more.
    pub fn leave_to_itself(&self, next: Revision) {
        let mut inbox = self.inbox();
        if let Place::Live(from) = inbox.place {
            inbox.place = Place::Away(from.max(next));
        }
        self.changed.notify_one();
    }

    /// Takes the oldest group.
    pub fn take(&self, inbox: &mut Inbox) -> Option<Group> {
        let group = inbox.groups.pop_front()?;
        inbox.bytes -= group.bytes;
        Some(group)
    }

    /// Never held for long.
    pub fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a watch to tell how far it has come, as soon as it has told everything before.
#[derive(Clone)]
pub struct ProgressRequest {
    pub(super) seat: Arc<Seat>,
}

impl ProgressRequest {
    /// Asks. Several questions before an answer have one answer.
    pub fn send(&self) {
        self.seat.inbox().progress_wanted = true;
        self.seat.changed.notify_one();
    }
}
