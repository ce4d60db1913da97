//! What a script sees of a failure.

use super::*;

/// The row of an exit code in docs/cli.md.
fn row(code: u8) -> &'static str {
    let rows = include_str!("../../docs/cli.md").lines();
    let mut rows = rows.filter(|line| line.starts_with(&format!("| {code} |")));
    rows.next().expect("a row")
}

#[test]
fn the_exit_codes_are_as_documented() {
    let key = bytes::Bytes::from("k");
    let lost = || Error::LockLost { owner_key: key.clone(), token: 1, current_token: 0 };
    let too_large = Error::TooLarge { what: "x".into(), limit: 1, actual: 2 };
    for (error, code) in [
        (lost(), 1),
        (Error::LeaseNotFound(1), 1),
        (Error::Invalid("x".into()), 2),
        (too_large, 2),
        (Error::Compacted { requested: 1, compacted: 2 }, 3),
        (Error::FutureRevision { requested: 2, current: 1 }, 3),
        (Error::NoSpace { free: 1, needed: 2 }, 3),
        (Error::LeaseExists(1), 3),
        (Error::WrongCluster("x".into()), 3),
    ] {
        let reason = format!("`{}`", error.reason());
        let told = [1, 2].map(|code| row(code).contains(&reason));
        assert_eq!(told, [code == 1, code == 2], "{reason}");
        assert_eq!(Failure::Call(error).exit_code(), code, "{reason}");
    }
    // What relied on the lock may not have been alone: more than a negative answer.
    assert_eq!(Failure::LockLost(lost()).exit_code(), 3);
    assert!(row(3).contains("`lock_lost` of `lock` and `elect`"), "{}", row(3));
}
