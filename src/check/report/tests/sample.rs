//! A made-up run to look at: three members, a minute, every level, and something of everything that can go
//! wrong. Its numbers are plausible, no more.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    check::{
        Findings, History, Verdict,
        history::{
            About, Action, Delivery, DeliveryKind, Event, Fault, FaultKind, FinalState, Found, Leadership,
            Nanos, Operation, Outcome, Seen,
        },
        verdict::{Staleness, Tally, Violation, Worst},
    },
    types::{Level, Mechanism, MemberRole},
};

/// A millisecond.
pub const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MS;
const KEYS: u64 = 12;

/// A history of about so many operations, and what a check might find in it.
pub fn sample(operations: u64) -> (History, Findings) {
    let mut run = Run::new();
    let pause = 60 * SECOND * 22 / operations;
    let mut next: Vec<Nanos> = (0..22).map(|client| client * pause / 22).collect();
    while let Some(client) =
        (0..22).filter(|client| next[*client] < 60 * SECOND).min_by_key(|client| next[*client])
    {
        let ret = run.step(client as u64, next[client], pause);
        next[client] = ret + run.random(pause) + 10_000;
    }
    run.finish()
}

struct Run {
    state: u64,
    history: History,
    findings: Findings,
    /// Changes: when committed, key, value. The revision is the place plus 2.
    log: Vec<(Nanos, u64, String)>,
    processes: u64,
    process: BTreeMap<u64, u64>,
    /// The highest revision that each session has seen.
    seen: BTreeMap<u64, u64>,
    /// The token and the end of its certainty, of the lock's holder.
    lock: Option<(u64, u64, Nanos)>,
    broken: u64,
}

fn within(at: Nanos, from: u64, to: u64) -> bool {
    (from * SECOND..to * SECOND).contains(&at)
}

impl Run {
    fn new() -> Run {
        let fault = |kind, what: &str, nodes: &[u64], (from, to): (u64, u64)| Fault {
            kind,
            what: what.to_owned(),
            nodes: nodes.to_vec(),
            from: from * SECOND,
            to: Some(to * SECOND),
            landed: true,
            breaks: None,
        };
        let mut faults = vec![
            fault(FaultKind::Partition, "n1 | n2 n3", &[1], (12, 20)),
            fault(FaultKind::Kill, "n2", &[2], (28, 31)),
            fault(FaultKind::Slow, "n3 → n1, 80 ms", &[3, 1], (36, 45)),
            fault(FaultKind::Pause, "n3", &[3], (40, 43)),
            fault(FaultKind::Clock, "n3 at 1.25 times the rate", &[3], (50, 56)),
        ];
        faults[4].breaks = Some("clock rates differed by more than the bound".to_owned());
        faults.push(Fault { landed: false, ..fault(FaultKind::DiskFull, "n1", &[1], (57, 58)) });
        let led = |at, leader, term| Leadership { at, leader, term };
        let history = History {
            about: About {
                quorate_history: 1,
                title: "All levels under a partition, a kill, a pause and a fast clock".to_owned(),
                command: "quorate torture --nodes 3 --duration 60s --seed 7 --workload register,lock,watch"
                    .to_owned(),
                started: "2026-03-01T12:00:00Z".to_owned(),
                seed: Some(7),
                nodes: Some(3),
                clock_bound: Some(0.05),
                complete: true,
            },
            faults,
            leaders: vec![
                led(0, 0, 0),
                led(400 * MS, 1, 1),
                led(14 * SECOND, 2, 2),
                led(28 * SECOND, 0, 2),
                led(29 * SECOND + 300 * MS, 3, 3),
                led(40 * SECOND + 900 * MS, 1, 4),
            ],
            finals: (1..4)
                .map(|node| FinalState { node, revision: 0, hash: "6f1c09ab44d2e871".to_owned() })
                .collect(),
            ..History::default()
        };
        Run {
            state: 0x9E37_79B9_7F4A_7C15,
            history,
            findings: Findings::default(),
            log: Vec::new(),
            processes: 22,
            process: (0..22).map(|client| (client, client)).collect(),
            seen: BTreeMap::new(),
            lock: None,
            broken: 0,
        }
    }

    /// xorshift64.
    fn random(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below.max(1)
    }

