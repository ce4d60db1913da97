//! The generated protobuf types, and their conversion to and from [`crate::types`] and [`crate::error`].

pub mod convert;

/// The public API.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// The replicated log format and the peers' protocol.
#[allow(missing_docs, clippy::all)]
pub mod internal {
    tonic::include_proto!("quorate.internal");
}

/// The descriptors of all services, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
