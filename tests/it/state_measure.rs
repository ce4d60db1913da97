//! A measurement, to be read and not judged: `cargo nextest run --run-ignored only --no-capture measure`.
//!
//! `MEASURE_KEYS` (1,000,000) keys of `MEASURE_VALUE` (256) bytes in batches of `MEASURE_BATCH` (256)
//! commands, in an order that is not theirs, with a flush every `MEASURE_FLUSH` (1000) batches. The time and
//! memory of loading, reopening, reading, hashing and compacting.

use std::{env, fs, sync::Arc, time::Instant};

use quorate::{
    state::{Command, Operation, Position, StateMachine, Step},
    storage::{Engine, SledEngine},
    types::{KeyRange, Limits, Put, Range},
};

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Resident megabytes of this process.
fn resident_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Seconds of processor time of this process so far.
fn cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split(' ');
    fields.skip(12).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let (start, cpu_before) = (Instant::now(), cpu_s());
    let result = run();
    let (wall, cpu, resident) = (start.elapsed().as_secs_f64(), cpu_s() - cpu_before, resident_mb());
    eprintln!("{what:<20} {wall:>7.2} s, {cpu:>7.2} s of processor, {resident:>5} MB resident");
    result
}

/// Spreads neighbours over the whole key space.
fn key(number: u64) -> String {
    format!("key/{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn load(machine: &mut StateMachine, keys: u64, batch_size: u64) {
    let value = bytes::Bytes::from(vec![b'v'; setting("MEASURE_VALUE", 256) as usize]);
    let flush_batches = setting("MEASURE_FLUSH", 1000);
    let mut batches = 0;
    let mut batch = machine.begin();
    for number in 0..keys {
        let put = Put { key: key(number).into(), value: value.clone(), ..Put::default() };
        let command = Command::from(Operation::Put(put));
        let index = machine_index(batch.applied());
        machine.apply(&mut batch, Position { term: 1, index }, &command).expect("applied");
        if number % batch_size == batch_size - 1 {
            machine.commit(batch).expect("committed");
            batch = machine.begin();
            batches += 1;
            if batches % flush_batches == 0 {
                machine.engine().flush().expect("flushed");
            }
        }
    }
    machine.commit(batch).expect("committed");
}

fn machine_index(applied: Option<Position>) -> u64 {
    applied.map_or(0, |at| at.index + 1)
}

fn read_singly(machine: &StateMachine, keys: u64) {
    let (reader, limits) = (machine.reader(), Limits::default());
    for number in (0..keys).step_by((keys / 100_000).max(1) as usize) {
        let (found, _) = reader.range(&Range::new(KeyRange::key(key(number))), &limits).expect("read");
        assert_eq!(found.kvs.len(), 1);
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_a_million_keys() {
    let (keys, batch_size) = (setting("MEASURE_KEYS", 1_000_000), setting("MEASURE_BATCH", 256));
    let dir = tempfile::tempdir_in(env::var("MEASURE_DIR").unwrap_or(".".into())).expect("a directory");
    let open = || -> Arc<dyn Engine> {
        Arc::new(SledEngine::open(&dir.path().join("state"), 64 << 20).expect("opens"))
    };
    let mut machine = StateMachine::open(open()).expect("opens");
    timed("load", || load(&mut machine, keys, batch_size));
    timed("flush", || machine.engine().flush().expect("flushed"));
    timed("close", || drop(machine));
    let engine = timed("open the engine", open);
    let mut machine = timed("open the state", || StateMachine::open(engine).expect("opens"));
    eprintln!("on disk: {} MB", machine.engine().size() >> 20);
    timed("100,000 reads", || read_singly(&machine, keys));
    let hashed = timed("hash", || machine.reader().hash(0).expect("hashed"));
    assert_eq!(hashed.keys, keys);
    timed("overwrite a tenth", || load(&mut machine, keys / 10, batch_size));
    let compact = Operation::Compact(machine.reader().position().revision);
    let mut batch = machine.begin();
    let at = Position { term: 1, index: machine_index(machine.applied()) };
    machine.apply(&mut batch, at, &compact.into()).expect("applied");
    machine.commit(batch).expect("committed");
    let compactor = machine.compactor();
    timed("compact", || while compactor.step(1 << 20).expect("a step") == Step::More {});
    timed("flush", || machine.engine().flush().expect("flushed"));
    let mut snapshot = fs::File::create(dir.path().join("snapshot")).expect("a file");
    let bytes = timed("snapshot", || machine.pin().write(&mut snapshot).expect("written"));
    eprintln!("snapshot: {} MB, on disk: {} MB", bytes >> 20, machine.engine().size() >> 20);
}
