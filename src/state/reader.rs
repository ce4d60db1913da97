//! Reads: any number, on any thread, beside apply. Each sees exactly one revision.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::{
    Corruption, History, HistoryBounds, ReadError, Shared, View,
    block::{Record, RecordId, Records},
    core::{Core, Item, Walk},
    history,
    leases::Lease,
    overlay::Found,
    range::{self, Room, Selection},
};
use crate::types::{KeyRange, KeyValue, LeaseId, Limits, Range, RangeResult, Revision};

/// How often a read of the newest revision starts again because that revision was compacted under it.
const RESTARTS: usize = 3;

/// Keys whose records are hashed in one pass over the blocks: some 10 MB of memory.
const HASH_KEYS: usize = 1 << 18;

/// Reads the committed state. Cheap to clone; outlives the machine's state being replaced by a snapshot.
#[derive(Clone)]
pub struct StateReader {
    shared: Arc<Shared>,
}

/// What one page of a scan is to hold.
#[derive(Clone, Debug)]
pub struct PageQuery<'a> {
    /// The range of the whole scan.
    pub keys: &'a KeyRange,
    /// The state at this revision; 0: the newest. Pages of one scan must name the same one:
    /// [`Page::revision`].
    pub revision: Revision,
    /// Go on behind this key: [`Page::next`] of the page before.
    pub after: Option<Bytes>,
    /// Bytes of keys and values; a page holds at least one pair if there is one.
    pub bytes_max: usize,
    /// Leave the values out.
    pub keys_only: bool,
}

/// A lease as the state knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Its id.
    pub lease: LeaseId,
    /// How long it lives without a keep-alive.
    pub ttl_ms: u64,
    /// Whether it keeps responses.
    pub session: bool,
    /// The index of the entry that granted it.
    pub granted_at: u64,
}

impl LeaseRecord {
    fn new(lease: LeaseId, found: &Lease) -> LeaseRecord {
        LeaseRecord { lease, ttl_ms: found.ttl_ms, session: found.is_session(), granted_at: found.granted_at }
    }
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The pairs, in key order.
    pub kvs: Vec<KeyValue>,
    /// The revision that was read.
    pub revision: Revision,
    /// Where to go on; `None` at the end.
    pub next: Option<Bytes>,
    /// Where the state stood when the page was begun.
    pub view: View,
}

/// A hash over all that is visible at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// xxh3-128.
    pub hash: u128,
    /// The revision that was hashed.
    pub revision: Revision,
    /// Keys that exist at it.
    pub keys: u64,
    /// Where the state stood when the hash was begun.
    pub view: View,
}

impl StateReader {
    pub(super) fn new(shared: Arc<Shared>) -> StateReader {
        StateReader { shared }
    }

    /// Where the state stands: all of it at one instant.
    pub fn position(&self) -> View {
        self.shared.core().read().view()
    }

    /// Hands what was written to the operating system. Slow: see [`crate::storage::Engine::flush`].
    pub fn flush(&self) -> Result<(), Corruption> {
        Ok(self.shared.core().engine.flush()?)
    }

    /// Bytes that the engine takes on disk, roughly.
    pub fn size(&self) -> u64 {
        self.shared.core().engine.size()
    }

    /// Reads a range. The view is of the very instant at which the revision was chosen. What `limits` cut
    /// away is still counted. Check the request with [`super::validate_range`] first.
    pub fn range(&self, range: &Range, limits: &Limits) -> Result<(RangeResult, View), ReadError> {
        let room = Room { pairs: limits.range_pairs_max, bytes: limits.range_bytes_max };
        self.at(range.revision, |core, revision, view| {
            let result = match range.keys.single() {
                Some(key) => select_one(core, range, key, revision)?,
                None => select(core, range, revision, room)?,
            };
            Ok((result, view))
        })
    }

    /// Reads one page of a scan. A long scan does not hold its revision: once that is compacted, the next
    /// page says so.
    pub fn scan_page(&self, query: &PageQuery) -> Result<Page, ReadError> {
        self.at(query.revision, |core, revision, view| {
            let (kvs, next) = page(core, query, revision)?;
            Ok(Page { kvs, revision, next, view })
        })
    }

    /// Hashes all pairs that exist at a revision (0: the newest). Members that have applied the
    /// same log agree, however far each has compacted.
    pub fn hash(&self, revision: Revision) -> Result<Hashed, ReadError> {
        self.at(revision, |core, revision, view| {
            let (hash, keys) = hash(core, revision)?;
            Ok(Hashed { hash, revision, keys, view })
        })
    }

    /// Reads events of `keys` from revision `from` on, until about `bytes` of history have been looked at:
    /// at least one revision, if there is one. Slow.
    ///
    /// # Errors
    /// `Compacted`: some of them may be forgotten.
    pub fn history(
        &self,
        keys: &KeyRange,
        from: Revision,
        bounds: HistoryBounds,
    ) -> Result<History, ReadError> {
        history::read(&self.shared.core(), keys, from, bounds)
    }

    /// A lease, if it exists: its time to live in milliseconds, and whether it is a session.
    pub fn lease(&self, lease: LeaseId) -> Option<LeaseRecord> {
        let core = self.shared.core();
        let published = core.read();
        published.leases.get(lease).map(|found| LeaseRecord::new(lease, found))
    }

    /// Leases with ids above `after`, in order, at most `most`, and where the state stood.
    pub fn leases(&self, after: LeaseId, most: usize) -> (Vec<LeaseRecord>, View) {
        let core = self.shared.core();
        let published = core.read();
        let leases = published.leases.after(after).take(most);
        (leases.map(|(id, lease)| LeaseRecord::new(id, lease)).collect(), published.view())
    }

