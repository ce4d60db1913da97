//! Large histories: how long the checker takes, and that it ends when it should.
//!
//! The figures of `docs/` come from the ignored tests here, in a release build:
//! `cargo test --release --test it check_core::large -- --ignored --nocapture`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::{Duration, Instant},
};

use quorate::{
    check::{
        Findings, History, Model, Options, Verdict, check,
        history::{About, Action, Found, Operation, Outcome, Seen, Text},
    },
    types::{Level, Revision},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What to generate.
#[derive(Clone, Copy)]
struct Load {
    operations: u64,
    clients: usize,
    keys: usize,
    /// Out of 1,000: operations whose outcome is unknown.
    unknown: u32,
    revisions: bool,
}

struct Client {
    process: u64,
    free: u64,
    planned: Option<Operation>,
}

/// A store that does everything right, and its clients.
struct Run {
    load: Load,
    random: StdRng,
    revision: Revision,
    state: BTreeMap<Text, Found>,
    keys: Vec<Text>,
    values: u64,
    processes: u64,
    done: Vec<Operation>,
}

fn generate(load: Load) -> History {
    let keys = (0..load.keys).map(|key| Arc::from(format!("k{key:05}"))).collect();
    let random = StdRng::seed_from_u64(7);
    let mut run = Run {
        load,
        random,
        revision: 1,
        state: BTreeMap::new(),
        keys,
        values: 0,
        processes: load.clients as u64,
        done: Vec::with_capacity(load.operations as usize),
    };
    let client = |process| Client { process, free: 0, planned: None };
    let mut clients: Vec<Client> = (0..load.clients as u64).map(client).collect();
    let mut queue: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for (at, client) in clients.iter_mut().enumerate() {
        queue.push(Reverse((run.plan(client), at)));
    }
    while let Some(Reverse((_, at))) = queue.pop() {
        run.perform(&mut clients[at]);
        if (run.done.len() as u64) < load.operations {
            queue.push(Reverse((run.plan(&mut clients[at]), at)));
        }
    }
    let Run { mut done, .. } = run;
    done.sort_by_key(|operation| operation.call);
    (0..).zip(&mut done).for_each(|(index, operation)| operation.index = index);
    let about = About { quorate_history: 1, complete: true, ..About::default() };
    History { about, operations: done, ..History::default() }
}

impl Run {
    /// Begins the client's next operation; when it will take effect.
    fn plan(&mut self, client: &mut Client) -> u64 {
        let call = client.free + self.random.random_range(1..50_000);
        let length = self.random.random_range(100_000..2_000_000);
        let effect = call + self.random.random_range(0..length);
        let key = self.keys[self.random.random_range(0..self.keys.len())].clone();
        self.values += 1;
        let value: Text = Arc::from(format!("v{}", self.values));
        let action = match self.random.random_range(0..100) {
            0..50 => Action::Read { key, found: None },
            50..85 => Action::Write { key, value },
            85..95 => {
                let old = self.state.get(&key).map(|found| found.value.clone());
                Action::Cas { key, old, new: value, swapped: None }
            }
            _ => Action::Delete { key, existed: None },
        };
        let is_unknown = self.random.random_range(0..1_000) < self.load.unknown;
        let outcome = if is_unknown { Outcome::Unknown("time-out".into()) } else { Outcome::Ok };
        let level = matches!(action, Action::Read { .. }).then_some(Level::Linearizable);
        client.free = call + length;
        client.planned = Some(Operation {
            index: 0,
            process: client.process,
            session: client.process,
            part: None,
            call,
            ret: call + length,
            action,
            outcome,
            level,
            seen: None,
        });
        effect
    }

    fn perform(&mut self, client: &mut Client) {
        let mut operation = client.planned.take().expect("an operation is under way");
        let mut action = operation.action.clone();
        let is_lost = operation.is_unknown() && self.random.random_range(0..2) == 0;
        if !is_lost && self.change(&mut action) {
            self.revision += 1;
        }
        if operation.is_ok() {
            operation.action = action;
            let seen = Seen { node: 1, term: 1, revision: self.revision, ..Seen::default() };
            operation.seen = self.load.revisions.then_some(seen);
        } else {
            client.process = self.processes;
            self.processes += 1;
        }
        self.done.push(operation);
    }

    fn change(&mut self, action: &mut Action) -> bool {
        match action {
            Action::Read { key, found } => {
                *found = Some(self.state.get(key).cloned());
                false
            }
            Action::Delete { key, existed } => {
                let is = self.state.remove(key).is_some();
                *existed = Some(is);
                is
            }
            Action::Write { key, value } => self.set(key.clone(), value.clone()),
            Action::Cas { key, old, new, swapped } => {
                let is = self.state.get(key).map(|found| &found.value) == old.as_ref();
                *swapped = Some(is);
                is && self.set(key.clone(), new.clone())
            }
            _ => false,
        }
    }

    fn set(&mut self, key: Text, value: Text) -> bool {
        let mod_revision = self.revision + 1;
        let (create_revision, version) = self
            .state
            .get(&key)
            .map_or((mod_revision, 1), |found| (found.create_revision, found.version + 1));
        self.state.insert(key, Found { value, mod_revision, create_revision, version });
        true
    }
}

/// The process's largest memory so far, in MiB.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn figures(load: Load, options: &Options) -> Findings {
    let history = generate(load);
    let before = memory_mib();
    let began = Instant::now();
    let findings = check(&history, options);
    let took = began.elapsed();
    println!("{} operations: {took:.1?}, {before} MiB before, {} MiB after", load.operations, memory_mib());
    for (name, tier) in &findings.tiers {
        println!("  {name}: {:?} {:?} {:.1?} {:?}", tier.verdict, tier.checked, tier.took, tier.note);
    }
    for violation in findings.violations.iter().take(5) {
        println!("  {violation:?}");
    }
    findings
}

