//! Memberships, to and from peers, the log and snapshots.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use super::{
    super::types::{Membership, Peer},
    CodecError, parse,
};
use crate::{pb::internal as pb, types::NodeId};

impl From<&Membership> for pb::Membership {
    fn from(membership: &Membership) -> Self {
        let set = |ids: &BTreeSet<NodeId>| pb::VoterSet { ids: ids.iter().copied().collect() };
        pb::Membership {
            configs: membership.get_joint_config().iter().map(set).collect(),
            nodes: membership.nodes().map(|(id, peer)| node(*id, peer)).collect(),
        }
    }
}

/// A membership as the state stores it.
pub fn encode_membership(membership: &Membership) -> Bytes {
    pb::Membership::from(membership).encode_to_vec().into()
}

/// The membership that the state stored.
pub fn decode_membership(encoded: Bytes) -> Result<Membership, CodecError> {
    membership_from_pb(parse("Membership", encoded)?)
}

/// Encodes members' addresses.
pub fn nodes_to_pb(nodes: &BTreeMap<NodeId, Peer>) -> Vec<pb::Node> {
    nodes.iter().map(|(id, peer)| node(*id, peer)).collect()
}

fn node(id: NodeId, peer: &Peer) -> pb::Node {
    pb::Node { id, peer_addr: peer.peer_addr.clone(), client_addr: peer.client_addr.clone() }
}

/// Decodes a membership and checks it: every voter is a node, no set of voters is empty.
pub fn membership_from_pb(membership: pb::Membership) -> Result<Membership, CodecError> {
    let configs = membership.configs.into_iter().map(voters).collect::<Result<Vec<_>, _>>()?;
    let nodes = nodes_from_pb(membership.nodes)?;
    Membership::new(configs, nodes).map_err(|error| CodecError::Membership(error.to_string()))
}

/// Decodes members' addresses; none may be listed twice.
pub fn nodes_from_pb(listed: Vec<pb::Node>) -> Result<BTreeMap<NodeId, Peer>, CodecError> {
    let mut nodes = BTreeMap::new();
    for node in listed {
        let peer = Peer { peer_addr: node.peer_addr, client_addr: node.client_addr };
        if nodes.insert(node.id, peer).is_some() {
            return Err(CodecError::Membership(format!("node {} is listed twice", node.id)));
        }
    }
    Ok(nodes)
}

fn voters(set: pb::VoterSet) -> Result<BTreeSet<NodeId>, CodecError> {
    let listed = set.ids.len();
    let ids: BTreeSet<NodeId> = set.ids.into_iter().collect();
    if ids.len() == listed { Ok(ids) } else { Err(CodecError::Membership("a voter is listed twice".into())) }
}
