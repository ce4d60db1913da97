//! The JSON objects of locks and elections.

use serde::Serialize;

use super::{HeaderObject, PairObject, text_or_base64};
use crate::types::{ElectionLeader, Held, LeaseId, LockMode, LockPlace, LockState};

/// Of `lock` and `elect` without a command: what is held.
#[derive(Serialize)]
pub(in crate::cli) struct HeldObject {
    header: HeaderObject,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_key_base64: Option<String>,
    fencing_token: u64,
    lease: LeaseId,
}

impl HeldObject {
    pub fn new(held: Held, lease: LeaseId) -> HeldObject {
        let (owner_key, owner_key_base64) = text_or_base64(&held.owner_key);
        let fencing_token = held.fencing_token;
        HeldObject { header: held.header.into(), owner_key, owner_key_base64, fencing_token, lease }
    }
}

/// Of `lock inspect`.
#[derive(Serialize)]
pub(in crate::cli) struct LockObject {
    header: HeaderObject,
    places: Vec<PlaceObject>,
}

impl From<LockState> for LockObject {
    fn from(state: LockState) -> LockObject {
        let places = state.places.into_iter().map(Into::into).collect();
        LockObject { header: state.header.into(), places }
    }
}

/// A place in the queue.
#[derive(Serialize)]
struct PlaceObject {
    holds: bool,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_key_base64: Option<String>,
    fencing_token: u64,
    lease: LeaseId,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl From<LockPlace> for PlaceObject {
    fn from(place: LockPlace) -> PlaceObject {
        let LockPlace { kv, mode, holds } = place;
        let (mode, permits) = match mode {
            LockMode::Exclusive => ("exclusive", None),
            LockMode::Shared => ("shared", None),
            LockMode::Permits(permits) => ("permits", Some(permits)),
        };
        let (owner_key, owner_key_base64) = text_or_base64(&kv.key);
        let (value, value_base64) = text_or_base64(&kv.value);
        let (fencing_token, lease) = (kv.create_revision, kv.lease);
        PlaceObject {
            holds,
            mode,
            permits,
            owner_key,
            owner_key_base64,
            fencing_token,
            lease,
            value,
            value_base64,
        }
    }
}

/// Of `observe`: one line for each change. `leader` is `null` while nobody leads.
#[derive(Serialize)]
pub(in crate::cli) struct LeaderObject {
    revision: u64,
    leader: Option<PairObject>,
}

impl From<ElectionLeader> for LeaderObject {
    fn from(leader: ElectionLeader) -> LeaderObject {
        LeaderObject { revision: leader.header.revision, leader: leader.leader.map(Into::into) }
    }
}
