//! Output: raw bytes for pipes, JSON for programs, tables for people.

mod json;
mod lease;
mod table;
mod watch;

use std::io::{self, Write};

use serde::Serialize;

pub(super) use self::{
    json::{
        CompactObject, DeleteObject, ErrorObject, HashObject, HeaderObject, MembersObject, PairObject,
        PutObject, RangeObject, ScanEndObject, StatusObject, TxnObject, Unreachable, role, text_or_base64,
        write_header,
    },
    lease::{KeptAliveObject, LeaseGrantObject, LeaseObject, LeaseRevokeObject, LeasesObject},
    table::{bytes, duration, size, table},
    watch::{EventObject, ProgressObject},
};
use crate::types::KeyValue;

/// One JSON value on one line.
pub(super) fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Pairs as lines of raw bytes: `key<TAB>value`.
pub(super) fn pairs(out: &mut dyn Write, kvs: &[KeyValue], keys_only: bool) -> io::Result<()> {
    for kv in kvs {
        out.write_all(&kv.key)?;
        if !keys_only {
            out.write_all(b"\t")?;
            out.write_all(&kv.value)?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Pairs as a table.
pub(super) fn pair_table(kvs: &[KeyValue]) -> String {
    let row = |kv: &KeyValue| {
        let lease = if kv.lease == 0 { "-".to_owned() } else { kv.lease.to_string() };
        let numbers = [kv.create_revision, kv.mod_revision, kv.version].map(|number| number.to_string());
        let [create, modified, version] = numbers;
        vec![bytes(&kv.key), bytes(&kv.value), create, modified, version, lease]
    };
    table(&["KEY", "VALUE", "CREATED", "MODIFIED", "VERSION", "LEASE"], kvs.iter().map(row))
}

#[cfg(test)]
mod tests;
