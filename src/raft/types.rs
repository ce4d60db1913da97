//! openraft's type parameters, bound once, and short names for what follows from them.
//!
//! Terms have one leader each (`leader_id_std`, textbook Raft), so that a log id is `(term, index)` and
//! nothing else.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{
    codec::{self, CodecError},
    runtime::Runtime,
};
use crate::{
    state::{Applied, Command},
    types::NodeId,
};

openraft::declare_raft_types!(
    /// openraft's type parameters.
    pub TypeConfig:
        D = Proposal,
        R = Response,
        NodeId = NodeId,
        Node = Peer,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = Runtime,
);

/// A log entry, decoded.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// What a log entry carries.
pub type EntryPayload = openraft::type_config::alias::EntryPayloadOf<TypeConfig>;
/// The position of an entry: term and index.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// Term, candidate, and whether a quorum agreed.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// Voters (one set, or two while they change) and learners.
pub type Membership = openraft::Membership<NodeId, Peer>;
/// A membership and the entry that carries it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: what it covers, and its data.
pub type Snapshot<D> = openraft::type_config::alias::SnapshotOf<TypeConfig, D>;
/// One member's Raft, over the state machine adapter `SM`.
pub type Raft<SM> = openraft::Raft<TypeConfig, SM>;

/// Where a member is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where its peers reach it, `host:port`.
    pub peer_addr: String,
    /// Where clients reach it, `host:port`; empty if it listens for none.
    pub client_addr: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer_addr)
    }
}

/// A command with its encoding. Cheap to clone. It is encoded once, where it is proposed, and decoded once on
/// each member; log, replication and apply share the two forms.
///
/// Keys and values of the decoded form are slices of the encoded one, which has a buffer of its own: what is
/// kept of a request (the cache of entries, watchers' events) must not keep the buffer that it came in, 8 KiB
/// for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    record: Bytes,
    command: Arc<Command>,
}

impl Proposal {
    /// Encodes a command. Fails if it nests transactions deeper than any member could decode.
    pub fn new(command: &Command) -> Result<Self, CodecError> {
        Proposal::from_record(codec::encode_command(command)?)
    }

    /// Decodes a command that lies in a larger message, of which nothing is kept.
    pub fn decode_part(encoded: &[u8]) -> Result<Self, CodecError> {
        Proposal::from_record([&[codec::COMMAND], encoded].concat().into())
    }

    /// Decodes a record of the log that has a buffer of its own.
    fn from_record(record: Bytes) -> Result<Self, CodecError> {
        Ok(Proposal { command: Arc::new(codec::decode_command(record.slice(1..))?), record })
    }

    /// The encoded form as the log stores it.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// The encoded form as peers receive it.
    pub fn encoded(&self) -> Bytes {
        self.record.slice(1..)
    }

    /// Bytes of the encoded form.
    pub fn size(&self) -> usize {
        self.record.len() - 1
    }

    /// The decoded form: what is applied.
    pub fn command(&self) -> &Arc<Command> {
        &self.command
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {:?}, {} bytes", self.command.request_id, self.size())
    }
}

/// What applying an entry gave to whoever proposed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Of a command.
    Applied(Applied),
    /// Of a blank entry or a change of membership.
    Internal,
}
