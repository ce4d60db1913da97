use super::*;

fn connection(maybe_committed: bool) -> Error {
    Error::Connection { endpoint: "a:1".into(), why: "gone".into(), maybe_committed }
}

fn deadline(maybe_committed: bool) -> Error {
    Error::Deadline { waiting_for: "an answer".into(), maybe_committed }
}

fn overloaded() -> Error {
    Error::Overloaded { what: "writes".into(), limit: 1, retry_after: Duration::from_millis(70) }
}

/// Error, what a write does, what a read does.
fn table() -> Vec<(Error, Verdict, Verdict)> {
    use Verdict::{Around, Elsewhere, GiveUp, Later};
    let wait = Duration::from_millis(70);
    vec![
        (Error::Invalid("x".into()), GiveUp, GiveUp),
        (Error::TooLarge { what: "x".into(), limit: 1, actual: 2 }, GiveUp, GiveUp),
        (Error::Compacted { requested: 1, compacted: 2 }, GiveUp, GiveUp),
        (Error::FutureRevision { requested: 2, current: 1 }, GiveUp, Around),
        (Error::LeaseNotFound(1), GiveUp, GiveUp),
        (Error::NotLeader { leader: None }, Elsewhere, Elsewhere),
        (Error::NoLeader, Later(Duration::ZERO), Later(Duration::ZERO)),
        (Error::NoQuorum, Later(Duration::ZERO), Later(Duration::ZERO)),
        (Error::NotReady("x".into()), Elsewhere, Elsewhere),
        (Error::ShuttingDown, Elsewhere, Elsewhere),
        (Error::LeaseExpired, Later(Duration::ZERO), Later(Duration::ZERO)),
        (Error::TooStale { have: None, want: wait }, Around, Around),
        (Error::WaitTimeout { have: 1, want: 2 }, GiveUp, Elsewhere),
        (deadline(false), GiveUp, Elsewhere),
        (deadline(true), GiveUp, Elsewhere),
        (Error::UnknownOutcome("x".into()), GiveUp, Elsewhere),
        (overloaded(), Later(wait), Later(wait)),
        (Error::NoSpace { free: 1, needed: 2 }, GiveUp, GiveUp),
        (Error::Stopped("x".into()), Elsewhere, Elsewhere),
        (connection(false), Elsewhere, Elsewhere),
        (connection(true), GiveUp, Elsewhere),
        (Error::Protocol("x".into()), GiveUp, GiveUp),
        (Error::WrongCluster("x".into()), GiveUp, GiveUp),
        (Error::LeaseExists(1), GiveUp, GiveUp),
        (Error::SessionExpired(1), GiveUp, GiveUp),
        (Error::SessionSeq { seq: 1, acknowledged_below: 2 }, GiveUp, GiveUp),
        (Error::LockLost { owner_key: "k".into(), token: 1, current_token: 2 }, GiveUp, GiveUp),
    ]
}

#[test]
fn a_write_of_a_session_is_repeated_like_a_read() {
    for (error, _, read) in table() {
        let future = matches!(error, Error::FutureRevision { .. });
        let expected = if future { Verdict::GiveUp } else { read };
        assert_eq!(verdict(Kind::ExactlyOnce, &error), expected, "{error:?}");
    }
}

#[test]
fn what_is_done_after_each_error() {
    for (error, write, read) in table() {
        assert_eq!(verdict(Kind::Write, &error), write, "write: {error:?}");
        assert_eq!(verdict(Kind::Read, &error), read, "read: {error:?}");
    }
}

#[test]
fn a_write_that_may_have_happened_is_never_repeated() {
    for (error, write, _) in table() {
        assert!(!error.maybe_committed() || write == Verdict::GiveUp, "{error:?}");
    }
}

#[test]
fn what_a_member_refuses_by_its_own_limits_settles_nothing() {
    let table = table().into_iter().map(|(error, ..)| error);
    let mut settled: Vec<_> = table.filter(is_settled).map(|error| error.reason()).collect();
    settled.sort_unstable();
    let by_the_state = ["compacted", "future_revision", "lease_exists", "lease_not_found", "lock_lost"];
    assert_eq!(settled, by_the_state);
}

#[test]
fn pauses_double_up_to_a_bound_and_are_spread() {
    let full: Vec<_> = (0..7).map(|round| pause(round, 1.0).as_millis()).collect();
    assert_eq!(full, [20, 40, 80, 160, 320, 500, 500]);
    assert_eq!(pause(0, 0.0), Duration::from_millis(10));
    assert_eq!(pause(u32::MAX, 1.0), PAUSE_MAX);
}

#[test]
fn a_read_keeps_time_for_another_member_and_a_write_does_not() {
    let left = Duration::from_secs(4);
    assert_eq!(attempt_time(Kind::Read, left, 2), left / 2);
    assert_eq!(attempt_time(Kind::Read, left, 0), left);
    assert_eq!(attempt_time(Kind::Write, left, 2), left);
}

#[test]
fn a_write_is_not_begun_at_the_last_moment() {
    let another = |kind, left| time_for_another(kind, Duration::from_millis(20), Duration::from_millis(left));
    assert!(another(Kind::Write, 121) && !another(Kind::Write, 120));
    assert!(another(Kind::Read, 21) && !another(Kind::Read, 20));
}

#[test]
fn the_caller_gets_the_error_that_tells_most() {
    let said = || Some(Error::NoQuorum);
    assert_eq!(more_telling(said(), connection(false)), Error::NoQuorum);
    assert_eq!(more_telling(said(), deadline(false)), Error::NoQuorum);
    assert_eq!(more_telling(said(), deadline(true)), deadline(true));
    assert_eq!(more_telling(said(), Error::NoLeader), Error::NoLeader);
    assert_eq!(more_telling(None, connection(false)), connection(false));
    assert_eq!(more_telling(Some(connection(false)), deadline(false)), deadline(false));
    let silent = || Error::Deadline { waiting_for: format!("{ANSWER_OF} a:1"), maybe_committed: false };
    assert_eq!(more_telling(Some(deadline(false)), silent()), deadline(false), "a member knows for what");
    assert_eq!(more_telling(Some(silent()), deadline(false)), deadline(false));
    assert_eq!(more_telling(Some(Error::ShuttingDown), connection(false)), Error::ShuttingDown);
}

#[test]
fn a_budget_runs_dry_and_is_refilled_by_answers() {
    let budget = Budget::new(2);
    assert_eq!([budget.take(), budget.take(), budget.take()], [true, true, false]);
    for _ in 0..6 {
        budget.refund();
    }
    assert_eq!([budget.take(), budget.take()], [true, false]);
    for _ in 0..1000 {
        budget.refund();
    }
    assert_eq!(
        [budget.take(), budget.take(), budget.take()],
        [true, true, false],
        "never more than its size"
    );
    assert!(!Budget::new(0).take());
}
