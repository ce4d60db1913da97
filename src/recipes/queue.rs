//! A lock's queue: the places under its name, in the order of their create revisions, and who holds by it.
//!
//! Pure apart from [`read`]. The rules, for a place and those before it:
//!
//! | mode | holds when |
//! |---|---|
//! | exclusive | nobody is before it |
//! | shared | all before it are shared |
//! | permits(n) | all before it are permits, and fewer than n of them |
//!
//! So all holders of a lock at one moment are of one kind, and a place that waits for another kind keeps
//! those behind it waiting: no mode starves another. Users of one lock should agree on n; where they do not,
//! each goes by its own, and a larger n may hold while a smaller one before it still waits.

use bytes::Bytes;

use super::KvApi;
use crate::{
    error::Error,
    types::{
        CallOptions, Header, KeyValue, LeaseId, Level, LockKey, LockMode, LockPlace, Range, Revision, SortBy,
    },
};

/// Which part of a queue to read.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    /// The lock.
    pub name: Bytes,
    /// At this revision; 0: the newest.
    pub revision: Revision,
    /// Only places created at or before this revision; 0: all.
    pub created_until: Revision,
    /// With the values.
    pub values: bool,
    /// Stop reading after so many places.
    pub places_max: Option<usize>,
    /// Stop reading after so many bytes of values.
    pub value_bytes_max: Option<usize>,
}

impl Query {
    /// All places of a lock, now.
    pub fn of(name: &Bytes) -> Query {
        Query { name: name.clone(), ..Query::default() }
    }

    fn is_filled_by(&self, places: &[Place]) -> bool {
        let bytes = || places.iter().map(|place| place.kv.value.len()).sum::<usize>();
        self.places_max.is_some_and(|max| places.len() >= max)
            || self.value_bytes_max.is_some_and(|max| bytes() >= max)
    }
}

/// A place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub session: LeaseId,
    pub mode: LockMode,
    pub kv: KeyValue,
}

impl Place {
    /// The place of the lock `name` that a key stands for, if it does.
    pub fn of(name: &[u8], kv: KeyValue) -> Option<Place> {
        let key = LockKey::decode(&kv.key).filter(|key| key.name == name)?;
        Some(Place { session: key.session, mode: key.mode, kv })
    }
}

/// A queue as it was at one revision.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    /// Who answered; `revision` is that of the queue.
    pub header: Header,
    /// First come first.
    pub places: Vec<Place>,
}

/// Reads the places of a lock, all at one revision, linearizably. Other keys may lie between them and are
/// passed over; a queue that is longer than one answer may be is read in parts, and anew if its revision is
/// compacted meanwhile.
///
/// # Errors
/// Those of a linearizable read.
pub(super) async fn read<A: KvApi>(api: &A, query: &Query, options: CallOptions) -> Result<Queue, Error> {
    loop {
        match read_once(api, query, &options).await {
            Err(Error::Compacted { .. }) if query.revision == 0 => {}
            read => return read,
        }
    }
}

async fn read_once<A: KvApi>(api: &A, query: &Query, options: &CallOptions) -> Result<Queue, Error> {
    let mut range = Range {
        revision: query.revision,
        sort_by: SortBy::CreateRevision,
        keys_only: !query.values,
        max_create_revision: query.created_until,
        ..Range::new(LockKey::queue(&query.name))
    };
    let mut answer = api.range(range.clone(), Level::Linearizable.into(), options.clone()).await?;
    let mut queue = Queue { header: answer.header.clone(), places: Vec::new() };
    loop {
        let last = answer.result.kvs.last().map(|kv| kv.create_revision);
        queue.absorb(&query.name, answer.result.kvs);
        match last.filter(|_| answer.result.more && !query.is_filled_by(&queue.places)) {
            None => return Ok(queue),
            Some(last) => range.min_create_revision = last.max(range.min_create_revision + 1),
        }
        range.revision = if query.revision == 0 { queue.header.revision } else { query.revision };
        answer = api.range(range.clone(), Level::Linearizable.into(), options.clone()).await?;
    }
}

impl Queue {
    /// Adds a part. Two parts overlap in one create revision, which several keys may have.
    fn absorb(&mut self, name: &[u8], kvs: Vec<KeyValue>) {
        for place in kvs.into_iter().filter_map(|kv| Place::of(name, kv)) {
            let create = place.kv.create_revision;
            let mut same = self.places.iter().rev().take_while(|seen| seen.kv.create_revision == create);
            if !same.any(|seen| seen.kv.key == place.kv.key) {
                self.places.push(place);
            }
        }
    }
}

/// What a place must wait for. It is small, and keeps nothing of the queue that was read: as many wait at
/// once as there are places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// That this place goes; whether others are in the way is asked anew then.
    Place(Bytes),
    /// That so many of the places before it go, whichever.
    Places(usize),
}

/// What a place with this mode waits for behind these places; `None`: it holds.
pub(super) fn obstacle(mode: LockMode, earlier: &[Place]) -> Option<Obstacle> {
    let last_but = |is_same_kind: fn(&LockMode) -> bool| {
        let last = earlier.iter().rev().find(|place| !is_same_kind(&place.mode))?;
        Some(Bytes::copy_from_slice(&last.kv.key))
    };
    let other = match mode {
        LockMode::Exclusive => last_but(|_| false),
        LockMode::Shared => last_but(|mode| matches!(mode, LockMode::Shared)),
        LockMode::Permits(_) => last_but(|mode| matches!(mode, LockMode::Permits(_))),
    };
    match (other, mode) {
        (Some(key), _) => Some(Obstacle::Place(key)),
        (None, LockMode::Permits(permits)) if earlier.len() >= permits as usize => {
            Some(Obstacle::Places(earlier.len() + 1 - permits as usize))
        }
        (None, _) => None,
    }
}

