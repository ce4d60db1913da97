//! Known anomalies, by name, with the operations that show them.

use quorate::{
    check::{
        Findings, History, Options, Verdict, check,
        history::{
            About, Action, Delivery, DeliveryKind, Event, Fault, FaultKind, FinalState, Found, Operation,
            Outcome, Seen, Text,
        },
    },
    types::{Level, Mechanism},
};

/// Puts histories together, one operation after the other. Times are in milliseconds.
struct Script {
    history: History,
}

impl Script {
    /// A history that tells all changes of the store.
    fn new() -> Self {
        let about = About { quorate_history: 1, complete: true, ..About::default() };
        Script { history: History { about, ..History::default() } }
    }

    /// Adds an answered operation of a process, which is its own session.
    fn ok(mut self, process: u64, (call, ret): (u64, u64), action: Action) -> Self {
        self.push(process, (call, ret), action, Outcome::Ok);
        self
    }

    fn unknown(mut self, process: u64, (call, ret): (u64, u64), action: Action) -> Self {
        self.push(process, (call, ret), action, Outcome::Unknown("time-out".into()));
        self
    }

    fn failed(mut self, process: u64, (call, ret): (u64, u64), action: Action) -> Self {
        self.push(process, (call, ret), action, Outcome::Fail("no_leader".into()));
        self
    }

    fn push(&mut self, process: u64, (call, ret): (u64, u64), action: Action, outcome: Outcome) {
        let index = self.history.operations.len() as u64;
        self.history.operations.push(Operation {
            index,
            process,
            session: process,
            part: None,
            call: call * 1_000_000,
            ret: ret * 1_000_000,
            action,
            outcome,
            level: None,
            seen: None,
        });
    }

    /// The last operation's revision, by member 1.
    fn at(self, revision: u64) -> Self {
        self.seen(Seen { node: 1, term: 1, revision, ..Seen::default() })
    }

    fn seen(mut self, seen: Seen) -> Self {
        if let Some(operation) = self.history.operations.last_mut() {
            operation.seen = Some(seen);
        }
        self
    }

    /// The last operation's level.
    fn level(mut self, level: Level) -> Self {
        if let Some(operation) = self.history.operations.last_mut() {
            operation.level = Some(level);
        }
        self
    }

    fn check(&self) -> Findings {
        check(&self.history, &Options { threads: 1, ..Options::default() })
    }

    /// The anomalies that were found, each with its tier, level and operations.
    fn found(&self) -> Vec<(&'static str, &'static str, Option<&'static str>, Vec<u64>)> {
        let findings = self.check();
        let violations = findings.violations.into_iter();
        let found = violations.map(|one| (one.tier, one.anomaly, one.level, one.operations));
        found.collect()
    }

    #[track_caller]
    fn has(&self, tier: &str, anomaly: &str, operations: &[u64]) {
        let found = self.found();
        let mut these = found.iter().filter(|one| one.0 == tier && one.1 == anomaly);
        let same = |own: &[u64]| {
            let mut own = own.to_vec();
            own.sort_unstable();
            own == operations
        };
        assert!(these.any(|one| same(&one.3)), "no {tier} {anomaly} of {operations:?} in {found:?}");
    }

    #[track_caller]
    fn holds(&self) {
        let findings = self.check();
        assert_eq!(findings.verdict(), Verdict::Ok, "{:?}", findings.violations);
    }
}

fn write(key: &str, value: &str) -> Action {
    Action::Write { key: key.into(), value: value.into() }
}

fn delete(key: &str, existed: bool) -> Action {
    Action::Delete { key: key.into(), existed: Some(existed) }
}

fn cas(key: &str, old: &str, new: &str) -> Action {
    Action::Cas { key: key.into(), old: Some(old.into()), new: new.into(), swapped: Some(true) }
}

/// A read that found a value, and at which revision it was written; 0: not told.
fn read(key: &str, value: &str, mod_revision: u64) -> Action {
    let found = Found { value: value.into(), mod_revision, ..Found::default() };
    Action::Read { key: key.into(), found: Some(Some(found)) }
}

fn read_nothing(key: &str) -> Action {
    Action::Read { key: key.into(), found: Some(None) }
}

fn range(prefix: &str, keys: &[(&str, &str)]) -> Action {
    let found = |(key, value): &(&str, &str)| -> (Text, Found) {
        ((*key).into(), Found { value: (*value).into(), ..Found::default() })
    };
    Action::Range { prefix: prefix.into(), found: Some(keys.iter().map(found).collect()) }
}

