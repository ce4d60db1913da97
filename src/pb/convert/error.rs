//! The one table between [`Error`], [`v1::ErrorDetail`] and [`tonic::Status`]. docs/api.md shows it.
//!
//! A status carries its details the way all gRPC tools expect them: a `google.rpc.Status` in
//! `grpc-status-details-bin` with one `ErrorDetail` inside an `Any`. They hold every field of the error, so
//! that the client gets back the very error that the server had (times in whole milliseconds, texts cut at
//! [`TEXT_BYTES_MAX`]). A status without them was made by something in between: see [`from_status`].

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use prost::Message;
use tonic::{Code, ConnectError, Status, TimeoutExpired};

use super::{RequestKind, millis_ceil, millis_floor};
use crate::{
    error::{Error, LeaderHint},
    pb::v1::{self, Reason, error_detail},
};

/// Bytes of each text in an error: a status travels in HTTP/2 headers, which clients bound at 16 KiB.
pub const TEXT_BYTES_MAX: usize = 1024;

const TYPE_URL: &str = "type.googleapis.com/quorate.v1.ErrorDetail";

/// `google.rpc.Status`: its tags are a public contract.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// The gRPC code of an error: what generic tools (proxies, dashboards, retry rules) understand of it.
pub fn code(error: &Error) -> Code {
    match error {
        Error::Invalid(_) => Code::InvalidArgument,
        Error::LeaseNotFound(_) => Code::NotFound,
        Error::Compacted { .. } | Error::FutureRevision { .. } => Code::OutOfRange,
        Error::TooLarge { .. } | Error::Overloaded { .. } | Error::NoSpace { .. } => Code::ResourceExhausted,
        Error::NotLeader { .. }
        | Error::WrongRoute { .. }
        | Error::WrongCluster(_)
        | Error::LeaseExists(_)
        | Error::SessionExpired(_)
        | Error::SessionSeq { .. }
        | Error::LockLost { .. } => Code::FailedPrecondition,
        Error::LeaseExpired | Error::TooStale { .. } => Code::Aborted,
        Error::NoLeader
        | Error::NoQuorum
        | Error::NotReady(_)
        | Error::ShuttingDown
        | Error::Stopped(_)
        | Error::Connection { .. } => Code::Unavailable,
        Error::Deadline { .. } | Error::WaitTimeout { .. } => Code::DeadlineExceeded,
        Error::UnknownOutcome(_) => Code::Unknown,
        Error::Protocol(_) => Code::Internal,
    }
}

/// The status that tells a client of `error`.
pub fn to_status(error: &Error, request_id: &str) -> Status {
    let (code, message) = (code(error), cut(&error.to_string()));
    let any =
        prost_types::Any { type_url: TYPE_URL.into(), value: detail(error, request_id).encode_to_vec() };
    let details = RpcStatus { code: code.into(), message: message.clone(), details: vec![any] };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// The error that a status tells of. `endpoint` answered, or failed to, a request of this kind.
///
/// A status without details does not come from a member's own code: a proxy, a broken connection, tonic
/// itself. Its code decides, and where that leaves it open whether a write was done, the error says so
/// (`maybe_committed`).
pub fn from_status(status: &Status, endpoint: &str, kind: RequestKind) -> Error {
    match (details_of(status), status.source()) {
        (Some(detail), _) => from_detail(detail, status.message()),
        (None, Some(cause)) => from_transport(status, cause, endpoint, kind),
        (None, None) => from_code(status, endpoint, kind),
    }
}

/// The same inside an answer of a pipeline.
pub fn to_failure(error: &Error, request_id: &str) -> v1::Failure {
    let status = to_status(error, request_id);
    let details = Bytes::copy_from_slice(status.details());
    v1::Failure { code: status.code().into(), message: status.message().into(), details }
}

/// The status that a call of its own would have ended with.
pub fn of_failure(failure: v1::Failure) -> Status {
    Status::with_details(failure.code.into(), failure.message, failure.details)
}

/// The request id that a failed answer carries, if a member made it.
pub fn request_id(status: &Status) -> Option<String> {
    details_of(status).map(|detail| detail.request_id)
}

fn details_of(status: &Status) -> Option<v1::ErrorDetail> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let any = details.into_iter().find(|any| any.type_url == TYPE_URL)?;
    v1::ErrorDetail::decode(any.value.as_slice()).ok()
}