/// `n` writes with unknown outcome, and answers that only some order of some of them could explain.
fn hopeless(n: u64) -> History {
    let mut operations = Vec::new();
    let mut add = |(call, ret): (u64, u64), action: Action, outcome: Outcome| {
        let index = operations.len() as u64;
        operations.push(Operation {
            index,
            process: index,
            session: index,
            part: None,
            call,
            ret,
            action,
            outcome,
            level: None,
            seen: None,
        });
    };
    for at in 0..n {
        let (old, new) =
            (Some(Arc::from(format!("{}", at % 7))), Arc::from(format!("{}", (at * 3 + 1) % 11)));
        let action = match at % 2 {
            0 => Action::Write { key: "x".into(), value: new },
            _ => Action::Cas { key: "x".into(), old, new, swapped: None },
        };
        add((at, at), action, Outcome::Unknown("time-out".into()));
    }
    for at in 0..12 {
        let action =
            Action::Cas { key: "x".into(), old: Some("9".into()), new: "10".into(), swapped: Some(true) };
        add((1_000 + at * 10, 1_001 + at * 10), action, Outcome::Ok);
    }
    History { operations, ..History::default() }
}

/// A search that cannot end says so, by its deadline.
#[test]
fn a_hopeless_history_is_unknown_by_its_deadline() {
    let options = Options { deadline: Duration::from_secs(1), ..Options::default() };
    let began = Instant::now();
    let findings = check(&hopeless(40), &options);
    assert_eq!(findings.verdict(), Verdict::Unknown, "{findings:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// A search that would remember too much says so.
#[test]
fn a_search_beyond_its_memory_is_unknown() {
    let options = Options { memory_bytes_max: 1 << 20, ..Options::default() };
    let began = Instant::now();
    let findings = check(&hopeless(40), &options);
    let note = findings.tiers["t2"].note.clone().unwrap_or_default();
    assert!(note.contains("memory"), "{note}");
    assert_eq!(findings.verdict(), Verdict::Unknown);
    assert!(began.elapsed() < options.deadline);
}

/// Histories of some length are good if they are.
#[test]
fn a_long_good_history_holds() {
    let load = Load { operations: 20_000, clients: 8, keys: 20, unknown: 5, revisions: true };
    let findings = check(&generate(load), &Options::default());
    assert_eq!(findings.verdict(), Verdict::Ok, "{:?} {:?}", findings.tiers, findings.violations);
}

#[test]
#[ignore = "measures; release build"]
fn a_million_operations_by_revision() {
    let load = Load { operations: 1_000_000, clients: 16, keys: 1_000, unknown: 1, revisions: true };
    let findings = figures(load, &Options { model: Some(Model::Lock), ..Options::default() });
    assert_eq!(findings.verdict(), Verdict::Ok);
}

#[test]
#[ignore = "measures; release build"]
fn a_hundred_thousand_operations_by_value() {
    for unknown in [0, 5, 10, 20] {
        let load = Load { operations: 100_000, clients: 8, keys: 100, unknown, revisions: false };
        let findings = figures(load, &Options { threads: 2, ..Options::default() });
        assert_ne!(findings.verdict(), Verdict::Violated, "{unknown}");
    }
}

/// One answer of many is old: the witness is small, and found in time.
#[test]
#[ignore = "measures; release build"]
fn one_stale_read_among_a_hundred_thousand_operations() {
    let load = Load { operations: 100_000, clients: 8, keys: 10, unknown: 2, revisions: false };
    let mut history = generate(load);
    let mut reads = history.operations.iter_mut().filter_map(|operation| match &mut operation.action {
        Action::Read { key, found } if &**key == "k00003" => Some(found),
        _ => None,
    });
    let old = reads.nth(2_000).and_then(|found| found.clone());
    let read = reads.nth(200).expect("a later read");
    *read = old;
    let began = Instant::now();
    let findings = check(&history, &Options { threads: 2, ..Options::default() });
    println!("{:.1?} {:?}", began.elapsed(), findings.witness());
    assert!(findings.witness().is_some_and(|witness| witness.operations.len() <= 6));
}

/// Few keys, many clients, many unknown outcomes: how far the search goes.
#[test]
#[ignore = "measures; release build"]
fn crowded_keys() {
    for (clients, keys, unknown) in
        [(16, 1, 0), (32, 1, 0), (64, 1, 0), (16, 4, 10), (16, 4, 30), (16, 4, 100)]
    {
        println!("{clients} clients, {keys} keys, {unknown} of 1,000 unknown");
        let load = Load { operations: 20_000, clients, keys, unknown, revisions: false };
        let options = Options { threads: 2, deadline: Duration::from_secs(15), ..Options::default() };
        assert_ne!(figures(load, &options).verdict(), Verdict::Violated);
    }
}
