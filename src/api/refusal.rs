//! tonic's own refusals, in our terms.
//!
//! Before a handler runs, tonic decodes the message, and answers what it cannot decode with a bare
//! `INTERNAL`, or with `OUT_OF_RANGE` if it is too large. Both are the client's doing, and so it is told what
//! is wrong with its request.

use http::Response;
use tonic::{Code, Status, body::Body};

use crate::{error::Error, pb::convert};

/// Replaces an answer by which tonic refused the request. All others stay as they are: those of our handlers
/// are told by their details.
pub fn explain(response: Response<Body>, request_id: &str) -> Response<Body> {
    match Status::from_header_map(response.headers()).as_ref().and_then(translate) {
        Some(error) => convert::to_status(&error, request_id).into_http(),
        None => response,
    }
}

/// The error that a refusal by tonic itself means; `None` for any other status.
pub fn translate(status: &Status) -> Option<Error> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::OutOfRange => too_large(status.message()),
        Code::Internal => Some(Error::Invalid(format!("the request cannot be read: {}", status.message()))),
        _ => None,
    }
}

/// tonic tells both numbers in its message only: `… found 17 bytes, the limit is: 16 bytes`.
fn too_large(message: &str) -> Option<Error> {
    let number_after = |words: &str| {
        let (_, rest) = message.split_once(words)?;
        rest.split_once(' ')?.0.parse().ok()
    };
    let (actual, limit) = (number_after("found ")?, number_after("limit is: ")?);
    Some(Error::TooLarge { what: "limits.request_bytes_max".into(), limit, actual })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tonic_refused_is_explained_and_all_else_is_left_alone() {
        let large = Status::out_of_range(
            "Error, decoded message length too large: found 17 bytes, the limit is: 16 bytes",
        );
        let what = "limits.request_bytes_max".to_owned();
        assert_eq!(translate(&large), Some(Error::TooLarge { what, limit: 16, actual: 17 }));
        assert!(matches!(translate(&Status::internal("bad varint")), Some(Error::Invalid(_))));
        assert_eq!(translate(&Status::unimplemented("")), None);
        assert_eq!(translate(&Status::out_of_range("something else")), None);
        let ours = convert::to_status(&Error::Protocol("ours".into()), "id");
        assert_eq!(translate(&ours), None);
    }
}
