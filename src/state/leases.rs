//! Leases and exactly-once sessions: what is replicated of them. No deadline: those exist only on the leader,
//! which proposes their end.
//!
//! A session is a lease that keeps the responses to its requests, by their sequence numbers, until the client
//! acknowledges them. A request that comes again gets the stored response, and is not applied again.
//!
//! The table is persistent (in the sense of data structures): a clone is a pointer, and later changes of
//! one do not touch the other. So a batch changes a clone, a refusal drops it, and a snapshot holds one.
//!
//! Which keys a lease has is not here: the index knows it (see `index`).

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use super::{
    Applied, Refusal,
    codec::{Input, Malformed, put_bytes, put_varint},
    command::GrantLease,
    stored,
};
use crate::{
    mutant::Mutant,
    types::{LeaseId, SESSION_RESPONSES_MAX, SessionSeq},
};

/// Bytes of responses that one session may keep; the response that reaches it is still kept.
const SESSION_BYTES_MAX: u64 = 8 << 20;

/// Bytes of responses that all sessions together may keep, for they are in memory on every member. Then those
/// that keep more than [`SHARE_BYTES`] are refused: small answers pass however large those of others are.
const ALL_SESSIONS_BYTES_MAX: u64 = 256 << 20;

/// Bytes of responses that a session may keep whatever the others do.
const SHARE_BYTES: u64 = 16 << 10;

/// Bytes that a response takes in memory besides its own, about.
const RESPONSE_BYTES: u64 = 128;

/// Without the index of its entry: before that was kept.
const KIND_GRANT_EARLY: u8 = 1;
const KIND_END: u8 = 2;
const KIND_ACKNOWLEDGE: u8 = 3;
const KIND_RESPOND: u8 = 4;
const KIND_GRANT: u8 = 5;

/// Ids of leases that are made here are from this on. Whoever proposes one that a client chose sees to it
/// that it is below.
pub const MADE_IDS: LeaseId = 1 << 62;

/// One change of the table; a list of them, from the empty table on, is the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A lease begins.
    Grant { lease: LeaseId, ttl_ms: u64, session: bool, granted_at: u64 },
    /// A lease ends, and with it what it keeps.
    End { lease: LeaseId },
    /// Responses below are forgotten.
    Acknowledge { session: LeaseId, below: u64 },
    /// A response is kept.
    Respond { session: LeaseId, seq: u64, response: Bytes },
}

/// What a session says to a request.
pub(super) enum Recall {
    /// It is new: apply it.
    New,
    /// It was applied, and this is what it gave.
    Stored(Applied),
    /// It must not be applied.
    Refused(Refusal),
}

/// All leases.
#[derive(Clone, Default)]
pub(super) struct Leases {
    all: RedBlackTreeMapSync<LeaseId, Lease>,
    sessions: u64,
    response_bytes: u64,
}

/// One lease.
#[derive(Clone)]
pub(super) struct Lease {
    pub ttl_ms: u64,
    /// The index of the entry that granted it.
    pub granted_at: u64,
    session: Option<Session>,
}

impl Lease {
    pub fn is_session(&self) -> bool {
        self.session.is_some()
    }
}

#[derive(Clone, Default)]
struct Session {
    acknowledged_below: u64,
    responses: RedBlackTreeMapSync<u64, Bytes>,
    bytes: u64,
}

impl Session {
    /// Why no further request may be applied.
    fn full(&self) -> Option<Refusal> {
        let (count, bytes) = (self.responses.size() as u64, self.bytes);
        let bounds = [
            ("unacknowledged responses of a session", SESSION_RESPONSES_MAX as u64, count),
            ("bytes of unacknowledged responses of a session", SESSION_BYTES_MAX, bytes),
        ];
        let reached = bounds.into_iter().find(|(_, limit, actual)| actual >= limit);
        reached.map(|(what, limit, _)| Refusal::TooMany { what: what.to_owned(), limit })
    }

    /// Gives the bytes that it no longer holds.
    fn acknowledge(&mut self, below: u64) -> u64 {
        let before = self.bytes;
        self.acknowledged_below = self.acknowledged_below.max(below);
        while let Some((seq, response)) = self.responses.first() {
            if *seq >= self.acknowledged_below {
                break;
            }
            let (seq, bytes) = (*seq, bytes(response));
            self.bytes -= bytes;
            self.responses.remove_mut(&seq);
        }
        before - self.bytes
    }
}

/// Bytes that a response takes.
fn bytes(response: &Bytes) -> u64 {
    response.len() as u64 + RESPONSE_BYTES
}

impl Leases {
    pub fn get(&self, lease: LeaseId) -> Option<&Lease> {
        self.all.get(&lease)
    }

    pub fn len(&self) -> u64 {
        self.all.size() as u64
    }

    /// Leases with greater ids than `after`, in order.
    pub fn after(&self, after: LeaseId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.all.range(after.saturating_add(1)..).map(|(id, lease)| (*id, lease))
    }

