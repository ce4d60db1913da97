use clap::{CommandFactory, Parser};

use super::*;
use crate::cli::Cli;

/// `serve` with these flags, and its own parser, so that the whole way is tested.
fn load(flags: &[&str]) -> Result<Config, String> {
    let cli =
        Cli::try_parse_from([&["quorate", "serve"], flags].concat()).map_err(|error| error.to_string())?;
    match cli.command {
        crate::cli::args::Command::Serve(args) => args.load(),
        other => Err(format!("{other:?}")),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), text).expect("written");
    file
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let file = file(
        "id = 7\nheartbeat = '70ms'\nelection_timeout_min = '700ms'\n[limits]\nkey_bytes_max = 1\n\
         txn_ops_max = 2\n[members.7]\npeer = 'seven:1'\n",
    );
    let path = file.path().to_str().expect("UTF-8");
    let config = load(&["--config", path, "--heartbeat", "30ms", "--key-bytes-max", "9"]).expect("loads");
    assert_eq!(config.heartbeat, Duration::from_millis(30), "the flag");
    assert_eq!(config.limits.key_bytes_max, 9, "the flag, inside a table of the file");
    assert_eq!(config.limits.txn_ops_max, 2, "the file");
    assert_eq!((config.id, config.election_timeout_min), (7, Duration::from_millis(700)), "the file");
    assert_eq!(config.members[&7].peer, "seven:1", "the file");
    assert_eq!(config.lease_margin, Config::default().lease_margin, "the default");
}

#[test]
fn sizes_may_have_units() {
    let config = load(&["--snapshot-log-bytes", "64MiB", "--key-bytes-max", "9KiB"]).expect("loads");
    assert_eq!((config.snapshot_log_bytes, config.limits.key_bytes_max), (64 << 20, 9 << 10));
    let error = load(&["--free-bytes-min", "1MB"]).expect_err("no such unit");
    assert!(error.contains("--free-bytes-min") && error.contains("64MiB"), "{error}");
}

#[test]
fn members_on_the_command_line_replace_those_of_the_file() {
    let file = file("[members.1]\npeer = 'one:1'\n[members.9]\npeer = 'nine:1'\n");
    let path = file.path().to_str().expect("UTF-8");
    let config = load(&["--config", path, "--member", "1=a:1,b:2", "--member", "2=c:3"]).expect("loads");
    let addr = |peer: &str, client: &str| MemberAddr { peer: peer.into(), client: client.into() };
    assert_eq!(config.members, [(1, addr("a:1", "b:2")), (2, addr("c:3", ""))].into());
}

#[test]
fn what_print_config_prints_is_a_file_that_gives_the_same_configuration() {
    let config =
        load(&["--id", "1", "--member", "1=a:1,b:2", "--log-store", "sled", "--clock-drift-max", "0.1"])
            .expect("loads");
    let file = file(&toml::to_string(&config).expect("printed"));
    let again = load(&["--config", file.path().to_str().expect("UTF-8")]).expect("loads");
    assert_eq!(config, again);
}

#[test]
fn every_field_of_the_configuration_has_a_flag_and_a_variable() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("the command");
    let config = toml::Table::try_from(Config::default()).expect("a table");
    let limits = config["limits"].as_table().expect("a table").keys();
    let fields = config.keys().chain(limits).filter(|field| *field != "limits");
    for field in fields {
        let flag = if field == "members" { "member".to_owned() } else { field.replace('_', "-") };
        let found = serve.get_arguments().find(|arg| arg.get_long() == Some(&flag));
        let env = found.unwrap_or_else(|| panic!("no flag --{flag}")).get_env();
        let variable = format!("QUORATE_{}", field.to_uppercase());
        assert_eq!(env.and_then(|name| name.to_str()), Some(variable.as_str()));
    }
}

#[test]
fn mistakes_are_one_line_that_says_where() {
    let wrong = [
        (file("id = 1\nheartbat = '1s'\n"), "line 2: unknown field `heartbat`"),
        (file("heartbeat = 5\n"), "line 1: "),
        (file("id = = 1\n"), "line 1: "),
        (file("[limits]\nkey_bytes_max = -1\n"), "line 2: "),
        (file("snapshot_log_bytes = '64MiB'\n"), "sizes are in bytes, e.g. 67108864"),
    ];
    for (file, why) in wrong {
        let error = load(&["--config", file.path().to_str().expect("UTF-8")]).expect_err(why);
        assert!(error.contains(why), "{error}");
        assert!(error.starts_with("configuration file ") && !error.contains('\n'), "{error}");
    }
    let missing = load(&["--config", "/does/not/exist.toml"]).expect_err("no such file");
    assert!(missing.contains("/does/not/exist.toml") && missing.contains("No such file"), "{missing}");
    let twice = load(&["--member", "1=a:1", "--member", "1=b:1"]).expect_err("twice");
    assert_eq!(twice, "configuration: member 1 is given twice");
}

#[test]
fn a_member_can_be_dialled_elsewhere() {
    let config = load(&["--peer-dial", "2=proxy:1", "--peer-dial", "3=proxy:2"]).expect("loads");
    assert_eq!(config.peer_dial, [(2, "proxy:1".to_owned()), (3, "proxy:2".to_owned())].into());
    assert!("2".parse::<DialFlag>().is_err() && "2=x".parse::<DialFlag>().is_err());
}

#[test]
fn members_have_the_form_id_peer_client() {
    for bad in ["1", "x=a:1", "1=", "1=a:1,b:2,c:3", "-1=a:1"] {
        assert!(bad.parse::<MemberFlag>().is_err_and(|error| error.contains("ID=PEER")), "{bad}");
    }
}