#[test]
fn a_stale_read_by_values() {
    let script = Script::new()
        .ok(1, (0, 1), write("x", "a"))
        .ok(1, (2, 3), write("x", "b"))
        .ok(2, (4, 5), read("x", "b", 0))
        .ok(2, (6, 7), read("x", "a", 0))
        .ok(2, (8, 9), read("x", "b", 0));
    script.has("t2", "stale-read", &[0, 1, 3]);
    let findings = script.check();
    let why = &findings.witness().expect("a violation").why;
    assert_eq!(
        why,
        "\"a\" was seen by an operation called 3.000 ms after the write of \"b\" to \"x\" was acknowledged; \
         nothing wrote that again"
    );
}

#[test]
fn a_stale_read_by_revisions() {
    let script = Script::new()
        .ok(1, (0, 1), write("x", "a"))
        .at(2)
        .ok(1, (2, 3), write("x", "b"))
        .at(3)
        .ok(2, (6, 7), read("x", "a", 2))
        .at(2)
        .level(Level::Linearizable);
    script.has("t1", "stale-read", &[1, 2]);
    script.has("levels", "stale-read", &[1, 2]);
    let findings = script.check();
    let levels =
        findings.violations.iter().find(|violation| violation.tier == "levels").expect("a violation");
    assert_eq!(
        levels.why,
        "the write of \"b\" to \"x\" (revision 3) was acknowledged 3.000 ms before it was called; it was \
         answered \"a\" as of revision 2"
    );
    assert_eq!(findings.staleness.len(), 1);
    assert_eq!((findings.staleness[0].stale, findings.staleness[0].revisions), (3_000_000, 1));
}

#[test]
fn the_smallest_witness_is_a_handful_of_a_long_history() {
    let mut script = Script::new();
    for at in 0..200 {
        let value = format!("v{at}");
        script = script.ok(1, (at * 4, at * 4 + 1), write("x", &value));
        script = script.ok(2, (at * 4 + 2, at * 4 + 3), read("x", &value, 0));
    }
    let script = script.ok(3, (900, 901), read("x", "v150", 0)).ok(3, (902, 903), read("x", "v199", 0));
    let findings = script.check();
    let witness = findings.witness().expect("a violation");
    assert_eq!(witness.anomaly, "stale-read");
    assert_eq!(witness.operations.len(), 3, "{witness:?}");
}

#[test]
fn a_lost_update() {
    let script = Script::new()
        .ok(1, (0, 1), write("x", "a"))
        .ok(1, (2, 5), cas("x", "a", "b"))
        .ok(2, (2, 5), cas("x", "a", "c"))
        .ok(3, (6, 7), read("x", "c", 0));
    script.has("t2", "lost-update", &[0, 1, 2]);
    let script = Script::new()
        .ok(1, (0, 1), write("x", "a"))
        .at(2)
        .ok(1, (2, 5), cas("x", "a", "b"))
        .at(3)
        .ok(2, (2, 5), cas("x", "a", "c"))
        .at(4);
    script.has("t1", "lost-update", &[1, 2]);
}

#[test]
fn dirty_phantom_and_future_reads() {
    let script = Script::new().failed(1, (0, 1), write("x", "a")).ok(2, (2, 3), read("x", "a", 0));
    script.has("t0", "aborted-read", &[0, 1]);
    let script = Script::new().ok(1, (0, 1), write("x", "a")).ok(2, (2, 3), read("x", "z", 0));
    script.has("t0", "phantom-read", &[1]);
    let script = Script::new().ok(1, (4, 5), write("x", "a")).ok(2, (2, 3), read("x", "a", 0));
    script.has("t0", "future-read", &[0, 1]);
    script.has("t2", "future-read", &[0, 1]);
}

#[test]
fn an_unknown_write_may_be_seen_or_not_but_not_come_and_go() {
    let start = || Script::new().ok(1, (0, 1), write("x", "a")).unknown(2, (2, 3), write("x", "b"));
    start().ok(1, (4, 5), read("x", "a", 0)).ok(1, (6, 7), read("x", "b", 0)).holds();
    start().ok(1, (4, 5), read("x", "a", 0)).ok(1, (6, 7), read("x", "a", 0)).holds();
    let script = start().ok(1, (4, 5), read("x", "b", 0)).ok(1, (6, 7), read("x", "a", 0));
    script.has("t2", "stale-read", &[0, 1, 2, 3]);
}

#[test]
fn a_deleted_key_comes_back() {
    let script = Script::new()
        .ok(1, (0, 1), write("x", "a"))
        .ok(1, (2, 3), delete("x", true))
        .ok(1, (4, 5), write("x", "b"))
        .ok(1, (6, 7), delete("x", true))
        .ok(2, (8, 9), read("x", "a", 0));
    script.has("t2", "stale-read", &[0, 1, 4]);
}

#[test]
fn two_writes_with_one_revision() {
    let script = Script::new().ok(1, (0, 1), write("x", "a")).at(2).ok(2, (0, 1), write("y", "b")).at(2);
    script.has("t1", "duplicate-revision", &[0, 1]);
}