    fn led(at: Nanos) -> (u64, u64) {
        match at / (100 * MS) {
            0..3 => (0, 0),
            3..135 => (1, 1),
            135..280 => (2, 2),
            280..293 => (0, 2),
            293..409 => (3, 3),
            _ => (1, 4),
        }
    }

    fn step(&mut self, client: u64, call: Nanos, pause: Nanos) -> Nanos {
        // Of a busy run every answer is as much quicker.
        let quick = (pause / (60 * MS)).clamp(1, 8).max(1);
        let latency = 400_000 / quick + self.random(3 * MS);
        let key = self.random(KEYS);
        match client {
            0..4 => self.write(client, call, (key, latency)),
            20..22 => self.locked(client, call, latency),
            _ => self.read(client, call, (key, latency)),
        }
    }

    fn push(
        &mut self,
        client: u64,
        (call, ret): (Nanos, Nanos),
        action: Action,
        outcome: Outcome,
    ) -> &mut Operation {
        let index = self.history.operations.len() as u64;
        let process = self.process[&client];
        if matches!(outcome, Outcome::Unknown(_)) {
            self.process.insert(client, self.processes);
            self.processes += 1;
        }
        let part = if client >= 20 { "lock" } else { "register" };
        self.history.operations.push(Operation {
            index,
            process,
            session: client,
            part: Some(part.into()),
            call,
            ret,
            action,
            outcome,
            level: None,
            seen: None,
        });
        let at = self.history.operations.len() - 1;
        &mut self.history.operations[at]
    }

    fn header(&self, at: Nanos, node: u64, revision: u64) -> Seen {
        let (leader, term) = Run::led(at);
        let role = if leader == node { MemberRole::Leader } else { MemberRole::Follower };
        Seen { node, term, revision, applied: revision + term, role: Some(role), ..Seen::default() }
    }

    fn write(&mut self, client: u64, call: Nanos, (key, latency): (u64, Nanos)) -> Nanos {
        let value = format!("v{}", self.log.len() + self.history.operations.len());
        let action = Action::Write { key: format!("k{key}").into(), value: value.as_str().into() };
        let leaderless = Run::led(call).0 == 0;
        let lost = leaderless || (within(call, 12, 14) && client < 3) || self.random(2_000) == 0;
        if lost && self.random(3) == 0 {
            let ret = call + 60 * MS + latency;
            self.push(client, (call, ret), action, Outcome::Fail("no_leader".into()));
            return ret;
        }
        if lost {
            let ret = call + 700 * MS + latency;
            self.push(client, (call, ret), action, Outcome::Unknown("deadline: maybe_committed".into()));
            return ret;
        }
        let ret = call + 2 * latency;
        let committed = self.log.last().map_or(0, |last| last.0 + 1).max(call + latency);
        self.log.push((committed, key, value));
        let revision = self.log.len() as u64 + 1;
        let seen = self.header(call, Run::led(call).0, revision);
        self.seen.entry(client).and_modify(|seen| *seen = revision.max(*seen)).or_insert(revision);
        self.push(client, (call, ret.max(committed + 1)), action, Outcome::Ok).seen = Some(seen);
        self.deliver(committed, revision);
        ret.max(committed + 1)
    }

    fn deliver(&mut self, committed: Nanos, revision: u64) {
        let (_, key, value) = self.log[revision as usize - 2].clone();
        let event = Event {
            key: format!("k{key}").into(),
            value: Some(value.as_str().into()),
            revision,
            create_revision: 0,
            version: 0,
            previous: None,
        };
        for watch in 1..3 {
            let at = if watch == 1 && within(committed, 12, 20) {
                20 * SECOND + revision * 1_000
            } else {
                committed
            };
            let kind = match (revision, watch) {
                (2, _) => DeliveryKind::Opened { from: 2 },
                _ => DeliveryKind::Events(vec![event.clone()]),
            };
            let at = at + 1_500_000;
            self.history.deliveries.push(Delivery { watch, prefix: "k".into(), at, node: watch, kind });
        }
    }

