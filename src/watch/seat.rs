//! What the dispatcher and one watch share: the watch's filter, and its bounded buffer.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::{SEAT_BYTES_MAX, SEAT_GROUPS_MAX, SEATS_BYTES_MAX, ring::size};
use crate::{
    state::{Event, EventKind},
    types::{KeyRange, KeyValue, Revision, Watch},
};

/// What one watch is to tell of one revision.
#[derive(Clone)]
pub struct Group {
    pub revision: Revision,
    /// Shared by all watches that are to tell the same.
    pub events: Arc<[Event]>,
    pub bytes: usize,
}

impl Group {
    /// Of events of one revision, at least one.
    pub fn new(events: Arc<[Event]>) -> Option<Group> {
        let revision = events.first()?.revision;
        let bytes = events.iter().map(size).sum();
        Some(Group { revision, events, bytes })
    }
}

/// A copy that keeps nothing else in memory: the original may be a slice of a whole message or block.
pub fn compact(event: &Event) -> Event {
    let KeyValue { key, value, .. } = &event.kv;
    let mut both = BytesMut::with_capacity(key.len() + value.len());
    both.extend_from_slice(key);
    both.extend_from_slice(value);
    let mut value = both.freeze();
    let key: Bytes = value.split_to(key.len());
    Event { kv: KeyValue { key, value, ..event.kv.clone() }, ..*event }
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
    /// Bytes in all inboxes.
    all_bytes: Arc<AtomicUsize>,
}

impl Seat {
    /// The seat of a watch that looks for revision `next` itself.
    pub fn new(id: u64, watch: &Watch, next: Revision, all_bytes: Arc<AtomicUsize>) -> Seat {
        let inbox =
            Inbox { groups: VecDeque::new(), place: Place::Away(next), progress_wanted: false, bytes: 0 };
        Seat {
            id,
            keys: watch.keys.clone(),
            no_put: watch.no_put,
            no_delete: watch.no_delete,
            inbox: Mutex::new(inbox),
            changed: Notify::new(),
            all_bytes,
        }
    }

    /// Whether the watch is to tell an event of a key that it watches.
    pub fn wants(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    /// What the watch is to tell of each revision.
    pub fn pick(&self, events: &[Event]) -> Option<Group> {
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
            || self.all_bytes.load(Ordering::Relaxed) + group.bytes > SEATS_BYTES_MAX;
        let room = inbox.groups.is_empty() || !full;
        if room {
            inbox.bytes += group.bytes;
            self.all_bytes.fetch_add(group.bytes, Ordering::Relaxed);
            inbox.groups.push_back(group);
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
        self.all_bytes.fetch_sub(group.bytes, Ordering::Relaxed);
        Some(group)
    }

    /// Never held for long.
    pub fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let left = self.inbox().bytes;
        self.all_bytes.fetch_sub(left, Ordering::Relaxed);
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
