//! Locks and elections, towards the wire; and their requests, from it. Rust clients have the recipes
//! themselves, and do not read the answers.

use super::{each, enumerated};
use crate::{
    error::Error,
    pb::v1::{self, lock_acquire_response::Progress, lock_mode::Kind},
    types::{
        Acquire, ElectionLeader, Guard, Header, Held, LockMode, LockPlace, LockProgress, LockState,
        WriteAnswer,
    },
};

impl From<LockMode> for v1::LockMode {
    fn from(mode: LockMode) -> Self {
        let (kind, permits) = match mode {
            LockMode::Exclusive => (Kind::Exclusive, 0),
            LockMode::Shared => (Kind::Shared, 0),
            LockMode::Permits(permits) => (Kind::Permits, permits),
        };
        v1::LockMode { kind: kind.into(), permits }
    }
}

impl TryFrom<v1::LockMode> for LockMode {
    type Error = Error;

    fn try_from(mode: v1::LockMode) -> Result<Self, Error> {
        match (enumerated::<Kind>("mode.kind", mode.kind)?, mode.permits) {
            (Kind::Exclusive, 0) => Ok(LockMode::Exclusive),
            (Kind::Shared, 0) => Ok(LockMode::Shared),
            (Kind::Permits, permits) => Ok(LockMode::Permits(permits)),
            (Kind::Exclusive | Kind::Shared, permits) => {
                Err(Error::Invalid(format!("mode.permits is {permits}, but mode.kind is not PERMITS")))
            }
        }
    }
}

impl TryFrom<v1::LockAcquireRequest> for Acquire {
    type Error = Error;

    fn try_from(request: v1::LockAcquireRequest) -> Result<Self, Error> {
        let v1::LockAcquireRequest { name, session_id: session, mode, value } = request;
        // Protobuf leaves a message out that has only defaults: exclusive.
        Ok(Acquire { name, session, mode: mode.unwrap_or_default().try_into()?, value })
    }
}

/// The grant that a release, a proclamation or a resignation is about.
pub fn grant(owner_key: bytes::Bytes, fencing_token: u64) -> Guard {
    Guard { owner_key, fencing_token }
}

impl From<Held> for v1::Held {
    fn from(held: Held) -> Self {
        v1::Held { owner_key: held.owner_key, fencing_token: held.fencing_token }
    }
}

/// The header of a position in the queue is `now`: the member's present.
pub fn progress(progress: LockProgress, now: Header) -> v1::LockAcquireResponse {
    let (header, progress) = match progress {
        LockProgress::Queued { owner_key, position } => {
            (now, Progress::Queued(v1::lock_acquire_response::Queued { owner_key, position }))
        }
        LockProgress::Granted(held) => (held.header.clone(), Progress::Granted(held.into())),
    };
    v1::LockAcquireResponse { header: Some(header.into()), progress: Some(progress) }
}

impl From<WriteAnswer<()>> for v1::LockReleaseResponse {
    fn from(answer: WriteAnswer<()>) -> Self {
        v1::LockReleaseResponse { header: Some(answer.header.into()), write: Some(answer.write.into()) }
    }
}

impl From<WriteAnswer<()>> for v1::ProclaimResponse {
    fn from(answer: WriteAnswer<()>) -> Self {
        v1::ProclaimResponse { header: Some(answer.header.into()), write: Some(answer.write.into()) }
    }
}

impl From<LockState> for v1::LockInspectResponse {
    fn from(state: LockState) -> Self {
        v1::LockInspectResponse { header: Some(state.header.into()), places: each(state.places) }
    }
}

impl From<LockPlace> for v1::lock_inspect_response::Place {
    fn from(place: LockPlace) -> Self {
        let LockPlace { kv, mode, holds } = place;
        v1::lock_inspect_response::Place {
            owner_key: kv.key,
            fencing_token: kv.create_revision,
            session_id: kv.lease,
            mode: Some(mode.into()),
            value: kv.value,
            holds,
        }
    }
}

impl From<ElectionLeader> for v1::LeaderResponse {
    fn from(leader: ElectionLeader) -> Self {
        v1::LeaderResponse { header: Some(leader.header.into()), leader: leader.leader.map(Into::into) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_says_one_thing() {
        for mode in [LockMode::Exclusive, LockMode::Shared, LockMode::Permits(0), LockMode::Permits(7)] {
            assert_eq!(v1::LockMode::from(mode).try_into(), Ok(mode));
        }
        let contradiction = v1::LockMode { kind: Kind::Shared.into(), permits: 3 };
        assert!(matches!(LockMode::try_from(contradiction), Err(Error::Invalid(_))));
        let unknown = v1::LockMode { kind: 9, permits: 0 };
        assert!(matches!(LockMode::try_from(unknown), Err(Error::Invalid(_))));
        let plain = v1::LockAcquireRequest { name: "l".into(), session_id: 1, ..Default::default() };
        assert_eq!(Acquire::try_from(plain).map(|acquire| acquire.mode), Ok(LockMode::Exclusive));
    }
}