/// A failure of this side's transport. Precise where tonic is: its `ConnectError` says that the request never
/// left. Any other may have happened before, while or after the member worked on it.
fn from_transport(
    status: &Status,
    cause: &(dyn std::error::Error + 'static),
    endpoint: &str,
    kind: RequestKind,
) -> Error {
    let maybe_committed = kind == RequestKind::Write && !caused_by::<ConnectError>(status);
    if caused_by::<TimeoutExpired>(status) {
        return Error::Deadline { waiting_for: format!("the answer of {endpoint}"), maybe_committed };
    }
    Error::Connection { endpoint: endpoint.into(), why: root_cause(cause), maybe_committed }
}

/// Whether an error of type `E` is among the causes of `status`.
fn caused_by<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost cause, which is the one that means something ("Connection refused").
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn from_code(status: &Status, endpoint: &str, kind: RequestKind) -> Error {
    let maybe_committed = kind == RequestKind::Write;
    let why = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => {
            Error::Deadline { waiting_for: format!("the answer of {endpoint} ({why})"), maybe_committed }
        }
        Code::InvalidArgument => Error::Invalid(status.message().into()),
        Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied | Code::NotFound => {
            Error::Protocol(why)
        }
        Code::OutOfRange => kind.unreadable(why),
        _ => Error::Connection { endpoint: endpoint.into(), why, maybe_committed },
    }
}

/// The reason on the wire.
fn reason(error: &Error) -> Reason {
    match error {
        Error::Invalid(_) => Reason::Invalid,
        Error::TooLarge { .. } => Reason::TooLarge,
        Error::Compacted { .. } => Reason::Compacted,
        Error::FutureRevision { .. } => Reason::FutureRevision,
        Error::LeaseNotFound(_) => Reason::LeaseNotFound,
        Error::LeaseExists(_) => Reason::LeaseExists,
        Error::SessionExpired(_) => Reason::SessionExpired,
        Error::SessionSeq { .. } => Reason::SessionSeq,
        Error::LockLost { .. } => Reason::LockLost,
        Error::NotLeader { .. } => Reason::NotLeader,
        Error::WrongRoute { .. } => Reason::WrongRoute,
        Error::NoLeader => Reason::NoLeader,
        Error::NoQuorum => Reason::NoQuorum,
        Error::NotReady(_) => Reason::NotReady,
        Error::ShuttingDown => Reason::ShuttingDown,
        Error::LeaseExpired => Reason::LeaseExpired,
        Error::TooStale { .. } => Reason::TooStale,
        Error::WaitTimeout { .. } => Reason::WaitTimeout,
        Error::Deadline { .. } => Reason::Deadline,
        Error::UnknownOutcome(_) => Reason::UnknownOutcome,
        Error::Overloaded { .. } => Reason::Overloaded,
        Error::NoSpace { .. } => Reason::NoSpace,
        Error::Stopped(_) => Reason::Stopped,
        Error::Connection { .. } => Reason::Connection,
        Error::Protocol(_) => Reason::Protocol,
        Error::WrongCluster(_) => Reason::WrongCluster,
    }
}

/// The details that tell of an error, for a status or inside an answer.
pub fn detail(error: &Error, request_id: &str) -> v1::ErrorDetail {
    let base = v1::ErrorDetail {
        reason: reason(error).into(),
        maybe_committed: error.maybe_committed(),
        retryable: error.retryable(),
        request_id: request_id.into(),
        ..Default::default()
    };
    match error {
        Error::Invalid(why)
        | Error::NotReady(why)
        | Error::UnknownOutcome(why)
        | Error::Stopped(why)
        | Error::Protocol(why)
        | Error::WrongCluster(why) => v1::ErrorDetail { why: cut(why), ..base },
        Error::NoLeader | Error::NoQuorum | Error::ShuttingDown | Error::LeaseExpired => base,
        Error::LeaseNotFound(lease) | Error::LeaseExists(lease) | Error::SessionExpired(lease) => {
            v1::ErrorDetail { want: Some(*lease), ..base }
        }
        Error::LockLost { owner_key, token, current_token } => v1::ErrorDetail {
            owner_key: owner_key.clone(),
            want: Some(*token),
            have: Some(*current_token),
            ..base
        },
        Error::Compacted { requested: want, compacted: have }
        | Error::FutureRevision { requested: want, current: have }
        | Error::WaitTimeout { want, have }
        | Error::NoSpace { needed: want, free: have }
        | Error::SessionSeq { seq: want, acknowledged_below: have } => {
            v1::ErrorDetail { want: Some(*want), have: Some(*have), ..base }
        }
        Error::TooStale { have, want } => {
            v1::ErrorDetail { want: Some(millis_floor(*want)), have: have.map(millis_ceil), ..base }
        }
        Error::TooLarge { what, limit, actual } => {
            v1::ErrorDetail { limit: Some(exceeded(what, *limit, *actual)), ..base }
        }
        Error::Overloaded { what, limit, retry_after } => v1::ErrorDetail {
            limit: Some(exceeded(what, *limit, *limit)),
            retry_after_ms: millis_ceil(*retry_after),
            ..base
        },
        Error::NotLeader { leader } => v1::ErrorDetail { leader: leader.as_ref().map(Into::into), ..base },
        Error::WrongRoute { asked, member, role, leader } => v1::ErrorDetail {
            subject: cut(asked),
            have: Some(*member),
            why: cut(role),
            leader: leader.as_ref().map(Into::into),
            ..base
        },
        Error::Deadline { waiting_for, .. } => v1::ErrorDetail { subject: cut(waiting_for), ..base },
        Error::Connection { endpoint, why, .. } => {
            v1::ErrorDetail { subject: cut(endpoint), why: cut(why), ..base }
        }
    }
}

