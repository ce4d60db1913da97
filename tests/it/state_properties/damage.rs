//! Damaged bytes, in an engine or a snapshot, are an error that says so: never a panic, never a wrong answer.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use quorate::{
    state::{Operation, StateMachine, snapshot},
    storage::{Batch, Engine, MemoryEngine},
    types::{KeyRange, Put},
};

use super::{apply, machine, memory, snapshot_of};

/// A state with members, history, a deletion, and a value that fills a block.
fn sample() -> StateMachine {
    let mut machine = machine();
    let mut batch = machine.begin();
    let at = super::next(&machine);
    machine.set_membership(&mut batch, at, "members".into()).expect("noted");
    machine.commit(batch).expect("committed");
    for (key, length) in [("a", 5), ("b", 20_000), ("a", 9), ("c", 1)] {
        let put = Put { key: key.into(), value: vec![b'v'; length].into(), ..Put::default() };
        apply(&mut machine, &Operation::Put(put));
    }
    let delete = quorate::types::Delete { keys: KeyRange::key("c"), prev_kv: false };
    apply(&mut machine, &Operation::Delete(delete));
    apply(&mut machine, &Operation::Compact(3));
    machine
}

fn sample_snapshot() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| snapshot_of(&sample()))
}

fn assert_refused(bytes: &[u8]) {
    let verified = snapshot::verify(bytes);
    assert!(verified.is_err(), "{verified:?}");
    assert!(StateMachine::load(memory(), bytes).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_flipped_bit_of_a_snapshot_is_found(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut bytes = sample_snapshot().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        assert_refused(&bytes);
    }

    #[test]
    fn a_snapshot_that_is_cut_short_is_found(length in any::<prop::sample::Index>()) {
        assert_refused(&sample_snapshot()[..length.index(sample_snapshot().len())]);
    }

    #[test]
    fn bytes_that_are_no_snapshot_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        assert_refused(&bytes);
        let disguised = [&b"QUORSNAP\x01\0\0\0"[..], &bytes].concat();
        assert_refused(&disguised);
    }

    #[test]
    fn a_flipped_bit_of_the_engine_is_found(
        pair in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8u32,
    ) {
        let source = sample().engine();
        let pairs: Vec<_> = source.scan(&[], &[0xff]).map(Result::unwrap).collect();
        let (key, value) = pair.get(&pairs);
        let mut damaged = value.to_vec();
        let at = at.index(damaged.len());
        damaged[at] ^= 1u8 << bit;
        let engine = copy_of(&pairs);
        let mut batch = Batch::default();
        batch.put(key.clone(), damaged);
        engine.write(&batch).unwrap();
        let error = StateMachine::open(engine).err().expect("an error");
        prop_assert!(error.to_string().starts_with("state is damaged"), "{error}");
    }
}

fn copy_of(pairs: &[(bytes::Bytes, bytes::Bytes)]) -> Arc<dyn Engine> {
    let engine = MemoryEngine::new();
    let mut batch = Batch::default();
    pairs.iter().for_each(|(key, value)| batch.put(key.clone(), value.clone()));
    engine.write(&batch).unwrap();
    Arc::new(engine)
}

#[test]
fn a_snapshot_with_something_behind_it_is_refused() {
    assert_refused(&[sample_snapshot(), b"x"].concat());
    assert_refused(&[sample_snapshot(), sample_snapshot()].concat());
}

#[test]
fn another_format_is_named() {
    let mut bytes = sample_snapshot().to_vec();
    bytes[8] = 9;
    let error = snapshot::read_header(&bytes[..]).unwrap_err();
    assert_eq!(error.to_string(), "snapshot has format 9, this version reads 1");
}

#[test]
fn the_header_can_be_read_alone() {
    let header = snapshot::read_header(&sample_snapshot()[..200]).expect("a header");
    assert_eq!((header.revision, header.compact_revision), (6, 3));
    assert_eq!(header.membership.map(|(at, bytes)| (at.index, bytes)), Some((0, "members".into())));
}

#[test]
fn a_snapshot_is_not_loaded_over_a_state() {
    let error = StateMachine::load(sample().engine(), sample_snapshot()).err().expect("an error");
    assert_eq!(error.to_string(), "the engine to load into is not empty");
}

/// As a crash in the middle of loading leaves it.
#[test]
fn records_without_a_head_do_not_open() {
    let pairs: Vec<_> = sample().engine().scan(&[0x10], &[0x11]).map(Result::unwrap).collect();
    let error = StateMachine::open(copy_of(&pairs)).err().expect("an error");
    assert!(error.to_string().contains("with the head at 1"), "{error}");
}
