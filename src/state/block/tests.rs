//! Packing and finding, and what decoding does with bytes that nobody wrote.

use proptest::prelude::*;

use super::*;

/// Age, version, lease and value.
type RawPut = (u64, u64, u64, Vec<u8>);

fn any_record() -> impl Strategy<Value = (u64, Vec<u8>, Option<RawPut>)> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    (0u64..3, bytes(20), prop::option::of((0u64..1000, any::<u64>(), any::<u64>(), bytes(300))))
}

/// Records in order of id, from steps and contents.
fn records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(any_record(), 1..60).prop_map(|raw| {
        let mut id = RecordId { main: 1000, sub: 0 };
        let mut records = Vec::new();
        for (step, key, put) in raw {
            id = match step {
                0 => RecordId { sub: id.sub + 1, ..id },
                step => RecordId { main: id.main + step * 77, sub: 0 },
            };
            let (entry, value) = match put {
                None => (Entry::tombstone(id), Vec::new()),
                Some((age, version, lease, value)) => {
                    let create = id.main - age;
                    let entry =
                        Entry { main: id.main, sub: id.sub, create, version, lease, tombstone: false };
                    (entry, value)
                }
            };
            records.push(Record { entry, key: key.into(), value: value.into() });
        }
        records
    })
}

fn pack(records: &[Record], block_bytes: usize) -> Vec<PackedBlock> {
    let mut packer = Packer::new(block_bytes);
    records.iter().for_each(|record| packer.push(record));
    packer.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_round_trip(records in records(), block_bytes in 0usize..2000) {
        let mut read = Vec::new();
        for (name, bytes) in pack(&records, block_bytes) {
            read.extend(Block::open(name, bytes).unwrap().records().unwrap());
        }
        prop_assert_eq!(read, records);
    }

    #[test]
    fn every_record_is_found(records in records()) {
        let engine = crate::storage::MemoryEngine::new();
        let mut batch = crate::storage::Batch::default();
        for (name, bytes) in pack(&records, 500) {
            batch.put(name.key().encode(), bytes);
        }
        engine.write(&batch).unwrap();
        let mut lookup = Records::new(&engine);
        for record in records.iter().rev() {
            let found = lookup.find(record.entry.id()).unwrap();
            prop_assert_eq!(found.as_ref(), Some(record));
        }
        prop_assert_eq!(lookup.find(RecordId::default()).unwrap(), None);
        prop_assert_eq!(lookup.find(RecordId { main: u64::MAX, sub: 0 }).unwrap(), None);
    }

    /// Behind a valid checksum, so that the decoder itself sees the damage.
    #[test]
    fn damaged_bodies_decode_or_fail(
        records in records(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        for (name, bytes) in pack(&records, 4000) {
            let mut body = bytes.to_vec();
            let at = codec::ENVELOPE_BYTES + at.index(body.len() - codec::ENVELOPE_BYTES);
            body[at] = byte;
            body.truncate(if cut { at } else { body.len() });
            if let Ok(block) = Block::open(name, codec::seal(body, BLOCK_VERSION)) {
                let _ = block.records();
                let _ = block.find(name);
            }
        }
    }
}

#[test]
fn a_large_record_has_a_block_of_its_own() {
    let record = |main, bytes: usize| Record {
        entry: Entry { main, create: main, version: 1, lease: 0, sub: 0, tombstone: false },
        key: "k".into(),
        value: vec![7; bytes].into(),
    };
    let records = [record(2, 10), record(3, 1 << 20), record(4, 10), record(5, 10)];
    let names: Vec<_> = pack(&records, BLOCK_BYTES).iter().map(|(name, _)| name.main).collect();
    assert_eq!(names, [2, 3, 4]);
}

#[test]
fn another_version_is_refused() {
    let mut body = codec::unsealed(0);
    body.push(0);
    let error = Block::open(RecordId::default(), codec::seal(body, 2)).unwrap_err();
    assert_eq!(error.to_string(), "state is damaged: block 0.0: unknown version");
}
