//! How a session keeps a response: what applying a request gave, as bytes.
//!
//! ```text
//! response  index:varint term:varint revision:varint outcome
//! outcome   kind:u8 and what belongs to it; lists and texts with their length before them
//! ```
//! Kinds are frozen: responses lie in engines and snapshots. Of refusals all are kept but those that say that
//! the session itself refused, which are no responses.

use bytes::Bytes;

use super::{
    Applied, Outcome, Refusal,
    codec::{Input, Malformed, put_bytes, put_varint},
};
use crate::types::{DeleteResult, Granted, KeyValue, OpResult, RangeResult, Revoked, TxnResult};

/// Results nest no deeper than transactions in the log.
const DEPTH_MAX: usize = 64;

/// What nothing can be.
const UNKNOWN: Malformed = Malformed("unknown kind in a stored response");

/// Encodes a response.
pub(super) fn encode(applied: &Applied) -> Bytes {
    let mut out = Vec::with_capacity(32);
    for number in [applied.log_index, applied.log_term, applied.revision] {
        put_varint(&mut out, number);
    }
    put_outcome(&mut out, &applied.outcome);
    out.into()
}

/// Decodes a response, which is thereby a stored one.
pub(super) fn decode(bytes: &Bytes) -> Result<Applied, Malformed> {
    let mut reader = Reader { input: Input::new(bytes), bytes };
    let (log_index, log_term) = (reader.number()?, reader.number()?);
    let (revision, outcome) = (reader.number()?, reader.outcome()?);
    reader.input.end()?;
    Ok(Applied { log_index, log_term, revision, outcome, deduplicated: true })
}

fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Put(previous) => {
            out.push(1);
            put_pairs(out, previous.as_slice());
        }
        Outcome::Delete(result) => {
            out.push(2);
            put_delete(out, result);
        }
        Outcome::Txn(result) => {
            out.push(3);
            put_txn(out, result);
        }
        Outcome::Compact => out.push(4),
        Outcome::Marker => out.push(5),
        Outcome::Grant(granted) => {
            out.push(6);
            put_varint(out, granted.id);
            put_varint(out, granted.ttl.as_millis() as u64);
        }
        Outcome::Revoke(revoked) => {
            out.push(7);
            put_varint(out, revoked.deleted);
        }
        Outcome::Expire { leases, deleted } => {
            out.push(8);
            put_varint(out, *leases);
            put_varint(out, *deleted);
        }
        Outcome::Refused(refusal) => {
            out.push(9);
            put_refusal(out, refusal);
        }
    }
}

fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    let mut numbers = |kind: u8, numbers: &[u64]| {
        out.push(kind);
        numbers.iter().for_each(|number| put_varint(out, *number));
    };
    match refusal {
        Refusal::Compacted { requested, compacted } => numbers(1, &[*requested, *compacted]),
        Refusal::FutureRevision { requested, current } => numbers(2, &[*requested, *current]),
        Refusal::LeaseNotFound(lease) => numbers(3, &[*lease]),
        Refusal::AnswerTooLarge { limit, actual } => numbers(4, &[*limit, *actual]),
        Refusal::LeaseExists(lease) => numbers(5, &[*lease]),
        Refusal::TooMany { what, limit } => {
            numbers(6, &[*limit]);
            put_bytes(out, what.as_bytes());
        }
        Refusal::LockLost { owner_key, token, current_token } => {
            numbers(7, &[*token, *current_token]);
            put_bytes(out, owner_key);
        }
        Refusal::SessionExpired(session) => numbers(8, &[*session]),
        Refusal::SessionSeq { seq, acknowledged_below } => numbers(9, &[*seq, *acknowledged_below]),
    }
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[KeyValue]) {
    put_varint(out, pairs.len() as u64);
    for pair in pairs {
        put_bytes(out, &pair.key);
        put_bytes(out, &pair.value);
        for number in [pair.create_revision, pair.mod_revision, pair.version, pair.lease] {
            put_varint(out, number);
        }
    }
}

