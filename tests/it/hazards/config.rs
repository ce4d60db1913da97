//! H6: heartbeats queue behind syncs, so that timings must keep their proportions.

use std::time::Duration;

use quorate::config::{Config, MemberAddr};

const MS: Duration = Duration::from_millis(1);

/// What a configuration that is sound but for one change is refused with.
fn refusal(change: impl FnOnce(&mut Config)) -> String {
    let own = MemberAddr { peer: "127.0.0.1:1".to_owned(), client: String::new() };
    let mut config =
        Config { id: 1, data_dir: "data".into(), members: [(1, own)].into(), ..Config::default() };
    config.validate().expect("sound before the change");
    change(&mut config);
    config.validate().expect_err("unsound after the change").to_string()
}

#[test]
fn h6_proportions_that_cannot_work_are_refused_by_field_and_value() {
    let refused = [
        (refusal(|c| c.heartbeat = 100 * MS), "election_timeout_min is 150ms"),
        (refusal(|c| c.election_timeout_min = 149 * MS), "heartbeat of 50ms"),
        (refusal(|c| c.heartbeat = Duration::ZERO), "heartbeat is 0ns"),
        (refusal(|c| c.certificate_interval = Duration::ZERO), "certificate_interval is 0ns"),
        (refusal(|c| c.default_timeout = Duration::ZERO), "default_timeout is 0ns"),
        (refusal(|c| c.engine_cache_bytes = 1000), "engine_cache_bytes is 1000"),
        (refusal(|c| c.limits.inflight_reads_max = 0), "limits.inflight_reads_max is 0"),
        (refusal(|c| drop(c.members.insert(2, c.members[&1].clone()))), "given to member 1 and to member 2"),
        (refusal(|c| c.election_timeout_max = 150 * MS), "election_timeout_max is 150ms"),
        (refusal(|c| c.clock_drift_max = 0.5), "clock_drift_max is 0.5"),
        (refusal(|c| c.lease_margin = 340 * MS), "lease_margin is 340ms"),
    ];
    for (said, expected) in refused {
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
    }
}

#[test]
fn h2_a_restarted_voter_waits_longer_than_any_lease_that_it_may_have_promised() {
    for drift in [0.0, 0.05, 0.4] {
        let config = Config { clock_drift_max: drift, ..Config::default() };
        let slowest = config.lease(config.promise()).div_f64(1.0 - drift);
        let fastest = config.vote_guard(config.promise()).div_f64(1.0 + drift);
        assert!(
            slowest < fastest,
            "drift {drift}: a slow leader's lease {slowest:?}, a fast voter's {fastest:?}"
        );
    }
}
