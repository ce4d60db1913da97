use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn consistency(flags: &str) -> Result<Consistency, String> {
    parse(&format!("quorate get k {flags}")).expect("parses").global.consistency()
}

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn every_level_can_be_named() {
    let levels = [
        ("", Level::Linearizable),
        ("--consistency linearizable", Level::Linearizable),
        ("--consistency log", Level::Log),
        ("--consistency lease", Level::Lease),
        ("--consistency lease-or-index", Level::LeaseOrIndex),
        ("--consistency leader-local", Level::LeaderLocal),
        ("--consistency bounded", Level::Bounded { max_age: Duration::from_millis(500) }),
        ("--consistency session", Level::Session { min_revision: 0 }),
        ("--consistency bounded --max-age 250ms", Level::Bounded { max_age: Duration::from_millis(250) }),
        ("--consistency session --min-revision 7", Level::Session { min_revision: 7 }),
        ("--consistency eventual", Level::Eventual),
    ];
    for (flags, level) in levels {
        assert_eq!(consistency(flags), Ok(level.into()), "{flags}");
    }
}

#[test]
fn a_level_and_its_parameter_belong_together() {
    for flags in [
        "--max-age 1s",
        "--consistency session --min-revision 1 --max-age 1s",
        "--consistency bounded --max-age 1s --min-revision 1",
        "--consistency leader-local --route follower",
    ] {
        assert!(consistency(flags).is_err(), "{flags}");
    }
}

#[test]
fn routes_are_roles_or_ids() {
    for (text, route) in [("any", Route::Any), ("leader", Route::Leader), ("follower", Route::Follower)] {
        assert_eq!(consistency(&format!("--route {text}")).map(|asked| asked.route), Ok(route));
    }
    assert_eq!(consistency("--route 3").map(|asked| asked.route), Ok(Route::Member(3)));
    assert!(parse("quorate get k --route 0").is_err());
    assert!(parse("quorate get k --route leeder").is_err());
}

#[test]
fn options_of_all_commands_may_stand_before_and_behind_the_command() {
    let before = parse("quorate --endpoints a:1,b:2 -o json get k").expect("parses");
    let behind = parse("quorate get k --endpoints a:1,b:2 -o json").expect("parses");
    for cli in [before, behind] {
        assert_eq!(cli.global.endpoints, ["a:1", "b:2"]);
        assert_eq!(cli.global.output, OutputForm::Json);
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for line in [
        "quorate get k --prefix --range-end z",
        "quorate get k --keys-only --count-only",
        "quorate get k --prefix --raw",
        "quorate get",
        "quorate put k",
        "quorate compact x",
        "quorate get k --timeout soon",
        "quorate get k --timeout 0s",
        "quorate scan k --limit 0",
        "quorate scan k --prefix --range-end z",
        "quorate",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn an_age_of_nothing_is_refused_by_name() {
    let error = parse("quorate get k --consistency bounded --max-age 0s").expect_err("0s").to_string();
    assert!(error.contains("--max-age") && error.contains("longer than 0"), "{error}");
}

#[test]
fn scan_takes_a_prefix_with_or_without_saying_so() {
    assert!(parse("quorate scan users/ --prefix --limit 3").is_ok());
    assert!(parse("quorate scan users/").is_ok());
}

#[test]
fn a_mistyped_command_is_corrected() {
    let error = parse("quorate gett k").expect_err("no such command").to_string();
    assert!(error.contains("'get'"), "{error}");
}

#[test]
fn member_list_is_members() {
    let cli = parse("quorate member list").expect("parses");
    assert!(matches!(cli.command, Command::Member(MemberCommand::List)));
}

#[test]
fn the_key_of_a_guard_is_any_bytes_up_to_the_last_colon() {
    use std::os::unix::ffi::OsStringExt;
    let guards = |text: &[u8]| {
        let line = ["quorate", "put", "k", "v", "--guard"].map(OsString::from).to_vec();
        let cli = Cli::try_parse_from([line, vec![OsString::from_vec(text.to_vec())]].concat())?;
        let Command::Put(args) = cli.command else { panic!("not a put") };
        Ok::<_, clap::Error>(args.guards.guards)
    };
    let guard = |key: &'static [u8]| vec![Guard { owner_key: key.into(), fencing_token: 7 }];
    assert_eq!(guards(b"jobs:a/0x:7").expect("a guard"), guard(b"jobs:a/0x"));
    assert_eq!(guards(b"\xff\xfe/0x:7").expect("a guard"), guard(b"\xff\xfe/0x"));
    for wrong in [&b"k"[..], b"k:", b":7", b"k:x", b"k:\xff", b"k:-7"] {
        assert_eq!(guards(wrong).expect_err("no guard").exit_code(), 2, "{}", wrong.escape_ascii());
    }
}