fn put_delete(out: &mut Vec<u8>, result: &DeleteResult) {
    put_varint(out, result.deleted);
    put_pairs(out, &result.prev_kvs);
}

fn put_txn(out: &mut Vec<u8>, result: &TxnResult) {
    out.push(u8::from(result.succeeded));
    put_varint(out, result.results.len() as u64);
    for result in &result.results {
        match result {
            OpResult::Put(previous) => {
                out.push(1);
                put_pairs(out, previous.as_slice());
            }
            OpResult::Delete(result) => {
                out.push(2);
                put_delete(out, result);
            }
            OpResult::Txn(result) => {
                out.push(3);
                put_txn(out, result);
            }
            OpResult::Range(result) => {
                out.push(4);
                put_pairs(out, &result.kvs);
                put_varint(out, result.count);
                out.push(u8::from(result.more));
            }
        }
    }
}

struct Reader<'a> {
    input: Input<'a>,
    bytes: &'a Bytes,
}

impl Reader<'_> {
    fn number(&mut self) -> Result<u64, Malformed> {
        self.input.varint()
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.input.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(UNKNOWN),
        }
    }

    fn bytes(&mut self) -> Result<Bytes, Malformed> {
        Ok(self.bytes.slice(self.input.span()?))
    }

    fn outcome(&mut self) -> Result<Outcome, Malformed> {
        Ok(match self.input.u8()? {
            1 => Outcome::Put(self.pair()?),
            2 => Outcome::Delete(self.delete()?),
            3 => Outcome::Txn(self.txn(0)?),
            4 => Outcome::Compact,
            5 => Outcome::Marker,
            6 => {
                let (id, ttl_ms) = (self.number()?, self.number()?);
                Outcome::Grant(Granted { id, ttl: std::time::Duration::from_millis(ttl_ms) })
            }
            7 => Outcome::Revoke(Revoked { deleted: self.number()? }),
            8 => Outcome::Expire { leases: self.number()?, deleted: self.number()? },
            9 => Outcome::Refused(self.refusal()?),
            _ => return Err(UNKNOWN),
        })
    }

    fn refusal(&mut self) -> Result<Refusal, Malformed> {
        Ok(match self.input.u8()? {
            1 => Refusal::Compacted { requested: self.number()?, compacted: self.number()? },
            2 => Refusal::FutureRevision { requested: self.number()?, current: self.number()? },
            3 => Refusal::LeaseNotFound(self.number()?),
            4 => Refusal::AnswerTooLarge { limit: self.number()?, actual: self.number()? },
            5 => Refusal::LeaseExists(self.number()?),
            6 => {
                let limit = self.number()?;
                let what = String::from_utf8_lossy(&self.bytes()?).into_owned();
                Refusal::TooMany { what, limit }
            }
            7 => {
                let (token, current_token) = (self.number()?, self.number()?);
                Refusal::LockLost { owner_key: self.bytes()?, token, current_token }
            }
            8 => Refusal::SessionExpired(self.number()?),
            9 => Refusal::SessionSeq { seq: self.number()?, acknowledged_below: self.number()? },
            _ => return Err(UNKNOWN),
        })
    }

    fn pairs(&mut self) -> Result<Vec<KeyValue>, Malformed> {
        // Memory grows with what is there, not with what a damaged number claims.
        let mut pairs = Vec::new();
        for _ in 0..self.number()? {
            pairs.push(KeyValue {
                key: self.bytes()?,
                value: self.bytes()?,
                create_revision: self.number()?,
                mod_revision: self.number()?,
                version: self.number()?,
                lease: self.number()?,
            });
        }
        Ok(pairs)
    }

    fn pair(&mut self) -> Result<Option<KeyValue>, Malformed> {
        Ok(self.pairs()?.pop())
    }

    fn delete(&mut self) -> Result<DeleteResult, Malformed> {
        Ok(DeleteResult { deleted: self.number()?, prev_kvs: self.pairs()? })
    }

    fn txn(&mut self, depth: usize) -> Result<TxnResult, Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed("a stored response nests too deep"));
        }
        let succeeded = self.flag()?;
        let mut results = Vec::new();
        for _ in 0..self.number()? {
            results.push(match self.input.u8()? {
                1 => OpResult::Put(self.pair()?),
                2 => OpResult::Delete(self.delete()?),
                3 => OpResult::Txn(self.txn(depth + 1)?),
                4 => {
                    let (kvs, count) = (self.pairs()?, self.number()?);
                    OpResult::Range(RangeResult { kvs, count, more: self.flag()? })
                }
                _ => return Err(UNKNOWN),
            });
        }
        Ok(TxnResult { succeeded, results })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> impl Strategy<Value = KeyValue> {
        (any::<(u64, u64, u64, u64)>(), prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(n, bytes)| {
            KeyValue {
                key: bytes.clone().into(),
                value: bytes.into(),
                create_revision: n.0,
                mod_revision: n.1,
                version: n.2,
                lease: n.3,
            }
        })
    }

    fn txn() -> impl Strategy<Value = TxnResult> {
        let op = prop_oneof![
            prop::option::of(pair()).prop_map(OpResult::Put),
            prop::collection::vec(pair(), 0..3)
                .prop_map(|prev_kvs| OpResult::Delete(DeleteResult { deleted: 7, prev_kvs })),
            (prop::collection::vec(pair(), 0..3), any::<u64>(), any::<bool>())
                .prop_map(|(kvs, count, more)| OpResult::Range(RangeResult { kvs, count, more })),
        ];
        let results = op.prop_recursive(3, 12, 3, |inner| {
            let nested = (any::<bool>(), prop::collection::vec(inner, 0..3));
            nested.prop_map(|(succeeded, results)| OpResult::Txn(TxnResult { succeeded, results }))
        });
        (any::<bool>(), prop::collection::vec(results, 0..3))
            .prop_map(|(succeeded, results)| TxnResult { succeeded, results })
    }

    fn refusal() -> impl Strategy<Value = Refusal> {
        (0..9, any::<u64>(), any::<u64>(), "[a-z]{0,8}").prop_map(|(kind, a, b, text)| match kind {
            0 => Refusal::Compacted { requested: a, compacted: b },
            1 => Refusal::FutureRevision { requested: a, current: b },
            2 => Refusal::LeaseNotFound(a),
            3 => Refusal::AnswerTooLarge { limit: a, actual: b },
            4 => Refusal::LeaseExists(a),
            5 => Refusal::TooMany { what: text, limit: a },
            6 => Refusal::SessionExpired(a),
            7 => Refusal::SessionSeq { seq: a, acknowledged_below: b },
            _ => Refusal::LockLost { owner_key: text.into(), token: a, current_token: b },
        })
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            prop::option::of(pair()).prop_map(Outcome::Put),
            txn().prop_map(Outcome::Txn),
            Just(Outcome::Compact),
            Just(Outcome::Marker),
            any::<u64>().prop_map(|deleted| Outcome::Revoke(Revoked { deleted })),
            any::<(u64, u64)>().prop_map(|(leases, deleted)| Outcome::Expire { leases, deleted }),
            any::<(u64, u32)>().prop_map(|(id, ttl)| Outcome::Grant(Granted {
                id,
                ttl: std::time::Duration::from_millis(ttl.into())
            })),
            refusal().prop_map(Outcome::Refused),
        ]
    }

    proptest! {
        #[test]
        fn responses_round_trip(outcome in outcome(), numbers in any::<(u64, u64, u64)>()) {
            let (log_index, log_term, revision) = numbers;
            let applied = Applied { log_index, log_term, revision, outcome, deduplicated: true };
            prop_assert_eq!(decode(&encode(&applied)), Ok(applied));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes.into());
        }
    }
}
