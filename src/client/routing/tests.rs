use super::*;

fn now() -> Instant {
    Instant::now()
}

/// Three endpoints that turned out to be members 1 to 3 of term 5, led by 2.
fn cluster() -> View {
    let mut view = strangers();
    for (address, member) in [("a:1", 1), ("b:1", 2), ("c:1", 3)] {
        view.learn_member(address, member);
    }
    view.learn_leader(5, Some(2));
    view
}

fn strangers() -> View {
    View::new(["a:1", "b:1", "c:1"].map(str::to_owned).to_vec(), 0)
}

/// The order in which endpoints are asked if all of them fail.
fn order(view: &mut View, target: Target) -> Vec<String> {
    let mut tried = BTreeSet::new();
    let mut order = Vec::new();
    while let Some(address) = view.pick(target, &tried, now()) {
        tried.insert(address.clone());
        order.push(address);
    }
    order
}

fn hint(id: NodeId, client_addr: &str) -> Option<LeaderHint> {
    Some(LeaderHint { id, client_addr: client_addr.into() })
}

fn refused() -> Error {
    Error::Connection { endpoint: String::new(), why: String::new(), maybe_committed: false }
}

#[test]
fn a_read_goes_where_its_route_and_level_say() {
    let of = |level: Level, route: Route| Target::of_read(&Consistency { level, route });
    assert_eq!(of(Level::Linearizable, Route::Any), Target::Any);
    assert_eq!(of(Level::Log, Route::Any), Target::Any);
    assert_eq!(of(Level::Eventual, Route::Any), Target::Any);
    assert_eq!(of(Level::Lease, Route::Any), Target::Leader);
    assert_eq!(of(Level::LeaseOrIndex, Route::Any), Target::Leader);
    assert_eq!(of(Level::LeaderLocal, Route::Any), Target::Leader);
    assert_eq!(of(Level::LeaderLocal, Route::Follower), Target::Follower);
    assert_eq!(of(Level::Eventual, Route::Leader), Target::Leader);
    assert_eq!(of(Level::Eventual, Route::Member(3)), Target::Member(3));
}

#[test]
fn any_goes_round() {
    let mut view = cluster();
    let mut pick = || view.pick(Target::Any, &BTreeSet::new(), now()).expect("an endpoint");
    assert_eq!([pick(), pick(), pick(), pick()], ["a:1", "b:1", "c:1", "a:1"]);
}

#[test]
fn the_leader_is_asked_first_and_then_the_others() {
    assert_eq!(order(&mut cluster(), Target::Leader), ["b:1", "c:1", "a:1"]);
    assert_eq!(order(&mut strangers(), Target::Leader).len(), 3, "an unknown leader may be anybody");
}

#[test]
fn a_follower_read_asks_the_leader_last() {
    let order = order(&mut cluster(), Target::Follower);
    assert_eq!(order.last().map(String::as_str), Some("b:1"), "{order:?}");
}

#[test]
fn a_member_is_asked_alone_once_it_is_known() {
    assert_eq!(order(&mut cluster(), Target::Member(3)), ["c:1"]);
    assert_eq!(order(&mut cluster(), Target::Member(9)), [""; 0], "it is none of them");
    assert_eq!(order(&mut strangers(), Target::Member(3)).len(), 3, "it may be any of them");
}

#[test]
fn an_endpoint_that_failed_is_asked_last_for_a_while() {
    let mut view = cluster();
    let start = now();
    view.learn_error("b:1", &refused(), start);
    let mut leader = |at| view.pick(Target::Leader, &BTreeSet::new(), at).expect("an endpoint");
    assert_ne!(leader(start), "b:1");
    assert_eq!(leader(start + DOWN_FOR), "b:1");
    view.learn_up("b:1");
    assert_eq!(view.pick(Target::Leader, &BTreeSet::new(), start).as_deref(), Some("b:1"));
}

#[test]
fn who_failed_last_is_no_detour_to_the_leader() {
    let mut view = strangers();
    let start = now();
    view.learn_error("a:1", &refused(), start);
    let later = start + DOWN_FOR;
    assert_eq!(view.pick(Target::Leader, &BTreeSet::new(), later).as_deref(), Some("b:1"));
    assert_eq!(view.pick(Target::Leader, &BTreeSet::new(), later).as_deref(), Some("c:1"));
    assert_eq!(view.pick(Target::Leader, &BTreeSet::new(), later).as_deref(), Some("b:1"));
    assert_eq!(view.pick(Target::Any, &BTreeSet::new(), later).as_deref(), Some("c:1"));
    assert_eq!(
        view.pick(Target::Any, &BTreeSet::new(), later).as_deref(),
        Some("a:1"),
        "a read tries it again"
    );
}