    /// An id for the lease that the entry at `index` grants. Entries have indexes of their own, so that it
    /// never was another's that was made here: what was meant for an ended session finds no new one.
    pub fn unused_id(&self, index: u64) -> LeaseId {
        let mut id = MADE_IDS.saturating_add(index);
        while self.all.contains_key(&id) {
            id = id.saturating_add(1);
        }
        id
    }

    /// Why a lease cannot be granted.
    pub fn check(&self, grant: &GrantLease) -> Result<(), Refusal> {
        if self.all.contains_key(&grant.lease) {
            return Err(Refusal::LeaseExists(grant.lease));
        }
        let bounds = [
            ("limits.leases_max", grant.leases_max, self.len()),
            ("limits.sessions_max", grant.sessions_max, if grant.session { self.sessions } else { 0 }),
        ];
        match bounds.into_iter().find(|(_, limit, actual)| actual >= limit) {
            Some((what, limit, _)) => Err(Refusal::TooMany { what: what.to_owned(), limit }),
            None => Ok(()),
        }
    }

    /// Looks a request up, before it is applied.
    pub fn recall(&self, request: &SessionSeq) -> Result<Recall, Malformed> {
        let SessionSeq { id, seq, ack_below } = *request;
        let Some(session) = self.get(id).and_then(|lease| lease.session.as_ref()) else {
            return Ok(Recall::Refused(Refusal::SessionExpired(id)));
        };
        let acknowledged_below = session.acknowledged_below;
        if seq < acknowledged_below {
            return Ok(Recall::Refused(Refusal::SessionSeq { seq, acknowledged_below }));
        }
        if let Some(response) = session.responses.get(&seq) {
            return stored::decode(response).map(Recall::Stored);
        }
        // What it acknowledges makes room for it.
        let mut room = session.clone();
        let freed = room.acknowledge(ack_below);
        if self.response_bytes - freed >= ALL_SESSIONS_BYTES_MAX && room.bytes > SHARE_BYTES {
            let what = "bytes of unacknowledged responses of all sessions".to_owned();
            return Ok(Recall::Refused(Refusal::TooMany { what, limit: ALL_SESSIONS_BYTES_MAX }));
        }
        Ok(room.full().map_or(Recall::New, Recall::Refused))
    }

    /// Makes a change. One that names what does not exist changes nothing.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Grant { lease, ttl_ms, session, granted_at } => {
                self.end(*lease);
                self.sessions += u64::from(*session);
                let session = session.then(Session::default);
                self.all.insert_mut(*lease, Lease { ttl_ms: *ttl_ms, granted_at: *granted_at, session });
            }
            Change::End { lease } => self.end(*lease),
            Change::Acknowledge { session, below } => self.change(*session, |session| {
                session.acknowledge(*below);
            }),
            Change::Respond { session, seq, response } => self.change(*session, |session| {
                session.bytes += bytes(response);
                session.responses.insert_mut(*seq, response.clone());
            }),
        }
    }

    fn end(&mut self, lease: LeaseId) {
        let Some(ended) = self.all.get(&lease) else { return };
        if let Some(session) = &ended.session {
            self.sessions -= 1;
            self.response_bytes -= session.bytes;
        }
        self.all.remove_mut(&lease);
    }

    fn change(&mut self, session: LeaseId, change: impl FnOnce(&mut Session)) {
        let Some(lease) = self.all.get_mut(&session) else { return };
        let Some(session) = &mut lease.session else { return };
        let before = session.bytes;
        change(session);
        self.response_bytes = self.response_bytes - before + session.bytes;
    }

    /// The changes that make this table from an empty one. Equal tables give equal lists.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        self.all.iter().flat_map(|(id, lease)| {
            let (id, session, granted_at) = (*id, lease.is_session(), lease.granted_at);
            let granted = Change::Grant { lease: id, ttl_ms: lease.ttl_ms, session, granted_at };
            let session = lease.session.iter();
            let below = session.clone().filter(|session| session.acknowledged_below > 0);
            let below = below
                .map(move |session| Change::Acknowledge { session: id, below: session.acknowledged_below });
            let responses = session.flat_map(|session| session.responses.iter());
            let responses = responses.map(move |(seq, response)| Change::Respond {
                session: id,
                seq: *seq,
                response: response.clone(),
            });
            std::iter::once(granted).chain(below).chain(responses)
        })
    }
}

impl Change {
    /// Whether a snapshot leaves it out, by [`Mutant::SessionsForgotten`] alone.
    pub fn is_forgotten(&self) -> bool {
        matches!(self, Change::Respond { .. }) && Mutant::SessionsForgotten.is_on()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut kind_and_id = |kind, id| {
            out.push(kind);
            put_varint(out, id);
        };
        match self {
            Change::Grant { lease, ttl_ms, session, granted_at } => {
                kind_and_id(KIND_GRANT, *lease);
                put_varint(out, *ttl_ms);
                out.push(u8::from(*session));
                put_varint(out, *granted_at);
            }
            Change::End { lease } => kind_and_id(KIND_END, *lease),
            Change::Acknowledge { session, below } => {
                kind_and_id(KIND_ACKNOWLEDGE, *session);
                put_varint(out, *below);
            }
            Change::Respond { session, seq, response } => {
                kind_and_id(KIND_RESPOND, *session);
                put_varint(out, *seq);
                put_bytes(out, response);
            }
        }
    }