    fn read(&mut self, client: u64, call: Nanos, (key, latency): (u64, Nanos)) -> Nanos {
        let class = (client - 4) / 2;
        let node = if client.is_multiple_of(2) { 1 } else { 2 + self.random(2) };
        let level = self.level(class, client);
        let leaderless = Run::led(call).0 == 0;
        let cut = within(call, 12, 20) && node == 1;
        let strict = matches!(class, 0..4);
        let refused = match class {
            0..3 => leaderless || cut,
            3 | 4 => leaderless && self.random(3) > 0 || cut,
            5 => cut && self.random(4) > 0,
            6 => leaderless || within(call, 15, 20) && node == 1,
            _ => within(call, 28, 31) && node == 2,
        };
        let action = |found| Action::Read { key: format!("k{key}").into(), found };
        if refused {
            let why = ["no_quorum", "no_quorum", "lease_expired", "no_quorum", "too_stale", "wait_timeout"];
            let why = why.get(class as usize).unwrap_or(&"not_leader");
            let ret = call + 50 * MS + latency;
            self.push(client, (call, ret), action(None), Outcome::Fail((*why).into())).level = Some(level);
            return ret;
        }
        let ret = call + latency * [4, 9, 1, 1, 1, 1, 1, 1][class as usize] / 2;
        let mut lag = match class {
            4 => self.random(180 * MS),
            2 | 3 if within(call, 51, 56) && self.random(12) == 0 => 20 * MS + self.random(300 * MS),
            5..8 if cut => call - 12 * SECOND + latency,
            5 | 7 => self.random(30 * MS),
            _ => 0,
        };
        if class == 0 && call > 41 * SECOND && self.broken == 0 {
            lag = 260 * MS;
        }
        let found = self.found(client, (call, class), (key, lag));
        let index = self.history.operations.len() as u64;
        let seen = Seen {
            mechanism: Some(match class {
                0 => Mechanism::ReadIndex,
                1 => Mechanism::LogEntry,
                2 | 3 => Mechanism::LeaderLease,
                4 => Mechanism::Certificate,
                _ => Mechanism::Local,
            }),
            served: Some(level),
            staleness_bound: (class == 4).then_some(lag + 20 * MS),
            ..self.header(call, if strict { Run::led(call).0 } else { node }, found.0)
        };
        self.judge(index, (call, class), found.0, key);
        let operation = self.push(client, (call, ret), action(Some(found.1)), Outcome::Ok);
        operation.level = Some(level);
        operation.seen = Some(seen);
        ret
    }

    fn level(&self, class: u64, client: u64) -> Level {
        match class {
            0 => Level::Linearizable,
            1 => Level::Log,
            2 => Level::Lease,
            3 => Level::LeaseOrIndex,
            4 => Level::Bounded { max_age: Duration::from_millis(200) },
            5 => Level::Session { min_revision: self.seen.get(&client).copied().unwrap_or(1) },
            6 => Level::LeaderLocal,
            _ => Level::Eventual,
        }
    }

    /// The revision that a read sees, and the key's value there.
    fn found(
        &mut self,
        client: u64,
        (call, class): (Nanos, u64),
        (key, lag): (u64, Nanos),
    ) -> (u64, Option<Found>) {
        let mut count = self.log.partition_point(|change| change.0 + lag <= call);
        if class == 5 {
            count = count.max(self.seen.get(&client).copied().unwrap_or(1) as usize - 1);
        }
        let revision = count as u64 + 1;
        self.seen.entry(client).and_modify(|seen| *seen = revision.max(*seen)).or_insert(revision);
        let last = self.log[..count].iter().rposition(|change| change.1 == key);
        let found = last.map(|at| Found {
            value: self.log[at].2.as_str().into(),
            mod_revision: at as u64 + 2,
            ..Found::default()
        });
        (revision, found)
    }

