//! Log entries, to and from peers and the log store.

use prost::Message;

use super::{
    super::types::{Entry, EntryPayload, LogId, Proposal},
    CodecError,
    command::COMMAND,
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
            EntryPayload::Normal(proposal) => Payload::Command(proposal.encoded()),
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

/// What the log store keeps of an entry: of a command its bytes as they are, so that nothing is copied; of
/// the others, which are few, the whole `pb::internal::Entry`. Their id is stored inside once more, so that
/// one in the wrong place is noticed.
pub fn to_record(entry: &Entry) -> Record {
    let payload = match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.record().clone(),
        EntryPayload::Blank | EntryPayload::Membership(_) => pb::Entry::from(entry).encode_to_vec().into(),
    };
    Record { at: entry.log_id.into(), payload }
}

/// The entry that the log store kept.
pub fn from_record(record: Record) -> Result<Entry, CodecError> {
    let expected = LogId::from(record.at);
    if let Some((&COMMAND, command)) = record.payload.split_first() {
        let payload = EntryPayload::Normal(Proposal::decode_part(command)?);
        return Ok(Entry { log_id: expected, payload });
    }
    let entry = entry_from_pb(parse::<pb::Entry>("Entry", record.payload)?)?;
    if entry.log_id == expected {
        return Ok(entry);
    }
    Err(CodecError::Misplaced { expected: expected.to_string(), actual: entry.log_id.to_string() })
}
