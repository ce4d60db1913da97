//! Compiles the protobuf files with `protox`, so that no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

const PROTOS: [&str; 9] = [
    "quorate/v1/common.proto",
    "quorate/v1/kv.proto",
    "quorate/v1/lease.proto",
    "quorate/v1/watch.proto",
    "quorate/v1/lock.proto",
    "quorate/v1/cluster.proto",
    "quorate/v1/maintenance.proto",
    "quorate/internal/command.proto",
    "quorate/internal/peer.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), prost_bytes(&descriptors))?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}

/// The descriptor set as bytes, for server reflection.
fn prost_bytes(descriptors: &protox::prost_reflect::prost_types::FileDescriptorSet) -> Vec<u8> {
    use protox::prost_reflect::prost::Message;
    descriptors.encode_to_vec()
}
