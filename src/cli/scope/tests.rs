use super::*;

fn typed(line: &str) -> Result<Cli, clap::Error> {
    read(line.split_whitespace().map(OsString::from))
}

fn help_of(command: &str) -> String {
    typed(&format!("quorate {command} --help")).expect_err("the help").to_string()
}

#[test]
fn the_definition_is_sound() {
    definition().debug_assert();
}

#[test]
fn the_lists_name_options_that_exist() {
    let command = Cli::command();
    let globals = command.get_arguments().filter(|arg| arg.is_global_set());
    let globals: Vec<_> = globals.map(|arg| arg.get_id().as_str()).collect();
    assert_eq!(globals, CLIENT);
    assert!(READ.iter().all(|id| CLIENT.contains(id)));
}

#[test]
fn a_command_shows_and_accepts_the_options_that_mean_something_to_it() {
    for (command, shown, hidden) in [
        ("get", "--consistency", ""),
        ("scan", "--max-age", ""),
        ("put", "--endpoints", "--consistency"),
        ("status", "--timeout", "--route"),
        ("serve", "--data-dir", "--endpoints"),
        ("completion", "<SHELL>", "--output"),
    ] {
        let help = help_of(command);
        assert!(help.contains(shown), "{command}: {help}");
        assert!(hidden.is_empty() || !help.contains(hidden), "{command}: {help}");
    }
    for line in [
        "quorate put k v --consistency eventual",
        "quorate --route leader put k v",
        "quorate compact 3 --min-revision 1",
        "quorate serve --endpoints a:1",
        "quorate -o json serve",
        "quorate completion bash --timeout 1s",
    ] {
        let error = typed(line).expect_err(line);
        assert!(error.exit_code() == 2 && error.to_string().contains("means nothing to"), "{line}: {error}");
    }
    assert!(typed("quorate put k v --timeout 1s -o json").is_ok());
    assert!(typed("quorate --route leader get k").is_ok());
}

#[test]
fn a_commands_own_options_come_first_and_the_clients_in_one_group() {
    let help = help_of("get");
    let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("no {text}: {help}"));
    assert!(at("--prefix") < at("Client options:") && at("Client options:") < at("Examples:"));
    let client = &help[at("Client options:")..at("Prints the value")];
    assert_eq!(client.trim_end().lines().count(), 1 + CLIENT.len(), "one line each: {client}");
}
