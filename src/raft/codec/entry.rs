//! Log entries, to and from peers and the log store.

use prost::Message;

use super::{
    super::types::{Entry, EntryPayload, LogId, Proposal},
    CodecError,
    membership::membership_from_pb,
    parse,
};
use crate::{
    log::Record,
    pb::internal::{self as pb, entry::Payload},
};

impl From<&Entry> for pb::Entry {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => Payload::Blank(true),
            EntryPayload::Normal(proposal) => Payload::Command(proposal.encoded().clone()),
            EntryPayload::Membership(membership) => Payload::Membership(membership.into()),
        };
        pb::Entry { id: Some(entry.log_id.into()), payload: Some(payload) }
    }
}

/// Decodes an entry that a peer sent. (Not a `TryFrom`: openraft keeps the right to add one for its own
/// type.)
pub fn entry_from_pb(entry: pb::Entry) -> Result<Entry, CodecError> {
    let log_id = entry.id.ok_or(CodecError::Missing("Entry.id"))?.into();
    let payload = match entry.payload.ok_or(CodecError::Newer("entry"))? {
        Payload::Blank(_) => EntryPayload::Blank,
        Payload::Command(encoded) => EntryPayload::Normal(Proposal::decode_part(&encoded)?),
        Payload::Membership(membership) => EntryPayload::Membership(membership_from_pb(membership)?),
    };
    Ok(Entry { log_id, payload })
}

/// What the log store keeps of an entry: the whole `pb::internal::Entry`. Its id is stored inside once more,
/// so that an entry in the wrong place is noticed.
pub fn to_record(entry: &Entry) -> Record {
    Record { at: entry.log_id.into(), payload: pb::Entry::from(entry).encode_to_vec().into() }
}

/// The entry that the log store kept.
pub fn from_record(record: Record) -> Result<Entry, CodecError> {
    let entry = entry_from_pb(parse::<pb::Entry>("Entry", record.payload)?)?;
    let expected = LogId::from(record.at);
    if entry.log_id == expected {
        return Ok(entry);
    }
    Err(CodecError::Misplaced { expected: expected.to_string(), actual: entry.log_id.to_string() })
}