#[test]
fn a_write_that_was_applied_twice() {
    let script = Script::new()
        .ok(1, (0, 1), write("x", "a"))
        .at(2)
        .ok(1, (2, 3), write("x", "b"))
        .at(3)
        .ok(2, (4, 5), read("x", "a", 4))
        .at(4);
    script.has("t1", "applied-twice", &[0, 2]);
}

#[test]
fn an_acknowledged_write_that_nobody_finds() {
    let script = Script::new()
        .ok(1, (0, 1), write("s/1", "a"))
        .ok(1, (2, 3), write("s/2", "b"))
        .ok(2, (4, 5), range("s/", &[("s/2", "b")]))
        .ok(2, (6, 7), range("s/", &[("s/2", "b")]));
    script.has("t2", "lost-write", &[0, 2]);
    let back = script.ok(2, (8, 9), range("s/", &[("s/1", "a"), ("s/2", "b")]));
    back.has("t2", "stale-read", &[0, 2]);
}

#[test]
fn a_mixed_snapshot() {
    let script = Script::new()
        .ok(1, (0, 1), write("s/1", "a"))
        .at(2)
        .ok(1, (2, 3), write("s/2", "b"))
        .at(3)
        .ok(2, (2, 5), range("s/", &[("s/2", "b")]))
        .at(3)
        .level(Level::Eventual);
    script.has("t1", "inconsistent-read", &[0, 2]);
    let findings = script.check();
    assert_eq!(findings.guarantees["eventual"]["consistent-prefix"].violations, 1);
}

/// Two writes, then the reads of one session.
fn session(level: Level, revisions: [u64; 2]) -> Script {
    let mut script = Script::new().ok(1, (0, 1), write("x", "a")).at(2).ok(1, (2, 3), write("x", "b")).at(3);
    for (at, revision) in (0..).zip(revisions) {
        let value = if revision == 2 { "a" } else { "b" };
        script = script.ok(2, (10 + 2 * at, 11 + 2 * at), read("x", value, revision)).level(level);
        script = script.seen(Seen { node: 1 + at, term: 1, revision, ..Seen::default() });
    }
    script
}

#[test]
fn a_session_that_goes_back() {
    let script = session(Level::Session { min_revision: 3 }, [3, 2]);
    script.has("levels", "non-monotonic-read", &[2, 3]);
    // Nobody promised that at this level, but it is counted.
    let script = session(Level::Eventual, [3, 2]);
    script.holds();
    let tally = &script.check().guarantees["eventual"]["monotonic-reads"];
    assert_eq!((tally.promised, tally.checked, tally.violations), (false, 1, 1));
}

#[test]
fn a_stale_read_is_allowed_where_it_is_not_promised() {
    session(Level::Eventual, [2, 3]).holds();
    session(Level::LeaderLocal, [2, 2]).holds();
    let tally = &session(Level::Eventual, [2, 3]).check().guarantees["eventual"]["linearizable"];
    assert_eq!((tally.promised, tally.checked, tally.violations), (false, 2, 1));
    let worst = tally.worst.as_ref().expect("a worst case");
    assert_eq!((worst.stale_ms, worst.stale_revisions), (7, 1));
}

#[test]
fn bounded_reads_may_be_as_old_as_they_say() {
    let bounded = |millis| Level::Bounded { max_age: std::time::Duration::from_millis(millis) };
    session(bounded(8), [2, 3]).holds();
    session(bounded(6), [2, 3]).has("levels", "stale-beyond-bound", &[1, 2]);
}

#[test]
fn a_lease_is_excused_while_its_assumption_is_broken_on_purpose() {
    let script = session(Level::Lease, [2, 3]);
    script.has("levels", "stale-read", &[1, 2]);
    let mut script = session(Level::Lease, [2, 3]);
    script.history.faults.push(Fault {
        kind: FaultKind::Clock,
        what: "n1 at twice the rate".into(),
        nodes: vec![1],
        from: 0,
        to: Some(5_000_000),
        landed: true,
        breaks: Some("clock rates differ by less than 5 %".into()),
    });
    script.holds();
    let tally = &script.check().guarantees["lease"]["linearizable"];
    assert_eq!((tally.promised, tally.violations, tally.excused), (true, 1, 1));
    assert_eq!(tally.assumption.as_deref(), Some("clock rates differ by less than 5 %"));
    // A quorum round rests on no clock.
    for operation in &mut script.history.operations {
        if let Some(seen) = &mut operation.seen {
            seen.mechanism = Some(Mechanism::ReadIndex);
        }
    }
    script.has("levels", "stale-read", &[1, 2]);
}

