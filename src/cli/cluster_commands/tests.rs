use super::*;

fn status(id: u64, term: u64, role: v1::MemberRole) -> v1::StatusResponse {
    let header = v1::Header { member_id: id, term, ..Default::default() };
    v1::StatusResponse { id, header: Some(header), role: role.into(), ..Default::default() }
}

fn unreachable() -> Error {
    Error::Connection { endpoint: "c:1".into(), why: "refused".into(), maybe_committed: false }
}

fn hashes(answers: &[(u64, &str)]) -> Answers<v1::StateHashResponse> {
    let answer = |(revision, hash): &(u64, &str)| v1::StateHashResponse {
        revision: *revision,
        hash: (*hash).to_owned(),
        ..Default::default()
    };
    answers.iter().map(|each| ("a:1".to_owned(), Ok(answer(each)))).collect()
}

#[test]
fn lag_is_what_the_newest_leader_says() {
    let lag = |id, entries| v1::status_response::Lag { id, matched_index: None, entries };
    let old = v1::StatusResponse { lag: vec![lag(2, 0)], ..status(1, 3, v1::MemberRole::RoleLeader) };
    let new =
        v1::StatusResponse { lag: vec![lag(1, 5), lag(3, 0)], ..status(2, 4, v1::MemberRole::RoleLeader) };
    let answers = vec![
        ("a:1".to_owned(), Ok(old)),
        ("b:1".to_owned(), Ok(new)),
        ("c:1".to_owned(), Err(unreachable())),
    ];
    assert_eq!(lag_by_member(&answers), [(1, 5), (2, 0), (3, 0)].into());
}

#[test]
fn a_dead_member_has_a_row_and_a_line() {
    let answers = vec![("c:1".to_owned(), Err::<v1::StatusResponse, _>(unreachable()))];
    assert!(
        status_table(&answers).lines().any(|line| line.starts_with("c:1") && line.contains("connection"))
    );
    let mut out = Vec::new();
    print_errors(&mut out, &answers).expect("memory");
    assert_eq!(out, b"cannot reach c:1: refused\n", "named once");
}

#[test]
fn hashes_are_compared_at_equal_revisions_only() {
    assert!(agree(&hashes(&[(5, "x"), (5, "x"), (6, "y")])));
    assert!(!agree(&hashes(&[(5, "x"), (6, "y"), (5, "z")])));
}

#[test]
fn it_takes_one_answer_to_be_an_answer() {
    let dead = || ("c:1".to_owned(), Err(unreachable()));
    assert!(require_one(vec![dead(), ("a:1".to_owned(), Ok(()))]).is_ok());
    assert!(matches!(require_one::<()>(vec![dead()]), Err(Failure::Printed(_))));
}

#[test]
fn all_dead_endpoints_are_named_and_their_reason_once() {
    let refused = |endpoint: &str| Error::Connection {
        endpoint: endpoint.into(),
        why: "refused".into(),
        maybe_committed: false,
    };
    let answers = ["a:1", "b:1"].map(|endpoint| (endpoint.to_owned(), Err::<(), _>(refused(endpoint))));
    let failure = require_one(answers.into()).expect_err("nobody answered");
    assert_eq!(failure.line(), "cannot reach a:1, b:1: refused");
}

#[test]
fn endpoints_of_two_clusters_are_a_failure() {
    let foreign = Error::WrongCluster("b:1 belongs to cluster 8, others asked to 7".into());
    let answers = vec![("a:1".to_owned(), Ok(())), ("b:1".to_owned(), Err(foreign))];
    let failure = require_one(answers).expect_err("two clusters");
    assert_eq!(failure.exit_code(), 3);
    assert!(failure.line().contains("cluster 8"), "{}", failure.line());
}