    /// How many keys a lease has, counted up to `most`.
    pub fn count_of_lease(&self, lease: LeaseId, most: usize) -> usize {
        self.shared.core().read().index.count_of(lease).min(most)
    }

    /// The keys of a lease, in order, at most `most`; and how many there are.
    pub fn keys_of_lease(&self, lease: LeaseId, most: usize) -> (Vec<Bytes>, usize) {
        let core = self.shared.core();
        let published = core.read();
        let keys = published.index.keys_of(lease, most);
        (keys.into_iter().map(|(key, _)| key).collect(), published.index.count_of(lease))
    }

    /// A hash of all leases and sessions, with what the sessions keep, and where the state stood.
    /// Members that have applied the same agree.
    pub fn leases_hash(&self) -> (u128, View) {
        let (leases, view) = {
            let core = self.shared.core();
            let published = core.read();
            (published.leases.clone(), published.view())
        };
        let mut hasher = Xxh3::new();
        let mut encoded = Vec::new();
        for change in leases.changes() {
            change.encode(&mut encoded);
            hasher.update(&encoded);
            encoded.clear();
        }
        (hasher.digest128(), view)
    }

    fn at<T>(
        &self,
        requested: Revision,
        read: impl Fn(&Core, Revision, View) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let mut restarts = 0;
        loop {
            let core = self.shared.core();
            let (revision, view) = core.resolve(requested)?;
            match read(&core, revision, view) {
                Err(ReadError::Compacted { .. }) if requested == 0 && restarts < RESTARTS => restarts += 1,
                result => return result,
            }
        }
    }
}

fn select(core: &Core, range: &Range, revision: Revision, room: Room) -> Result<RangeResult, ReadError> {
    let mut records = Records::new(&*core.engine);
    let mut selection = Selection::new(range, room);
    let mut walk = Walk::new(core, &range.keys, revision, None);
    loop {
        let chunk = walk.next_chunk()?;
        if chunk.is_empty() {
            break;
        }
        for Item { key, entry } in chunk {
            let value = match selection.by_value() && range::matches(range, &entry) {
                true => Some(core.record(&mut records, (&key, entry.id()), revision)?.value),
                false => None,
            };
            selection.offer(Found::published(key, entry), value.as_ref());
        }
    }
    selection.finish(|found| core.record(&mut records, (&found.key, found.entry.id()), revision))
}

/// The same for one key: most reads.
fn select_one(core: &Core, range: &Range, key: &Bytes, revision: Revision) -> Result<RangeResult, ReadError> {
    let found = core.find(key, revision)?.filter(|found| range::matches(range, &found.entry));
    let Some(found) = found else { return Ok(RangeResult::default()) };
    let kvs = if range.count_only {
        Vec::new()
    } else if range.keys_only {
        vec![found.entry.with(key.clone(), Bytes::new())]
    } else {
        vec![core.record_of(found, revision)?.into_pair()]
    };
    Ok(RangeResult { kvs, count: 1, more: false })
}

fn page(
    core: &Core,
    query: &PageQuery,
    revision: Revision,
) -> Result<(Vec<KeyValue>, Option<Bytes>), ReadError> {
    let mut records = Records::new(&*core.engine);
    let mut walk = Walk::new(core, query.keys, revision, query.after.clone());
    let (mut kvs, mut bytes) = (Vec::<KeyValue>::new(), 0);
    loop {
        let chunk = walk.next_chunk()?;
        if chunk.is_empty() {
            return Ok((kvs, None));
        }
        for Item { key, entry } in chunk {
            let pair = match query.keys_only {
                true => entry.with(key, Bytes::new()),
                false => core.record(&mut records, (&key, entry.id()), revision)?.into_pair(),
            };
            bytes += range::size(&pair);
            if bytes > query.bytes_max
                && let Some(last) = kvs.last()
            {
                let next = last.key.clone();
                return Ok((kvs, Some(next)));
            }
            kvs.push(pair);
        }
    }
}

/// Digests of records, in key order, are hashed in turn: so the records can be read in the order in which
/// they lie.
fn hash(core: &Core, revision: Revision) -> Result<(u128, u64), ReadError> {
    let all = KeyRange::all();
    let mut walk = Walk::new(core, &all, revision, None);
    let mut hasher = Xxh3::new();
    let (mut keys, mut ids) = (0, Vec::new());
    loop {
        let chunk = walk.next_chunk()?;
        let end = chunk.is_empty();
        keys += chunk.len() as u64;
        ids.extend(chunk.iter().map(|item| item.entry.id()));
        if end || ids.len() >= HASH_KEYS {
            let digests = digests(core, std::mem::take(&mut ids), revision)?;
            digests.iter().for_each(|digest| hasher.update(&digest.to_le_bytes()));
        }
        if end {
            return Ok((hasher.digest128(), keys));
        }
    }
}

/// One digest for each record, in the order of `ids`; read in their own order.
fn digests(core: &Core, ids: Vec<RecordId>, revision: Revision) -> Result<Vec<u128>, ReadError> {
    let mut records = Records::new(&*core.engine);
    let mut digests = vec![0; ids.len()];
    let mut places: Vec<usize> = (0..ids.len()).collect();
    places.sort_unstable_by_key(|place| ids[*place]);
    for place in places {
        digests[place] = digest(&core.stored(&mut records, ids[place], revision)?);
    }
    Ok(digests)
}

/// Lengths first, so that no two different pairs give the same bytes.
fn digest(Record { entry, key, value }: &Record) -> u128 {
    let mut hasher = Xxh3::new();
    for number in [key.len() as u64, value.len() as u64] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(key);
    hasher.update(value);
    for number in [entry.create, entry.main, entry.version, entry.lease] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.digest128()
}