#[test]
fn members_that_differ_in_the_end() {
    let mut script = Script::new().ok(1, (0, 1), write("x", "a")).at(2);
    for (node, hash) in [(1, "aa"), (2, "bb")] {
        script.history.finals.push(FinalState { node, revision: 2, hash: hash.into() });
    }
    script.has("t0", "diverged", &[]);
}

#[test]
fn what_was_there_before_the_history_is_no_phantom() {
    let script = |complete| {
        let mut script = Script::new()
            .ok(1, (0, 1), read("x", "old", 5))
            .at(9)
            .ok(1, (2, 3), cas("x", "old", "new"))
            .at(10)
            .ok(1, (4, 5), read("y", "foreign", 11))
            .at(12);
        script.history.about.complete = complete;
        script
    };
    script(false).holds();
    assert_eq!(script(true).check().verdict(), Verdict::Violated);
}

#[test]
fn a_key_may_go_with_its_lease() {
    let attach = Action::Attach { lease: 7, key: "x".into(), value: "a".into() };
    let script = Script::new()
        .ok(1, (0, 1), attach)
        .at(2)
        .ok(2, (2, 3), read("x", "a", 2))
        .at(2)
        .ok(2, (4, 5), read_nothing("x"))
        .at(3)
        .ok(2, (6, 7), delete("x", false))
        .at(3);
    script.holds();
}

/// Puts `a`, `b` and `c` into a key, `b` at revision 3 and with unknown outcome; between `b` and `c` comes
/// what changes nothing at that revision.
fn beside_an_unknown_write(nothing: Action) -> Script {
    Script::new()
        .ok(1, (0, 1), write("k", "a"))
        .at(2)
        .unknown(2, (2, 9), write("k", "b"))
        .ok(3, (3, 4), nothing)
        .at(3)
        .ok(1, (5, 6), write("k", "c"))
        .at(4)
}

/// Reads `c`, which is said to be that version of the key.
fn read_version(script: Script, version: u64) -> Script {
    let found = Found { value: "c".into(), mod_revision: 4, create_revision: 2, version };
    script.ok(1, (7, 8), Action::Read { key: "k".into(), found: Some(Some(found)) }).at(4)
}

/// A watch tells `b`, at revision 3.
fn watched(mut script: Script) -> Script {
    let event = Event {
        key: "k".into(),
        value: Some("b".into()),
        revision: 3,
        create_revision: 2,
        version: 2,
        previous: Some(Some("a".into())),
    };
    let kind = DeliveryKind::Events(vec![event]);
    script.history.deliveries.push(Delivery { watch: 1, prefix: "k".into(), at: 9_000_000, node: 1, kind });
    script
}

#[test]
fn what_a_revocation_tells_may_be_the_revision_of_an_unknown_write() {
    let revoke = || Action::Revoke { lease: 7 };
    read_version(beside_an_unknown_write(revoke()), 3).holds();
    read_version(watched(beside_an_unknown_write(revoke())), 3).holds();
    read_version(watched(beside_an_unknown_write(revoke())), 2).has("t1", "wrong-version", &[0, 3, 4]);
    // Without that write there is nothing that can have made it the third.
    let script = Script::new().ok(1, (0, 1), write("k", "a")).at(2);
    let script = script.ok(3, (3, 4), revoke()).at(3).ok(1, (5, 6), write("k", "c")).at(4);
    read_version(script, 3).has("t1", "wrong-version", &[0, 2, 3]);
    // A release takes its place away, and so makes its revision.
    let release = Action::Release { lock: "l".into(), token: 1 };
    let script = watched(beside_an_unknown_write(release));
    assert_eq!(read_version(script, 3).check().verdict(), Verdict::Violated);
}

#[test]
fn a_deletion_that_does_not_say_what_it_did_made_only_what_was_not_known_before() {
    let untold = || Action::Delete { key: "y".into(), existed: None };
    // Somebody saw the unknown write at that revision.
    read_version(watched(beside_an_unknown_write(untold())), 3).holds();
    // The lease took the key away at revision 4, which was told before the deletion was called.
    Script::new()
        .ok(1, (0, 1), write("k", "a"))
        .at(2)
        .ok(1, (2, 3), Action::Attach { lease: 7, key: "k".into(), value: "b".into() })
        .at(3)
        .ok(1, (4, 5), Action::Revoke { lease: 7 })
        .at(4)
        .ok(1, (6, 7), read_nothing("k"))
        .at(4)
        .ok(2, (8, 9), untold())
        .at(4)
        .holds();
}

#[test]
fn an_operation_before_the_one_before_has_ended() {
    let script = Script::new().ok(1, (0, 5), write("x", "a")).ok(1, (2, 3), write("x", "b"));
    script.has("t0", "malformed", &[0, 1]);
}