#[test]
fn a_client_is_for_one_cluster() {
    let mut view = cluster();
    assert_eq!(view.learn_cluster("a:1", 0), Ok(()), "it did not say");
    assert_eq!(view.learn_cluster("a:1", 7), Ok(()));
    assert_eq!(view.learn_cluster("b:1", 7), Ok(()));
    let error = view.learn_cluster("c:1", 8).expect_err("another cluster");
    assert!(matches!(&error, Error::WrongCluster(_)), "{error:?}");
    let text = error.to_string();
    assert!(["c:1", "7", "8"].iter().all(|named| text.contains(named)), "{text}");
}

#[test]
fn a_hint_is_followed_at_once() {
    let mut view = cluster();
    view.learn_error("b:1", &Error::NotLeader { leader: hint(3, "c:1") }, now());
    assert_eq!(order(&mut view, Target::Leader)[0], "c:1");
    let wrong = Error::WrongRoute {
        asked: "leader".into(),
        member: 3,
        role: "follower".into(),
        leader: hint(1, "a:1"),
    };
    view.learn_error("c:1", &wrong, now());
    assert_eq!(order(&mut view, Target::Leader)[0], "a:1");
}

#[test]
fn a_leader_that_knows_it_is_none_is_forgotten() {
    let mut view = cluster();
    view.learn_error("c:1", &Error::NotLeader { leader: None }, now());
    assert!(!view.lacks_leader(), "a follower that knows no leader proves nothing");
    view.learn_error("b:1", &Error::NotLeader { leader: None }, now());
    assert!(view.lacks_leader());
}

#[test]
fn a_leader_without_a_quorum_is_forgotten() {
    let mut view = cluster();
    view.learn_error("c:1", &Error::NoQuorum, now());
    assert!(!view.lacks_leader(), "it was said of the leader by somebody else");
    view.learn_error("b:1", &Error::NoQuorum, now());
    assert!(view.lacks_leader());
}

#[test]
fn a_leader_that_only_advertised_its_address_is_forgotten_when_it_does_not_answer() {
    let mut view = View::new(vec!["a:1".to_owned(), "b:1".to_owned()], 0);
    view.learn_error("a:1", &Error::NotLeader { leader: hint(9, "z:1") }, now());
    let pick = |view: &mut View| view.pick(Target::Leader, &BTreeSet::new(), now());
    assert_eq!(pick(&mut view).as_deref(), Some("z:1"));
    let late = Error::Deadline { waiting_for: "the answer".to_owned(), maybe_committed: true };
    view.learn_error("z:1", &late, now());
    assert_ne!(pick(&mut view).as_deref(), Some("z:1"), "the members that were given know better");
    view.learn_error("a:1", &Error::NotLeader { leader: hint(9, "z:1") }, now());
    view.learn_error("z:1", &Error::NoQuorum, now());
    assert_ne!(pick(&mut view).as_deref(), Some("z:1"));
}

#[test]
fn a_newer_term_voids_the_leader_and_an_older_one_teaches_nothing() {
    let mut view = cluster();
    view.learn_leader(4, Some(1));
    assert_eq!(order(&mut view, Target::Leader)[0], "b:1");
    view.learn_term(6);
    assert!(view.lacks_leader());
    view.learn_leader(5, Some(2));
    assert!(view.lacks_leader());
}

#[test]
fn a_hinted_leader_outlives_the_first_answer_of_its_term() {
    let mut view = cluster();
    view.learn_error("b:1", &Error::NotLeader { leader: hint(3, "c:1") }, now());
    view.learn_term(6);
    assert_eq!(order(&mut view, Target::Leader)[0], "c:1");
    view.learn_term(7);
    assert!(view.lacks_leader());
}

#[test]
fn advertised_addresses_are_used_only_for_members_that_no_endpoint_is_known_to_be() {
    let mut view = cluster();
    view.learn_advertised(2, "inside:2");
    assert_eq!(order(&mut view, Target::Leader)[0], "b:1", "the configured way to it is kept");
    view.learn_advertised(4, "inside:4");
    view.learn_leader(5, Some(4));
    assert_eq!(order(&mut view, Target::Leader)[0], "inside:4");
    assert_eq!(order(&mut view, Target::Member(4)), ["inside:4"]);
    assert_eq!(order(&mut view, Target::Any).len(), 3);
}

#[test]
fn what_members_advertise_is_bounded() {
    let mut view = cluster();
    for member in 1..1000 {
        view.learn_advertised(member, "x:1");
    }
    assert_eq!(view.advertised.len(), ADVERTISED_MAX);
}
