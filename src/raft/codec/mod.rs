//! Between the types that the code works with and the bytes that logs store and peers exchange.
//!
//! Encoding: `pb::internal::X::from(&value)`. Decoding: `X::try_from(pb)` or `x_from_pb(pb)`, fallible where
//! the bytes could be wrong, never a panic: they come from peers and files. What a newer version wrote is an
//! error, never skipped. Deliberately absent: limits on sizes, which whoever reads the bytes enforces, and
//! validation of a command's meaning, which its proposer did.

mod applied;
mod command;
mod entry;
mod membership;
mod position;
mod rpc;
#[cfg(test)]
mod tests;

pub use self::applied::{decode_applied, encode_applied};
pub use self::command::{COMMAND, TXN_DEPTH_MAX, decode_command, encode_command};
pub use self::entry::{entry_from_pb, from_record, to_record};
pub use self::membership::{
    decode_membership, encode_membership, membership_from_pb, nodes_from_pb, nodes_to_pb,
};
pub use self::rpc::{
    append_reply, append_request, snapshot_head, snapshot_head_from_pb, transfer_reply, transfer_reply_to_pb,
    transfer_request, vote_reply, vote_request,
};

/// Why bytes could not be decoded, or a value not be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not protobuf, or cut off.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// The message's name.
        what: &'static str,
        /// What the parser says.
        why: String,
    },
    /// A field without which the message means nothing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A command, payload or other alternative that this version does not know.
    #[error("unknown {0}: written by a newer version; upgrade this member first")]
    Newer(&'static str),
    /// A number that stands for nothing known.
    #[error("{what} is {value}, which this version does not know: upgrade this member first")]
    UnknownValue {
        /// The field's name.
        what: &'static str,
        /// What it holds.
        value: u32,
    },
    /// A membership that contradicts itself.
    #[error("invalid membership: {0}")]
    Membership(String),
    /// A message that cannot be true.
    #[error("the message contradicts itself: {0}")]
    Contradiction(&'static str),
    /// A stored entry lies where another one belongs.
    #[error("the entry at {expected} says that it is {actual}")]
    Misplaced {
        /// Where it was found.
        expected: String,
        /// What it says.
        actual: String,
    },
    /// Transactions nested deeper than a decoder would follow.
    #[error("transactions are nested {actual} deep, the log format allows {}", TXN_DEPTH_MAX)]
    TooDeep {
        /// The depth found.
        actual: usize,
    },
}

/// Decodes one protobuf message.
fn parse<M: prost::Message + Default>(what: &'static str, bytes: bytes::Bytes) -> Result<M, CodecError> {
    M::decode(bytes).map_err(|error| CodecError::Malformed { what, why: error.to_string() })
}

/// Converts every item, or fails with the first error.
fn convert_all<A, B, E>(items: Vec<A>) -> Result<Vec<B>, E>
where
    B: TryFrom<A, Error = E>,
{
    items.into_iter().map(B::try_from).collect()
}