/// The inverse of [`detail`]. A reason that this version does not know keeps what matters most about it.
pub fn from_detail(detail: v1::ErrorDetail, message: &str) -> Error {
    let reason = detail.reason();
    let v1::ErrorDetail { maybe_committed, subject, why, .. } = detail;
    let (want, have) = (detail.want.unwrap_or(0), detail.have.unwrap_or(0));
    let limit = detail.limit.unwrap_or_default();
    let leader = detail.leader.map(LeaderHint::from);
    match reason {
        Reason::Unspecified if maybe_committed => Error::UnknownOutcome(message.into()),
        Reason::Unspecified => Error::Protocol(message.into()),
        Reason::Invalid => Error::Invalid(why),
        Reason::TooLarge => Error::TooLarge { what: limit.name, limit: limit.limit, actual: limit.actual },
        Reason::Compacted => Error::Compacted { requested: want, compacted: have },
        Reason::FutureRevision => Error::FutureRevision { requested: want, current: have },
        Reason::NotLeader => Error::NotLeader { leader },
        Reason::WrongRoute => Error::WrongRoute { asked: subject, member: have, role: why, leader },
        Reason::NoLeader => Error::NoLeader,
        Reason::NoQuorum => Error::NoQuorum,
        Reason::NotReady => Error::NotReady(why),
        Reason::ShuttingDown => Error::ShuttingDown,
        Reason::LeaseExpired => Error::LeaseExpired,
        Reason::TooStale => Error::TooStale {
            have: detail.have.map(Duration::from_millis),
            want: Duration::from_millis(want),
        },
        Reason::WaitTimeout => Error::WaitTimeout { have, want },
        Reason::Deadline => Error::Deadline { waiting_for: subject, maybe_committed },
        Reason::UnknownOutcome => Error::UnknownOutcome(why),
        Reason::Overloaded => {
            let retry_after = Duration::from_millis(detail.retry_after_ms);
            Error::Overloaded { what: limit.name, limit: limit.limit, retry_after }
        }
        Reason::NoSpace => Error::NoSpace { free: have, needed: want },
        Reason::Stopped => Error::Stopped(why),
        Reason::Connection => Error::Connection { endpoint: subject, why, maybe_committed },
        Reason::Protocol => Error::Protocol(why),
        Reason::WrongCluster => Error::WrongCluster(why),
        Reason::LeaseNotFound => Error::LeaseNotFound(want),
        Reason::LeaseExists => Error::LeaseExists(want),
        Reason::SessionExpired => Error::SessionExpired(want),
        Reason::SessionSeq => Error::SessionSeq { seq: want, acknowledged_below: have },
        Reason::LockLost => Error::LockLost { owner_key: detail.owner_key, token: want, current_token: have },
    }
}

impl From<&LeaderHint> for error_detail::Leader {
    fn from(leader: &LeaderHint) -> Self {
        Self { id: leader.id, client_addr: cut(&leader.client_addr) }
    }
}

impl From<error_detail::Leader> for LeaderHint {
    fn from(leader: error_detail::Leader) -> Self {
        LeaderHint { id: leader.id, client_addr: leader.client_addr }
    }
}

fn exceeded(name: &str, limit: u64, actual: u64) -> error_detail::Limit {
    error_detail::Limit { name: cut(name), limit, actual }
}

/// The text, cut at [`TEXT_BYTES_MAX`] between two characters.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text[..end].to_owned()
}