/// All places, each with whether it holds. Holders are all of the first one's kind: one pass tells.
pub(super) fn judge(places: Vec<Place>) -> Vec<LockPlace> {
    let kind = |mode: LockMode| std::mem::discriminant(&mode);
    let first = places.first().map(|place| kind(place.mode));
    let same = places.iter().take_while(|place| Some(kind(place.mode)) == first).count();
    let holds = |rank: usize, mode: LockMode| match mode {
        LockMode::Exclusive => rank == 0,
        LockMode::Shared => rank < same,
        LockMode::Permits(permits) => rank < same && rank < permits as usize,
    };
    let judged =
        |(rank, Place { mode, kv, .. }): (usize, Place)| LockPlace { holds: holds(rank, mode), kv, mode };
    places.into_iter().enumerate().map(judged).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(modes: &[LockMode]) -> Vec<Place> {
        let place = |(rank, mode): (usize, &LockMode)| {
            let key = LockKey { name: "l".into(), session: rank as u64 + 1, mode: *mode }.encode();
            let create_revision = rank as u64 + 2;
            let kv = KeyValue {
                key,
                value: Bytes::new(),
                create_revision,
                mod_revision: create_revision,
                version: 1,
                lease: rank as u64 + 1,
            };
            Place { session: kv.lease, mode: *mode, kv }
        };
        modes.iter().enumerate().map(place).collect()
    }

    fn holders(modes: &[LockMode]) -> Vec<bool> {
        judge(places(modes)).iter().map(|place| place.holds).collect()
    }

    #[test]
    fn each_mode_holds_with_its_own_kind_only() {
        use LockMode::{Exclusive as X, Permits as P, Shared as S};
        assert_eq!(holders(&[X, X, S]), [true, false, false]);
        assert_eq!(holders(&[S, S, X, S]), [true, true, false, false]);
        assert_eq!(holders(&[P(2), P(2), P(2)]), [true, true, false]);
        assert_eq!(holders(&[P(3), X, P(3)]), [true, false, false]);
        assert_eq!(holders(&[S, P(3), S]), [true, false, false]);
        assert_eq!(holders(&[P(1), P(3)]), [true, true], "each goes by its own number");
        assert_eq!(holders(&[]), [false; 0]);
    }

    #[test]
    fn what_a_waiter_keeps_does_not_grow_with_the_queue_that_it_has_read() {
        for mode in [LockMode::Permits(3), LockMode::Exclusive] {
            let mut earlier = places(&[LockMode::Permits(3); 100]);
            let answer =
                Bytes::from(earlier.iter().flat_map(|place| place.kv.key.to_vec()).collect::<Vec<_>>());
            let length = answer.len() / earlier.len();
            for (rank, place) in earlier.iter_mut().enumerate() {
                place.kv.key = answer.slice(rank * length..(rank + 1) * length);
            }
            let obstacle = obstacle(mode, &earlier).expect("many are before it");
            drop(earlier);
            assert!(answer.is_unique(), "{obstacle:?} keeps the answer");
        }
    }

    fn modes() -> impl Strategy<Value = Vec<LockMode>> {
        let mode = prop_oneof![
            Just(LockMode::Exclusive),
            Just(LockMode::Shared),
            (1..4_u32).prop_map(LockMode::Permits)
        ];
        proptest::collection::vec(mode, 0..8)
    }

    /// What a place waits for goes, one after the other; nothing else does.
    fn served_in_the_end(modes: &[LockMode]) -> bool {
        let mut earlier = places(modes);
        let Some(own) = earlier.pop() else { return true };
        for _ in 0..=modes.len() {
            match obstacle(own.mode, &earlier) {
                None => return true,
                Some(Obstacle::Place(key)) => earlier.retain(|place| place.kv.key != key),
                Some(Obstacle::Places(count)) => drop(earlier.drain(..count)),
            }
        }
        false
    }

    proptest! {
        #[test]
        fn who_waits_and_who_is_said_to_hold_agree(modes in modes()) {
            let places = places(&modes);
            for (rank, place) in judge(places.clone()).iter().enumerate() {
                let holds = obstacle(place.mode, &places[..rank]).is_none();
                prop_assert_eq!(holds, place.holds, "rank {} of {:?}", rank, modes);
            }
        }

        #[test]
        fn holders_are_of_one_kind_and_no_more_than_it_allows(modes in modes()) {
            let holders: Vec<_> = judge(places(&modes)).into_iter().filter(|place| place.holds).collect();
            let count = holders.len();
            let kinds: Vec<_> = holders.iter().map(|place| std::mem::discriminant(&place.mode)).collect();
            prop_assert!(kinds.windows(2).all(|pair| pair[0] == pair[1]));
            prop_assert!(count > 0 || modes.is_empty(), "somebody always holds");
            for holder in holders {
                match holder.mode {
                    LockMode::Exclusive => prop_assert_eq!(count, 1),
                    LockMode::Permits(_) => prop_assert!(count <= 3, "the largest number there is"),
                    LockMode::Shared => {}
                }
            }
        }

        #[test]
        fn everybody_is_served_when_those_waited_for_go(modes in modes()) {
            prop_assert!(served_in_the_end(&modes), "{:?}", modes);
        }
    }
}
