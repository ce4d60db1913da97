//! Sessions and guards of a write.

use super::each;
use crate::{
    pb::v1,
    types::{CallOptions, Guard, SessionSeq},
};

/// What of a call's options travels inside the message.
pub fn exactness(options: &CallOptions) -> Option<v1::Exactness> {
    let guards: Vec<v1::Guard> = each(options.guards.clone());
    let session = options.session.map(Into::into);
    (session.is_some() || !guards.is_empty()).then_some(v1::Exactness { session, guards })
}

/// The options of a call, with what its message says of session and guards.
pub fn with_exactness(options: CallOptions, exactness: Option<v1::Exactness>) -> CallOptions {
    let Some(v1::Exactness { session, guards }) = exactness else { return options };
    CallOptions { session: session.map(Into::into), guards: each(guards), ..options }
}

impl From<SessionSeq> for v1::SessionSeq {
    fn from(request: SessionSeq) -> Self {
        let SessionSeq { id: session_id, seq, ack_below } = request;
        v1::SessionSeq { session_id, seq, ack_below }
    }
}

impl From<v1::SessionSeq> for SessionSeq {
    fn from(request: v1::SessionSeq) -> Self {
        let v1::SessionSeq { session_id: id, seq, ack_below } = request;
        SessionSeq { id, seq, ack_below }
    }
}

impl From<Guard> for v1::Guard {
    fn from(guard: Guard) -> Self {
        v1::Guard { owner_key: guard.owner_key, fencing_token: guard.fencing_token }
    }
}

impl From<v1::Guard> for Guard {
    fn from(guard: v1::Guard) -> Self {
        Guard { owner_key: guard.owner_key, fencing_token: guard.fencing_token }
    }
}
