//! The store's answers, as histories note them: for whoever records what a client of ours did.

use std::time::Duration;

use super::{Found, Nanos, Outcome, Seen, Text};
use crate::{
    error::Error,
    types::{Header, KeyValue, RangeAnswer, WriteAnswer},
};

impl From<&Header> for Seen {
    fn from(header: &Header) -> Seen {
        Seen {
            node: header.member_id,
            term: header.term,
            revision: header.revision,
            applied: header.applied_index,
            ..Seen::default()
        }
    }
}

impl<T> From<&WriteAnswer<T>> for Seen {
    fn from(answer: &WriteAnswer<T>) -> Seen {
        Seen { stored: answer.write.deduplicated, ..Seen::from(&answer.header) }
    }
}

impl From<&RangeAnswer> for Seen {
    fn from(answer: &RangeAnswer) -> Seen {
        let evidence = &answer.evidence;
        Seen {
            role: Some(evidence.role),
            mechanism: Some(evidence.mechanism),
            served: Some(evidence.level_served),
            staleness_bound: evidence.staleness_bound.map(nanos),
            ..Seen::from(&answer.header)
        }
    }
}

impl From<&KeyValue> for Found {
    fn from(kv: &KeyValue) -> Found {
        Found {
            value: text(&kv.value),
            mod_revision: kv.mod_revision,
            create_revision: kv.create_revision,
            version: kv.version,
        }
    }
}

impl Outcome {
    /// What an error says of an operation: a read that failed has done nothing; a write only if the error
    /// says so.
    pub fn of_error(error: &Error, is_write: bool) -> Outcome {
        let reason = Text::from(error.reason());
        match is_write && error.maybe_committed() {
            true => Outcome::Unknown(reason),
            false => Outcome::Fail(reason),
        }
    }
}

/// A time since the history began.
pub fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

/// A key or a value as text.
pub fn text(bytes: &[u8]) -> Text {
    Text::from(String::from_utf8_lossy(bytes))
}