    /// Counts what the read was given.
    fn judge(&mut self, index: u64, (call, class): (Nanos, u64), revision: u64, key: u64) {
        let level = self.level(class, 0).name();
        let now = self.log.partition_point(|change| change.0 < call);
        let from = (revision as usize - 1).min(now);
        let missed: Vec<Nanos> =
            self.log[from..now].iter().filter(|change| change.1 == key).map(|change| change.0).collect();
        let stale = missed.first().map_or(0, |first| call - first);
        let excused = matches!(class, 2 | 3) && stale > 0;
        if stale > 0 {
            let revisions = missed.len() as u64;
            self.findings.staleness.push(Staleness { operation: index, stale, revisions });
        }
        let worst = Worst {
            operations: vec![index],
            why: format!("k{key} was read as it had been {} ms before.", stale / MS),
            stale_ms: stale / MS,
            stale_revisions: missed.len() as u64,
        };
        self.count((level, "linearizable"), class < 4, (stale > 0, excused), &worst);
        self.count((level, "bounded"), class <= 4, (stale > 200 * MS, excused), &worst);
        self.count((level, "read-your-writes"), class <= 5, (stale > 900 * MS && class > 5, false), &worst);
        self.count((level, "monotonic-reads"), class <= 5, (stale > 700 * MS && class > 5, false), &worst);
        self.count((level, "consistent-prefix"), true, (false, false), &worst);
        if class == 0 && stale > 0 {
            self.broken += 1;
            let why = format!(
                "Operation {index} did not see the write of k{key} that had been acknowledged {} ms before \
                 it was called.",
                stale / MS
            );
            let newest = self.log[from..now].iter().find(|change| change.1 == key).map(|change| &*change.2);
            let wrote = |one: &&Operation| match &one.action {
                Action::Write { value, .. } => Some(&**value) == newest,
                _ => false,
            };
            let write = self.history.operations.iter().find(wrote).map_or(0, |one| one.index);
            let operations = vec![write, index];
            let level = Some(level);
            self.findings.violated(Violation {
                tier: "levels",
                anomaly: "stale-read",
                level,
                why,
                operations,
            });
        }
    }

    fn count(
        &mut self,
        (level, guarantee): (&'static str, &'static str),
        promised: bool,
        (broken, excused): (bool, bool),
        worst: &Worst,
    ) {
        let tally: &mut Tally = self.findings.tally(level, guarantee);
        tally.promised = promised;
        tally.checked += 1;
        if !broken {
            return;
        }
        tally.violations += 1;
        if excused {
            tally.excused += 1;
            tally.assumption = Some("clock rates differed by more than the bound".to_owned());
        }
        if tally.worst.as_ref().is_none_or(|known| known.stale_ms < worst.stale_ms) {
            tally.worst = Some(worst.clone());
        }
    }

    fn locked(&mut self, client: u64, call: Nanos, latency: Nanos) -> Nanos {
        let ret = call + latency;
        let lock = || "jobs".into();
        let gives_up = self.random(3) == 0;
        match self.lock {
            Some((owner, token, _)) if owner == client && gives_up => {
                self.lock = None;
                self.push(client, (call, ret), Action::Release { lock: lock(), token }, Outcome::Ok);
            }
            Some((owner, token, _)) if owner == client => {
                let sure_until = Some(ret + SECOND);
                self.lock = Some((client, token, ret + SECOND));
                self.push(
                    client,
                    (call, ret),
                    Action::Renew { lock: lock(), token, sure_until },
                    Outcome::Ok,
                );
                return ret + 150 * MS;
            }
            Some((_, _, until)) if until > call => return call + 40 * MS,
            _ => {
                let token = self.log.len() as u64 + 2;
                self.lock = Some((client, token, ret + SECOND));
                let sure_until = Some(ret + SECOND);
                let action = Action::Acquire { lock: lock(), token: Some(token), sure_until };
                self.push(client, (call, ret), action, Outcome::Ok);
            }
        }
        ret + 200 * MS
    }

    fn finish(mut self) -> (History, Findings) {
        let operations = self.history.operations.len() as u64;
        self.history.deliveries.sort_by_key(|delivery| delivery.at);
        for state in &mut self.history.finals {
            state.revision = self.log.len() as u64 + 1;
        }
        for (name, took) in [("t0", 3), ("t1", 41), ("t2", 380), ("t4", 12), ("levels", 55)] {
            let tier = self.findings.tier(name);
            tier.checked = operations;
            tier.took = Duration::from_millis(took);
        }
        let nothing = Worst { operations: vec![], why: String::new(), stale_ms: 0, stale_revisions: 0 };
        for (subject, name) in [
            ("watch", "reliable"),
            ("watch", "unique"),
            ("watch", "ordered"),
            ("lock", "mutual-exclusion"),
            ("lock", "token-order"),
            ("lease", "not-early"),
        ] {
            self.count((subject, name), true, (false, false), &nothing);
            self.findings.tally(subject, name).checked = operations / 7;
        }
        let tier = self.findings.tier("t3");
        tier.note = Some("there are no transactions over lists".to_owned());
        assert_eq!(self.findings.verdict(), Verdict::Violated);
        (self.history, self.findings)
    }
}