    /// Reads one change. `bytes` is what `input` reads.
    pub fn decode(input: &mut Input, bytes: &[u8]) -> Result<Change, Malformed> {
        let (kind, id) = (input.u8()?, input.varint()?);
        Ok(match kind {
            KIND_GRANT | KIND_GRANT_EARLY => {
                let ttl_ms = input.varint()?;
                let session = match input.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Malformed("neither a session nor none")),
                };
                let granted_at = if kind == KIND_GRANT { input.varint()? } else { 0 };
                Change::Grant { lease: id, ttl_ms, session, granted_at }
            }
            KIND_END => Change::End { lease: id },
            KIND_ACKNOWLEDGE => Change::Acknowledge { session: id, below: input.varint()? },
            KIND_RESPOND => {
                let seq = input.varint()?;
                let response = Bytes::copy_from_slice(&bytes[input.span()?]);
                Change::Respond { session: id, seq, response }
            }
            _ => return Err(Malformed("unknown change of a lease")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(lease: LeaseId) -> GrantLease {
        GrantLease { lease, ttl_ms: 1, session: true, leases_max: 100, sessions_max: 100 }
    }

    fn table(sessions: &[LeaseId]) -> Leases {
        let mut leases = Leases::default();
        for session in sessions {
            let GrantLease { lease, ttl_ms, session, .. } = grant(*session);
            leases.apply(&Change::Grant { lease, ttl_ms, session, granted_at: lease });
        }
        leases
    }

    fn respond(leases: &mut Leases, session: LeaseId, seq: u64, bytes: usize) {
        leases.apply(&Change::Respond { session, seq, response: vec![0; bytes].into() });
    }

    fn is_new(leases: &Leases, id: LeaseId, seq: u64, ack_below: u64) -> bool {
        let recalled = leases.recall(&SessionSeq { id, seq, ack_below }).expect("nothing is damaged");
        matches!(recalled, Recall::New)
    }

    #[test]
    fn large_answers_of_some_sessions_do_not_refuse_small_ones_of_others() {
        let mut leases = table(&(1..=42).collect::<Vec<_>>());
        for hog in 1..=40 {
            respond(&mut leases, hog, 1, 7 << 20);
        }
        respond(&mut leases, 41, 1, 100);
        respond(&mut leases, 42, 1, SHARE_BYTES as usize);
        assert!(leases.response_bytes > ALL_SESSIONS_BYTES_MAX);
        assert!(is_new(&leases, 41, 2, 1), "it keeps little");
        assert!(!is_new(&leases, 42, 2, 1), "it keeps more than its share");
        assert!(is_new(&leases, 42, 2, 2), "not any more");
        assert!(!is_new(&leases, 1, 2, 1));
    }

    #[test]
    fn room_that_is_taken_is_given_back() {
        let mut leases = table(&[1, 2]);
        for seq in 1..=3 {
            respond(&mut leases, 1, seq, 10);
            respond(&mut leases, 2, seq, 10);
        }
        leases.apply(&Change::Acknowledge { session: 1, below: 3 });
        assert_eq!(leases.response_bytes, 4 * (10 + RESPONSE_BYTES));
        leases.apply(&Change::End { lease: 2 });
        leases.apply(&Change::Acknowledge { session: 1, below: 9 });
        assert_eq!(leases.response_bytes, 0);
    }

    #[test]
    fn an_id_is_made_that_nobody_has() {
        let mut leases = table(&[]);
        let made = leases.unused_id(7);
        assert_ne!(made, leases.unused_id(8));
        leases.apply(&Change::Grant { lease: made, ttl_ms: 1, session: false, granted_at: 7 });
        assert_eq!(leases.unused_id(7), made + 1);
    }

    /// What a journal or a snapshot holds must be readable for ever: if this fails, the format was broken.
    #[test]
    fn frozen_changes_decode_for_ever() {
        let frozen: [(&[u8], Change); 5] = [
            (&[1, 7, 5, 1], Change::Grant { lease: 7, ttl_ms: 5, session: true, granted_at: 0 }),
            (&[5, 7, 5, 0, 9], Change::Grant { lease: 7, ttl_ms: 5, session: false, granted_at: 9 }),
            (&[2, 7], Change::End { lease: 7 }),
            (&[3, 7, 4], Change::Acknowledge { session: 7, below: 4 }),
            (&[4, 7, 4, 2, 8, 9], Change::Respond { session: 7, seq: 4, response: vec![8, 9].into() }),
        ];
        for (bytes, change) in frozen {
            assert_eq!(Change::decode(&mut Input::new(bytes), bytes).expect("readable"), change);
            let mut encoded = Vec::new();
            change.encode(&mut encoded);
            let early = bytes[0] == KIND_GRANT_EARLY;
            assert!(early || encoded == bytes, "{change:?} is written in another way: {encoded:?}");
        }
    }
}
