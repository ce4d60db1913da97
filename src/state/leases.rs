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
use crate::types::{LeaseId, SESSION_RESPONSES_MAX, SessionSeq};

/// Bytes of responses that one session may keep; the response that reaches it is still kept.
const SESSION_BYTES_MAX: u64 = 8 << 20;

/// Bytes of responses that all sessions together may keep, for they are in memory on every member.
const ALL_SESSIONS_BYTES_MAX: u64 = 256 << 20;

const KIND_GRANT: u8 = 1;
const KIND_END: u8 = 2;
const KIND_ACKNOWLEDGE: u8 = 3;
const KIND_RESPOND: u8 = 4;

/// One change of the table; a list of them, from the empty table on, is the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A lease begins.
    Grant { lease: LeaseId, ttl_ms: u64, session: bool },
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
            let (seq, length) = (*seq, response.len() as u64);
            self.bytes -= length;
            self.responses.remove_mut(&seq);
        }
        before - self.bytes
    }
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
        if self.response_bytes - freed >= ALL_SESSIONS_BYTES_MAX {
            let what = "bytes of unacknowledged responses of all sessions".to_owned();
            return Ok(Recall::Refused(Refusal::TooMany { what, limit: ALL_SESSIONS_BYTES_MAX }));
        }
        Ok(room.full().map_or(Recall::New, Recall::Refused))
    }

    /// Makes a change. One that names what does not exist changes nothing.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Grant { lease, ttl_ms, session } => {
                self.end(*lease);
                self.sessions += u64::from(*session);
                let session = session.then(Session::default);
                self.all.insert_mut(*lease, Lease { ttl_ms: *ttl_ms, session });
            }
            Change::End { lease } => self.end(*lease),
            Change::Acknowledge { session, below } => self.change(*session, |session| {
                session.acknowledge(*below);
            }),
            Change::Respond { session, seq, response } => self.change(*session, |session| {
                session.bytes += response.len() as u64;
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
            let (id, ttl_ms) = (*id, lease.ttl_ms);
            let granted = Change::Grant { lease: id, ttl_ms, session: lease.is_session() };
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
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut kind_and_id = |kind, id| {
            out.push(kind);
            put_varint(out, id);
        };
        match self {
            Change::Grant { lease, ttl_ms, session } => {
                kind_and_id(KIND_GRANT, *lease);
                put_varint(out, *ttl_ms);
                out.push(u8::from(*session));
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
            KIND_GRANT => {
                let ttl_ms = input.varint()?;
                let session = match input.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Malformed("neither a session nor none")),
                };
                Change::Grant { lease: id, ttl_ms, session }
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
